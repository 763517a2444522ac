"""Stages that know their settings and whether they are done."""

import contextlib
import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from elusive.errors import ElusiveError

from .files import read_json, write_sealed_json
from .lock import FolderInUseError, locked, was_left_locked

FORMAT = 2
"""Of the folders that this version writes and reads; the first, that of Elusive 0.1, named none."""

_SETTINGS, _DONE = "settings.json", "done.json"


class Stage:
    """A folder written by one stage: `settings.json` first, its files, `done.json` last.

    Used as `with Stage(folder, settings) as stage:`. While the block runs, no other command can enter the folder; one
    that is done already is only looked at, and several commands may do that.

    Args:
        folder: the stage's own folder.
        settings: all that its result depends on, hashes of its inputs included; JSON types only.
        writes: whether this process writes; of several that work together one does, and enters first.
        beside: patterns of names in the folder that other stages write.

    Raises:
        ElusiveError: on entering, if the folder holds anything that other settings made, or files whose settings are
            not known, or that a version wrote whose folders this one does not read, or if another command uses it.
    """

    def __init__(
        self, folder: str | Path, settings: Mapping[str, Any], *, writes: bool = True, beside: Sequence[str] = ()
    ) -> None:
        self.folder = Path(folder)
        self.settings = {"format": FORMAT, **settings}
        self.writes = writes
        # A stage that failed before it wrote anything but bad rows, to be corrected, may be begun again.
        self._kept = (_SETTINGS, "quarantine.jsonl", ".*", *beside)
        self._lock = contextlib.ExitStack()

    def __enter__(self) -> "Stage":
        self.check()
        if not self.writes or (self.done and not was_left_locked(self.folder)):
            return self
        try:
            self._lock.enter_context(locked(self.folder))
        except FolderInUseError:
            if not self.done:
                raise
        with self._lock:  # given back if anything is refused now
            self.check()  # another command may have been faster
            if not self.done:
                write_sealed_json(self.folder / _SETTINGS, self.settings)
            self._lock = self._lock.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def check(self) -> None:
        """Refuse a folder whose files were made with other settings, or nobody knows with which.

        Raises:
            ElusiveError: says what differs, and what to do.
        """
        names = sorted(path.name for path in self.folder.glob("*"))
        made = [name for name in names if not any(fnmatch.fnmatchcase(name, one) for one in self._kept)]
        if not made:
            return
        if (self.folder / _SETTINGS).exists():
            _refuse_other_settings(self.folder, stage_settings(self.folder), self.settings)
        else:
            _refuse_unknown_settings(self.folder, made)

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
        write_sealed_json(self.folder / _DONE, summary)


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


def _refuse_unknown_settings(folder: Path, made: Sequence[str]) -> None:
    names = ", ".join(made[:5]) + (", ..." if len(made) > 5 else "")
    if _DONE in made:
        raise ElusiveError(
            f"{folder} is marked as done ({_DONE}), but {_SETTINGS} is missing, so nobody knows what its files were "
            "made with. Delete the folder and run the same command again."
        )
    raise ElusiveError(
        f"{folder} holds other files ({names}) and no {_SETTINGS}: expected a new or an empty folder, or one that the "
        "same command began. Give another output folder, or delete this one."
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
