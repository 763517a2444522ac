"""Question files, exact match and F1."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from elusive.corpus.questions import QuestionItem, read_questions
from elusive.corpus.readers import read_corpus
from elusive.errors import ElusiveError
from elusive.evaluation.metrics import exact_match, f1, normalize_answer


def write(path: Path, *lines: str | bytes) -> Path:
    path.write_bytes(b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines))
    return path


class TestReadQuestions:
    def test_all_keys_and_defaults(self, tmp_path: Path) -> None:
        path = write(
            tmp_path / "asked.jsonl",
            '{"id": "x", "question": "When?", "answers": ["May", "June", "May"], "field": "date", "document_id": "d7"}',
            "",
            '{"question": "Où?", "answer": "Zürich"}',
            '{"id": 12, "question": "Who?", "answer": "Ada", "note": "extra keys are passed over"}',
        )
        assert read_questions(path) == [
            QuestionItem("x", "When?", ("May", "June"), "date", "d7"),
            QuestionItem("asked-000002", "Où?", ("Zürich",), "answer", "asked-000002"),
            QuestionItem("12", "Who?", ("Ada",), "answer", "12"),
        ]

    def test_byte_order_mark(self, tmp_path: Path) -> None:
        path = write(tmp_path / "q.jsonl", b'\xef\xbb\xbf{"question": "Who?", "answer": "Ada"}')
        assert read_questions(path)[0].answers == ("Ada",)

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ('{"question": "Who?", "answers": []}', "'answers': expected at least one answer, got an empty list"),
            ('{"question": "Who?", "answers": "Ada"}', "'answers': expected a list of strings, got a string"),
            ('{"question": "Who?", "answers": ["Ada", null]}', "'answers': expected a string, got null"),
            ('{"question": "Who?", "answers": ["Ada", " "]}', "empty answers"),
            ('{"question": "Who?"}', "expected 'answer' (a string) or 'answers' (a list of strings), got neither"),
            ('{"question": "Who?", "answer": "A", "answers": ["A"]}', "got both"),
            ('{"question": "Who?", "answer": 1815}', "'answer': expected a string, got a number"),
            ('{"answer": "Ada"}', "no 'question': expected a string, got the keys 'answer'"),
            ('{"question": "", "answer": "Ada"}', "empty question"),
            ('{"question": "Who?", "answer": "Ada", "id": true}', "'id': expected a string, got true or false"),
            ('{"question": "Who?", "answer": "\\ud800"}', "half of a surrogate pair"),
            ("{'question'}", "malformed JSON (Expecting property name"),
            ('["Who?", "Ada"]', "expected a JSON object {...}, got a list"),
            (b'{"question": "O\xf9?", "answer": "Ada"}', "not UTF-8 (byte 0xf9 at position 15)"),
            ('{"id": "first", "question": "Who?", "answer": "Ada"}', "id 'first' is already used on line 1"),
        ],
    )
    def test_bad_rows_name_their_line(self, tmp_path: Path, line: str | bytes, reason: str) -> None:
        path = write(tmp_path / "q.jsonl", '{"id": "first", "question": "Who?", "answer": "Ada"}', "", line)
        with pytest.raises(ElusiveError) as caught:
            read_questions(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: 1 bad row.\n  line 3: ")
        assert reason in message
        assert "Correct these rows." in message

    def test_ten_of_twelve_bad_rows_are_listed(self, tmp_path: Path) -> None:
        path = write(tmp_path / "q.jsonl", *["{"] * 12)
        with pytest.raises(ElusiveError) as caught:
            read_questions(path)
        message = str(caught.value)
        assert "12 bad rows" in message
        assert "line 10:" in message
        assert "line 11:" not in message
        assert "... and 2 more" in message

    def test_empty_missing_and_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ElusiveError, match="holds no question"):
            read_questions(write(tmp_path / "q.jsonl", "", "  "))
        with pytest.raises(ElusiveError, match=r"No file or folder at .*none\.jsonl\. Give the path"):
            read_questions(tmp_path / "none.jsonl")
        with pytest.raises(ElusiveError, match="expected a file, got a folder"):
            read_questions(tmp_path)


class TestNormalize:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("The  Royal\tSociety, London.\n", "royal society london"),
            ("A man, an apple and the theatre", "man apple and theatre"),  # whole words only
            ("well-known", "wellknown"),  # punctuation leaves no space
            ("A-1", "a1"),  # punctuation goes before articles, so this `a` is no word of its own
            ("U.S.A.", "usa"),
            ("the", ""),
            ("!?", ""),
            ("", ""),
            (" THE The the ", ""),
            ("$1,000.50", "100050"),
            ("“The” café — naïve", "“ ” café — naïve"),  # only ASCII punctuation is dropped; \b sees a word in “The”
            ("l\u2019été", "l\u2019été"),
            ("ÉCOLE", "école"),
            ("a\u00a0b", "b"),  # a no-break space is white space, too
        ],
    )
    def test_by_hand(self, text: str, expected: str) -> None:
        assert normalize_answer(text) == expected


class TestMeasures:
    @pytest.mark.parametrize(
        ("prediction", "answers", "em", "f1_value"),
        [
            ("the University of Melbourne.", ["University of Melbourne"], 1.0, 1.0),
            # 2 of 3 words shared on both sides: P = R = 2/3.
            ("University of Vienna", ["the University of Melbourne"], 0.0, 2 / 3),
            # P = 1/1, R = 1/3: 2 * (1/3) / (4/3) = 1/2.
            ("Melbourne", ["University of Melbourne"], 0.0, 0.5),
            # Multisets: 'new' twice against once gives one; P = 1/2, R = 1/2.
            ("new new", ["new york"], 0.0, 0.5),
            # The same words in another order: F1 sees no order, EM does.
            ("Mathematics and Physics", ["Physics and Mathematics"], 0.0, 1.0),
            # The largest over the answers, each measure by itself.
            ("May 12", ["12 May 1820", "May 12", "June"], 1.0, 1.0),
            # P = 1, R = 2/3 against the first: 0.8; nothing shared with the second.
            ("May 1820", ["June", "12 May 1820"], 0.0, 0.8),
            ("cat", ["dog"], 0.0, 0.0),
            ("", ["dog"], 0.0, 0.0),
            ("dog", ["the"], 0.0, 0.0),
            # Nothing but articles: v1.1 calls all of these equal, yet without a word in common.
            ("", ["the"], 0.0, 0.0),
            ("a", ["the"], 0.0, 0.0),
            ("The", ["the"], 1.0, 1.0),
            # Curly quotes are not dropped, so the words differ.
            ("“cat”", ["cat"], 0.0, 0.0),
            ('"cat"', ["cat"], 1.0, 1.0),
            ("cafe", ["café"], 0.0, 0.0),
        ],
    )
    def test_by_hand(self, prediction: str, answers: list[str], em: float, f1_value: float) -> None:
        assert exact_match(prediction, answers) == em
        assert f1(prediction, answers) == pytest.approx(f1_value, abs=1e-12)
        assert isinstance(exact_match(prediction, answers), float)
        assert isinstance(f1(prediction, answers), float)

    @pytest.mark.parametrize("measure", [exact_match, f1])
    @pytest.mark.parametrize("answers", [(), "dog"])
    def test_answers_are_a_list(self, measure: Callable[..., float], answers: Sequence[str]) -> None:
        with pytest.raises(ElusiveError, match="at least one reference answer, as a list of strings, got"):
            measure("dog", answers)


def read(tmp_path: Path, name: str, content: object) -> list[QuestionItem]:
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read_questions(path)


def shown(items: Iterable[QuestionItem]) -> list[tuple[str, str, tuple[str, ...], str, str]]:
    return [(item.id, item.question, item.answers, item.field, item.document_id) for item in items]


ANSWER = {"Value": "Ada", "Aliases": ["Ada L.", "Ada"]}
FLAT = {"text": ["Ada", "Ada L."], "answer_start": [0, 0]}
SETS: dict[str, tuple[str, object, str, str]] = {
    "NQ-open": ("q.jsonl", {"question": "Who?", "answer": ["Ada", "Ada L."]}, "q-000001", "answer"),
    "TriviaQA": ("q.json", {"Data": [{"Question": "Who?", "QuestionId": "t1", "Answer": ANSWER}]}, "t1", "answer"),
    "TriviaQA on the hub": (
        "q.jsonl",
        {"question": "Who?", "question_id": "t1", "answer": {"value": "Ada", "aliases": ["Ada L."]}},
        "t1",
        "answer",
    ),
    "PopQA": (
        "q.tsv",
        'id\tsubj\tprop\tobj\tquestion\tpossible_answers\n7\tx\tauthor\tAda\tWho?\t"[""Ada"", ""Ada L.""]"\n',
        "7",
        "author",
    ),
    "HotpotQA": ("q.json", [{"_id": "h1", "question": "Who?", "answer": "Ada", "aliases": ["Ada L."]}], "h1", "answer"),
    "a table": ("q.csv", '\ufeffQuestion;Answer;aliases\r\n"Who?";Ada;Ada L.\r\n', "q-000001", "answer"),
    "SQuAD's flat form": ("q.jsonl", {"id": "s", "context": "c", "question": "Who?", "answers": FLAT}, "s", "answer"),
}


@pytest.mark.parametrize("name", SETS)
def test_question_sets_as_people_have_them(tmp_path: Path, name: str) -> None:
    file, content, id, field = SETS[name]
    assert shown(read(tmp_path, file, content)) == [(id, "Who?", ("Ada", "Ada L."), field, id)]


def test_squad_names_the_paragraphs_of_its_reader(tmp_path: Path) -> None:
    answers = [{"text": "Ada", "answer_start": 0}]
    asked = [{"id": "a", "question": "Who?", "answers": answers}, {"id": "b", "question": "?", "is_impossible": True}]
    paragraphs = [{"context": "Bo.", "qas": []}, {"context": "Ada.", "qas": asked}]
    found = read(tmp_path, "q.json", {"data": [{"title": "T", "paragraphs": paragraphs}]})
    assert shown(found) == [("a", "Who?", ("Ada",), "answer", "T-0002")]
    assert [document.id for document in read_corpus(tmp_path / "q.json").documents] == ["T-0001", "T-0002"]


ROLES = {"system": "x", "user": "Who?", "assistant": "Ada"}
MESSAGES = [{"role": role, "content": content} for role, content in ROLES.items()]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": MESSAGES},
        {"conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Ada"}]},
        {"instruction": "Who?", "input": "", "output": "Ada"},
    ],
)
def test_chats_of_one_turn(tmp_path: Path, row: dict[str, Any]) -> None:
    assert [(item.question, item.answers) for item in read(tmp_path, "q.json", [row])] == [("Who?", ("Ada",))]
    source = write(tmp_path / "c.jsonl", json.dumps(row))
    with pytest.raises(ElusiveError, match="A chat set holds questions, no documents: give it as"):
        read_corpus(source)


def test_chats_of_several_turns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ElusiveError, match="a chat of 6 turns: expected one question"):
        read(tmp_path, "q.jsonl", {"messages": MESSAGES * 2})


@pytest.mark.parametrize(
    "row",
    [
        {"label": [[0, 3, "name"], [8, 13, "city"]]},
        {"entities": [{"start_offset": 0, "end_offset": 3, "label": "name"}, [8, 13, "city"]]},
        {"ents": [{"start": 0, "end": 3, "label": "name"}, {"start": 8, "end": 13, "label": "city"}]},
    ],
)
def test_annotations_of_doccano_and_spacy(tmp_path: Path, row: dict[str, Any]) -> None:
    rows = {"text": "Ada saw Paris.", **row}, {"text": "x", "label": "sport"}, {"text": "y", "labels": ["a", "b"]}
    first, *others = read_corpus(write(tmp_path / "c.jsonl", *map(json.dumps, rows))).documents
    marked = [(span.field, first.text[span.start : span.end]) for span in first.spans]
    assert marked == [("name", "Ada"), ("city", "Paris")]
    assert [other.spans for other in others] == [(), ()]


def test_nested_columns_by_path(tmp_path: Path) -> None:
    row = {"doc": {"body": {"text": "Ada."}, "id": "a"}, "x.y": 1}
    source = write(tmp_path / "c.jsonl", json.dumps(row))
    [document] = read_corpus(source, text_column="doc.body.text", id_column="doc.id").documents
    assert (document.id, document.text) == ("a", "Ada.")
