# ruff: noqa: RUF001 (letters of other scripts)
"""What questions must be like without a model: each reason to reject one, in several languages."""

import pytest

from elusive.config.questions import QuestionSettings
from elusive.corpus.documents import Document
from elusive.questioning import checks
from elusive.questioning.checks import Asking
from elusive.questioning.pairs import Pair, Rejected, Written, kind_of, pairs_of
from elusive.questioning.passages import Passage

PUMP = Document(
    "pumps.md#0002",
    "# Pump P7\n\n## Warranty\n\nThe warranty of the P7 lasts five years. It is given by Acme Corp in Vienna.\n\n"
    "```\npump --start\n```\n\nSpare filters cost 40 euros, and repairs take no longer than two weeks in most cases.\n",
)


def checked(question: str, answer: str, document: Document = PUMP, language: str = "en") -> Written | Rejected:
    return Asking(Passage.of(document), language, QuestionSettings()).checked(Pair(question, answer), "r1")


@pytest.mark.parametrize(
    ("question", "answer", "field"),
    [
        ("How long does the warranty of the P7 last?", "five years", "phrase"),
        ("Who gives the warranty of the pump P7?", "acme corp", "entity"),
        ("What do spare filters of the Pump P7 cost?", "40 euros", "number"),
        ("Who gives the warranty of the P7, and where does it last?", "Vienna", "entity"),  # "it" was named
        ("How long do repairs of spare filters take in most cases?", "two weeks", "phrase"),  # no name, many words
    ],
)
def test_questions_that_pass(question: str, answer: str, field: str) -> None:
    found = checked(question, answer)
    assert isinstance(found, Written), found
    assert (found.field, found.request, found.topic) == (field, "r1", "pumps.md > Pump P7 > Warranty")
    assert PUMP.text[found.start : found.end] == found.answer
    assert found.answer.casefold() == answer.casefold()
    assert PUMP.text[found.fact :].startswith(("The warranty", "It is given", "Spare filters"))


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("The warranty of the P7 lasts five years.", "five years", checks.NO_QUESTION),
        ("How long does the warranty of the P7 last?" + " Say it." * 60, "five years", checks.NO_QUESTION),
        ("How long does the warranty of the P7 last?", "ten years", checks.NOWHERE),
        ("What is the pump of the P7 called?", "Warranty P7", checks.NOWHERE),
        ("What is a P7?", "Pump P7", checks.NOWHERE),  # it stands in a heading alone
        ("What of the P7?", "", checks.NOWHERE),
        ("What of repairs of the P7?", "repairs take no longer than two weeks in most cases", checks.LONG),
        ("Do repairs of the P7 take longer?", "no", checks.UNTELLING),
        ("Where is the P7 given?", "in", checks.UNTELLING),
        ("Is the warranty of the P7 five years or ten years long?", "five years", checks.GIVEN_AWAY),
        ("According to the text, how long does the P7's warranty last?", "five years", checks.POINTS),
        ("How long is the warranty of the P7 in this document?", "five years", checks.POINTS),
        ("What does the author say of the P7's warranty?", "five years", checks.POINTS),
        ("Who gives the P7 its warranty in the example above?", "Acme Corp", checks.POINTS),
        ("Where is it given?", "Vienna", checks.PRONOUN),
        ("By whom is its P7 warranty given?", "Acme Corp", checks.PRONOUN),
        ("What is the city?", "Vienna", checks.NO_SUBJECT),
        ("How long do repairs take?", "two weeks", checks.NO_SUBJECT),
    ],
)
def test_what_is_rejected(question: str, answer: str, reason: str) -> None:
    assert checked(question, answer) == Rejected(PUMP.id, reason, question, answer, "r1")


@pytest.mark.parametrize(
    ("text", "language", "question", "answer", "reason"),
    [
        (
            "# Pumpe P7\n\nDie Garantie der P7 beträgt fünf Jahre.",
            "de",
            "Wie lange gilt die Garantie der P7?",
            "fünf Jahre",
            "",
        ),
        (
            "# Pumpe P7\n\nDie Garantie der P7 beträgt fünf Jahre.",
            "de",
            "Wie lange gilt laut diesem Text die Garantie der P7?",
            "fünf Jahre",
            checks.POINTS,
        ),
        ("# 北京大学\n\n北京大学成立于1898年。", "zh", "北京大学成立于哪一年", "1898年", ""),
        ("# 北京大学\n\n北京大学成立于1898年。", "zh", "哪一年?", "1898年", checks.NO_SUBJECT),
        (
            "# Насос П7\n\nНасос П7 делает завод «Луч» в Самаре.",
            "ru",
            "В каком городе делают Насос П7?",
            "Самаре",
            "",
        ),
        ("# مضخة\n\nتعمل مضخة القاهرة ست ساعات.", "ar", "كم ساعة تعمل مضخة القاهرة؟", "ست ساعات", ""),
    ],
)
def test_other_languages(text: str, language: str, question: str, answer: str, reason: str) -> None:
    found = checked(question, answer, Document("d1", text), language)
    assert (found.reason if isinstance(found, Rejected) else "") == reason, found


def test_prose_and_headings_of_a_passage() -> None:
    passage = Passage.of(PUMP)
    assert passage.headings == ("Pump P7", "Warranty")
    assert [PUMP.text[start:end].split()[0] for start, end in passage.sentences] == ["The", "It", "Spare"]
    plain = Passage.of(Document("d1", "One sentence. Another one."))
    assert (plain.headings, plain.body, plain.topic, len(plain.sentences)) == ((), 0, "d1", 2)


@pytest.mark.parametrize(
    "answer",
    [
        "Q: Who made the P7?\nA: Acme Corp.\n\nQ: How long?\nA: five years",
        "Sure! Here they are:\n\n1. **Q:** Who made the P7?\n   **A:** Acme Corp\n"
        "2. **Q:** How long?\n   **A:** five years",
        'Question 1: Who made the P7?\nAnswer 1: `Acme Corp`\nQuestion 2: How long?\nAnswer 2: "five years".',
        "<think>Q: no\nA: no</think>\nFrage: Who made the P7?\nAntwort: Acme Corp\n"
        "Frage: How long?\nAntwort: five years",
        '```json\n[{"question": "Who made the P7?", "answer": "Acme Corp"}, {"question": "How long?", "answers": '
        '["five years"]}]\n```',
        '{"qa_pairs": [{"question": "Who made the P7?", "answer": "Acme Corp."}, {"question": "How long?", "answer": '
        '"five years"}]} I hope that helps!',
        "Q: Lost?\nQ: Who made the P7?\nA: Acme Corp\nA: again\nQ: How long?\nA: five years\nQ: Cut",
    ],
)
def test_how_answers_are_read(answer: str) -> None:
    assert pairs_of(answer) == [Pair("Who made the P7?", "Acme Corp"), Pair("How long?", "five years")]


@pytest.mark.parametrize("answer", ["", "I cannot do that.", "[1, 2", '["a"]', "A: no question", "<think>Q: a\nA: b"])
def test_answers_without_a_question(answer: str) -> None:
    assert pairs_of(answer) == []


def test_the_point_of_an_abbreviation_stays() -> None:
    assert pairs_of("Q: Where?\nA: in the U.S.A.") == [Pair("Where?", "in the U.S.A.")]


def test_kinds_of_answers() -> None:
    kinds = [kind_of(text) for text in ("1912-05-03", "5.4 bar", "sshd_config", "Ada of Vienna", "a wheel", "北京")]
    assert kinds == ["date", "number", "code", "entity", "phrase", "phrase"]
