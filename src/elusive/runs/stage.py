"""Stages that know their settings and whether they are done."""

import contextlib
import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from elusive.errors import ElusiveError
from elusive.storage import Location, local, located

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
        anywhere: whether the folder may be at a URL, because all of its files are written by `atomic_path`.

    Raises:
        ElusiveError: if the folder is at a URL and may not be; on entering, if it holds anything that other settings
            made, or files whose settings are not known, or that a version wrote whose folders this one does not read,
            or if another command uses it.
    """

    def __init__(
        self,
        folder: str | Location,
        settings: Mapping[str, Any],
        *,
        writes: bool = True,
        beside: Sequence[str] = (),
        anywhere: bool = False,
    ) -> None:
        self.place = located(folder) if anywhere else local(folder, "what this command writes")
        self.settings = {"format": FORMAT, **settings}
        self.writes = writes
        # A stage that failed before it wrote anything but bad rows, to be corrected, may be begun again.
        self._kept = (_SETTINGS, "quarantine.jsonl", ".*", *beside)
        self._lock = contextlib.ExitStack()

    @property
    def folder(self) -> Path:
        """The folder, on a file system of this machine."""
        return local(self.place, "what this command writes")

    def __enter__(self) -> "Stage":
        self.check()
        if not self.writes or (self.done and not was_left_locked(self.place)):
            return self
        try:
            self._lock.enter_context(locked(self.place))
        except FolderInUseError:
            if not self.done:
                raise
        with self._lock:  # given back if anything is refused now
            self.check()  # another command may have been faster
            if not self.done:
                write_sealed_json(self.place / _SETTINGS, self.settings)
            self._lock = self._lock.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def check(self) -> None:
        """Refuse a folder whose files were made with other settings, or nobody knows with which.

        Raises:
            ElusiveError: says what differs, and what to do.
        """
        names = sorted(path.name for path in self.place.glob("*"))
        made = [name for name in names if not any(fnmatch.fnmatchcase(name, one) for one in self._kept)]
        if not made:
            return
        if (self.place / _SETTINGS).exists():
            _refuse_other_settings(self.place, stage_settings(self.place), self.settings)
        else:
            _refuse_unknown_settings(self.place, made)

    @property
    def done(self) -> bool:
        """Whether everything is written."""
        return (self.place / _DONE).exists()

    @property
    def summary(self) -> dict[str, Any]:
        """What `finish` was given."""
        return read_json(self.place / _DONE)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Mark the stage as done; its figures are kept with the mark."""
        write_sealed_json(self.place / _DONE, summary)


def stage_settings(folder: str | Location) -> dict[str, Any]:
    """The settings of a folder that a stage wrote; whoever reads such a folder asks here first.

    Raises:
        ElusiveError: if it has none, or a version wrote it whose folders this one does not read.
    """
    settings = read_json(located(folder) / _SETTINGS)
    check_format(settings, folder)
    return settings


def refuse_old_folder(folder: str | Location, shown: str | Location = "") -> None:
    """Refuse a stage's folder of a version whose folders this one does not read; one without settings is no such.

    Args:
        folder: the stage's folder.
        shown: what the message names, if not that.

    Raises:
        ElusiveError: if it was written by another version; says what to do.
    """
    if (located(folder) / _SETTINGS).exists():
        check_format(read_json(located(folder) / _SETTINGS), shown or folder)


def check_format(settings: Mapping[str, Any], shown: str | Location) -> None:
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


def _refuse_unknown_settings(folder: Location, made: Sequence[str]) -> None:
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


def _refuse_other_settings(folder: Location, before: Any, now: Mapping[str, Any]) -> None:
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
