"""Exact match and F1, as in SQuAD v1.1 or by another metric."""

from collections.abc import Callable, Sequence

from elusive.errors import ElusiveError

from .normal_forms import AnswerMetric, exact_match_of, f1_of, squad_words


def normalize_answer(text: str) -> str:
    """SQuAD v1.1's normal form, joined by single spaces (see `normal_forms.squad_words`).

    Reference:
        Rajpurkar et al. 2016, evaluate-v1.1.py.

    Example:
        >>> normalize_answer("The  Royal Society, London.")
        'royal society london'
    """
    return " ".join(squad_words(text))


def exact_match(prediction: str, answers: Sequence[str], metric: AnswerMetric = AnswerMetric()) -> float:
    """1.0 if the prediction equals one of the answers in normal form, else 0.0.

    An empty prediction equals none. An answer that is nothing in normal form ("A") is compared with its articles, and
    one of punctuation alone as it is written: the official script counts any two such texts as equal.

    Args:
        prediction: the model's answer.
        answers: reference answers, at least one.
        metric: how answers are compared: as in SQuAD v1.1 unless said otherwise.

    Raises:
        ElusiveError: if `answers` is empty or a single string.

    Reference:
        Rajpurkar et al. 2016, evaluate-v1.1.py.
    """
    return _best(lambda answer: exact_match_of(prediction, answer, metric), answers)


def f1(prediction: str, answers: Sequence[str], metric: AnswerMetric = AnswerMetric()) -> float:
    """Largest F1 over the answers, between the multisets of words in normal form.

    Args:
        prediction: the model's answer.
        answers: reference answers, at least one.
        metric: how answers are compared, as for `exact_match`.

    Returns:
        A value in [0, 1].

    Raises:
        ElusiveError: if `answers` is empty or a single string.

    Reference:
        Rajpurkar et al. 2016, evaluate-v1.1.py.

    Example:
        >>> f1("University of Vienna", ["the University of Melbourne"])
        0.6666666666666666
    """
    return _best(lambda answer: f1_of(prediction, answer, metric), answers)


def _best(measure: Callable[[str], float], answers: Sequence[str]) -> float:
    if isinstance(answers, str) or not answers:
        raise ElusiveError(f"Expected at least one reference answer, as a list of strings, got {answers!r}.")
    return max(measure(answer) for answer in answers)
