"""95% intervals of means and of paired differences over documents, training seeds and cohorts.

Questions about one document are not independent, and neither are the answers of one training: what varies in an
interval is what would differ in another study. There are many documents and few trainings, so documents alone are
resampled (percentile bootstrap), and wherever trainings vary the interval is Student's t, which holds its 95% with
three of them: a bootstrap of three to five holds .86 to .93.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Real
from scipy.special import stdtr, stdtridf, stdtrit

from elusive.errors import ElusiveError

CHUNK_NUMBERS = 4_000_000
"""Drawn document numbers held at once (32 MB), so that memory does not grow with the corpus."""


Values = Sequence[float] | Sequence[Sequence[float]] | Real[np.ndarray, "..."]
"""One number per question, (questions,), or that of each seed, (seeds, questions)."""


class Interval(NamedTuple):
    """A 95% interval of a mean, and the two-sided p-value of a true mean of zero; all nan where there is none."""

    low: float
    high: float
    p_value: float


NO_INTERVAL = Interval(math.nan, math.nan, math.nan)
"""Of fewer than two documents: one document says nothing about how documents differ."""


def interval(values: Values, documents: Sequence[str], resamples: int = 10_000, seed: int = 0) -> Interval:
    """95% interval of the mean value over documents, and over training seeds where there are several.

    One seed: the percentile bootstrap. Each resample draws as many documents as there are, with replacement; a
    document brings all its values along. The mean of a resample is its total sum over its total count, so a document
    with more questions weighs more, as it does in the plain mean. The interval says nothing about another training.

    Several seeds are crossed with the documents: every seed answers every question. Their mean squares give the
    variance of the mean; the quantiles of Student's t for seeds and for documents are weighted by their shares of it.

    Args:
        values: one number per question (EM or F1), (questions,), or that of each seed, (seeds, questions).
        documents: id of the document each question is about, (questions,).
        resamples: how often documents are drawn.
        seed: seed of the draws; the same seed gives the same interval.

    Raises:
        ElusiveError: if the lengths differ, a value is not finite, or `resamples` is below 1.

    Reference:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile intervals).
        Searle, Casella and McCulloch 1992, Variance Components, chapter 4 (two crossed random factors).
        Cochran and Cox 1957, Experimental Designs, section 4.14 (t of a sum of variances, quantiles weighted).

    Example:
        >>> interval([1.0, 1.0, 0.0, 0.0], ["a", "a", "b", "b"])[:2]
        (0.0, 1.0)
    """
    values_SQ = _checked(values, documents, resamples)
    sums_SD, counts_D = _sums(values_SQ, documents)
    if len(counts_D) < 2:
        return NO_INTERVAL
    if len(values_SQ) > 1:
        return _crossed_interval(sums_SD, counts_D)
    means = _resampled_means(sums_SD[0], counts_D, resamples, seed)
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(float(low), float(high), _bootstrap_p_value(means))


def cohort_interval(
    values: Sequence[Values], documents: Sequence[Sequence[str]], resamples: int = 10_000, seed: int = 0
) -> Interval:
    """95% interval of the mean over cohorts: corpora of their own, each with trainings of its own.

    With several cohorts it is Student's t of their means, which differ by all that would differ in another study: the
    documents, the trainings, and the corpus as a whole. With one cohort this is `interval`.

    Args:
        values: of each cohort one number per question, or that of each seed, (questions,) or (seeds, questions).
        documents: of each cohort the document of each question, (questions,).
        resamples: how often the documents of a single cohort with a single seed are drawn.
        seed: seed of those draws.

    Raises:
        ElusiveError: as in `interval`, or if there is no cohort.

    Example:
        >>> low, high, p_value = cohort_interval([[0.0], [1.0], [0.5]], [["a"], ["b"], ["c"]])
        >>> round(low, 2), round(high, 2), round(p_value, 2)
        (-0.74, 1.74, 0.23)
    """
    if not values or len(values) != len(documents):
        raise ElusiveError(f"Expected documents for each cohort, got {len(values)} cohorts and {len(documents)} lists.")
    if len(values) == 1:
        return interval(values[0], documents[0], resamples, seed)
    cohorts = [_checked(one, about, resamples) for one, about in zip(values, documents, strict=True)]
    if not all(one.size for one in cohorts):
        return NO_INTERVAL
    means_C = np.array([one.mean() for one in cohorts])
    return _student(float(means_C.mean()), float(means_C.var(ddof=1)) / len(means_C), len(means_C) - 1)


def paired_differences(values_a: Values, values_b: Values) -> Float64[np.ndarray, "seeds questions"]:
    """a minus b, question by question and seed by seed, float64 (seeds, questions).

    Both sides share what makes a document hard, or a seed lucky, for both: in the differences it cancels out.

    Args:
        values_a: one number per question, (questions,), or that of each seed, (seeds, questions).
        values_b: the same questions and seeds; a side with one seed is set against every seed of the other.

    Raises:
        ElusiveError: if the two sides have other numbers of questions or of seeds.
    """
    a_SQ, b_SQ = (np.atleast_2d(np.asarray(values, dtype=np.float64)) for values in (values_a, values_b))
    if a_SQ.shape[-1] != b_SQ.shape[-1]:
        raise ElusiveError(
            f"Expected the same questions on both sides, got {a_SQ.shape[-1]} and {b_SQ.shape[-1]} values. "
            "Evaluate both models on one question file."
        )
    _refuse_other_seeds(len(a_SQ), len(b_SQ))
    return a_SQ - b_SQ


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number: at .05, a wrong one among them with a chance of at most .05 (Holm).

    Args:
        p_values: one of each comparison.

    Returns:
        The adjusted ones in the same order, each at least as large as its own.

    Reference:
        Holm 1979, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6(2).

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    steps = np.asarray(p_values, dtype=np.float64)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted.tolist()


def _crossed_interval(sums_SD: np.ndarray, counts_D: np.ndarray) -> Interval:
    """Student's t of a mean over seeds and documents that are both drawn.

    Documents with more questions weigh more: each answers for its deviation from the mean, times its weight.

    Args:
        sums_SD: each document's sum of values for each seed, (seeds, documents).
        counts_D: each document's number of questions, (documents,).
    """
    seeds, documents = sums_SD.shape
    mean = float(sums_SD.sum() / counts_D.sum() / seeds)
    weighed_SD = (sums_SD - mean * counts_D) * (documents / counts_D.sum())
    of_seeds, of_documents = weighed_SD.mean(axis=1), weighed_SD.mean(axis=0)
    rest_SD = weighed_SD - of_seeds[:, None] - of_documents[None]
    squares = np.array([documents * of_seeds.var(ddof=1), seeds * of_documents.var(ddof=1)])
    rest = float((rest_SD**2).sum()) / ((seeds - 1) * (documents - 1))
    if not squares.any():
        return _student(mean, 0.0, documents - 1)
    # The mean squares of seeds and documents both hold the rest, which counts once. Where it comes out larger than
    # one of them by chance, the other alone bounds the variance from below.
    variance = max(float(squares.sum()) - rest, float(squares.max())) / (seeds * documents)
    quantile = squares @ stdtrit([seeds - 1, documents - 1], 0.975) / squares.sum()
    return _student(mean, variance, float(stdtridf(0.975, quantile)))


def _student(mean: float, variance: float, degrees: float) -> Interval:
    """Mean plus and minus Student's t times its standard error, and the p-value of zero."""
    error = math.sqrt(variance)
    half = float(stdtrit(degrees, 0.975)) * error
    if error == 0.0:
        return Interval(mean, mean, float(mean == 0.0))
    return Interval(mean - half, mean + half, float(2 * stdtr(degrees, -abs(mean) / error)))


def _bootstrap_p_value(means: np.ndarray) -> float:
    """Twice the smaller share of resampled means at or beyond zero, counting one more draw there."""
    beyond = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return min(1.0, 2 * (beyond + 1) / (len(means) + 1))


def _resampled_means(sums_D: np.ndarray, counts_D: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means of `resamples` draws of D documents, (resamples,); memory is bounded by CHUNK_NUMBERS.

    Args:
        sums_D: each document's sum of values, (documents,).
        counts_D: each document's number of questions, (documents,).
        resamples: how often documents are drawn.
        seed: seed of the draws.
    """
    random = np.random.default_rng(seed)
    rows = max(1, CHUNK_NUMBERS // len(sums_D))
    chunks = []
    for start in range(0, resamples, rows):
        times_RD = _times_drawn(random, min(rows, resamples - start), len(sums_D))
        chunks.append((times_RD @ sums_D) / (times_RD @ counts_D))
    return np.concatenate(chunks)


def _times_drawn(random: np.random.Generator, rows: int, size: int) -> np.ndarray:
    """How often each of `size` things is among `size` draws with replacement, float64 (rows, size)."""
    drawn = random.integers(size, size=(rows, size)) + size * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size).astype(np.float64)


def _checked(values: Values, documents: Sequence[str], resamples: int) -> np.ndarray:
    """The values as float64, (seeds, questions)."""
    numbers = np.asarray(values, dtype=np.float64)
    values_SQ = np.atleast_2d(numbers)
    if values_SQ.ndim > 2 or not len(values_SQ) or values_SQ.shape[1] != len(documents):
        raise ElusiveError(
            "Expected one value per question and its document's id, (questions,) or (seeds, questions), got values "
            f"of shape {numbers.shape} and {len(documents)} document ids."
        )
    if not np.isfinite(values_SQ).all():
        seed, question = np.argwhere(~np.isfinite(values_SQ))[0]
        raise ElusiveError(
            f"Expected finite values, got {values_SQ[seed, question]} for a question about document "
            f"'{documents[question]}'."
        )
    if resamples < 1:
        raise ElusiveError(f"evaluate.resamples: expected at least 1, got {resamples}.")
    return values_SQ


def _refuse_other_seeds(seeds_a: int, seeds_b: int) -> None:
    if seeds_a != seeds_b and 1 not in (seeds_a, seeds_b):
        raise ElusiveError(
            f"Expected as many training seeds on both sides, or one seed on one of them, got {seeds_a} and {seeds_b}. "
            "Train and evaluate both arms with the same seeds."
        )


def _sums(values_SQ: np.ndarray, documents: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Each document's sum of values for each seed, (seeds, documents), and its number of questions, (documents,)."""
    _, codes = np.unique(np.asarray(documents, dtype=str), return_inverse=True)
    return np.stack([np.bincount(codes, weights=values_Q) for values_Q in values_SQ]), np.bincount(codes)
