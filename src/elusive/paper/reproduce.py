"""`elusive reproduce`: the paper's tables and figures, run and set beside its numbers."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from elusive.augmentation.arms import ARMS
from elusive.config.verbs import ReproduceSettings
from elusive.errors import ElusiveError
from elusive.runs.files import read_json, write_json, write_text
from elusive.runs.lock import locked
from elusive.runs.progress import clock
from elusive.runs.terminal import say
from elusive.runs.typed_json import to_json

from .beyond import beyond_markdown, beyond_numbers
from .copies import copies_markdown, copies_numbers
from .drawing import FIGURES, draw, table_of
from .experiments import (
    ARMS_OF_TABLES,
    Done,
    attempts_of,
    check_experiment,
    experiments_of,
    prepare_experiment,
    question_sets_of,
    run_experiment,
)
from .families import Family, Role, families, family
from .forgetting import Forgetting, draw_forgetting, forgetting_markdown, forgetting_numbers
from .published import COLUMNS
from .question_sets import question_sets_numbers
from .tables import attempts_numbers, table_numbers
from .wording import CELLS, attempts_markdown, question_sets_markdown, table_markdown

Announce = Callable[[str], None]
_BEYOND = (beyond_numbers, beyond_markdown)
STUDIES: dict[str, tuple[Callable[[Sequence[Done]], Any], Callable[[Any], str]]] = {
    "copies": (copies_numbers, copies_markdown),
    "beyond": _BEYOND,
    "beyond-entropy": _BEYOND,
    "beyond-wikipedia": _BEYOND,
    "forgetting": (forgetting_numbers, forgetting_markdown),
}
"""Attempts that have tables of their own: how the numbers are found, and put into words."""
Key = tuple[str, Role]
"""An experiment's name and the model that is trained."""
NAMES = (
    *(f"table{number}" for number in COLUMNS),
    *(f"figure{number}" for number in FIGURES),
    "question-sets",
    *STUDIES,
    "attempts",
)


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """What `reproduce` made: the text of each table, the pictures, and what was left out with the reason."""

    texts: dict[str, str]
    pictures: list[Path]
    left_out: list[str]


def reproduce(what: Sequence[str], settings: ReproduceSettings, *, announce: Announce = say) -> Reproduction:
    """Run what tables and figures need, doing only what the folder does not hold yet, and set the paper beside it.

    Args:
        what: table1 ... table8, figure1 ... figure7, question-sets, copies, beyond,
            beyond-entropy, beyond-wikipedia, forgetting, attempts, or all.
        settings: the pair, and how far.
        announce: told of each stage, in words.

    Returns:
        What was made; OUTPUT/ holds each table as JSON and Markdown, all of them in results.md, pictures in figures/.

    Raises:
        ElusiveError: on bad input, or if something that was asked for by name cannot be run.
    """
    pair, names = family(settings.family), wanted(what)
    left_out = [] if "all" not in what else left_out_lines(pair, names, settings)
    names = [name for name in names if not any(line.startswith(f"{name}:") for line in left_out)]
    needed = needed_arms(pair, names, settings)
    for (name, role), arms in needed.items():
        check_experiment(pair, name, role, arms, settings)
    with locked(settings.output):
        return _reproduce(pair, names, needed, left_out, settings, announce)


def _reproduce(
    pair: Family,
    names: Sequence[str],
    needed: Mapping[Key, tuple[str, ...]],
    left_out: list[str],
    settings: ReproduceSettings,
    announce: Announce,
) -> Reproduction:
    done: dict[Key, Done] = {
        (name, role): run_experiment(pair, name, role, arms, settings, announce)
        if arms
        else prepare_experiment(pair, name, role, settings)
        for (name, role), arms in needed.items()
    }
    folder = Path(settings.output)
    texts = {name: _write(name, pair, done, folder) for name in names if not name.startswith("figure")}
    pictures = [folder / "figures" / f"{name}.png" for name in names if name == "forgetting"]
    pictures += [
        path
        for name in names
        if name.startswith("figure")
        for path in draw(int(name.removeprefix("figure")), pair, done, settings, folder / "figures")
    ]
    _write_results(folder, settings, left_out)
    return Reproduction(texts, pictures, left_out)


def wanted(what: Sequence[str]) -> list[str]:
    """The tables and figures asked for, in the paper's order.

    Raises:
        ElusiveError: if one is none.
    """
    for name in what:
        if name not in (*NAMES, "all"):
            raise ElusiveError(f"reproduce: expected {', '.join(NAMES)} or all, got {name!r}.")
    if not what:
        raise ElusiveError("reproduce: expected what to reproduce, got nothing. Name a table or figure, e.g. table2.")
    return [name for name in NAMES if name in what or "all" in what]


def needed_arms(pair: Family, names: Sequence[str], settings: ReproduceSettings) -> dict[Key, tuple[str, ...]]:
    """Which experiments are needed, and which of their arms; none where pictures of the original models are all.

    Raises:
        ElusiveError: if the family has no experiment for something that was asked for.
    """
    needed: dict[Key, dict[str, None]] = {}
    for name in names:
        found = list(_experiments(pair, name))
        if not found:
            raise ElusiveError(
                f"{name}: the family '{settings.family}' has no experiment for it. Families that have: "
                f"{', '.join(_families_with(name)) or 'none'}."
            )
        for (experiment, role), arms in found:
            needed.setdefault((experiment, role), {}).update(dict.fromkeys(arms))
    return {key: tuple(sorted(arms, key=_place)) for key, arms in needed.items()}


def _place(arm: str) -> int:
    """An arm's place in the table of arms; those that are not in it come last, in the order asked for."""
    return list(ARMS).index(arm) if arm in list(ARMS) else len(ARMS)


def _experiments(pair: Family, name: str) -> list[tuple[Key, Sequence[str]]]:
    if name == "question-sets":
        return [((key, role), experiment.arms) for key, role, experiment in question_sets_of(pair)]
    if name in STUDIES:
        return [((key, role), experiment.arms) for key, role, experiment in attempts_of(pair, name)]
    if name == "attempts":
        attempts: list[tuple[Key, Sequence[str]]] = [
            ((key, role), experiment.arms) for key, role, experiment in attempts_of(pair)
        ]
        base: list[tuple[Key, Sequence[str]]] = [
            ((key, role), ARMS_OF_TABLES[2]) for key, role, _ in experiments_of(pair, 2) if role == "large"
        ]
        return [*base, *attempts] if attempts else []
    number = int(name.removeprefix("table").removeprefix("figure"))
    table = table_of(number, pair) if name.startswith("figure") else number
    # Figure 4 shows one text of one experiment.
    found = itertools.islice(experiments_of(pair, table), 1 if name == "figure4" else None)
    return [((key, role), _arms(name, table)) for key, role, _ in found]


def _arms(name: str, table: int) -> Sequence[str]:
    if name in ("figure2", "figure3", "figure5"):
        return ()
    if name.startswith("figure"):
        return ("plain", "contrast-cues") if name == "figure4" else ("plain",)
    return ARMS_OF_TABLES[table]


def _families_with(name: str) -> list[str]:
    return [other for other in families() if _experiments(family(other), name)]


def left_out_lines(pair: Family, names: Sequence[str], settings: ReproduceSettings) -> list[str]:
    """What `all` leaves out, with the reason."""
    lines = []
    for name in names:
        found = [key for (key, _), _ in _experiments(pair, name)]
        if not found:
            lines.append(f"{name}: the family '{settings.family}' has no experiment for it")
        elif any(one.endswith("wikipedia") for one in found) and not settings.wikipedia:
            lines.append(f"{name}: needs paragraphs with questions in SQuAD's form, --wikipedia FILE")
    return lines


def _write(name: str, pair: Family, done: Mapping[Key, Done], folder: Path) -> str:
    """A table's numbers as JSON and text as Markdown; returns the text."""
    if name == "attempts":
        base = next((done[key, role] for key, role, _ in experiments_of(pair, 2) if role == "large"), None)
        numbers = attempts_numbers(base, [done[key, role] for key, role, _ in attempts_of(pair)])
        text = attempts_markdown(numbers)
    elif name == "question-sets":
        numbers = question_sets_numbers([done[key, role] for key, role, _ in question_sets_of(pair)])
        text = question_sets_markdown(numbers)
    elif name in STUDIES:
        of_study, in_words = STUDIES[name]
        numbers = of_study([done[key, role] for key, role, _ in attempts_of(pair, name)])
        text = in_words(numbers)
    else:
        number = int(name.removeprefix("table"))
        numbers = table_numbers(pair, number, [done[key, role] for key, role, _ in experiments_of(pair, number)])
        text = table_markdown(numbers)
    if isinstance(numbers, Forgetting):
        draw_forgetting(numbers, folder / "figures")
    write_json(folder / "tables" / f"{name}.json", to_json(numbers))
    write_text(folder / "tables" / f"{name}.md", text)
    return text


def _write_results(folder: Path, settings: ReproduceSettings, left_out: Sequence[str]) -> None:
    """All tables that the folder holds in one file, with the time that its experiments took."""
    seconds = {path.parent: read_json(path)["seconds"] for path in sorted(folder.glob("**/time.json"))}
    lines = [
        f"# The paper's tables on the family '{settings.family}'",
        "",
        CELLS,
        "",
        f"Time of all experiments in this folder: {clock(sum(seconds.values()))}.",
        "",
        *(f"Left out: {line}." for line in left_out),
        *([""] if left_out else []),
    ]
    texts = [folder / "tables" / f"{name}.md" for name in NAMES]
    lines += [path.read_text(encoding="utf-8") for path in texts if path.exists()]
    write_text(folder / "results.md", "\n".join(lines))
