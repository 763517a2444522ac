"""What an evaluation folder holds, read back: its predictions and its metrics, and the scores of several seeds.

Axes: S training seeds, Q questions.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from elusive.errors import ElusiveError
from elusive.runs.files import read_json, read_jsonl
from elusive.runs.frames import Tabular
from elusive.runs.typed_json import from_json

PREDICTIONS = "predictions.jsonl"


class _Item(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def field(self) -> str: ...
    @property
    def document_id(self) -> str: ...


@dataclass(frozen=True)
class Questions:
    """The questions of one corpus, as columns: id, field and document of each, object arrays (Q,)."""

    ids: np.ndarray
    fields: np.ndarray
    documents: np.ndarray

    @classmethod
    def of(cls, items: Iterable[_Item]) -> "Questions":
        """Those of question items or predictions, in their order."""
        columns = list(zip(*((item.id, item.field, item.document_id) for item in items), strict=True)) or [(), (), ()]
        return cls(*(np.array(column, dtype=object) for column in columns))

    @property
    def document_count(self) -> int:
        """How many documents they are about."""
        return len(set(self.documents))


@dataclass(frozen=True)
class Prediction:
    """A question with a model's answer.

    Attributes:
        id: the question's id.
        document_id: the document that it is about.
        field: what it asks for.
        question: its text.
        answers: the reference answers.
        prediction: the answer that is scored.
        text: the whole continuation.
        em: exact match, 0 or 1.
        f1: F1, in [0, 1].
    """

    id: str
    document_id: str
    field: str
    question: str
    answers: tuple[str, ...]
    prediction: str
    text: str
    em: float
    f1: float


@dataclass(frozen=True)
class Predictions:
    """The predictions of one evaluation folder, in the order of their file."""

    path: Path
    items: tuple[Prediction, ...]

    @property
    def questions(self) -> Questions:
        """The questions that they answer."""
        return Questions.of(self.items)

    def scores(self, ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """EM and F1 of these questions, in this order, each float64 (Q,).

        Raises:
            ElusiveError: if other questions are answered.
        """
        by_id = {item.id: item for item in self.items}
        if by_id.keys() != set(ids):
            raise ElusiveError(
                f"{self.path}: expected answers to the same {len(ids)} questions as every other model's, got "
                f"{len(by_id)} answers, not to the same questions. Delete that folder and run the stage 'evaluate' "
                "again."
            )
        return np.array([by_id[one].em for one in ids], float), np.array([by_id[one].f1 for one in ids], float)


@dataclass(frozen=True)
class Scores:
    """EM and F1 of each seed and question, float64 (S, Q)."""

    em: np.ndarray
    f1: np.ndarray

    def of(self, metric: str) -> np.ndarray:
        """Those of one metric, em or f1."""
        return {"em": self.em, "f1": self.f1}[metric]


@dataclass(frozen=True)
class MeanScores:
    """Mean EM and F1 over questions."""

    em: float
    f1: float
    questions: int


@dataclass(frozen=True)
class Metrics(MeanScores, Tabular):
    """What a metrics.json holds: the means over all questions and over each field's; as a table, a row for each."""

    fields: dict[str, MeanScores]
    seconds: float

    def columns(self) -> dict[str, list[Any]]:
        """One list a column: field, em, f1, questions; `all` comes last."""
        rows = {**self.fields, "all": self}
        of_rows = {name: [getattr(row, name) for row in rows.values()] for name in ("em", "f1", "questions")}
        return {"field": list(rows), **of_rows}


def has_predictions(folder: str | Path) -> bool:
    """Whether a folder holds predictions."""
    return (Path(folder) / PREDICTIONS).exists()


def read_predictions(folder: str | Path, about: Collection[str] | None = None) -> Predictions:
    """The predictions of an evaluation folder.

    Args:
        folder: the folder.
        about: documents whose questions are read (None: all).

    Raises:
        ElusiveError: if predictions.jsonl is missing, or a line of it is no prediction.
    """
    path = Path(folder) / PREDICTIONS
    _refuse_missing(path)
    items = []
    for number, row in enumerate(read_jsonl(path), 1):
        if about is not None and row.get("document_id") not in about:
            continue
        try:
            items.append(from_json(Prediction, row, "a prediction"))
        except ElusiveError as error:
            raise ElusiveError(
                f"{path}, line {number}: not a prediction that Elusive wrote ({error}). Delete its folder and evaluate "
                "again."
            ) from None
    return Predictions(path, tuple(items))


def read_scores_of_seeds(folders: Sequence[str | Path], ids: Sequence[str]) -> Scores:
    """EM and F1 of the same questions in several evaluation folders, one for each seed.

    Args:
        folders: one a seed.
        ids: the questions; the scores have their order, whatever the order of the files.

    Raises:
        ElusiveError: if a file is missing, or answers other questions.
    """
    of_seeds = [read_predictions(folder).scores(ids) for folder in folders]
    return Scores(np.array([em for em, _ in of_seeds]), np.array([f1 for _, f1 in of_seeds]))


def read_metrics(folder: str | Path) -> Metrics:
    """The metrics of an evaluation folder.

    Raises:
        ElusiveError: if metrics.json is missing or holds something else.
    """
    path = Path(folder) / "metrics.json"
    _refuse_missing(path)
    return from_json(Metrics, read_json(path), f"{path}, which the stage 'evaluate' writes")


def _refuse_missing(path: Path) -> None:
    if not path.exists():
        raise ElusiveError(
            f"{path} is missing. Run the stage 'evaluate' of this run first ('train' for answers during training); "
            "`elusive run` with the run's recipe.toml does only what is missing."
        )
