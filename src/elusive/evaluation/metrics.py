"""Exact match and F1 as in SQuAD v1.1."""

import collections
import re
import string
from collections.abc import Callable, Sequence

from elusive.errors import ElusiveError

_ARTICLES = re.compile(r"\b(a|an|the)\b")


_DROP_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """SQuAD v1.1's normal form: lower case, no ASCII punctuation, no a/an/the, single spaces.

    In that order: punctuation goes without leaving a space (`well-known` becomes `wellknown`), then articles that
    stand as whole words. Other punctuation (curly quotes, dashes) and accents stay, as in the official script.

    Reference:
        Rajpurkar et al. 2016, evaluate-v1.1.py.

    Example:
        >>> normalize_answer("The  Royal Society, London.")
        'royal society london'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_DROP_PUNCTUATION)).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if the prediction equals one of the answers in normal form, else 0.0.

    Two texts that are both empty in normal form (`the` and `a`) match.

    Args:
        prediction: the model's answer.
        answers: reference answers, at least one.

    Raises:
        ElusiveError: if `answers` is empty or a single string.

    Reference:
        Rajpurkar et al. 2016, evaluate-v1.1.py.
    """
    return _best(lambda answer: float(normalize_answer(prediction) == normalize_answer(answer)), answers)


def f1(prediction: str, answers: Sequence[str]) -> float:
    """Largest F1 over the answers, between the multisets of words in normal form.

    0.0 where no word is shared, so also where both are empty in normal form although `exact_match` gives 1.0 there:
    the official v1.1 script does the same (v2.0 differs).

    Args:
        prediction: the model's answer.
        answers: reference answers, at least one.

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
    return _best(lambda answer: _f1(normalize_answer(prediction).split(), normalize_answer(answer).split()), answers)


def _best(measure: Callable[[str], float], answers: Sequence[str]) -> float:
    if isinstance(answers, str) or not answers:
        raise ElusiveError(f"Expected at least one reference answer, as a list of strings, got {answers!r}.")
    return max(measure(answer) for answer in answers)


def _f1(prediction: Sequence[str], answer: Sequence[str]) -> float:
    common = (collections.Counter(prediction) & collections.Counter(answer)).total()
    if common == 0:
        return 0.0
    precision, recall = common / len(prediction), common / len(answer)
    return 2 * precision * recall / (precision + recall)
