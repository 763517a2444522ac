"""The normal forms in which answers are compared: SQuAD v1.1's, MLQA's of other languages, and one that reads numbers.

Exported tasks hold a copy of this file, so it imports the standard library alone.
"""

import collections
import functools
import re
import string
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class AnswerMetric:
    """How answers are compared.

    Attributes:
        name: squad, multilingual or numeric.
        language: code of the answers' language, which decides articles and decimal marks (empty: not known, so no word
            is an article, and "1,234" is read neither as 1234 nor as 1.234). squad is for English alone.
    """

    name: str = "squad"
    language: str = "en"


def exact_match_of(prediction: str, answer: str, metric: AnswerMetric) -> float:
    """1.0 if both are the same words in normal form, else 0.0; never 1.0 for an empty prediction."""
    got, wanted = _words_of_both(prediction, answer, metric)
    return float(bool(got) and got == wanted)


def f1_of(prediction: str, answer: str, metric: AnswerMetric) -> float:
    """F1 between the multisets of words in normal form, in [0, 1]."""
    got, wanted = _words_of_both(prediction, answer, metric)
    common = (collections.Counter(got) & collections.Counter(wanted)).total()
    if common == 0:
        return 0.0
    precision, recall = common / len(got), common / len(wanted)
    return 2 * precision * recall / (precision + recall)


def _words_of_both(prediction: str, answer: str, metric: AnswerMetric) -> tuple[list[str], list[str]]:
    """Both in normal form; where nothing of the answer is left in it, with articles, or else as they were written."""
    split = _SPLIT[metric.name]
    forms: tuple[Callable[[str], list[str]], ...] = (
        lambda text: split(text, metric.language, True),
        lambda text: split(text, metric.language, False),
        lambda text: text.casefold().split(),
    )
    form = next((one for one in forms if one(answer)), forms[-1])
    return form(prediction), form(answer)


_ENGLISH_ARTICLES = re.compile(r"\b(a|an|the)\b")
_DROP_PUNCTUATION = str.maketrans("", "", string.punctuation)


def squad_words(text: str, language: str = "en", drop_articles: bool = True) -> list[str]:
    """SQuAD v1.1's normal form: lower case, no ASCII punctuation, no a/an/the, split at white space.

    In that order: punctuation goes without leaving a space (`well-known` becomes `wellknown`), then articles that
    stand as whole words. Other punctuation (curly quotes, dashes) and accents stay, as in the official script.

    Reference:
        Rajpurkar et al. 2016, evaluate-v1.1.py.
    """
    text = text.lower().translate(_DROP_PUNCTUATION)
    return (_ENGLISH_ARTICLES.sub(" ", text) if drop_articles else text).split()


_ARTICLES = {
    "en": frozenset({"a", "an", "the"}),
    "es": frozenset({"un", "una", "unos", "unas", "el", "la", "los", "las"}),
    "de": frozenset({"ein", "eine", "einen", "einem", "eines", "einer", "der", "die", "das", "den", "dem", "des"}),
    "vi": frozenset({"của", "là", "cái", "chiếc", "những"}),
}
"""Words that count for nothing, as in MLQA's script (Lewis et al. 2020, mlqa_evaluation_v1.py)."""

_ARABIC_ARTICLE = re.compile(r"\Aال(?=\w\w)")  # noqa: RUF001
"""At the start of a word; MLQA's script takes these two letters out of the midst of words too."""


def multilingual_words(text: str, language: str = "", drop_articles: bool = True) -> list[str]:
    """MLQA's normal form, of any script: NFKC, no case, no punctuation of any script, no articles of the language.

    Digits of all scripts are 0 to 9, and invisible characters go. Characters of scripts without spaces (Chinese
    characters, kana, Thai, Lao, Khmer, Burmese, Tibetan) are words of their own, each with its marks.

    Example:
        >>> multilingual_words("Das Straßenbahn-Depot (1९)", "de")
        ['strassenbahndepot', '19']
        >>> multilingual_words("「北京」 大学", "zh")
        ['北', '京', '大', '学']
    """
    text = "".join(character for character in _plain(text).casefold() if not _is_punctuation(character))
    words = _WORDS.findall(unicodedata.normalize("NFKC", text))
    return _without_articles(words, language) if drop_articles else words


def _without_articles(words: Iterable[str], language: str) -> list[str]:
    if language == "ar":
        return [_ARABIC_ARTICLE.sub("", word) for word in words]
    articles = _ARTICLES.get(language, frozenset())
    return [word for word in words if word not in articles]


def _plain(text: str) -> str:
    """NFKC, with ASCII digits and without characters that are not seen (joiners, marks of direction, soft hyphens)."""
    text = unicodedata.normalize("NFKC", text)
    return "".join(_plain_character(character) for character in text)


@functools.cache
def _plain_character(character: str) -> str:
    if unicodedata.category(character) == "Cf" or "\ufe00" <= character <= "\ufe0f":
        return ""
    digit = unicodedata.decimal(character, None)
    return character if digit is None else str(digit)


@functools.cache
def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")


_WITHOUT_SPACES = (
    (0x0E00, 0x109F),  # Thai, Lao, Tibetan, Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),
    (0x3040, 0x30FF),  # kana
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),  # Chinese characters
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


def _characters(marks: bool) -> str:
    """What follows on each other without spaces, for a class of a pattern: marks, or all others."""
    ranges = []
    for start, end in _WITHOUT_SPACES:
        if end - start > 0x400:  # Chinese characters; none of them is a mark
            ranges += [] if marks else [f"{chr(start)}-{chr(end)}"]
            continue
        ranges += [chr(one) for one in range(start, end + 1) if unicodedata.category(chr(one)).startswith("M") == marks]
    return "".join(ranges)


_ALONE, _MARKS = _characters(marks=False), _characters(marks=True)
_WORDS = re.compile(rf"[{_ALONE}][{_MARKS}]*|[^\s{_ALONE}]+")


_DECIMAL_MARKS = {
    **dict.fromkeys(("en", "he", "hi", "ja", "ko", "th", "zh"), "."),
    **dict.fromkeys(("de", "el", "es", "fr", "it", "nl", "pt", "ro", "ru", "tr", "vi"), ","),
}
"""What stands before decimals; of Arabic both are in use."""

_GROUPED_BY_SPACES = frozenset({"fr", "ru"})
"""Languages in which a plain space may part thousands; in all, a space that does not break may."""

_DECIMAL, _GROUP = "\u066b", "'"
"""Marks that mean one thing alone: the Arabic decimal mark, and the apostrophe between thousands."""


def numeric_words(text: str, language: str = "", drop_articles: bool = True) -> list[str]:
    """The normal form for manuals: as `multilingual_words`, but numbers are compared by their value.

    - "1,5" is "1.5". "1,234" is 1234 in English and 1.234 in German, and itself where the language is not known.
      Marks between thousands go ("1'234'567", "12,34,567"). Zeros stay, for "3.10" may be a version and "007" a code,
      and so do the marks of what can be no number ("1.2.3").
    - A number and its unit are two words, with or without a space: "5km". Where units differ in nothing but case, the
      case counts: mW and MW, Mb and MB. No unit is turned into another one, and none is spelled out.
    - Signs count: "-5", "50 %", "< 5", "±2", "1/2", "5-10"; a raised digit behind a digit is a power.

    Example:
        >>> numeric_words("1.234,5 km²", "de")
        ['1234.5', 'km', '2']
        >>> numeric_words("-5°C, 10⁶ MHz, the 3 A fuse", "en")
        ['-5', '°', 'c', '10', '^', '6', 'MHz', '3', 'a', 'fuse']
    """
    text = _with_marks_of_numbers(text, language)
    found: list[tuple[str, bool]] = []  # words, and whether each stands behind a number
    for word in _NUMBERS_AND_WORDS.findall("".join(_separated(text))):
        behind_number = bool(found) and found[-1][0][-1].isdigit()
        found.append((_number_or_word(word, language, behind_number), behind_number))
    # A letter behind a number is a unit, and no article: 3 A.
    return [
        kept
        for word, behind in found
        for kept in ([word] if behind or not drop_articles else _without_articles([word], language))
    ]


_RAISED = re.compile(r"(?<=\d)(?=[⁰¹²³⁴-⁹⁺⁻])")
_FRACTION = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞])")
_SPACED = re.compile(r"(?<=\d)[\u00a0\u2007\u2009\u202f](?=\d{3}(?!\d))")
_PLAIN_SPACED = re.compile(r"(?<![\d.,'])\d{1,3}(?: \d{3})+(?!\d)")
_BETWEEN_NUMBERS = re.compile(r"(?<=\d)\s?([-:])\s?(?=\d)")
_SAME = {"\u2019": _GROUP, "\u066c": _GROUP, "\u2212": "-", "\u2010": "-", "\u2013": "-", "\u2044": "/"}


def _with_marks_of_numbers(text: str, language: str) -> str:
    """NFKC, without what it would do to numbers: to raised digits, fractions behind a digit, and spaces within."""
    text = _SPACED.sub(_GROUP, _FRACTION.sub(" ", _RAISED.sub(" ^ ", text)))
    text = _plain(text).translate(str.maketrans(_SAME))
    if language in _GROUPED_BY_SPACES:
        text = _PLAIN_SPACED.sub(lambda number: number.group().replace(" ", _GROUP), text)
    return _BETWEEN_NUMBERS.sub(r"\1", text)


def _separated(text: str) -> Iterator[str]:
    """A text's characters; signs between spaces, and of the punctuation that which may be part of a number."""
    for place, character in enumerate(text):
        before, after = text[place - 1 : place], text[place + 1 : place + 2]
        if character in "%‰/" or unicodedata.category(character).startswith("S"):
            yield f" {character} "
        elif not _is_punctuation(character) or (character in _OF_NUMBERS and after.isdigit()):
            yield character
        else:
            yield " " if before.isdigit() or after.isdigit() else ""


_OF_NUMBERS = f"-:.,{_GROUP}{_DECIMAL}"

_NUMBERS_AND_WORDS = re.compile(
    r"(?<=\d)[-:](?=\d)"
    rf"|(?:(?<!\w)-)?(?:(?<!\w)\.)?\d+(?:[.,{_GROUP}{_DECIMAL}]\d+)*"
    rf"|[{_ALONE}][{_MARKS}]*|[^\s\d{_ALONE}{_OF_NUMBERS[1:]}-]+"
)

_UNIT = re.compile(r"[mM](?:A|Ah|Hz|J|N|Pa|V|W|Wh|Ω)|[kKMGTP]i?[bB](?:ps|it|its)?")
"""Units that mean another quantity in another case."""


def _number_or_word(word: str, language: str, behind_number: bool) -> str:
    if any(map(str.isdigit, word)):
        return _number(word, language)
    if behind_number and _UNIT.fullmatch(word):
        return word.replace("K", "k")
    return word.casefold()


def _number(text: str, language: str) -> str:
    """A number with a point before its decimals and no other marks; as it is, where it could be two numbers or none."""
    sign, unsigned = ("-", text[1:]) if text.startswith("-") else ("", text)
    if unsigned.startswith("."):
        unsigned = f"0{unsigned}"
    marks, groups = re.findall(r"\D", unsigned), re.split(r"\D", unsigned)
    if not marks:
        return sign + unsigned
    *between, last = marks
    if last not in between and (last == _DECIMAL or _is_decimal(groups, marks, language)):
        if not between or _are_thousands(groups[:-1], between):
            return f"{sign}{''.join(groups[:-1])}.{groups[-1]}"
    elif _are_thousands(groups, marks) and (len(marks) > 1 or last == _GROUP or language in _DECIMAL_MARKS):
        return sign + "".join(groups)
    return sign + unsigned


def _is_decimal(groups: list[str], marks: list[str], language: str) -> bool:
    """Whether the last mark of a number stands before decimals."""
    if marks[-1] == _GROUP:
        return False
    if len(marks) > 1 or not _are_thousands(groups, marks):
        return True
    return _DECIMAL_MARKS.get(language) == marks[0]


def _are_thousands(groups: list[str], marks: list[str]) -> bool:
    """Whether these marks may part thousands; in India lakhs and crores, of two digits, stand before the last three."""
    first, *inner, last = groups
    if len(set(marks)) > 1 or not 1 <= len(first) <= 3 or first.startswith("0") or len(last) != 3:
        return False
    lengths = {len(group) for group in inner}
    return lengths <= {3} or (lengths == {2} and marks[0] == "," and len(first) <= 2)


_SPLIT: dict[str, Callable[[str, str, bool], list[str]]] = {
    "squad": squad_words,
    "multilingual": multilingual_words,
    "numeric": numeric_words,
}
