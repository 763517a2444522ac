"""What was learned against what was lost, as `elusive reproduce forgetting` measures it: settings moved one by one."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from elusive.corpus.wording import counted
from elusive.errors import ElusiveError
from elusive.evaluation.predictions import Questions
from elusive.experiments.selection import Choice, Outcome, difference, estimate
from elusive.experiments.trials import AVERAGE, UNTRAINED
from elusive.reporting.formatting import estimate_text, markdown_table, remarked_text, whole
from elusive.stats.estimates import Difference, Estimate, corrected_by_name
from elusive.stats.pareto import on_front

from .experiments import Done, Trained, trainings_of
from .tables import known_outcomes
from .wording import arm_words

TITLE = "What was learned against what was lost"
DEFAULTS = "defaults"
"""The setting of the rows that all others of their arm are compared with."""
Key = tuple[str, str]
"""An arm and a setting in words."""


@dataclass(frozen=True)
class ForgettingRow:
    """One arm under one setting.

    Attributes:
        arm: the arm, or untrained.
        setting: what is moved, and to which value; `DEFAULTS` where nothing is.
        em: EM on the new people.
        known: EM on what was known before training.
        lost: the same minus that before training, paired.
        em_change: EM on the new people minus that of the arm under the defaults, paired.
        known_change: the same of what was known before.
        on_front: whether no other row has more of one EM and as much of the other.
        tokens: tokens trained on, replay included; a mean over trainings like the next.
        seconds: how long training took.
    """

    arm: str
    setting: str
    em: Estimate
    known: Estimate
    lost: Difference | None = None
    em_change: Difference | None = None
    known_change: Difference | None = None
    on_front: bool = False
    tokens: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Forgetting:
    """The study: how large it is, and its rows, the first of them the model before training."""

    cohorts: int
    documents: int
    known_questions: int
    steps: float
    rows: tuple[ForgettingRow, ...]


@dataclass(frozen=True)
class _Point:
    """An arm's answers under one setting, about new people and known ones, and its trainings."""

    arm: str
    setting: str
    new: Choice
    known: Choice
    trainings: Sequence[Trained]


def forgetting_numbers(done: Sequence[Done]) -> Forgetting:
    """The numbers of all settings; all are trained on the same people, so that differences are paired.

    Args:
        done: the experiments of the study.
    """
    if not all(known_outcomes(one)[0] for one in done):
        raise ElusiveError(
            "forgetting: expected answers about what was known before training, got none. "
            "Leave evaluate.known as it is."
        )
    points = {(one.arm, one.setting): one for experiment in done for one in _points(experiment)}
    asked, (_, known) = done[0].asked, known_outcomes(done[0])
    rows = [_row(point, points, asked, known) for point in points.values()]
    rows = _with_front(_corrected(rows))
    trained = [one.done.steps for point in points.values() for one in point.trainings]
    return Forgetting(
        len(asked),
        sum(one.document_count for one in asked),
        len(known[0].ids),
        float(np.mean(trained)),
        tuple(sorted(rows, key=lambda row: list(dict.fromkeys(arm for arm, _ in points)).index(row.arm))),
    )


def _points(done: Done) -> Iterator[_Point]:
    known = {(one.arm, one.name): one for one in known_outcomes(done)[0]}
    trainings = trainings_of(done)
    for outcome in done.outcomes:
        key = outcome.arm, outcome.name
        setting = "" if outcome.arm == UNTRAINED else _setting(done.experiment.attempt, dict(outcome.chosen))
        yield _Point(
            outcome.arm, setting, _choice(outcome, setting), _choice(known[key], setting), trainings.get(key, ())
        )


def _setting(what: str, chosen: Mapping[str, float]) -> str:
    return DEFAULTS if chosen.get(AVERAGE) == 1 else f"{what} {next(iter(chosen.values())):g}"


def _choice(outcome: Outcome, setting: str) -> Choice:
    return Choice(outcome.arm, setting, outcome.cohorts)


def _row(
    point: _Point, points: Mapping[Key, _Point], asked: Sequence[Questions], known: Sequence[Questions]
) -> ForgettingRow:
    em, known_em = estimate(point.new, asked, "em"), estimate(point.known, known, "em")
    if point.arm == UNTRAINED:
        return ForgettingRow(point.arm, point.setting, em, known_em)
    base = points[point.arm, DEFAULTS]
    moved = point is not base
    return ForgettingRow(
        point.arm,
        point.setting,
        em,
        known_em,
        lost=difference(point.known, points[UNTRAINED, ""].known, known, "em"),
        em_change=difference(point.new, base.new, asked, "em") if moved else None,
        known_change=difference(point.known, base.known, known, "em") if moved else None,
        tokens=float(np.mean([one.done.tokens_trained for one in point.trainings])),
        seconds=float(np.mean([one.done.seconds for one in point.trainings])),
    )


def _corrected(rows: Sequence[ForgettingRow]) -> list[ForgettingRow]:
    """The rows with differences corrected for all comparisons of the study."""
    names = ("lost", "em_change", "known_change")
    given = [{name: one for name in names if (one := getattr(row, name)) is not None} for row in rows]
    return [dataclasses.replace(row, **here) for row, here in zip(rows, corrected_by_name(given), strict=True)]


def _with_front(rows: Sequence[ForgettingRow]) -> list[ForgettingRow]:
    """The rows, each told whether it is on the Pareto front of EM on new people and on what was known."""
    found = on_front([(row.em.value or 0.0, row.known.value or 0.0) for row in rows])
    return [dataclasses.replace(row, on_front=one) for row, one in zip(rows, found, strict=True)]


def forgetting_markdown(numbers: Forgetting) -> str:
    """The study as Markdown.

    Args:
        numbers: from `forgetting_numbers`.
    """
    head = ["arm", "setting", "new EM", "minus the defaults", "known EM", "minus the defaults", "lost"]
    head += ["front", "tokens trained on", "seconds"]
    table = [
        [
            arm_words(row.arm),
            row.setting or "-",
            estimate_text(row.em),
            _difference(row.em_change),
            estimate_text(row.known),
            _difference(row.known_change),
            _difference(row.lost),
            "yes" if row.on_front else "",
            whole(row.tokens) if row.tokens else "-",
            whole(row.seconds) if row.tokens else "-",
        ]
        for row in numbers.rows
    ]
    return "\n".join([f"## {TITLE}", "", _size(numbers), "", *markdown_table(head, table), ""])


def _difference(one: Difference | None) -> str:
    return remarked_text(one) if one else "-"


def _size(numbers: Forgetting) -> str:
    return (
        f"{numbers.documents:,} documents in {counted(numbers.cohorts, 'cohort')}, each arm trained once on each with "
        f"{numbers.steps:,.0f} equal steps; {numbers.known_questions:,} questions about what was known before "
        "training. One setting is moved at a time. Differences are paired. *Front*: no other row has more of one EM "
        "and as much of the other."
    )


def draw_forgetting(numbers: Forgetting, folder: Path) -> None:
    """Draw the study, as forgetting.png and forgetting.svg.

    Args:
        numbers: from `forgetting_numbers`.
        folder: for the pictures.
    """
    # matplotlib loads slowly, and tables need none.
    from .figures import save_figures
    from .fronts import Scored, front_figure

    points = [
        Scored(row.arm, arm_words(row.arm), row.setting, row.known.value or 0.0, row.em.value or 0.0, row.on_front)
        for row in numbers.rows
    ]
    save_figures({"forgetting": front_figure(points, default=DEFAULTS)}, folder)
