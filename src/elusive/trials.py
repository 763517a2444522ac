"""Trials: an arm with one choice of settings, and the trials that a grid of settings makes."""

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .config import Recipe
from .errors import ElusiveError
from .recipes import from_table, to_table
from .verb_config import SweepRecipe

UNTRAINED = "untrained"
"""Name of the model before training, in the place of an arm."""
SECTIONS = ("train", "augment", "score", "models")
"""Sections of a recipe whose settings can be swept."""
_READING = re.compile(r"score\.|models\.(large|small)_(layers|heads)$")
"""Settings that say how attention is read out."""
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Trial:
    """One arm with one choice of settings, trained once with each seed; `untrained` stands for the model before that.

    Attributes:
        arm: a key of dropout.ARMS, or untrained.
        recipe: all its settings.
        name: its folder among those of the arm's other trials, from the settings chosen; empty where there is one.
        texts: the same of its augmented texts, which several trials may share.
        reading: the same of the scores behind these.
        chosen: the settings that were chosen, by dotted name.
    """

    arm: str
    recipe: Recipe
    name: str = ""
    texts: str = ""
    reading: str = ""
    chosen: tuple[tuple[str, Any], ...] = ()

    @property
    def seeds(self) -> tuple[int, ...]:
        """The training seeds; the untrained model is asked once."""
        return (0,) if self.arm == UNTRAINED else self.recipe.seeds

    @property
    def label(self) -> str:
        """For progress and tables."""
        return f"{self.arm} {self.name}".strip()

    def texts_folder(self, run: Path) -> Path:
        """RUN/augmented/ARM, or a folder in it."""
        return run / "augmented" / self.arm / self.texts

    def model_folder(self, run: Path, seed: int) -> Path:
        """RUN/models/ARM/seed-N, or with the trial's name between the two."""
        return run / "models" / self.arm / self.name / f"seed-{seed}"

    def answers_folder(self, run: Path, seed: int) -> Path:
        """RUN/evaluation/ARM/seed-N, or with the trial's name between the two."""
        return run / "evaluation" / self.arm / self.name / f"seed-{seed}"


def trials_of(recipe: Recipe) -> list[Trial]:
    """The trials of a run: one for each arm, and the model before training."""
    return [Trial(arm, recipe) for arm in (UNTRAINED, *recipe.arms)]


def grid_trials(recipe: SweepRecipe) -> list[Trial]:
    """Every trial of a sweep's grid, arm by arm; those that differ in nothing the arm depends on are one.

    Raises:
        ElusiveError: if a setting cannot be swept, or a value is not one of its.
    """
    trials: dict[tuple[str, str], Trial] = {}
    for arm in (UNTRAINED, *recipe.arms):
        for chosen in _choices(recipe, arm):
            trial = trial_with(recipe, arm, chosen)
            trials.setdefault((arm, trial.name), trial)
    return list(trials.values())


def trial_with(recipe: SweepRecipe, arm: str, chosen: Mapping[str, Any]) -> Trial:
    """One arm's trial with chosen settings by dotted name; those that it does not depend on are left out.

    Raises:
        ElusiveError: if a setting cannot be swept, or a value is not one of its.
    """
    fixed = recipe.sweep.settings.get(arm, {})
    for key in (*chosen, *fixed):
        _check_key(key)
    used = {key: value for key, value in chosen.items() if depends_on(arm, key)}
    for_texts = {key: value for key, value in used.items() if _shapes_texts(key)}
    for_scores = {key: value for key, value in used.items() if _changes_scores(key, value)}
    return Trial(
        arm,
        changed(recipe, fixed | used, f"sweep, arm {arm}"),
        name=name_of(used),
        texts=name_of(for_texts),
        reading=name_of(for_scores),
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
        section, name = key.split(".", 1)
        table[section][name] = value
    return from_table(Recipe, table, where)


def depends_on(arm: str, key: str) -> bool:
    """Whether an arm's result depends on a setting, by dotted name."""
    section, name = key.split(".", 1)
    if section == "train":
        return arm != UNTRAINED or name in ("model", "revision")
    if key == "score.queries":
        return arm in ("random-matched", "distance", "attention")
    if _READING.match(key):
        return arm in ("attention", "contrast-all", "contrast-cues")
    if section == "augment":
        if arm == "random":
            return name not in ("beta", "unseen_tokens")
        return arm not in (UNTRAINED, "plain")
    return True


def name_of(chosen: Mapping[str, Any]) -> str:
    """A folder's name from chosen settings: learning_rate-0.002,beta-0.05; a hash ends one that would be too long."""
    name = ",".join(f"{key.split('.', 1)[1]}-{_word(value)}" for key, value in chosen.items())
    if len(name) > _LONGEST_NAME:
        name = f"{name[:_LONGEST_NAME]}-{hashlib.sha256(repr(sorted(chosen.items())).encode()).hexdigest()[:8]}"
    return name


def _word(value: Any) -> str:
    words = "+".join(map(str, value)) or "all" if isinstance(value, Sequence) and not isinstance(value, str) else value
    return re.sub(r"[^\w.+-]", "-", str(words))


def _shapes_texts(key: str) -> bool:
    return not key.startswith("train.") or key in ("train.model", "train.revision")


def _changes_scores(key: str, value: Any) -> bool:
    # Large and small are read anyway; another model that learns is read beside them.
    return key.startswith(("score.", "models.")) or (key == "train.model" and value not in ("large", "small"))


def _choices(recipe: SweepRecipe, arm: str) -> Iterator[dict[str, Any]]:
    """Each combination of the grid's values for one arm."""
    grid = recipe.sweep.grid | recipe.sweep.grids.get(arm, {})
    for key, values in grid.items():
        _check_key(key)
        if not isinstance(values, list) or not values:
            raise ElusiveError(f"sweep.grid: expected a list of values for {key!r}, got {values!r}.")
    for combination in itertools.product(*grid.values()):
        yield dict(zip(grid, combination, strict=True))


def _check_key(key: str) -> None:
    section, _, name = key.partition(".")
    if section not in SECTIONS or not name:
        raise ElusiveError(
            f'sweep: expected settings of {", ".join(SECTIONS)} by dotted name, e.g. "train.learning_rate", '
            f"got {key!r}."
        )
