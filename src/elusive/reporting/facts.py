"""When and where a run was made, and how long it took: what run.json and the marks of its stages say."""

from collections.abc import Iterable
from pathlib import Path

from elusive.augmentation.arms import ARMS
from elusive.config.run import Recipe
from elusive.experiments.trials import UNTRAINED
from elusive.runs.files import read_json
from elusive.runs.folder import RunFolder, known_answers
from elusive.scoring.sets import sets_in

from .results import RunFacts
from .standing import Standing


def run_facts(run: RunFolder, recipe: Recipe, standing: Standing) -> RunFacts:
    """What is known of a run's making; a stage that is not done yet took no time.

    Args:
        run: the run folder.
        recipe: its recipe.
        standing: what is done.
    """
    made = read_json(run.versions) if run.versions.exists() else {}
    answers = [run.answers(arm, seed) for arm in recipe.arms for seed in recipe.seeds] + [run.answers(UNTRAINED, 0)]
    return RunFacts(
        date=str(made.get("date", "")),
        hardware=_hardware(made),
        seconds={
            "score": _seconds(sets_in(run.scores_folder()).values()),
            "train": _seconds(run.model(arm, seed) for arm, seeds in standing.trained.items() for seed in seeds),
            "evaluate": _seconds([*answers, *map(known_answers, answers)]),
        },
    )


def scoring_seconds(run: RunFolder, recipe: Recipe, arm: str) -> float | None:
    """How long the attention behind an arm's texts took to capture; None for an arm that needs no model's scores."""
    if arm not in ARMS or not (sets := ARMS[arm].reads(recipe.models.trained, recipe.score.queries)):
        return None
    return _seconds(run.scores(one) for one in dict.fromkeys(sets))


def _hardware(made: dict[str, object]) -> str:
    gpu = str(made.get("device", ""))
    cores = f"{made['cores']} cores" if made.get("cores") else ""
    parts = [gpu if gpu != "cpu" else "", str(made.get("cpu", "")), cores]
    return ", ".join(part for part in parts if part) or gpu


def _seconds(folders: Iterable[Path]) -> float:
    """Seconds that these stages took, one after another."""
    marks = [folder / "done.json" for folder in folders]
    return sum(float(read_json(mark).get("seconds") or 0.0) for mark in marks if mark.exists())
