# ruff: noqa: RUF001 (letters, digits and marks of other scripts)
"""The normal forms of answers, worked by hand rule by rule; SQuAD's own cases are in tests/corpus/test_questions.py."""

import pytest

from elusive.evaluation.metrics import exact_match, f1
from elusive.evaluation.normal_forms import AnswerMetric, multilingual_words, numeric_words, squad_words


def em(prediction: str, answer: str, name: str, language: str = "") -> float:
    return exact_match(prediction, [answer], AnswerMetric(name, language))


@pytest.mark.parametrize("name", ["squad", "multilingual", "numeric"])
@pytest.mark.parametrize("answer", ["A", "the", "?", "!?", "–", "A.", "The A", "Ada"])
def test_an_empty_prediction_is_never_right_and_an_answer_always_equals_itself(name: str, answer: str):
    metric = AnswerMetric(name, "en")
    for nothing in ("", " ", "\n"):
        assert exact_match(nothing, [answer], metric) == 0.0
        assert f1(nothing, [answer], metric) == 0.0
    assert exact_match(answer, [answer], metric) == f1(answer, [answer], metric) == 1.0


def test_answers_of_articles_alone_keep_them():
    squad = AnswerMetric()
    assert exact_match("the", ["A"], squad) == 0.0
    assert exact_match("a.", ["A"], squad) == 1.0
    # P = 1/2, R = 1/1.
    assert f1("a cat", ["A"], squad) == pytest.approx(2 / 3)
    # Of an answer that has more than articles nothing changes: the official script gives 0 and 0.
    assert exact_match("the", ["the cat"], squad) == f1("the", ["the cat"], squad) == 0.0
    assert squad_words("“The” café") == ["“", "”", "café"]


@pytest.mark.parametrize(
    ("text", "language", "words"),
    [
        # NFKC, case, punctuation of any script, digits of any script.
        ("Ｈｅｌｌｏ， Ｗｏｒｌｄ！", "", ["hello", "world"]),
        ("ﬁne STRASSE Straße", "", ["fine", "strasse", "strasse"]),
        ("“café” — naïve…", "", ["café", "naïve"]),
        ("¿Qué? ¡Sí!", "", ["qué", "sí"]),
        ("१२३ ٤٥٦ ๗๘๙ ４５", "", ["123", "456", "789", "45"]),
        ("km² m³ №5", "", ["km2", "m3", "no5"]),
        ("well-known", "", ["wellknown"]),
        # Characters that are not seen.
        ("can\u00adnot a\u200bb \u202bשלום\u202c ❤\ufe0f", "", ["cannot", "ab", "שלום", "❤"]),
        # Articles of MLQA's languages, as whole words, and of no other language.
        ("Der Hund und die Katze", "de", ["hund", "und", "katze"]),
        ("Der Hund und die Katze", "", ["der", "hund", "und", "die", "katze"]),
        ("the die", "de", ["the"]),
        ("Los Ángeles, el país", "es", ["ángeles", "país"]),
        ("những con mèo của tôi", "vi", ["con", "mèo", "tôi"]),
        ("The Hague", "en", ["hague"]),
        ("الكتاب في العالم، الى ال", "ar", ["كتاب", "في", "عالم", "الى", "ال"]),  # no word is cut to one letter
        ("यह भारत है।", "hi", ["यह", "भारत", "है"]),
        # Scripts without spaces: a character with its marks.
        ("北京 大学（1898年）", "zh", ["北", "京", "大", "学", "1898", "年"]),
        ("東京タワー", "ja", ["東", "京", "タ", "ワ", "ー"]),
        ("ﾊﾟﾝ", "ja", ["パ", "ン"]),
        ("ที่นี่ GPU", "th", ["ที่", "นี่", "gpu"]),
        ("서울 대학교", "ko", ["서울", "대학교"]),
    ],
)
def test_multilingual(text: str, language: str, words: list[str]):
    assert multilingual_words(text, language) == words


def test_multilingual_measures():
    assert em("北京大学。", "北京 大学", "multilingual", "zh") == 1.0
    # 2 of 4 characters of the prediction, 2 of 2 of the answer: 2 * .5 * 1 / 1.5.
    assert f1("北京大学", ["北京"], AnswerMetric("multilingual", "zh")) == pytest.approx(2 / 3)
    assert f1("北京大学", ["北京"], AnswerMetric()) == 0.0
    assert em("der Rhein", "Rhein", "multilingual", "de") == 1.0
    assert em("der Rhein", "Rhein", "squad") == 0.0
    assert em("An der Elbe", "Elbe", "multilingual", "de") == 0.0  # "an" is no article in German
    assert em("५ किमी", "5 किमी", "multilingual", "hi") == 1.0


@pytest.mark.parametrize(
    ("text", "language", "words"),
    [
        # One mark: decimals, unless three digits follow; then the language decides, and without one nothing does.
        ("1,5", "en", ["1.5"]),
        ("1,5", "", ["1.5"]),
        ("0,125", "en", ["0.125"]),
        ("1,234", "en", ["1234"]),
        ("1,234", "de", ["1.234"]),
        ("1.234", "de", ["1234"]),
        ("1.234", "en", ["1.234"]),
        ("1,234", "", ["1,234"]),
        ("1.234", "ar", ["1.234"]),
        ("12345,678", "", ["12345.678"]),
        # Several marks.
        ("1,234,567", "", ["1234567"]),
        ("12,34,567", "hi", ["1234567"]),
        ("1.234.567,8", "", ["1234567.8"]),
        ("1,234.50", "", ["1234.50"]),
        ("1’234’567", "", ["1234567"]),
        ("10\u00a0000 и 10\u202f000\u202f000", "", ["10000", "и", "10000000"]),
        ("10 000 km", "fr", ["10000", "km"]),
        ("10 000 km", "en", ["10", "000", "km"]),
        ("١٬٢٣٤٫٥", "ar", ["1234.5"]),
        # What may be no number stays as it is.
        ("1.2.3", "en", ["1.2.3"]),
        ("192.168.0.1", "en", ["192.168.0.1"]),
        ("1,2,3", "en", ["1,2,3"]),
        ("3.10", "en", ["3.10"]),
        ("007", "en", ["007"]),
        ("2024-01-05", "", ["2024", "-", "01", "-", "05"]),
        ("10:30", "", ["10", ":", "30"]),
        # Signs, ranges, powers, fractions.
        ("−5 °C", "", ["-5", "°", "c"]),
        ("(-5)", "", ["-5"]),
        ("5–10", "", ["5", "-", "10"]),
        ("5 - 10", "", ["5", "-", "10"]),
        ("±2, < 5", "", ["±", "2", "<", "5"]),
        ("50%", "", ["50", "%"]),
        ("10⁶ m", "", ["10", "^", "6", "m"]),
        ("1½", "", ["1", "1", "/", "2"]),
        (".5", "", ["0.5"]),
        ("5.", "", ["5"]),
        # Units.
        ("5km", "", ["5", "km"]),
        ("5 mW, 5 MW, 5 KB, 5 kB, 5 kb", "", ["5", "mW", "5", "MW", "5", "kB", "5", "kB", "5", "kb"]),
        ("5 KM", "", ["5", "km"]),
        ("the 3 A fuse", "en", ["3", "a", "fuse"]),
        ("km/h", "", ["km", "/", "h"]),
        # Words as in the other forms.
        ("The “Ctrl+C” key isn't well-known.", "en", ["ctrl", "+", "c", "key", "isnt", "wellknown"]),
        ("Die Straße", "de", ["strasse"]),
        ("约５千米。", "zh", ["约", "5", "千", "米"]),
        ("हिन्दी १२ किमी", "hi", ["हिन्दी", "12", "किमी"]),
        ("الكتاب ٣", "ar", ["كتاب", "3"]),
    ],
)
def test_numeric(text: str, language: str, words: list[str]):
    assert numeric_words(text, language) == words


def test_numeric_measures():
    assert em("1.500,0 kg", "1500,0kg", "numeric", "de") == 1.0
    assert em("15", "1.5", "squad") == 1.0  # as published: the point goes
    assert em("15", "1.5", "multilingual") == 1.0
    assert em("15", "1.5", "numeric") == 0.0
    assert em("102", "10²", "numeric") == 0.0
    assert em("5 MB", "5 Mb", "numeric", "en") == 0.0
    assert em("-5", "5", "numeric") == 0.0
