"""The paper's experiments as sweeps: which corpus, which model learns, which settings are tried."""

import contextlib
import copy
import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from elusive.augmentation.summary import AugmentedCorpus
from elusive.config.run import Recipe
from elusive.config.toml import from_table
from elusive.config.verbs import PretrainSettings, ReproduceSettings, SweepRecipe, SweepSettings
from elusive.corpus.readers.files import opened_source
from elusive.errors import ElusiveError
from elusive.evaluation.predictions import Questions
from elusive.experiments.selection import Outcome, questions_of, read_outcomes
from elusive.experiments.stages import corpus_of
from elusive.experiments.sweep import Announce, sweep
from elusive.experiments.trials import UNTRAINED, Trial, changed, grid_trials
from elusive.runs.files import read_json, write_json
from elusive.runs.folder import RunFolder
from elusive.runs.progress import shown
from elusive.runs.typed_json import from_json
from elusive.training.pretraining import pretrain
from elusive.training.stage import Training

from .families import ROLES, Experiment, Family, Role
from .published import published_rows

_BY_DISTANCE = ("distance", "query-distance")
ARMS_OF_TABLES: dict[int, tuple[str, ...]] = {
    1: ("plain",),
    2: ("plain", "random", "random-matched", "attention", "contrast-cues"),
    3: ("plain", "random", "random-matched", "attention", "contrast-all"),
    4: ("plain", "random", "random-matched", "attention", "contrast-all", "contrast-cues"),
    5: ("plain", "random-matched", "contrast-cues"),
    6: ("plain", "random", "random-matched", "attention", *_BY_DISTANCE, "contrast-all", "contrast-cues"),
    7: ("plain", "random", "random-matched", "attention", *_BY_DISTANCE, "contrast-all", "contrast-cues"),
    8: ("plain", "random", "random-matched", "attention", "contrast-cues"),
}
"""The paper's arms of each table; beside them random at the guided arms' rate, distance from the queries where the
paper has distance, and contrast at cues in Table 7 too."""


@dataclasses.dataclass(frozen=True)
class Done:
    """An experiment that was run: its cohorts' folders, questions and outcomes, and the seconds it took."""

    name: str
    role: Role
    experiment: Experiment
    recipes: list[SweepRecipe]
    asked: list[Questions]
    outcomes: list[Outcome]
    seconds: float


def experiments_of(family: Family, table: int) -> Iterator[tuple[str, Role, Experiment]]:
    """The experiments that a table is read off, one for each model that is trained."""
    for name, role, experiment in _experiments(family):
        if table in experiment.tables:
            yield name, role, experiment


def attempts_of(family: Family, study: str = "") -> Iterator[tuple[str, Role, Experiment]]:
    """What was tried beside the paper's tables, for one study or for the table of attempts."""
    for name, role, experiment in _experiments(family):
        if experiment.attempt and experiment.study == study:
            yield name, role, experiment


def question_sets_of(family: Family) -> Iterator[tuple[str, Role, Experiment]]:
    """Cues at the questions that are asked, and at others."""
    for name, role, experiment in _experiments(family):
        if experiment.question_sets:
            yield name, role, experiment


def _experiments(family: Family) -> Iterator[tuple[str, Role, Experiment]]:
    for name, roles in family.experiments.items():
        for role in ROLES:
            if role in roles:
                yield name, role, family.experiment(name, role)


def cohort_recipes(
    family: Family, name: str, role: Role, arms: Sequence[str], settings: ReproduceSettings
) -> list[SweepRecipe]:
    """The sweep of each cohort of an experiment.

    Args:
        family: the pair.
        name: the experiment.
        role: which model is trained.
        arms: what is compared; none where nothing is trained.
        settings: what the command line says in the place of the family's settings.

    Raises:
        ElusiveError: if the experiment needs a file that was not named, or a setting is wrong.
    """
    experiment = family.experiment(name, role)
    # Of a file of paragraphs there is one set, however many cohorts of people are asked for.
    cohorts = (settings.cohorts or experiment.cohorts or family.cohorts) if experiment.people else 1
    seeds = list(range(settings.seeds)) or list(experiment.seeds or family.seeds)
    recipes = []
    for cohort in range(1, cohorts + 1):
        table = _merged(family.recipe, experiment.recipe)
        named = {"large": settings.large or family.large.model, "small": settings.small or family.small.model}
        models = _merged({side: {"name": name} for side, name in named.items()}, table.get("models", {}))
        for side in named:
            models[side]["name"] = models[side]["name"].replace("pretrained:", f"{settings.output}/pretrained/")
        table["models"] = models | {"trained": role}
        table["corpus"] = _corpus(experiment, cohort, settings) | table.get("corpus", {})
        table["arms"] = list(arms) or ["contrast-cues"]
        table["seeds"] = seeds if cohorts == 1 else [cohort]
        place = f"{settings.output}/{name}-{role}"
        table["output"] = place if cohorts == 1 else f"{place}/cohort-{cohort}"
        table["sweep"] = _sweep(experiment, family.member(role).published, arms)
        recipe = from_table(SweepRecipe, table, f"families.toml: {name}.{role}")
        recipes.append(_overridden(recipe, settings))
    return recipes


def equal_settings(experiment: Experiment, recipe: SweepRecipe) -> tuple[dict[str, Any], ...]:
    """The settings at which all arms are compared: the experiment's, or the first value tried where its is not."""
    grid = recipe.sweep.grid
    found = [
        one | {key: values[0] for key, values in grid.items() if one.get(key) not in values} for one in experiment.equal
    ]
    return tuple(one for number, one in enumerate(found) if one not in found[:number])


def check_experiment(family: Family, name: str, role: Role, arms: Sequence[str], settings: ReproduceSettings) -> None:
    """See what an experiment would stop at, before anything is trained: settings, models, and a file of paragraphs.

    Raises:
        ElusiveError: on bad input.
    """
    from elusive.models.loading import load_configs

    recipe = cohort_recipes(family, name, role, arms, settings)[0]
    grid_trials(recipe)
    if recipe.corpus.source == settings.wikipedia:
        with opened_source(settings.wikipedia):
            pass
    for model in (recipe.models.large, recipe.models.small):
        if not model.name.startswith(f"{settings.output}/pretrained/"):
            load_configs(model)


def run_experiment(
    family: Family, name: str, role: Role, arms: Sequence[str], settings: ReproduceSettings, announce: Announce
) -> Done:
    """Run an experiment, or as much of it as is missing; its cohorts one after the other.

    Raises:
        ElusiveError: on bad input, or if a folder holds results of other settings.
    """
    recipes = cohort_recipes(family, name, role, arms, settings)
    for number, recipe in enumerate(recipes, 1):
        of = f", cohort {number} of {len(recipes)}" if len(recipes) > 1 else ""
        announce(f"{name}, {role} model{of}: {', '.join(arms)}")
        _pretrain(family, recipe, settings)
        with timed(Path(recipe.output)):
            sweep(recipe, announce=lambda line: announce(f"  {line}"))
    return read_experiment(family, name, role, recipes)


def prepare_experiment(family: Family, name: str, role: Role, settings: ReproduceSettings) -> Done:
    """The corpus of an experiment's first cohort, for figures that need no training."""
    recipes = cohort_recipes(family, name, role, (), settings)[:1]
    _pretrain(family, recipes[0], settings)
    corpus_of(recipes[0], (), RunFolder(Path(recipes[0].output)))
    return Done(name, role, family.experiment(name, role), recipes, [], [], 0.0)


def read_experiment(family: Family, name: str, role: Role, recipes: list[SweepRecipe]) -> Done:
    """What a finished experiment found."""
    runs = [RunFolder(Path(recipe.output)) for recipe in recipes]
    asked = [questions_of(run) for run in runs]
    outcomes = read_outcomes(runs, [grid_trials(recipe) for recipe in recipes], asked)
    seconds = sum(read_json(run.path / "time.json")["seconds"] for run in runs)
    experiment = family.experiment(name, role)
    experiment = dataclasses.replace(experiment, equal=equal_settings(experiment, recipes[0]))
    return Done(name, role, experiment, recipes, asked, outcomes, seconds)


@dataclasses.dataclass(frozen=True)
class Trained:
    """One training of a trial: what its texts are, and what it did."""

    recipe: SweepRecipe
    folder: Path
    """Of its texts."""
    made: AugmentedCorpus
    done: Training


def trainings_of(done: Done) -> dict[tuple[str, str], list[Trained]]:
    """All trainings of an experiment, over cohorts and seeds, by arm and the trial's name."""
    found: dict[tuple[str, str], list[Trained]] = {}
    for recipe in done.recipes:
        run = RunFolder(Path(recipe.output))
        for trial in grid_trials(recipe):
            if trial.arm != UNTRAINED:
                found.setdefault((trial.arm, trial.name), []).extend(_trained(recipe, run, trial))
    return found


def _trained(recipe: SweepRecipe, run: RunFolder, trial: Trial) -> Iterator[Trained]:
    folder = trial.texts_folder(run)
    made = from_json(AugmentedCorpus, read_json(folder / "done.json"), str(folder))
    for seed in trial.seeds:
        path = trial.model_folder(run, seed) / "done.json"
        yield Trained(recipe, folder, made, from_json(Training, read_json(path), str(path)))


@contextlib.contextmanager
def timed(folder: Path) -> Iterator[None]:
    """Add the seconds that the block took to FOLDER/time.json, also if it is stopped: work in parts adds up.

    A block that finds everything done adds nothing.
    """
    path, began = folder / "time.json", time.monotonic()
    before = read_json(path)["seconds"] if path.exists() else None
    done = _marks(folder)
    whole = False
    try:
        yield
        whole = True
    finally:
        if before is None or not whole or _marks(folder) != done:
            write_json(path, {"seconds": round((before or 0.0) + time.monotonic() - began, 1)})


def _marks(folder: Path) -> set[Path]:
    return set(folder.glob("**/done.json"))


def _pretrain(family: Family, recipe: SweepRecipe, settings: ReproduceSettings) -> None:
    """Make the family's own models that a recipe names."""
    for model in (recipe.models.large.name, recipe.models.small.name):
        name = Path(model).name
        if model != f"{settings.output}/pretrained/{name}":
            continue
        own = from_table(PretrainSettings, {**family.pretrain[name], "output": model}, f"families.toml: {name}")
        with shown(f"pretrain {name}") as progress:
            pretrain(own, progress=progress)


def _corpus(experiment: Experiment, cohort: int, settings: ReproduceSettings) -> dict[str, Any]:
    if experiment.people:
        people = settings.people or experiment.people
        return {"source": "biographies", "people": people, "seed": experiment.first_seed + cohort}
    if not settings.wikipedia:
        raise ElusiveError(
            "Tables 3 and 8 expect paragraphs with questions in SQuAD's form, got none. Give --wikipedia FILE, e.g. "
            "the paragraph-level set of Du and Cardie (2018) or SQuAD's dev-v1.1.json."
        )
    # The paper's paragraphs are whole, however long.
    return {"source": settings.wikipedia, "format": "squad", "chunk_tokens": 0}


def _sweep(experiment: Experiment, published: Mapping[str, str], arms: Sequence[str]) -> dict[str, Any]:
    at = experiment.evaluate_at_epochs
    fixed = {arm: at.get("plain" if arm == "plain" else "augmented", []) for arm in arms}
    return {
        "grid": experiment.grid,
        "grids": _published_grids(experiment, published, arms) if experiment.published_grid else {},
        "settings": {arm: {"train.evaluate_at_epochs": epochs} for arm, epochs in fixed.items() if epochs},
    }


def _published_grids(experiment: Experiment, published: Mapping[str, str], arms: Sequence[str]) -> dict[str, Any]:
    """For each arm the grid's alpha and beta, and those that the paper found best for it."""
    grids: dict[str, Any] = {}
    rows = [
        row
        for table, model in published.items()
        if int(table) in experiment.tables
        for row in published_rows(int(table))
        if row.model == model
    ]
    # The paper has no random arm at the guided arms' rate: it is tried at the contrast's settings.
    contrast = "contrast-cues" if any(row.arm == "contrast-cues" for row in rows) else "contrast-all"
    for arm in arms:
        own = {"augment.alpha": [], "augment.beta": []}
        for row in rows:
            if row.arm == (arm if arm != "random-matched" else contrast):
                own["augment.alpha"].append(row.alpha)
                own["augment.beta"].append(row.beta)
        for key, values in own.items():
            found = dict.fromkeys([*experiment.grid.get(key, []), *(value for value in values if value is not None)])
            if found:
                grids.setdefault(arm, {})[key] = sorted(found)
    return grids


def _overridden(recipe: SweepRecipe, settings: ReproduceSettings) -> SweepRecipe:
    """The recipe with what the command line says in the place of its settings."""
    sections = [one.name for one in dataclasses.fields(recipe) if dataclasses.is_dataclass(getattr(recipe, one.name))]
    for key in settings.set:
        section, _, name = key.partition(".")
        if not name or section == "sweep" or section not in sections:
            known = ", ".join(one for one in sections if one != "sweep")
            raise ElusiveError(f'--set: expected settings of {known} by dotted name, e.g. "train.epochs", got {key!r}.')
        if key in settings.grid:
            raise ElusiveError(f"{key} stands in --grid and in --set. Expected it in one of them.")
    run = changed(recipe, settings.set, "--set")
    return SweepRecipe(
        **{one.name: getattr(run, one.name) for one in dataclasses.fields(run)},
        sweep=_overridden_sweep(recipe.sweep, run, settings),
    )


def _overridden_sweep(tried: SweepSettings, run: Recipe, settings: ReproduceSettings) -> SweepSettings:
    """What is tried: each setting of --grid with its values there, one of --set with its value alone."""
    of_arms = [key for grid in tried.grids.values() for key in grid]
    fixed = {key: [value] for key, value in settings.set.items() if key in (*tried.grid, *of_arms)}
    grid = tried.grid | settings.grid | fixed
    said = settings.grid.keys() | fixed.keys()
    grids = {arm: {key: own[key] for key in own if key not in said} for arm, own in tried.grids.items()}
    asked = {} if "train.evaluate_at_epochs" in settings.set else tried.settings
    if "train.epochs" in settings.set and not run.train.max_steps:
        asked = {
            arm: one
            | {"train.evaluate_at_epochs": [at for at in one["train.evaluate_at_epochs"] if at < run.train.epochs]}
            for arm, one in asked.items()
        }
    return dataclasses.replace(tried, grid=grid, grids=grids, settings=asked)


def _merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = copy.deepcopy(dict(base))
    for key, value in more.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else copy.deepcopy(value)
    return merged
