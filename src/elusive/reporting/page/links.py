"""Links from the report's folder to the files of the run behind it."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from elusive.augmentation.rankings import RANKING
from elusive.config.run import Recipe
from elusive.evaluation.predictions import PREDICTIONS
from elusive.experiments.trials import UNTRAINED
from elusive.runs.folder import RunFolder


@dataclass(frozen=True)
class Link:
    """A link to a file.

    Attributes:
        name: the file, as readers see it.
        href: its address relative to the page.
    """

    name: str
    href: str


def links_of(run: RunFolder, recipe: Recipe) -> dict[str, list[Link]]:
    """Links to the files that a run holds, by what these are; from the folder of its report.

    Args:
        run: the run folder.
        recipe: its arms and seeds.
    """
    arms, trained = recipe.arms, [(arm, seed) for arm in recipe.arms for seed in recipe.seeds]
    answers = [run.answers(UNTRAINED, 0), *(run.answers(arm, seed) for arm, seed in trained)]
    own = [Link(name, name) for name in ("results.json", "results.md")]
    groups = {
        "Results and settings": [*own, *_links(run, (run.recipe, run.versions))],
        "Corpus": _links(run, (run.documents, run.questions, run.quarantine)),
        "Training texts and rankings": _links(
            run, (run.augmented(arm) / name for arm in arms for name in ("train.jsonl", RANKING))
        ),
        "Loss of each training": _links(run, (run.metrics(arm, seed) for arm, seed in trained)),
        "Answers": _links(run, (folder / PREDICTIONS for folder in answers)),
    }
    return {name: links for name, links in groups.items() if links}


def relative(path: Path, folder: Path) -> str:
    """The address of a file from a page in a folder."""
    return quote(Path(os.path.relpath(path, folder)).as_posix())


def _links(run: RunFolder, paths: Iterable[Path]) -> list[Link]:
    there = (path for path in paths if path.exists() and path.stat().st_size)
    return [Link(path.relative_to(run.path).as_posix(), relative(path, run.report)) for path in there]
