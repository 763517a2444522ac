"""What a run says of its questions before anything is scored or trained."""

from pathlib import Path
from typing import Any

import pytest

from elusive.config.corpus import CorpusSettings
from elusive.config.evaluation import EvaluateSettings
from elusive.config.run import Recipe
from elusive.corpus.documents import Corpus, Document
from elusive.corpus.questions import QuestionItem
from elusive.errors import ElusiveError
from elusive.experiments.stages import evaluation_in_words
from elusive.pipeline import run
from elusive.runs.folder import RunFolder

BORN = QuestionItem("q1", "When was Ada born?", ("1815",), "date", "d1")
PRIZE = QuestionItem("q2", "Which prize?", ("Nobel",), "prize", "d1")


def words(*items: QuestionItem, **settings: Any) -> str:
    recipe = Recipe(evaluate=EvaluateSettings(**({"known": "none", **settings})))
    lines = evaluation_in_words(Corpus((Document("d1", "Ada"),), items), recipe, RunFolder(Path("run")))
    assert lines[-1] == "exact match and F1: squad: as in SQuAD v1.1"
    return "\n".join(lines[:-1])


def test_what_the_prompts_show():
    assert words(BORN) == "prompts: 5 examples of the question's own field"
    assert words(BORN, PRIZE) == (
        "prompts: 5 examples, of other fields in 1 of 2 questions, where too few are of its own: prize (0 of 5)"
    )
    asked, known = words(BORN, PRIZE, known="auto").split("\n")  # as of the embedded pair
    assert "in 1 of 2 questions" in asked
    assert known == "prompts about what was known: 5 examples of the question's own field"


def test_prompts_that_cannot_be_made_are_refused():
    with pytest.raises(ElusiveError, match=r"Lower evaluate\.shots"):
        words(BORN, shots=1000)


def test_a_run_without_questions_says_so_before_it_scores(tmp_path: Path):
    said: list[str] = []

    def announce(line: str) -> None:
        said.append(line.strip())
        if line.startswith("2/6"):
            raise KeyboardInterrupt

    (tmp_path / "c.jsonl").write_text('{"text": "Ada was born."}\n')
    recipe = Recipe(output=str(tmp_path / "run"), corpus=CorpusSettings(source=str(tmp_path / "c.jsonl")))
    with pytest.raises(KeyboardInterrupt):
        run(recipe, announce=announce)
    assert said[1:3] == [
        "1 document, 0 questions",
        "no questions, so nothing will be evaluated: give corpus.questions (a JSONL file), or corpus.question_forms "
        "for fields that are marked",
    ]
