"""95% bootstrap intervals that resample documents and training seeds.

Questions about one document are not independent, and neither are the answers of one training: what is drawn anew is
what would differ in another study, the documents and the seeds.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Real

from elusive.errors import ElusiveError

CHUNK_NUMBERS = 4_000_000
"""Drawn document or seed numbers held at once (32 MB), so that memory does not grow with the corpus."""


Values = Sequence[float] | Sequence[Sequence[float]] | Real[np.ndarray, "..."]
"""One number per question, (questions,), or that of each seed, (seeds, questions)."""


def interval(values: Values, documents: Sequence[str], resamples: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """95% percentile interval of the mean value, by resampling documents, and training seeds where there are several.

    Each resample draws as many documents as there are, with replacement; a document brings all its values along.
    The mean of a resample is its total sum over its total count, so a document with more questions weighs more,
    as it does in the plain mean.

    Values of several seeds are crossed: every seed answers every question. A resample then draws seeds as well, as
    many as there are, with replacement and independently of the documents (the pigeonhole bootstrap), and its mean
    is over the drawn seeds' answers to the drawn documents' questions. One seed drawn from one is always the same,
    so with one seed the interval covers documents alone. With few seeds their part of the width comes out too small:
    draws from n seeds show, on average, (n - 1) / n of the variance between seeds.

    Args:
        values: one number per question (EM or F1), (questions,), or that of each seed, (seeds, questions).
        documents: id of the document each question is about, (questions,).
        resamples: how often documents and seeds are drawn.
        seed: seed of the draws; the same seed gives the same interval.

    Returns:
        The 2.5% and 97.5% quantiles of the resampled means, or (nan, nan) with fewer than two documents: one
        document says nothing about how documents differ, so no interval can be given.

    Raises:
        ElusiveError: if the lengths differ, a value is not finite, or `resamples` is below 1.

    Reference:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile intervals).
        Owen 2007, The pigeonhole bootstrap, Annals of Applied Statistics 1(2), 386-411 (crossed factors).

    Example:
        >>> interval([1.0, 1.0, 0.0, 0.0], ["a", "a", "b", "b"])
        (0.0, 1.0)
        >>> interval([[1.0, 1.0], [0.0, 0.0]], ["a", "b"])  # two seeds: one is right about both, one about neither
        (0.0, 1.0)
    """
    values_SQ = _checked(values, documents, resamples)
    sums_SD, counts = _sums(values_SQ, documents)
    if len(counts) < 2:
        return float("nan"), float("nan")
    means = _resampled_means(sums_SD, counts, resamples, seed)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def paired_interval(
    values_a: Values,
    values_b: Values,
    documents: Sequence[str],
    resamples: int = 10_000,
    seed: int = 0,
    *,
    ids_a: Sequence[str] | None = None,
    ids_b: Sequence[str] | None = None,
) -> tuple[float, float, float]:
    """Mean of a minus mean of b with its 95% interval, over the same questions.

    Both sides see the same resampled documents and seeds, so what makes a document hard for both, or a seed lucky
    for both, cancels out. As both have the same number of values in every document, this is the interval of the
    differences, question by question and seed by seed.

    Args:
        values_a: one number per question of the first arm, (questions,), or that of each seed, (seeds, questions).
        values_b: the same questions and seeds in the same order, of the second arm. A side with one seed, such as a
            model that was not trained, is set against every seed of the other.
        documents: id of the document each question is about, (questions,).
        resamples: how often documents and seeds are drawn.
        seed: seed of the draws.
        ids_a: question ids of `values_a`; where both are given they must agree.
        ids_b: question ids of `values_b`.

    Returns:
        (difference, low, high); low and high are nan with fewer than two documents.

    Raises:
        ElusiveError: if lengths, question ids or the numbers of seeds differ, a value is not finite, or `resamples`
            is below 1.

    Example:
        >>> paired_interval([1.0, 0.5], [0.5, 0.0], ["a", "b"])
        (0.5, 0.5, 0.5)
    """
    differences = paired_differences(values_a, values_b)
    if ids_a is not None and ids_b is not None:
        _refuse_other_questions(ids_a, ids_b)
    differences_SQ = _checked(differences, documents, resamples)
    difference = float(differences_SQ.mean()) if differences_SQ.size else float("nan")
    return (difference, *interval(differences_SQ, documents, resamples, seed))


def paired_differences(values_a: Values, values_b: Values) -> Float64[np.ndarray, "seeds questions"]:
    """a minus b, question by question and seed by seed, float64 (seeds, questions).

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


def _resampled_means(sums_SD: np.ndarray, counts_D: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means of `resamples` draws of D documents and S seeds, (resamples,); memory is bounded by CHUNK_NUMBERS.

    Args:
        sums_SD: each document's sum of values, (documents,), or that of each seed, (seeds, documents).
        counts_D: each document's number of questions, (documents,).
        resamples: how often both are drawn.
        seed: seed of the draws.
    """
    sums_SD = np.atleast_2d(sums_SD)
    seeds, documents = sums_SD.shape
    random = np.random.default_rng(seed)
    # Seeds have a generator of their own, so that the documents drawn do not depend on chunks or on how many seeds
    # there are.
    random_seeds = random.spawn(1)[0]
    rows = max(1, CHUNK_NUMBERS // max(documents, seeds))
    chunks = []
    for start in range(0, resamples, rows):
        number = min(rows, resamples - start)
        times_RD, seeds_RS = _times_drawn(random, number, documents), _times_drawn(random_seeds, number, seeds)
        # Seed by seed, so that the numbers of one seed are those of documents alone to the last bit.
        means = sum(seeds_RS[:, one] * (times_RD @ sums_D) for one, sums_D in enumerate(sums_SD))
        chunks.append(means / (times_RD @ counts_D) / seeds)
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


def _refuse_other_questions(ids_a: Sequence[str], ids_b: Sequence[str]) -> None:
    if len(ids_a) != len(ids_b):
        raise ElusiveError(f"Expected the same questions on both sides, got {len(ids_a)} and {len(ids_b)} ids.")
    for number, (a, b) in enumerate(zip(ids_a, ids_b, strict=True)):
        if a != b:
            raise ElusiveError(
                f"Expected the same questions in the same order on both sides, got '{a}' and '{b}' at place {number}. "
                "Evaluate both models on one question file."
            )


def cohort_interval(
    values: Sequence[Values], documents: Sequence[Sequence[str]], resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """95% percentile interval of the mean over cohorts: corpora of their own, each with trainings of its own.

    A resample draws cohorts, and in each drawn cohort its documents and seeds anew (a bootstrap in two stages). With
    one cohort this is `interval`. As there, few cohorts show too little of the variance between them.

    Args:
        values: of each cohort one number per question, or that of each seed, (questions,) or (seeds, questions).
        documents: of each cohort the document of each question, (questions,).
        resamples: how often all are drawn.
        seed: seed of the draws.

    Returns:
        The 2.5% and 97.5% quantiles of the resampled means of cohorts' means, or (nan, nan) where a cohort has fewer
        than two documents.

    Raises:
        ElusiveError: as in `interval`, or if there is no cohort.

    Reference:
        Davison and Hinkley 1997, Bootstrap Methods and their Application, section 3.8 (hierarchical data).
    """
    if not values or len(values) != len(documents):
        raise ElusiveError(f"Expected documents for each cohort, got {len(values)} cohorts and {len(documents)} lists.")
    if len(values) == 1:
        return interval(values[0], documents[0], resamples, seed)
    means_CR = []
    for number, (one, about) in enumerate(zip(values, documents, strict=True)):
        sums_SD, counts_D = _sums(_checked(one, about, resamples), about)
        if len(counts_D) < 2:
            return float("nan"), float("nan")
        means_CR.append(_resampled_means(sums_SD, counts_D, resamples, seed + 1 + number))
    random = np.random.default_rng(seed)
    drawn_RC = random.integers(len(values), size=(resamples, len(values)))
    # A cohort that is drawn twice brings two resamples of its documents, not the same one twice.
    places_RC = random.integers(resamples, size=drawn_RC.shape)
    low, high = np.quantile(np.stack(means_CR)[drawn_RC, places_RC].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


def _sums(values_SQ: np.ndarray, documents: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Each document's sum of values for each seed, (seeds, documents), and its number of questions, (documents,)."""
    _, codes = np.unique(np.asarray(documents, dtype=str), return_inverse=True)
    return np.stack([np.bincount(codes, weights=values_Q) for values_Q in values_SQ]), np.bincount(codes)
