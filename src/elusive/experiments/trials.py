"""Trials: an arm with one choice of settings, and the trials that a grid of settings makes."""

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elusive.augmentation.arms import ARMS, arm_named
from elusive.config.run import Recipe
from elusive.config.toml import from_table, setting_of, to_table, with_setting
from elusive.config.verbs import SweepRecipe
from elusive.errors import ElusiveError
from elusive.runs.folder import RunFolder

UNTRAINED = "untrained"
"""Name of the model before training, in the place of an arm."""


AVERAGE = "train.average"
"""The setting whose values share one training, if 1 is among them."""


SECTIONS = ("train", "augment", "score", "models", "rewrite")
"""Sections of a recipe whose settings can be swept."""


_WEIGHED = ("score.renormalise", "score.max_batch_tokens", "score.packed", "score.shard_documents")
"""Settings of `score` that change scores at most; the others change which tokens a query sees too."""


_MODEL = re.compile(r"models\.(large|small|other)\.(\w+)$")


_LONGEST_NAME = 100


_UNSAFE = re.compile(r"[^\w.+-]")


@dataclass(frozen=True)
class Trial:
    """One arm with one choice of settings, trained once with each seed; `untrained` stands for the model before that.

    Attributes:
        arm: a key of arms.ARMS, or untrained.
        recipe: all its settings.
        name: its folder among those of the arm's other trials, from the settings chosen; empty where there is one.
        texts: the same of its augmented texts, which several trials may share.
        score_settings: the same of the scores behind these.
        chosen: the settings that were chosen, by dotted name.
    """

    arm: str
    recipe: Recipe
    name: str = ""
    texts: str = ""
    score_settings: str = ""
    chosen: tuple[tuple[str, Any], ...] = ()

    @property
    def seeds(self) -> tuple[int, ...]:
        """The training seeds; the untrained model is asked once."""
        return (0,) if self.arm == UNTRAINED else self.recipe.seeds

    @property
    def label(self) -> str:
        """For progress and tables."""
        return f"{self.arm} {self.name}".strip()

    def texts_folder(self, run: RunFolder) -> Path:
        """Where its training texts lie."""
        return run.augmented(self.arm, self.texts)

    def model_folder(self, run: RunFolder, seed: int) -> Path:
        """Where the model lies that was trained with a seed."""
        return run.model(self.arm, seed, self.name)

    def answers_folder(self, run: RunFolder, seed: int) -> Path:
        """Where the answers of that model lie."""
        return run.answers(self.arm, seed, self.name)


def trials_of(recipe: Recipe) -> list[Trial]:
    """The trials of a run: one for each arm, and the model before training.

    Raises:
        ElusiveError: if there is no arm of a name.
    """
    return [Trial(UNTRAINED, recipe), *(Trial(arm_named(arm, "arms").name, recipe) for arm in recipe.arms)]


def grid_trials(recipe: SweepRecipe) -> list[Trial]:
    """Every trial of a sweep's grid, arm by arm; those that differ in nothing the arm depends on are one.

    Raises:
        ElusiveError: if there is no arm of a name, a setting cannot be swept, or a value is not one of its.
    """
    _check_arms(recipe)
    _check_unused(recipe)
    trials: dict[tuple[str, Any], Trial] = {}
    for arm in (UNTRAINED, *recipe.arms):
        for chosen in _choices(recipe, arm):
            trial = trial_with(recipe, arm, chosen)
            trials.setdefault((arm, _comparable(trial.chosen)), trial)
    return list(trials.values())


def grid_of(recipe: SweepRecipe, arm: str) -> dict[str, list[Any]]:
    """The values that are tried for one arm, by dotted name: its own, or those of all arms; none of what is fixed.

    Raises:
        ElusiveError: if a setting cannot be swept, there is no list of values, or a setting is tried and fixed.
    """
    own, fixed = recipe.sweep.grids.get(arm, {}), recipe.sweep.settings.get(arm, {})
    for name, table in (("grid", recipe.sweep.grid), (f"grids.{arm}", own)):
        for key, values in table.items():
            check_key(key, f"sweep.{name}")
            if not isinstance(values, list) or not values:
                raise ElusiveError(f"sweep.{name}: expected a list of values for {key!r}, got {values!r}.")
    for key in fixed:
        check_key(key, f"sweep.settings.{arm}")
        if key in own:
            raise ElusiveError(f"{key!r}: expected in sweep.grids.{arm} or in sweep.settings.{arm}, got it in both.")
    return {key: values for key, values in (recipe.sweep.grid | own).items() if key not in fixed}


def trial_with(recipe: SweepRecipe, arm: str, chosen: Mapping[str, Any]) -> Trial:
    """One arm's trial with chosen settings by dotted name; those that it does not depend on are left out.

    Raises:
        ElusiveError: if a value is not one of its setting's.
    """
    fixed = recipe.sweep.settings.get(arm, {})
    used = {key: chosen[key] for key in sorted(chosen, key=_place) if depends_on(recipe, arm, key)}
    run = changed(recipe, fixed | used, f"sweep, arm {arm}")
    return Trial(
        arm,
        run,
        name=name_of(used),
        texts=name_of({key: value for key, value in used.items() if _shapes_texts(key)}),
        # An arm's own fixed settings too: other arms do not share its scores then.
        score_settings=name_of({key: value for key, value in (fixed | used).items() if _changes_scores(key, run)}),
        chosen=tuple(used.items()),
    )


def changed(recipe: SweepRecipe, settings: Mapping[str, Any], where: str) -> Recipe:
    """The recipe of a run with some settings, by dotted name, in the place of its own.

    Raises:
        ElusiveError: if one is unknown or of a wrong type or range; says `where`.
    """
    table = to_table(recipe)
    del table["sweep"]
    for key, value in settings.items():
        if not isinstance(table.get(key.partition(".")[0]), dict):
            sections = ", ".join(one for one, inside in table.items() if isinstance(inside, dict))
            raise ElusiveError(f"{where}: expected settings of {sections} by dotted name, got {key!r}.")
        table = with_setting(table, key, value)
    return from_table(Recipe, table, where)


def depends_on(recipe: SweepRecipe, arm: str, key: str) -> bool:
    """Whether an arm's result depends on a setting, by dotted name."""
    section = key.partition(".")[0]
    if section == "train":
        return arm != UNTRAINED and ARMS[arm].trains_with(key.partition(".")[2])
    if found := _MODEL.match(key):
        # A model counts where its attention is captured, and where it is trained.
        trained = found[1] in _possible(recipe, arm, "models.trained")
        by_head = found[2] in ("layers", "heads")
        return found[1] in _models_read(recipe, arm) or (trained and not by_head)
    if section == "models":
        return True
    if arm == UNTRAINED or not ARMS[arm].alters:
        return False
    if section == "rewrite":
        return ARMS[arm].rewrites is not None
    if key in ("score.excluded_tokens", "score.sink"):  # never dropped, however the others are, and no part of clues
        return ARMS[arm].drops or ARMS[arm].clues is not None
    if key in _WEIGHED:
        return bool(_models_read(recipe, arm))
    if section == "augment":
        return ARMS[arm].uses(key.partition(".")[2])
    if ARMS[arm].clues:
        return True
    if not ARMS[arm].drops:
        return False
    if not ARMS[arm].ranked and ARMS[arm].signal is None:
        # Its rate is alpha; of the queries it knows only that tokens which none of them sees may be kept,
        # and of the head fields that they may be protected.
        kept = "keep" in _possible(recipe, arm, "augment.unseen_tokens")
        spares = ARMS[arm].spares or any(_possible(recipe, arm, "augment.protected_spans"))
        return kept or (bool(spares) and key == "score.head_fields")
    return True


def _models_read(recipe: SweepRecipe, arm: str) -> set[str]:
    """Roles of the models whose attention decides what an arm drops."""
    if arm == UNTRAINED:
        return set()
    roles = _possible(recipe, arm, "models.trained")
    read = [one for role in roles for one in ARMS[arm].reads(role, recipe.score.queries)]
    return {one.model for one in read if one.measure == "attention"}


def name_of(chosen: Mapping[str, Any]) -> str:
    """A folder's name from chosen settings: learning_rate-0.002,beta-0.05; no two choices share one.

    A hash ends a name that would be too long, or that other values would have too.
    """
    in_order = {key: chosen[key] for key in sorted(chosen, key=_place)}
    name = ",".join(f"{_short(key)}-{_word(key, value)}" for key, value in in_order.items())
    if len(name) > _LONGEST_NAME or not all(map(_is_exact, chosen.values())):
        name = f"{name[:_LONGEST_NAME]}-{hashlib.sha256(repr(sorted(chosen.items())).encode()).hexdigest()[:8]}"
    return name


def check_key(key: str, where: str) -> None:
    """Refuse a name that is no setting which can be swept; says `where`."""
    section, _, name = key.partition(".")
    if section not in SECTIONS or not name:
        raise ElusiveError(
            f"sweep: expected settings of {', '.join(SECTIONS)} by dotted name in quotes, e.g. "
            f'"train.learning_rate", got {key!r} in {where}.'
        )
    if key == "train.seed":
        raise ElusiveError(f'{where}: "train.seed" is not chosen. Give training seeds in `seeds`: each trial has all.')


def _place(key: str) -> tuple[int, str]:
    """Where a setting stands in names, whatever its place in the recipe."""
    return SECTIONS.index(key.partition(".")[0]), key


def _short(key: str) -> str:
    """A setting's name without its section: learning_rate, large_heads."""
    return key.split(".", 1)[1].replace(".", "_")


def empty_list(key: str) -> str:
    """What an empty list of a setting stands for: all layers and heads, and nothing of any other."""
    return "all" if key.endswith((".layers", ".heads")) else "none"


def _word(key: str, value: Any) -> str:
    words = value
    if isinstance(value, Sequence) and not isinstance(value, str):
        words = "+".join(map(str, value)) or empty_list(key)
    return _UNSAFE.sub("-", str(words))


def _is_exact(value: Any) -> bool:
    """Whether no other value of the setting is written alike in a name."""
    if isinstance(value, list):
        return value not in (["all"], ["none"]) and not any(
            one == "" or "+" in str(one) or _UNSAFE.search(str(one)) for one in value
        )
    return not _UNSAFE.search(str(value))


def _comparable(chosen: Sequence[tuple[str, Any]]) -> Any:
    """Chosen settings by value: 10 and 10.0 are one."""
    return tuple((key, value if isinstance(value, (int, float)) else repr(value)) for key, value in chosen)


def _shapes_texts(key: str) -> bool:
    return not key.startswith("train.") or key == "models.trained"


def _changes_scores(key: str, run: Recipe) -> bool:
    # Large and small are scored anyway; the other model only where it is trained.
    if key == "models.trained":
        return run.models.trained == "other"
    if key == "score.excluded_tokens":
        return run.score.renormalise
    return key.startswith(("score.", "models."))


def _choices(recipe: SweepRecipe, arm: str) -> Iterator[dict[str, Any]]:
    """Each combination of the grid's values for one arm."""
    grid = {key: values for key, values in grid_of(recipe, arm).items() if depends_on(recipe, arm, key)}
    for combination in itertools.product(*grid.values()):
        yield dict(zip(grid, combination, strict=True))


def _possible(recipe: SweepRecipe, arm: str, key: str) -> list[Any]:
    """The values that a setting may have for an arm."""
    tried = [setting_of(to_table(recipe), key)]
    if key in recipe.sweep.settings.get(arm, {}):
        return [recipe.sweep.settings[arm][key]]
    return recipe.sweep.grids.get(arm, {}).get(key) or recipe.sweep.grid.get(key) or tried


def _check_arms(recipe: SweepRecipe) -> None:
    for arm in recipe.arms:
        arm_named(arm, "arms")
    for name in ("grids", "settings"):
        for arm in getattr(recipe.sweep, name):
            if arm not in ARMS:
                raise ElusiveError(f"sweep.{name}: expected tables of arms ({', '.join(ARMS)}), got {arm!r}.")


def _check_unused(recipe: SweepRecipe) -> None:
    """Refuse bad values of settings that an arm is given and does not depend on."""
    for arm in recipe.arms:
        for key, values in grid_of(recipe, arm).items():
            if not depends_on(recipe, arm, key):
                for value in values:
                    changed(recipe, {key: value}, f"sweep, arm {arm}")
