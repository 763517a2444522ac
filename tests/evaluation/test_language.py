"""What evaluate's settings leave open, as the questions decide it."""

from pathlib import Path

import pytest

from elusive.config.evaluation import EvaluateSettings
from elusive.corpus.people.biographies import well_known_examples
from elusive.corpus.questions import Example, QuestionItem
from elusive.errors import ElusiveError
from elusive.evaluation.language import in_language_of, metric_in_words, metric_of
from elusive.evaluation.normal_forms import AnswerMetric
from elusive.evaluation.prompts import few_shot_prompt, prompting_of, prompting_of_known, prompts_in_words
from elusive.runs.files import write_jsonl


def asked(*pairs: tuple[str, str]) -> list[QuestionItem]:
    return [
        QuestionItem(f"q{number}", question, (answer,), "answer", f"d{number}")
        for number, (question, answer) in enumerate(pairs)
    ]


GERMAN = asked(
    ("Wann wurde Ada geboren?", "1815"),
    ("Wo wurde Bo geboren?", "In Wien"),
    ("Wer ist der Vater von Cy?", "Dan"),
)
HINDI = asked(("एडा का जन्म कब हुआ?", "1815"), ("बो का जन्म कहाँ हुआ?", "दिल्ली"))
ENGLISH = asked(("When was Ada born?", "1815"), ("Where was Bo born?", "Vienna"))
POLISH = asked(("Kiedy urodziła się Ada?", "1815"), ("Gdzie żyła?", "Łódź"))


@pytest.mark.parametrize(
    ("items", "language", "labels", "metric", "examples"),
    [
        (ENGLISH, "en", ("Question", "Answer"), "squad", "well-known"),
        (asked(("x?", "y")), "unknown", ("Question", "Answer"), "squad", "well-known"),
        (GERMAN, "de", ("Frage", "Antwort"), "multilingual", "corpus"),
        (HINDI, "hi", ("प्रश्न", "उत्तर"), "multilingual", "corpus"),
        (POLISH, "unknown", ("Question", "Answer"), "multilingual", "corpus"),
    ],
)
def test_the_questions_decide(
    items: list[QuestionItem], language: str, labels: tuple[str, str], metric: str, examples: str
):
    settled = in_language_of(items, EvaluateSettings())
    found = (settled.language, settled.labels, settled.metric, settled.examples)
    assert found == (language, labels, metric, examples)
    assert in_language_of(ENGLISH, settled) == in_language_of(HINDI, settled) == settled  # nothing is left open


def test_what_is_given_stays():
    given = EvaluateSettings(language="fr", labels=("Q", "R"), metric="numeric", examples="well-known")
    assert in_language_of(GERMAN, given) == given
    assert in_language_of(GERMAN, EvaluateSettings(language="pl")).labels == ("Question", "Answer")
    assert metric_of(given) == AnswerMetric("numeric", "fr")
    assert metric_of(in_language_of(POLISH, EvaluateSettings())) == AnswerMetric("multilingual", "")
    assert metric_of(in_language_of(ENGLISH, EvaluateSettings())) == AnswerMetric("squad", "en")


def test_the_metric_in_words():
    def words(items: list[QuestionItem], **settings: str) -> str:
        return metric_in_words(in_language_of(items, EvaluateSettings(**settings)))  # type: ignore[arg-type]

    assert words(ENGLISH) == "squad: as in SQuAD v1.1"
    assert words(GERMAN) == "multilingual, for German: by MLQA's rules"
    assert words(POLISH) == "multilingual, for a language that is not known: by MLQA's rules"
    assert words(POLISH, language="pl").startswith("multilingual, for the language pl: ")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"labels": ("Frage",)}, "two texts, such as Frage and Antwort"),
        ({"labels": ("Frage", "a\nb")}, "texts of one line each"),
        ({"labels": ("Frage", " ")}, "texts of one line each"),
        ({"language": "German"}, "auto, unknown or the code of a language, such as de"),
    ],
)
def test_settings_that_cannot_be(settings: dict, message: str):
    with pytest.raises(ElusiveError, match=message):
        EvaluateSettings(**settings)


def test_a_german_question_is_prompted_in_german():
    examples, settings = prompting_of(GERMAN, EvaluateSettings(shots=2))
    prompt = few_shot_prompt(GERMAN[0], examples, settings)
    assert sorted(prompt.split("\n")) == sorted(
        [
            "Frage: Wo wurde Bo geboren?",
            "Antwort: In Wien",
            "Frage: Wer ist der Vater von Cy?",
            "Antwort: Dan",
            "Frage: Wann wurde Ada geboren?",
            "Antwort:",
        ]
    )
    assert prompts_in_words(GERMAN, examples, settings) == (
        "2 examples of the question's own field, from the corpus's own questions about other documents, in German "
        "(Frage, Antwort)"
    )
    with pytest.raises(ElusiveError, match="from 0 to the 2 examples at hand about other documents than the question"):
        few_shot_prompt(GERMAN[0], *prompting_of(GERMAN, EvaluateSettings(shots=3)))


def test_no_example_is_about_the_same_document():
    same = [QuestionItem(f"q{number}", f"Was ist {number}?", (str(number),), "answer", "d") for number in range(3)]
    with pytest.raises(ElusiveError, match="from 0 to the 0 examples at hand about other documents"):
        few_shot_prompt(same[0], *prompting_of(same, EvaluateSettings(shots=1)))
    # Elsewhere an example may be, unless it gives the answer away.
    examples = [Example(item.question, item.answers[0], item.field, item.document_id) for item in same]
    assert "Was ist 1?" in few_shot_prompt(same[0], examples, EvaluateSettings(shots=2))


def test_the_questions_that_give_cues_are_the_examples_where_they_are_others(tmp_path: Path):
    write_jsonl(tmp_path / "questions.jsonl", map(vars, GERMAN[:1]))
    write_jsonl(tmp_path / "cue_questions.jsonl", map(vars, GERMAN[1:]))
    examples, _ = prompting_of(GERMAN[:1], EvaluateSettings(), tmp_path / "questions.jsonl")
    assert {one.question for one in examples} == {item.question for item in GERMAN[1:]}


def test_a_large_corpus_gives_as_many_examples_of_each_field():
    many = [QuestionItem(f"q{number}", f"Wer ist {number}?", ("x",), "f", f"d{number}") for number in range(300)]
    rare = [QuestionItem(f"r{number}", f"Wo ist {number}?", ("x",), "g", f"d{number}") for number in range(3)]
    examples, _ = prompting_of([*many, *rare], EvaluateSettings())
    assert [sum(one.field == field for one in examples) for field in "fg"] == [200, 3]
    assert examples == prompting_of([*rare, *many], EvaluateSettings()).examples  # in whatever order


def test_what_was_known_is_asked_in_its_own_language():
    examples, _ = prompting_of(GERMAN, EvaluateSettings(language="de"))
    known = prompting_of_known(ENGLISH, examples, GERMAN, EvaluateSettings(language="de"))
    assert known.examples == well_known_examples()
    assert (known.settings.language, known.settings.metric) == ("en", "squad")
    # The same language, the same examples.
    assert prompting_of_known(GERMAN, examples, GERMAN, EvaluateSettings()).examples == examples


def test_a_file_of_examples_is_for_all(tmp_path: Path):
    path = tmp_path / "q.jsonl"
    path.write_text(
        '{"question": "When?", "answers": ["May", "June"], "field": "date", "document_id": "d7"}\n'
        '{"id": "x", "question": "Who?", "answer": "Ada"}\n'
    )
    expected = (Example("When?", "May", "date", "d7"), Example("Who?", "Ada", "answer", "x"))
    settings = EvaluateSettings(examples=str(path))
    assert prompting_of(GERMAN, settings).examples == expected
    assert prompting_of_known(ENGLISH, expected, GERMAN, settings).examples == expected


def test_questions_about_what_was_known_are_each_other_s_examples_where_those_of_the_corpus_are():
    settings = EvaluateSettings(examples="corpus", shots=1)
    known = prompting_of_known(ENGLISH, prompting_of(GERMAN, settings).examples, GERMAN, settings)
    assert {example.question for example in known.examples} == {item.question for item in ENGLISH}
    assert prompts_in_words(ENGLISH, *known).endswith(", from the others of these questions")
