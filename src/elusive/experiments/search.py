"""The next trial of an arm, chosen by Optuna's TPE from what was tried before."""

import hashlib
import typing
from collections.abc import Sequence
from typing import Any, NamedTuple

from elusive.config.run import Recipe
from elusive.config.verbs import SweepRecipe
from elusive.errors import ElusiveError

from .trials import Trial, changed, check_key, depends_on, grid_of, trial_with

_LOG_FROM = 10.0
"""A range whose ends are so many times apart is searched by its logarithm."""


_DIGITS = 3
"""Numbers from ranges are rounded to so many digits: they name folders, and finer ones mean nothing."""


class _Choices(NamedTuple):
    values: list[Any]


class _Range(NamedTuple):
    low: float
    high: float
    whole: bool


def check_search(recipe: SweepRecipe) -> None:
    """Refuse what cannot be searched, before anything is done.

    Raises:
        ElusiveError: if Optuna is missing, a range is none or reaches values that its setting cannot have, or there
            is nothing to search.
    """
    _optuna()
    for key in recipe.sweep.ranges:
        if key in recipe.sweep.grid:
            raise ElusiveError(f"{key!r}: expected in sweep.grid or in sweep.ranges, got it in both.")
    for arm in recipe.arms:
        space, fixed = _space(recipe, arm), recipe.sweep.settings.get(arm, {})
        for key, ends in recipe.sweep.ranges.items():
            for end in ends:
                # The ends of a range are values of its setting, also where the arm does not depend on it.
                changed(recipe, (fixed if key in space else {}) | {key: end}, f"sweep.ranges, arm {arm}")
    if not searched_arms(recipe):
        raise ElusiveError(
            'sweep.search = "tpe" expects sweep.grid or sweep.ranges to hold a setting that one of the arms '
            f"({', '.join(recipe.arms)}) depends on, got none."
        )


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
    optuna = _optuna()
    space = _space(recipe, arm)
    # A sampler for each trial: what it draws depends on the history alone, not on how often the search was stopped.
    digest = hashlib.sha256(f"{recipe.sweep.seed} {arm} {len(before)}".encode()).digest()
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=int.from_bytes(digest[:4], "little"))
    )
    distributions = {key: _distribution(one) for key, one in space.items()}
    for trial, value in before:
        params = {key: _as_parameter(one) for key, one in trial.chosen}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=value))
    asked = study.ask(distributions)
    return trial_with(recipe, arm, {key: _as_setting(asked.params[key], one) for key, one in space.items()})


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise ElusiveError('sweep.search = "tpe" needs Optuna: pip install "elusive[sweep]".') from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _space(recipe: SweepRecipe, arm: str) -> dict[str, _Choices | _Range]:
    """What is searched for an arm, by dotted name; an arm's own values take the place of a range."""
    ranges = {key: _range(key, ends) for key, ends in recipe.sweep.ranges.items()}
    grid = {key: _Choices(_unique(values)) for key, values in grid_of(recipe, arm).items()}
    fixed = recipe.sweep.settings.get(arm, {})
    space = {key: one for key, one in (ranges | grid).items() if key not in fixed and depends_on(recipe, arm, key)}
    return {key: space[key] for key in sorted(space)}


def _range(key: str, ends: Any) -> _Range:
    check_key(key, "sweep.ranges")
    section, name = key.split(".", 1)
    hint = typing.get_type_hints(type(getattr(Recipe(), section))).get(name)
    if hint not in (int, float, None):  # an unknown name is refused with the settings near it
        raise ElusiveError(f"sweep.ranges: expected settings that are numbers, got {key!r}. List its values in a grid.")
    kinds = (int,) if hint is int else (int, float)
    words = "two whole numbers" if hint is int else "two numbers"
    numbers = isinstance(ends, list) and len(ends) == 2 and all(type(end) in kinds for end in ends)
    if not numbers or not ends[0] < ends[1]:
        raise ElusiveError(f"sweep.ranges: expected [low, high] for {key!r}, {words}, got {ends!r}.")
    low, high = ends if hint is int else map(float, ends)
    return _Range(low, high, whole=hint is int)


def _distribution(one: _Choices | _Range) -> Any:
    import optuna

    if isinstance(one, _Choices):
        return optuna.distributions.CategoricalDistribution([_as_parameter(value) for value in one.values])
    if one.whole:
        return optuna.distributions.IntDistribution(int(one.low), int(one.high))
    return optuna.distributions.FloatDistribution(
        one.low, one.high, log=one.low > 0 and one.high / one.low >= _LOG_FROM
    )


def _unique(values: Sequence[Any]) -> list[Any]:
    return [value for place, value in enumerate(values) if value not in values[:place]]


def _as_parameter(value: Any) -> Any:
    """Optuna's choices are strings and numbers: lists and tables are written as text."""
    return repr(value) if isinstance(value, (list, dict)) else value


def _as_setting(value: Any, one: _Choices | _Range) -> Any:
    if isinstance(one, _Choices):
        return next(choice for choice in one.values if _as_parameter(choice) == value)
    if one.whole:
        return value
    return min(max(float(f"{value:.{_DIGITS}g}"), one.low), one.high)
