"""What of a run is done, and what is not yet: a report can be written while models are still trained."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from elusive.augmentation.arms import ARMS
from elusive.config.run import Recipe
from elusive.experiments.trials import UNTRAINED
from elusive.runs.folder import RunFolder


@dataclass(frozen=True)
class Standing:
    """How far a run is.

    Attributes:
        texts: arms whose training texts are written.
        trained: of each arm the seeds that it is trained with, where there are any.
        evaluated: arms that have answered the questions, `untrained` first; all of them after the same seeds.
        seeds: these seeds; of a run without answers all that the recipe names.
        missing: what is not done, in words; empty for a finished run.
    """

    texts: tuple[str, ...]
    trained: dict[str, tuple[int, ...]]
    evaluated: tuple[str, ...]
    seeds: tuple[int, ...]
    missing: tuple[str, ...] = ()


def standing_of(run: RunFolder, recipe: Recipe, *, asked: bool) -> Standing:
    """How far a run is, by the marks that its stages leave.

    Args:
        run: the run folder.
        recipe: its recipe.
        asked: whether the corpus brings questions.
    """
    arms, seeds = recipe.arms, recipe.seeds
    texts = tuple(arm for arm in arms if _done(run.augmented(arm)))
    trained = {arm: tuple(seed for seed in seeds if _done(run.model(arm, seed))) for arm in arms}
    answered = {arm: tuple(seed for seed in seeds if asked and _done(run.answers(arm, seed))) for arm in arms}
    shared, together = _comparable(answered)
    before = asked and _done(run.answers(UNTRAINED, 0))
    without = [arm for arm in arms if arm not in texts and arm in ARMS]
    trained_as, queries = recipe.models.trained, recipe.score.queries
    needed = dict.fromkeys(one for arm in without for one in ARMS[arm].needs(trained_as, queries))
    missing = _lacking("score", {one.name: () if _done(run.scores(one)) else (None,) for one in needed})
    missing += _lacking("augment", {arm: () if arm in texts else (None,) for arm in arms})
    missing += _lacking("train", _without(trained, seeds))
    if asked:
        # What is not trained cannot be evaluated: it is named once.
        missing += _lacking("evaluate", {UNTRAINED: () if before else (None,)} | _less(trained, answered))
    return Standing(
        texts=texts,
        trained={arm: done for arm, done in trained.items() if done},
        evaluated=((UNTRAINED,) if before else ()) + together,
        seeds=shared or seeds,
        missing=tuple(missing),
    )


def _done(folder: Path) -> bool:
    return (folder / "done.json").exists()


def _comparable(answered: Mapping[str, Sequence[int]]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The seeds that most arms were evaluated after, and these arms; every other seed that they share comes along."""
    seeds = list(dict.fromkeys(seed for of_arm in answered.values() for seed in of_arm))
    if not seeds:
        return (), ()
    first = max(seeds, key=lambda seed: sum(seed in of_arm for of_arm in answered.values()))
    arms = tuple(arm for arm, of_arm in answered.items() if first in of_arm)
    return tuple(seed for seed in answered[arms[0]] if all(seed in answered[arm] for arm in arms)), arms


def _without(done: Mapping[str, Sequence[int]], seeds: Sequence[int]) -> dict[str, tuple[int, ...]]:
    return {arm: tuple(seed for seed in seeds if seed not in of_arm) for arm, of_arm in done.items()}


def _less(done: Mapping[str, Sequence[int]], after: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    return {arm: tuple(seed for seed in of_arm if seed not in after[arm]) for arm, of_arm in done.items()}


def _lacking(stage: str, left: Mapping[str, Iterable[int | None]]) -> list[str]:
    """A line for a stage that is not done: of which arms, and after which seeds."""
    parts = []
    for arm, seeds in left.items():
        numbers = [seed for seed in seeds if seed is not None]
        if seeds:
            parts.append(arm + (f" (seed {', '.join(map(str, numbers))})" if numbers else ""))
    return [f"{stage}: {', '.join(parts)}"] if parts else []
