"""Stages that know their settings and whether they are done."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elusive.errors import ElusiveError

from .files import read_json, write_json

FORMAT = 2
"""Of the folders that this version writes and reads; the first, that of Elusive 0.1, named none."""

_SETTINGS, _DONE = "settings.json", "done.json"


class Stage:
    """A folder written by one stage: `settings.json` first, its files, `done.json` last.

    Args:
        folder: the stage's own folder.
        settings: all that its result depends on, hashes of its inputs included; JSON types only.

    Raises:
        ElusiveError: if the folder holds anything that other settings made, or that a version wrote whose folders this
            one does not read.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        path = self.folder / _SETTINGS
        settings = {"format": FORMAT, **settings}
        # A stage that failed before it wrote anything but bad rows, to be corrected, may be begun again.
        kept = (path.name, "quarantine.jsonl")
        if path.exists() and any(other.name not in kept for other in self.folder.iterdir()):
            _refuse_other_settings(self.folder, stage_settings(self.folder), settings)
        else:
            write_json(path, settings)

    @property
    def done(self) -> bool:
        """Whether everything is written."""
        return (self.folder / _DONE).exists()

    @property
    def summary(self) -> dict[str, Any]:
        """What `finish` was given."""
        return read_json(self.folder / _DONE)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Mark the stage as done; its figures are kept with the mark."""
        write_json(self.folder / _DONE, summary)


def stage_settings(folder: str | Path) -> dict[str, Any]:
    """The settings of a folder that a stage wrote; whoever reads such a folder asks here first.

    Raises:
        ElusiveError: if it has none, or a version wrote it whose folders this one does not read.
    """
    settings = read_json(Path(folder) / _SETTINGS)
    check_format(settings, folder)
    return settings


def refuse_old_folder(folder: str | Path, shown: str | Path = "") -> None:
    """Refuse a stage's folder of a version whose folders this one does not read; one without settings is no such.

    Args:
        folder: the stage's folder.
        shown: what the message names, if not that.

    Raises:
        ElusiveError: if it was written by another version; says what to do.
    """
    if (Path(folder) / _SETTINGS).exists():
        check_format(read_json(Path(folder) / _SETTINGS), shown or folder)


def check_format(settings: Mapping[str, Any], shown: str | Path) -> None:
    """Refuse settings that a stage of another format wrote.

    Args:
        settings: what it wrote.
        shown: what the message names: the folder or file.

    Raises:
        ElusiveError: if the format is not this version's; says what to do.
    """
    found = settings.get("format", 1)
    if found == FORMAT:
        return
    if found == 1:
        raise ElusiveError(
            f"{shown} was written by Elusive 0.1, whose folders this version does not read. Run the same recipe or "
            "command again into a new folder, or use elusive==0.1."
        )
    raise ElusiveError(
        f"{shown} was written by another version of Elusive: expected folders of format {FORMAT}, got {found!r}. "
        "Update Elusive, or run the same recipe or command again into a new folder."
    )


def _refuse_other_settings(folder: Path, before: Any, now: Mapping[str, Any]) -> None:
    old, new = _flat(before), _flat(now)
    changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    if changed:
        lines = "\n".join(f"  {key}: was {old.get(key)!r}, now {new.get(key)!r}" for key in changed[:10])
        raise ElusiveError(
            f"{folder} was begun with other settings:\n{lines}\n"
            "Results of different settings are never mixed. Give another output folder, or delete this one."
        )


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat
