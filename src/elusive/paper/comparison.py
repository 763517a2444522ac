"""The paper's numbers and ours, as types that tables and figures read; OUTPUT/tables/*.json hold them."""

from dataclasses import dataclass
from typing import Any

from elusive.stats.estimates import Difference, Estimate


@dataclass(frozen=True)
class Cell:
    """One number of a table: the paper's, where it printed one, and ours."""

    paper: float | None
    ours: Estimate

    @property
    def minus(self) -> float | None:
        """Ours minus the paper's."""
        return None if self.paper is None or self.ours.value is None else self.ours.value - self.paper

    def as_dict(self) -> dict[str, float | None]:
        """What files hold: paper, ours, low, high, minus."""
        ours = self.ours
        return {"paper": self.paper, "ours": ours.value, "low": ours.low, "high": ours.high, "minus": self.minus}


@dataclass(frozen=True)
class KnownEM:
    """EM on what was known before training; `lost` is an arm's EM minus that before training, paired."""

    questions: int
    em: float | None
    lost: Difference | None


@dataclass(frozen=True)
class DropRates:
    """Mean share of tokens that an arm drops: of all tokens, and of the head entity's."""

    all: float
    head: float | None


@dataclass(frozen=True)
class ArmRow:
    """An arm's row of a table.

    Attributes:
        arm: a key of ARMS, or untrained.
        settings: those it was trained with, in words.
        paper_settings: the paper's; empty where it prints none.
        cells: by the table's columns.
        all: EM over all questions.
        known: EM on what was known before training; None where that was not evaluated.
        dropped: how much of its texts is dropped; None where it was not looked up.
    """

    arm: str
    settings: str
    paper_settings: str
    cells: dict[str, Cell]
    all: Estimate
    known: KnownEM | None = None
    dropped: DropRates | None = None


@dataclass(frozen=True)
class EpochRow:
    """A row of Table 5: scores after a number of epochs.

    Attributes:
        arm: the arm.
        paper: whether the paper printed the row.
        epoch: how many epochs.
        steps: optimizer steps until then.
        tokens: tokens trained until then; None in the paper's rows.
        seconds: seconds until then; None in the paper's rows.
        cells: em and f1 on the company.
        all: EM over all questions; None in the paper's rows.
        settings: in words; empty in the paper's rows.
    """

    arm: str
    paper: bool
    epoch: float
    steps: float
    tokens: float | None
    seconds: float | None
    cells: dict[str, Estimate]
    all: Estimate | None = None
    settings: str = ""


@dataclass(frozen=True)
class RivalDifference(Difference):
    """EM of arm a (one of the paper's) minus EM of its rival b, over some questions, in words."""

    a: str
    b: str
    over: str

    def as_dict(self) -> dict[str, Any]:
        """The arms and the questions, then what `Difference.as_dict` says."""
        return {"a": self.a, "b": self.b, "over": self.over, **super().as_dict()}


@dataclass(frozen=True)
class Block:
    """One model's part of a table, under one way of choosing settings.

    Attributes:
        model: its title.
        published: the model whose rows of the paper are compared; empty for none.
        way: how settings were chosen, in words.
        cohorts: corpora of their own.
        documents: documents in all of them.
        seeds: trainings of each arm.
        budget: what is equal for all arms, in words.
        dropout: the settings of dropout where a row's own settings say nothing else, in words.
        rows: one an arm, or one a number of epochs (Table 5).
        pairs: contrast against each rival.
        distances: of each field the mean distance from the head entity (Table 1).
    """

    model: str
    published: str
    way: str
    cohorts: int
    documents: int
    seeds: int
    budget: str
    dropout: str
    rows: tuple[ArmRow | EpochRow, ...]
    pairs: tuple[RivalDifference, ...] = ()
    distances: dict[str, float] | None = None

    @property
    def arm_rows(self) -> list[ArmRow]:
        """The rows that hold an arm each."""
        return [row for row in self.rows if isinstance(row, ArmRow)]

    @property
    def epoch_rows(self) -> list[EpochRow]:
        """The rows of Table 5."""
        return [row for row in self.rows if isinstance(row, EpochRow)]


@dataclass(frozen=True)
class PaperTable:
    """One table of the paper with our numbers."""

    table: int
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class AttemptScore(Estimate):
    """EM of an arm over all questions; `own` is false where the training is that of the first row."""

    own: bool


@dataclass(frozen=True)
class AttemptRow:
    """One attempt: EM of each arm, contrast minus each rival by its name, and what contrast still knows."""

    attempt: str
    em: dict[str, AttemptScore]
    pairs: dict[str, Difference]
    known: KnownEM | None


@dataclass(frozen=True)
class Attempts:
    """What was tried in addition to the paper's tables."""

    title: str
    rows: tuple[AttemptRow, ...]


@dataclass(frozen=True)
class QuestionSetsRow:
    """EM of an arm with cues at the questions that are asked, and at the other half, and the first minus the second."""

    arm: str
    same: Estimate
    disjoint: Estimate
    difference: Difference


@dataclass(frozen=True)
class QuestionSets:
    """Whether it matters that cues stand at the questions that are asked.

    Attributes:
        rows: one for each arm.
        questions: how many were asked, each of both models.
        cohorts: of how many cohorts of people.
    """

    rows: tuple[QuestionSetsRow, ...]
    questions: int
    cohorts: int
