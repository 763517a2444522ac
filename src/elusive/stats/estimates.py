"""Means and paired differences with their 95% intervals, as two types that every table, figure and sentence reads."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from elusive.errors import ElusiveError

from .intervals import Values, cohort_interval, paired_differences


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


@dataclass(frozen=True)
class Difference:
    """The mean of a minus the mean of b, paired, with its 95% interval; None as in `Estimate`."""

    value: float | None
    low: float | None
    high: float | None

    @property
    def separated(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def as_dict(self) -> dict[str, float | bool | None]:
        """What files hold: difference, low, high, separated.

        Example:
            >>> Difference(0.5, 0.25, 0.75).as_dict()
            {'difference': 0.5, 'low': 0.25, 'high': 0.75, 'separated': True}
        """
        return {"difference": self.value, "low": self.low, "high": self.high, "separated": self.separated}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> "Difference":
        """The difference that `as_dict` wrote."""
        return cls(row["difference"], row["low"], row["high"])


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

    Raises:
        ElusiveError: if there is no cohort, lengths differ, or a value is not finite.

    Example:
        >>> estimate([[1.0, 1.0, 0.0, 0.0]], [["a", "a", "b", "b"]])
        Estimate(value=0.5, low=0.0, high=1.0)
        >>> estimate([[1.0, 0.0]], [["a", "a"]])
        Estimate(value=0.5, low=None, high=None)
    """
    return Estimate(*_mean_and_interval(values, documents, resamples, seed, skip_nan))


def difference(
    values_a: Sequence[Values],
    values_b: Sequence[Values],
    documents: Sequence[Sequence[str]],
    *,
    resamples: int = 10_000,
    seed: int = 0,
    skip_nan: bool = False,
) -> Difference:
    """Mean of a minus mean of b with its 95% interval, paired over cohorts, seeds and questions.

    Args:
        values_a: as in `estimate`.
        values_b: the same cohorts, questions and seeds; one seed is set against every seed of the other side.
        documents: for each cohort the document of each question, (questions,).
        resamples: bootstrap resamples behind the interval.
        seed: seed of the draws.
        skip_nan: leave out questions without a value on either side.

    Raises:
        ElusiveError: if the two sides have other cohorts, questions or seeds, or a value is not finite.

    Example:
        >>> difference([[1.0, 0.5]], [[0.5, 0.0]], [["a", "b"]])
        Difference(value=0.5, low=0.5, high=0.5)
    """
    if len(values_a) != len(values_b):
        raise ElusiveError(f"Expected the same cohorts on both sides, got {len(values_a)} and {len(values_b)}.")
    pairs = [paired_differences(a, b) for a, b in zip(values_a, values_b, strict=True)]
    return Difference(*_mean_and_interval(pairs, documents, resamples, seed, skip_nan))


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
) -> tuple[float | None, float | None, float | None]:
    values_SQ = [np.atleast_2d(np.asarray(one, dtype=np.float64)) for one in values]
    about = list(documents)
    if skip_nan:
        known = [~np.isnan(one).any(axis=0) for one in values_SQ]
        values_SQ = [one[:, here] for one, here in zip(values_SQ, known, strict=True)]
        about = [np.asarray(one, dtype=object)[here].tolist() for one, here in zip(about, known, strict=True)]
    low, high = cohort_interval(values_SQ, about, resamples, seed)  # refuses what is not finite
    if not all(one.size for one in values_SQ):
        return None, None, None
    # A cohort is a corpus with trainings of its own: each weighs the same, as in the interval.
    return float(np.mean([one.mean() for one in values_SQ])), _finite(low), _finite(high)


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
