"""Means and paired differences with their 95% intervals, as two types that every table, figure and sentence reads."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from elusive.errors import ElusiveError

from .intervals import Interval, Values, cohort_interval, holm, paired_differences

SIGNIFICANCE = 0.05
"""Chance of a wrong claim that an interval, or a table of them after correction, allows."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95% interval.

    Attributes:
        value: the mean; None where nothing has a value.
        low: the interval's lower end; None where there is no interval, as over one document.
        high: its upper end; None where there is none.
    """

    value: float | None
    low: float | None
    high: float | None


def estimate_columns(name: str, estimates: Sequence[Estimate | None]) -> dict[str, list[float | None]]:
    """Estimates as the columns of a table: the values under a name, and the ends of their intervals.

    Example:
        >>> estimate_columns("em", [Estimate(0.5, 0.25, 0.75), None])
        {'em': [0.5, None], 'em_low': [0.25, None], 'em_high': [0.75, None]}
    """
    ends = {name: "value", f"{name}_low": "low", f"{name}_high": "high"}
    return {column: [getattr(one, end) if one else None for one in estimates] for column, end in ends.items()}


@dataclass(frozen=True)
class Difference:
    """The mean of a minus the mean of b, paired, with its 95% interval; None as in `Estimate`.

    Attributes:
        value: the mean difference.
        low: the interval's lower end.
        high: its upper end.
        p_value: two-sided, of a true difference of zero.
        p_adjusted: the same after correction for the number of comparisons of its table; None before `corrected`.
        trainings: how many trainings each side has, over all cohorts and seeds; None where nothing was trained.
    """

    value: float | None
    low: float | None
    high: float | None
    p_value: float | None = field(default=None, kw_only=True)
    p_adjusted: float | None = field(default=None, kw_only=True)
    trainings: int | None = field(default=None, kw_only=True)

    @property
    def leaves_zero_out(self) -> bool:
        """Whether the interval leaves zero out, whatever it covers and however many others there are."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def trained_once(self) -> bool:
        """Whether the interval says nothing about another training, although it is a difference of trainings."""
        return self.trainings == 1

    @property
    def separated(self) -> bool:
        """Whether it may be said that a and b differ.

        The interval leaves zero out, it covers how trainings differ, and its p-value stays below .05 after correction
        for the comparisons of its table, if it was corrected.
        """
        survives = self.p_adjusted is None or self.p_adjusted <= SIGNIFICANCE
        return self.leaves_zero_out and survives and not self.trained_once

    def as_dict(self) -> dict[str, float | bool | None]:
        """What files hold: the attributes, and whether it is separated.

        Example:
            >>> Difference(0.5, 0.25, 0.75, p_value=0.01, trainings=3).as_dict()["separated"]
            True
        """
        fields = {one.name: getattr(self, one.name) for one in dataclasses.fields(Difference) if one.name != "value"}
        return {"difference": self.value, **fields, "separated": self.separated}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> "Difference":
        """The difference that `as_dict` wrote."""
        return cls(**of_row(row))


def of_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `Difference` in a row that `as_dict` wrote."""
    names = [one.name for one in dataclasses.fields(Difference) if one.name != "value"]
    return {"value": row["difference"], **{name: row[name] for name in names}}


AnyDifference = TypeVar("AnyDifference", bound=Difference)


def corrected(table: Sequence[AnyDifference]) -> list[AnyDifference]:
    """The differences of one table, each with its p-value after Holm's correction for their number.

    Args:
        table: all comparisons that are shown together; those without a p-value are not counted.

    Example:
        >>> [one.p_adjusted for one in corrected([Difference(1, 0, 2, p_value=0.01), Difference(1, 0, 2, p_value=0.2)])]
        [0.02, 0.2]
    """
    adjusted = iter(holm([one.p_value for one in table if one.p_value is not None]))
    return [one if one.p_value is None else dataclasses.replace(one, p_adjusted=next(adjusted)) for one in table]


def corrected_by_name(rows: Sequence[Mapping[str, AnyDifference]]) -> list[dict[str, AnyDifference]]:
    """The rows of one table, each its differences by name, corrected together as in `corrected`."""
    table = iter(corrected([one for row in rows for one in row.values()]))
    return [{name: next(table) for name in row} for row in rows]


def estimate(
    values: Sequence[Values],
    documents: Sequence[Sequence[str]],
    *,
    resamples: int = 10_000,
    seed: int = 0,
    skip_nan: bool = False,
) -> Estimate:
    """Mean over cohorts, each of them a mean over its questions and seeds, with its 95% interval.

    Args:
        values: for each cohort (a corpus with trainings of its own) one number per question, (questions,), or that of
            each seed, (seeds, questions).
        documents: for each cohort the document of each question, (questions,).
        resamples: bootstrap resamples behind the interval.
        seed: seed of the draws.
        skip_nan: leave out questions without a value (nan in any seed); otherwise nan is refused.

    Returns:
        The estimate; where all values are shares (0 to 1), its interval ends there too.

    Raises:
        ElusiveError: if there is no cohort, lengths differ, or a value is not finite.

    Example:
        >>> estimate([[1.0, 1.0, 0.0, 0.0]], [["a", "a", "b", "b"]])
        Estimate(value=0.5, low=0.0, high=1.0)
        >>> estimate([[1.0, 0.0]], [["a", "a"]])
        Estimate(value=0.5, low=None, high=None)
    """
    value, found = _mean_and_interval(values, documents, resamples, seed, skip_nan)
    ends = [found.low, found.high]
    if all(np.nanmin(one) >= 0 and np.nanmax(one) <= 1 for one in map(np.asarray, values) if not np.isnan(one).all()):
        ends = [min(max(end, 0.0), 1.0) for end in ends]
    return Estimate(value, *map(_finite, ends))


def difference(
    values_a: Sequence[Values],
    values_b: Sequence[Values],
    documents: Sequence[Sequence[str]],
    *,
    resamples: int = 10_000,
    seed: int = 0,
    skip_nan: bool = False,
    trained: bool = True,
) -> Difference:
    """Mean of a minus mean of b with its 95% interval, paired over cohorts, seeds and questions.

    Args:
        values_a: as in `estimate`.
        values_b: the same cohorts, questions and seeds; one seed is set against every seed of the other side.
        documents: for each cohort the document of each question, (questions,).
        resamples: bootstrap resamples behind the interval.
        seed: seed of the draws.
        skip_nan: leave out questions without a value on either side.
        trained: a cohort's seeds are trainings of its own, so that with one of them nothing is said of another
            training. False where a and b differ in nothing that was trained, as two rankings of one pair's attention.

    Raises:
        ElusiveError: if the two sides have other cohorts, questions or seeds, or a value is not finite.

    Example:
        >>> found = difference([[1.0, 0.5]], [[0.5, 0.0]], [["a", "b"]])
        >>> found.value, found.low, found.high, found.separated  # one training each
        (0.5, 0.5, 0.5, False)
    """
    if len(values_a) != len(values_b):
        raise ElusiveError(f"Expected the same cohorts on both sides, got {len(values_a)} and {len(values_b)}.")
    pairs = [paired_differences(a, b) for a, b in zip(values_a, values_b, strict=True)]
    value, (low, high, p_value) = _mean_and_interval(pairs, documents, resamples, seed, skip_nan)
    trainings = sum(map(len, pairs)) if trained else None
    return Difference(value, _finite(low), _finite(high), p_value=_finite(p_value), trainings=trainings)


def mean(values: Sequence[float] | np.ndarray) -> float | None:
    """Mean of the values that are finite; None where there is none.

    Example:
        >>> mean([1.0, float("nan"), 0.0]), mean([])
        (0.5, None)
    """
    numbers = np.asarray(values, dtype=np.float64)
    known = numbers[np.isfinite(numbers)]
    return float(known.mean()) if known.size else None


def _mean_and_interval(
    values: Sequence[Values], documents: Sequence[Sequence[str]], resamples: int, seed: int, skip_nan: bool
) -> tuple[float | None, Interval]:
    values_SQ = [np.atleast_2d(np.asarray(one, dtype=np.float64)) for one in values]
    about = list(documents)
    if skip_nan:
        known = [~np.isnan(one).any(axis=0) for one in values_SQ]
        values_SQ = [one[:, here] for one, here in zip(values_SQ, known, strict=True)]
        about = [np.asarray(one, dtype=object)[here].tolist() for one, here in zip(about, known, strict=True)]
    found = cohort_interval(values_SQ, about, resamples, seed)  # refuses what is not finite
    if not all(one.size for one in values_SQ):
        return None, found
    # A cohort is a corpus with trainings of its own: each weighs the same, as in the interval.
    return float(np.mean([one.mean() for one in values_SQ])), found


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
