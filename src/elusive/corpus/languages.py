# ruff: noqa: RUF001 (letters of other scripts)
"""The language of texts, seen from their letters and commonest words, and what prompts say in it."""

import collections
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import regex


@dataclass(frozen=True)
class Language:
    """A language that is recognised.

    Attributes:
        code: of ISO 639-1.
        name: in English.
        labels: what stands before a question, and before an answer, in a prompt.
        words: common words of questions and statements, in small letters; empty where the letters alone tell.
    """

    code: str
    name: str
    labels: tuple[str, str]
    words: frozenset[str] = frozenset()


def _language(code: str, name: str, labels: str, words: str = "") -> Language:
    question, answer = labels.split()
    return Language(code, name, (question, answer), frozenset(words.split()))


_ALL = (
    _language(
        "en",
        "English",
        "Question Answer",
        "the of and in to is was were are did does do has had for with by from on at as what who when where which why "
        "how many much whose whom an it his her their he she they that this not be or",
    ),
    _language(
        "de",
        "German",
        "Frage Antwort",
        "der die das den dem des ein eine einen einem einer eines und ist war wurde wurden sind von vom mit für auf im "
        "zu zum zur nicht wer was wann wo wie welche welcher welches welchem welchen warum wem wen wieviel viele als "
        "aus bei nach er sie es hat",
    ),
    _language(
        "es",
        "Spanish",
        "Pregunta Respuesta",
        "el la los las de del que y en un una es fue se por con para qué quién quiénes cuándo dónde cómo cuál cuáles "
        "cuánto cuántos cuántas al como su más lo no son era a",
    ),
    _language(
        "fr",
        "French",
        "Question Réponse",
        "le la les des du de et est un une en dans par pour sur au aux que qui quel quelle quels quelles quand où "
        "comment pourquoi combien a été il elle son ses ne pas se avec ce cette",
    ),
    _language(
        "it",
        "Italian",
        "Domanda Risposta",
        "il lo la gli le di del della dei delle degli e è un una uno in nel nella per con che chi quando dove come "
        "quale quali perché quanto quanti quante da dal si non sono stato ha a al",
    ),
    _language(
        "pt",
        "Portuguese",
        "Pergunta Resposta",
        "o a os as de do da dos das e é um uma em no na nos nas por para com que quem quando onde como qual quais "
        "porquê foi não ao à se são mais quantos quantas",
    ),
    _language(
        "nl",
        "Dutch",
        "Vraag Antwoord",
        "de het een van en in op voor met is was werd werden zijn door te aan bij wat wie wanneer waar hoe welke welk "
        "waarom hoeveel niet dat die als uit naar hij zij heeft",
    ),
    _language(
        "ro",
        "Romanian",
        "Întrebare Răspuns",
        "de la și în a al ale cu pe din care ce cine când unde cum câți câte cât este a fost au o un pentru mai nu se "
        "sunt lui prin după",
    ),
    _language(
        "tr",
        "Turkish",
        "Soru Cevap",
        "ve bir bu ne kim nedir nerede hangi kaç nasıl neden zaman ile için olarak olan da de mi mı kimdir göre daha "
        "en hangisi hangisidir vardır",
    ),
    _language(
        "vi",
        "Vietnamese",
        "Hỏi Đáp",
        "là của và có những các được trong một cho người nào gì khi ai ở đâu năm đã với không bao nhiêu tại sao từ để",
    ),
    _language(
        "ru",
        "Russian",
        "Вопрос Ответ",
        "и в во на не что кто когда где как какой какая какое какие каком почему сколько с по из был была было были "
        "для это от к за о у его чем",
    ),
    _language("el", "Greek", "Ερώτηση Απάντηση"),
    _language("he", "Hebrew", "שאלה תשובה"),
    _language("ar", "Arabic", "سؤال جواب"),
    _language("hi", "Hindi", "प्रश्न उत्तर"),
    _language("th", "Thai", "คำถาม คำตอบ"),
    _language("ko", "Korean", "질문 답변"),
    _language("ja", "Japanese", "質問 回答"),
    _language("zh", "Chinese", "问题 回答"),
)

LANGUAGES: Mapping[str, Language] = {one.code: one for one in _ALL}
"""By code."""

_SCRIPTS = {
    "Latin": ("en", "de", "es", "fr", "it", "pt", "nl", "ro", "tr", "vi"),
    "Cyrillic": ("ru",),
    "Greek": ("el",),
    "Hebrew": ("he",),
    "Arabic": ("ar",),
    "Devanagari": ("hi",),
    "Thai": ("th",),
    "Hangul": ("ko",),
    "Han": ("zh",),
}
_LETTERS = {script: regex.compile(rf"\p{{Script={script}}}") for script in _SCRIPTS}
_KANA = regex.compile(r"[\p{Script=Hiragana}\p{Script=Katakana}]")
_OTHER_ARABIC = regex.compile("[پچژگکیٹڈڑےہں]")
"""Letters of Persian and Urdu, which have the script but not the article."""
_LETTER, _WORD = regex.compile(r"\p{L}"), regex.compile(r"\p{L}[\p{L}\p{M}]*")

_SAMPLE = 2000
_LEAST = 0.08
"""A language's common words are at least this share of all words, and two different ones."""
_MARGIN = 1.25
"""And so many times as many as those of the next language."""


def language_of(texts: Iterable[str]) -> str:
    """The language of some texts taken together, by their letters and, where several share these, by common words.

    It is careful: in doubt there is no language. A script whose letters are less than half of all tells nothing.
    Devanagari counts as Hindi, and Chinese characters without kana as Chinese.

    Args:
        texts: such as questions and their answers; the first 2,000 count.

    Returns:
        A key of LANGUAGES, or an empty string.

    Example:
        >>> language_of(["Wer schrieb den Faust?", "Wo ist er geboren?"]), language_of(["กรุงเทพฯ อยู่ที่ไหน"])
        ('de', 'th')
        >>> language_of(["x = 1"])
        ''
    """
    text = "\n".join(itertools.islice(texts, _SAMPLE))
    script = _script_of(text)
    if not script:
        return ""
    if script == "Han":
        return "ja" if _KANA.search(text) else "zh"
    if script == "Arabic" and len(_OTHER_ARABIC.findall(text)) > 0.02 * len(_LETTERS[script].findall(text)):
        return ""
    candidates = [LANGUAGES[code] for code in _SCRIPTS[script]]
    return _by_words(text, candidates) if candidates[0].words else candidates[0].code


def _script_of(text: str) -> str:
    counts = {script: len(letters.findall(text)) for script, letters in _LETTERS.items()}
    counts["Han"] += len(_KANA.findall(text))
    script = max(counts, key=counts.__getitem__)
    return script if 2 * counts[script] > len(_LETTER.findall(text)) else ""


def _by_words(text: str, candidates: Iterable[Language]) -> str:
    words = collections.Counter(word.lower() for word in _WORD.findall(text))
    counts = {one.code: sum(words[word] for word in one.words) for one in candidates}
    (best, most), *others = sorted(counts.items(), key=lambda item: -item[1])
    several = sum(word in words for word in LANGUAGES[best].words) > 1
    clear = most >= _LEAST * words.total() and all(most >= _MARGIN * count for _, count in others)
    return best if several and clear else ""
