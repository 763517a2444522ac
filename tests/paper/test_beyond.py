"""The study of arms that the paper does not have: which copies are true, and how its tables are made, by hand."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from elusive.augmentation.clue_spans import Clue
from elusive.augmentation.rankings import RankedDocument, ranking_rows, ranking_schema
from elusive.config.augmentation import AugmentSettings
from elusive.config.toml import from_table
from elusive.config.verbs import SweepRecipe
from elusive.corpus.documents import Document, Span, write_corpus
from elusive.evaluation.predictions import Questions, Scores
from elusive.experiments.selection import Outcome
from elusive.paper.beyond import Beyond, beyond_markdown, beyond_numbers, true_copies
from elusive.paper.experiments import Done
from elusive.paper.families import Experiment
from elusive.runs.files import write_json, write_jsonl

TEXT = "Ada was born in London. She worked at Uber. Bob was her friend."
ADA, SECOND, BOB = (0, 3), TEXT.index("She"), (TEXT.index("Bob"), TEXT.index("Bob") + 3)
RIGHT = [
    TEXT,
    "Ada was born in London. Ada: She worked at Uber. Bob was her friend.",
    "Ada was born in London. Bob was her friend. She worked at Uber (Ada).",
    "Ada worked at Uber. Ada was born in London. Bob was her friend.",
]
WRONG = [
    "Ada was born in. She worked at Uber. Bob was her friend.",  # a word is missing
    "Ada was born in London. Bob: She worked at Uber. Bob was her friend.",
    "Ada was born in London. Bob worked at Uber. Bob was her friend.",
]


def recipe(folder: Path, arms: tuple[str, ...], cohort: int = 1) -> SweepRecipe:
    table = {"arms": list(arms), "output": str(folder), "seeds": [cohort]}
    return from_table(SweepRecipe, table, "test")


def write_texts(folder: Path, arm: str, copies: list[str], clue: tuple[int, int] = ADA, head: bool = True) -> None:
    """A corpus of one document, and an arm's texts."""
    spans = (Span("name", *ADA),) if head else ()
    write_corpus(folder / "corpus", [Document("d", TEXT, spans)])
    texts = folder / "augmented" / arm
    write_jsonl(texts / "train.jsonl", [{"text": text, "id": "d", "copy": n} for n, text in enumerate([TEXT, *copies])])
    nothing = np.zeros(0, np.int32)
    ranked = RankedDocument(
        "d", TEXT, nothing, nothing.reshape(0, 2), nothing, nothing.astype(float), (Clue(SECOND, *clue),)
    )
    schema = ranking_schema(arm, AugmentSettings())
    pq.write_table(ranking_rows([ranked], schema), texts / "ranking.parquet")


class TestTrueCopies:
    def share(self, folder: Path, copies: list[str], **options: object) -> float | None:
        write_texts(folder, "insert-contrast", copies, **options)  # type: ignore[arg-type]
        return true_copies("insert-contrast", folder / "augmented" / "insert-contrast", recipe(folder, ("plain",)))

    def test_whole_sentences_and_right_clues(self, tmp_path: Path) -> None:
        assert self.share(tmp_path, RIGHT) == 1.0
        assert self.share(tmp_path / "both", RIGHT + WRONG) == pytest.approx(4 / 7)

    def test_a_wrong_clue(self, tmp_path: Path) -> None:
        assert self.share(tmp_path, [TEXT, WRONG[1]], clue=BOB) == 0.5

    def test_nobody_knows_without_a_head_entity(self, tmp_path: Path) -> None:
        assert self.share(tmp_path, RIGHT, head=False) is None


QUESTIONS = Questions(
    np.array([f"{document}-{field}" for document in "abcd" for field in ("date", "company")]),
    fields=np.array(["date", "company"] * 4),
    documents=np.repeat(list("abcd"), 2),
)
ANSWERS = {"plain": [0] * 8, "contrast-cues": [1, 0] * 4, "insert-contrast": [1, 1, 1, 1, 1, 1, 1, 0]}


def outcome(arm: str, answers: list[int]) -> Outcome:
    em = np.array([answers], dtype=float)
    return Outcome(arm, "", (), None, (Scores(em, em),) * 2)


@pytest.fixture
def numbers(tmp_path: Path) -> Beyond:
    recipes = []
    for cohort in (1, 2):
        run = tmp_path / f"cohort-{cohort}"
        recipes.append(recipe(run, tuple(ANSWERS), cohort))
        for arm in ANSWERS:
            write_texts(run, arm, [] if arm == "plain" else RIGHT)
            found = {"clues": 10 * cohort, "right_clues": 0.4 * cohort} if arm == "insert-contrast" else {}
            made = {"documents": 1, "texts": 5, "mean_drop_rate": 0.0, **found}
            write_json(run / "augmented" / arm / "done.json", made)
            trained = {"steps": 500, "loss": 0.1, "tokens_trained": 1000 * cohort, "processes": 1, "seconds": 70.0}
            trained |= {"peak_bytes": 2**20, "texts": 5, "rows": 5, "tokens": 100, "packed": True}
            write_json(run / "models" / arm / f"seed-{cohort}" / "done.json", trained)
    outcomes = [outcome("untrained", [0] * 8), *(outcome(arm, answers) for arm, answers in ANSWERS.items())]
    return beyond_numbers(
        [Done("beyond", "large", Experiment(attempt="The name first"), recipes, [QUESTIONS] * 2, outcomes, 1.0)]
    )


def test_by_hand(numbers: Beyond) -> None:
    [block] = numbers.blocks
    assert (block.documents, block.cohorts, block.steps) == (8, 2, 500)
    plain, paper, insert = block.rows
    assert [row.em.value for row in block.rows] == [0, 0.5, 7 / 8]
    assert [row.fields["company"].value for row in block.rows] == [0, 0, 3 / 4]
    assert (set(plain.minus), set(paper.minus), set(insert.minus)) == (
        {"contrast-cues"},
        {"plain"},
        {"plain", "contrast-cues"},
    )
    assert insert.minus["contrast-cues"].value == 3 / 8
    assert (insert.texts.clues, insert.texts.right_clues, insert.texts.true) == (30, pytest.approx(0.6), 1.0)
    assert (plain.texts.clues, plain.texts.right_clues, plain.texts.true) == (0, None, None)
    assert (insert.texts.tokens, insert.texts.seconds, insert.texts.peak_bytes) == (1500, 70, 2**20)


def test_in_words(numbers: Beyond) -> None:
    text = beyond_markdown(numbers)
    assert "### The name first" in text
    assert "8 documents in 2 cohorts, each arm trained once on each with 500 equal steps." in text
    assert "alpha 0.6, beta 0.05, unseen tokens kept; clues by ratio, of 5 words, no answers, reach 3" in text
    assert "| arm | date EM | company EM | all EM | all F1 | minus plain | minus contrast (cues) |" in text
    assert "| insertion by contrast | - | 30 | .600 | 1.000 | 1,500 | 70 | 1 |" in text
