"""The next trial of an arm, chosen by Optuna's TPE from what was tried before."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import ElusiveError
from .trials import UNTRAINED, Trial, depends_on, trial_with
from .verb_config import SweepRecipe

_LOG_FROM = 10.0
"""A range whose ends are so many times apart is searched by its logarithm."""
_DIGITS = 3
"""Numbers from ranges are rounded to so many digits: they name folders, and finer ones mean nothing."""


def searched_arms(recipe: SweepRecipe) -> list[str]:
    """The arms that depend on anything that is searched; the others have one trial."""
    return [arm for arm in recipe.arms if _space(recipe, arm)]


def next_trial(recipe: SweepRecipe, arm: str, before: Sequence[tuple[Trial, float]]) -> Trial:
    """The trial that a TPE search tries next; a function of the settings and of what was tried, so it can be resumed.

    Args:
        recipe: with sweep.grid (choices) and sweep.ranges (numbers).
        arm: an arm of `searched_arms`.
        before: its trials so far, in order, and what each reached.

    Raises:
        ElusiveError: if Optuna is missing, or a range is none.

    Reference:
        Bergstra et al. 2011; Akiba et al. 2019 (Optuna).
    """
    try:
        import optuna
    except ImportError:
        raise ElusiveError('sweep.search = "tpe" needs Optuna: pip install "elusive[sweep]".') from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = _space(recipe, arm)
    # A sampler for each trial: what it draws depends on the history alone, not on how often the search was stopped.
    digest = hashlib.sha256(f"{recipe.sweep.seed} {arm} {len(before)}".encode()).digest()
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=int.from_bytes(digest[:4], "little"))
    )
    distributions = {key: _distribution(values) for key, values in space.items()}
    for trial, value in before:
        params = {key: _as_parameter(one) for key, one in trial.chosen}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=value))
    asked = study.ask(distributions)
    chosen = {key: _as_setting(asked.params[key], space[key]) for key in space}
    return trial_with(recipe, arm, chosen)


def _space(recipe: SweepRecipe, arm: str) -> dict[str, tuple[str, Sequence[Any]]]:
    """What is searched for an arm: by dotted name ("choices", values) or ("range", (low, high))."""
    grid: Mapping[str, Any] = recipe.sweep.grid | recipe.sweep.grids.get(arm, {})
    space = {key: ("choices", values) for key, values in grid.items() if depends_on(arm, key)}
    for key, ends in recipe.sweep.ranges.items():
        low, high = ends if isinstance(ends, list) and len(ends) == 2 else (math.nan, math.nan)
        numbers = all(isinstance(end, (int, float)) and not isinstance(end, bool) for end in (low, high))
        if not numbers or not low < high:
            raise ElusiveError(f"sweep.ranges: expected [low, high] for {key!r}, two numbers, got {ends!r}.")
        if depends_on(arm, key):
            space[key] = ("range", (low, high))
    return space if arm != UNTRAINED else {}


def _distribution(one: tuple[str, Sequence[Any]]) -> Any:
    import optuna

    kind, values = one
    if kind == "choices":
        return optuna.distributions.CategoricalDistribution([_as_parameter(value) for value in values])
    low, high = values
    if isinstance(low, int) and isinstance(high, int):
        return optuna.distributions.IntDistribution(low, high)
    return optuna.distributions.FloatDistribution(low, high, log=low > 0 and high / low >= _LOG_FROM)


def _as_parameter(value: Any) -> Any:
    """Optuna's choices are strings and numbers: a list is written as text."""
    return repr(list(value)) if isinstance(value, (list, tuple)) else value


def _as_setting(value: Any, one: tuple[str, Sequence[Any]]) -> Any:
    kind, values = one
    if kind == "choices":
        return next(choice for choice in values if _as_parameter(choice) == value)
    if isinstance(value, int):
        return value
    low, high = values
    return min(max(float(f"{value:.{_DIGITS}g}"), low), high)
