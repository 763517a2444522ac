"""Several runs side by side: one table of arms by runs with intervals, and the settings in which the runs differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elusive.config.run import Recipe
from elusive.config.toml import load_recipe, to_table
from elusive.errors import ElusiveError
from elusive.runs.files import file_hash, write_text
from elusive.runs.folder import RunFolder

from .collecting import collect
from .results import Results
from .tokens import read_documents


@dataclass(frozen=True)
class ComparedRun:
    """A run in a comparison.

    Attributes:
        name: what tells its folder from those of the others.
        run: the folder.
        recipe: its recipe.
        results: its numbers as they are now.
        questions: a hash of its questions; empty where it has none.
    """

    name: str
    run: RunFolder
    recipe: Recipe
    results: Results
    questions: str


@dataclass(frozen=True)
class Comparison:
    """Several runs side by side.

    Attributes:
        runs: in the order they were given.
        settings: the settings in which they differ, by dotted name: the value of each run, as text.
    """

    runs: tuple[ComparedRun, ...]
    settings: dict[str, tuple[str, ...]]

    @property
    def arms(self) -> list[str]:
        """The arms of all runs, each once."""
        return list(dict.fromkeys(arm for one in self.runs for arm in one.results.arms))

    @property
    def same_questions(self) -> bool:
        """Whether all runs were asked the same questions about the same documents."""
        return len({one.questions for one in self.runs}) == 1


def compare(folders: Sequence[str | Path]) -> Comparison:
    """Read several runs.

    Args:
        folders: run folders, at least two; a run that goes on is shown as far as it is.

    Raises:
        ElusiveError: if one is given twice, or is no run folder, or its corpus is not written.
    """
    runs = [RunFolder.open(folder) for folder in folders]
    real = [run.path.resolve() for run in runs]
    if len(set(real)) < max(len(real), 2):
        raise ElusiveError(f"Expected two or more different run folders, got {', '.join(map(str, folders))}.")
    names = _names(real)
    compared = tuple(_compared(name, run) for name, run in zip(names, runs, strict=True))
    return Comparison(compared, _differing([to_table(one.recipe) for one in compared]))


def write_comparison(folders: Sequence[str | Path], path: str | Path) -> Path:
    """Write the page that compares several runs; an earlier file is replaced.

    Args:
        folders: run folders, at least two.
        path: the page, an HTML file.

    Returns:
        The page.

    Raises:
        ElusiveError: as `compare`, or if the page would not be an HTML file.
    """
    from .page.templates import page_text  # templates load slowly

    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ElusiveError(f"--output: expected the name of an HTML file for the comparison, got {str(path)!r}.")
    found = compare(folders)
    links = [_link(one.run.report / "index.html", path.resolve().parent) for one in found.runs]
    write_text(path, page_text("comparison.html", compared=found, links=links))
    return path


def _compared(name: str, run: RunFolder) -> ComparedRun:
    recipe, documents = load_recipe(run.recipe, Recipe), read_documents(run)
    asked = run.questions.exists() and run.questions.stat().st_size > 0
    results = collect(run, recipe, documents, {})
    return ComparedRun(name, run, recipe, results, file_hash(run.questions) if asked else "")


def _names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart: their last parts, or those and what stands before."""
    names: list[str] = []
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names


def _differing(tables: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Settings that are not the same in all tables; titles and folders say nothing of how a run was made."""
    flat = [dict(_flat(table)) for table in tables]
    names = dict.fromkeys(name for one in flat for name in one if name not in ("output", "title"))
    values = {name: tuple(one.get(name, "-") for one in flat) for name in names}
    return {name: given for name, given in values.items() if len(set(given)) > 1}


def _flat(table: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in table.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{before}{name}.")
        else:
            found.append((before + name, _text(value)))
    return found


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value)) or "none"
    return str(value).lower() if isinstance(value, bool) else str(value) or "none"


def _link(page: Path, folder: Path) -> str:
    """The address of a run's own page, where there is one."""
    from .page.links import relative

    return relative(page.resolve(), folder) if page.exists() else ""
