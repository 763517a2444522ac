"""What a run says of its questions before anything is scored or trained."""

from pathlib import Path
from typing import Any

import pytest

from elusive.config.corpus import CorpusSettings
from elusive.config.evaluation import EvaluateSettings
from elusive.config.run import Recipe
from elusive.config.scoring import ScoreSettings
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


def said_before_scoring(folder: Path, arms: tuple[str, ...]) -> list[str]:
    said: list[str] = []

    def announce(line: str) -> None:
        said.append(line.strip())
        if line.startswith("2/6"):
            raise KeyboardInterrupt

    (folder / "c.jsonl").write_text('{"text": "Ada was born."}\n')
    corpus, score = CorpusSettings(source=str(folder / "c.jsonl")), ScoreSettings(queries="all")
    with pytest.raises(KeyboardInterrupt):
        run(Recipe(output=str(folder / "run"), corpus=corpus, score=score, arms=arms), announce=announce)
    return said


def test_a_run_says_whose_attention_it_reads(tmp_path: Path):
    """Of an arm that needs no scores, the report shows those of the trained model."""
    assert said_before_scoring(tmp_path, ("plain",))[-1] == "2/6 score: attention of elusive/large"
    said = said_before_scoring(tmp_path, ("plain", "contrast-all"))
    assert said[-1] == "2/6 score: attention of elusive/large and elusive/small"


def test_a_run_without_questions_says_so_before_it_scores(tmp_path: Path):
    assert said_before_scoring(tmp_path, ("plain",))[1:3] == [
        "1 document, 0 questions",
        "no questions, so nothing will be evaluated: give corpus.questions (a JSONL file), or corpus.question_forms "
        "for fields that are marked",
    ]
