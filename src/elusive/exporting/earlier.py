"""Folders of exports: which may be written, and what an earlier export left in them."""

from collections.abc import Collection, Mapping
from pathlib import Path

from elusive.errors import ElusiveError
from elusive.runs.files import read_json
from elusive.runs.lock import is_passing

MARK = "export.json"
"""The export's own record; a folder that holds it may be written again from the same input."""


def earlier_files(folder: Path, identity: Mapping[str, str]) -> set[str]:
    """Files of an earlier export of the same texts or model.

    Args:
        folder: where an export is to be written.
        identity: of what is exported.

    Raises:
        ElusiveError: if the folder holds anything else.
    """
    if not folder.exists():
        return set()
    if not folder.is_dir():
        raise ElusiveError(f"{folder} is a file: expected a folder to write to, or none yet.")
    if all(is_passing(path.name) for path in folder.iterdir()):
        return set()
    mark = read_json(folder / MARK) if (folder / MARK).exists() else {}
    exported = isinstance(mark, dict) and str(mark.get("made_by", "")).startswith("elusive export")
    if not exported or mark["input"] != identity:
        holds = f"an export of {_named(mark['input'])}" if exported else "other files"
        raise ElusiveError(f"{folder} holds {holds}, which are not overwritten. Give another --output, or delete it.")
    # The record says what to delete, so it may name nothing outside the folder.
    return {name for name in mark["files"] if (folder / name).resolve().is_relative_to(folder.resolve())}


def _named(identity: Mapping[str, str]) -> str:
    return "another model's files" if "model" in identity else f"other texts (arm {identity['arm']})"


def remove_others(folder: Path, names: Collection[str]) -> None:
    """Remove what an earlier export of the same wrote with other settings.

    Args:
        folder: of the export.
        names: its files that were not written again.
    """
    for name in names:
        (folder / name).unlink(missing_ok=True)
