"""95% bootstrap intervals that resample documents, because the questions about one document are not independent."""

from collections.abc import Sequence

import numpy as np

from .errors import ElusiveError

CHUNK_NUMBERS = 4_000_000
"""Drawn document numbers held at once (32 MB), so that memory does not grow with the corpus."""


def interval(
    values: Sequence[float] | np.ndarray, documents: Sequence[str], resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """95% percentile interval of the mean value, by resampling documents.

    Each resample draws as many documents as there are, with replacement; a document brings all its values along.
    The mean of a resample is its total sum over its total count, so a document with more questions weighs more,
    as it does in the plain mean.

    Args:
        values: one number per question (EM or F1), (questions,).
        documents: id of the document each question is about, (questions,).
        resamples: how often documents are drawn.
        seed: seed of the draws; the same seed gives the same interval.

    Returns:
        The 2.5% and 97.5% quantiles of the resampled means, or (nan, nan) with fewer than two documents: one
        document says nothing about how documents differ, so no interval can be given.

    Raises:
        ElusiveError: if the lengths differ, a value is not finite, or `resamples` is below 1.

    Reference:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile intervals).

    Example:
        >>> interval([1.0, 1.0, 0.0, 0.0], ["a", "a", "b", "b"])
        (0.0, 1.0)
    """
    numbers = _checked(values, documents, resamples)
    _, codes = np.unique(np.asarray(documents, dtype=str), return_inverse=True)
    counts = np.bincount(codes)
    if len(counts) < 2:
        return float("nan"), float("nan")
    means = _resampled_means(np.bincount(codes, weights=numbers), counts, resamples, seed)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def paired_interval(
    values_a: Sequence[float] | np.ndarray,
    values_b: Sequence[float] | np.ndarray,
    documents: Sequence[str],
    resamples: int = 10_000,
    seed: int = 0,
    *,
    ids_a: Sequence[str] | None = None,
    ids_b: Sequence[str] | None = None,
) -> tuple[float, float, float]:
    """Mean of a minus mean of b with its 95% interval, over the same questions.

    Both sides see the same resampled documents, so what makes a document hard for both cancels out. As both have
    the same number of values in every document, this is the interval of the differences, question by question.

    Args:
        values_a: one number per question of the first arm, (questions,).
        values_b: the same questions in the same order, of the second arm, (questions,).
        documents: id of the document each question is about, (questions,).
        resamples: how often documents are drawn.
        seed: seed of the draws.
        ids_a: question ids of `values_a`; where both are given they must agree.
        ids_b: question ids of `values_b`.

    Returns:
        (difference, low, high); low and high are nan with fewer than two documents.

    Raises:
        ElusiveError: if lengths or question ids differ, a value is not finite, or `resamples` is below 1.

    Example:
        >>> paired_interval([1.0, 0.5], [0.5, 0.0], ["a", "b"])
        (0.5, 0.5, 0.5)
    """
    if len(values_a) != len(values_b):
        raise ElusiveError(
            f"Expected the same questions on both sides, got {len(values_a)} and {len(values_b)} values. "
            "Evaluate both models on one question file."
        )
    if ids_a is not None and ids_b is not None:
        _refuse_other_questions(ids_a, ids_b)
    a, b = _checked(values_a, documents, resamples), _checked(values_b, documents, resamples)
    difference = float(np.mean(a - b)) if len(a) else float("nan")
    return (difference, *interval(a - b, documents, resamples, seed))


def _resampled_means(sums_D: np.ndarray, counts_D: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means of `resamples` draws of D documents, (resamples,); memory is bounded by CHUNK_NUMBERS."""
    random, size = np.random.default_rng(seed), len(counts_D)
    rows = max(1, CHUNK_NUMBERS // size)
    chunks = []
    for start in range(0, resamples, rows):
        number = min(rows, resamples - start)
        drawn = random.integers(size, size=(number, size)) + size * np.arange(number)[:, None]
        times = np.bincount(drawn.ravel(), minlength=number * size).reshape(number, size).astype(np.float64)
        chunks.append((times @ sums_D) / (times @ counts_D))
    return np.concatenate(chunks)


def _checked(values: Sequence[float] | np.ndarray, documents: Sequence[str], resamples: int) -> np.ndarray:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.shape != (len(documents),):
        raise ElusiveError(
            f"Expected one value per question and its document's id, got values of shape {numbers.shape} "
            f"and {len(documents)} document ids."
        )
    if not np.isfinite(numbers).all():
        raise ElusiveError(
            f"Expected finite values, got {numbers[~np.isfinite(numbers)][0]} for a question about document "
            f"'{documents[int(np.argmin(np.isfinite(numbers)))]}'."
        )
    if resamples < 1:
        raise ElusiveError(f"evaluate.resamples: expected at least 1, got {resamples}.")
    return numbers


def _refuse_other_questions(ids_a: Sequence[str], ids_b: Sequence[str]) -> None:
    if len(ids_a) != len(ids_b):
        raise ElusiveError(f"Expected the same questions on both sides, got {len(ids_a)} and {len(ids_b)} ids.")
    for number, (a, b) in enumerate(zip(ids_a, ids_b, strict=True)):
        if a != b:
            raise ElusiveError(
                f"Expected the same questions in the same order on both sides, got '{a}' and '{b}' at place {number}. "
                "Evaluate both models on one question file."
            )
