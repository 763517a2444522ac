"""Stages that know their settings and whether they are done."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elusive.errors import ElusiveError

from .files import read_json, write_json


class Stage:
    """A folder written by one stage: `settings.json` first, its files, `done.json` last.

    Args:
        folder: the stage's own folder.
        settings: all that its result depends on, hashes of its inputs included; JSON types only.

    Raises:
        ElusiveError: if the folder holds anything that other settings made.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        path = self.folder / "settings.json"
        # A stage that failed before it wrote anything but bad rows, to be corrected, may be begun again.
        kept = (path.name, "quarantine.jsonl")
        if path.exists() and any(other.name not in kept for other in self.folder.iterdir()):
            _refuse_other_settings(self.folder, read_json(path), settings)
        else:
            write_json(path, settings)

    @property
    def done(self) -> bool:
        """Whether everything is written."""
        return (self.folder / "done.json").exists()

    @property
    def summary(self) -> dict[str, Any]:
        """What `finish` was given."""
        return read_json(self.folder / "done.json")

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Mark the stage as done; its figures are kept with the mark."""
        write_json(self.folder / "done.json", summary)


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
