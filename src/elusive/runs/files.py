"""The run folder: atomic writes, and stages that know what they were asked and whether they are done."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from elusive.errors import ElusiveError
from elusive.inputs import file_blocks, is_there, regular_file
from elusive.storage import Location, UrlPath, located

from .disk import disk_errors
from .lock import check_still_locked, temporary_parts
from .temporary import temporary_folder

ProgressFunction = Callable[[int, int], None]
"""Called with (done, total) while a stage works."""


def silent(done: int, total: int) -> None:
    """Show no progress."""


@contextlib.contextmanager
def atomic_path(path: str | Location) -> Iterator[Path]:
    """A temporary path that takes the place of `path` once the block ends well; a reader never sees a part of the file.

    It lies beside `path`, and is flushed to disk before it is renamed. Of a URL it lies in the folder for temporary
    files, and is put there whole.

    Raises:
        ElusiveError: if the disk is full, the folder or the storage cannot be written, or it was removed after this
            process had locked it; whatever stood at `path` still stands.
    """
    path = located(path)
    if isinstance(path, UrlPath):
        with temporary_folder() as folder, disk_errors(folder):
            yield (written := folder / path.name)
            check_still_locked(path)
            path.put(written)
        return
    temporary = None
    try:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(**temporary_parts(path))
            os.close(handle)
            temporary = Path(name)
            yield temporary
            temporary.chmod(0o644)
            with temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
            check_still_locked(path)
            os.replace(temporary, path)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: str | Location, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


_SEAL = "sha256"


def write_json(path: str | Location, value: Any) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_sealed_json(path: str | Location, value: Mapping[str, Any]) -> None:
    """Write a JSON object with its own hash, so that `read_json` notices if anything in it was changed."""
    write_json(path, {**value, _SEAL: _seal(value)})


def read_json(path: str | Location) -> Any:
    """Read the JSON object of a file that an earlier stage wrote; its hash is taken out, if it has one.

    Raises:
        ElusiveError: if it is missing or damaged; also where a key is asked for that it lacks.
    """
    path = located(path)
    if not is_there(path):
        raise ElusiveError(f"{path} is missing. Run the stage that writes it first.")
    try:
        value = json.loads(b"".join(file_blocks(path)).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        if isinstance(error, ElusiveError):
            raise
        raise damaged(path, f"not valid JSON, {error}") from None
    if not isinstance(value, dict):
        raise damaged(path, "not a JSON object")
    if value.pop(_SEAL, (seal := _seal(value | {_SEAL: None}))) != seal:
        raise damaged(path, "it was changed since it was written")
    return _ReadObject(path, value)


class _ReadObject(dict[str, Any]):
    """A JSON object of a file; a key that it lacks is an error that names the file."""

    def __init__(self, path: Location, value: Mapping[str, Any]) -> None:
        super().__init__(value)
        self._path = path

    def __missing__(self, key: str) -> Any:
        raise damaged(self._path, f"it lacks {key!r}")


def _seal(value: Mapping[str, Any]) -> str:
    content = {key: item for key, item in value.items() if key != _SEAL}
    # As it is read back: keys are strings, tuples lists.
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=list).encode()).hexdigest()


def damaged(path: str | Location, reason: object) -> ElusiveError:
    """What is said of a file that a stage wrote and that something else has changed or cut off since."""
    return ElusiveError(
        f"{path} is damaged ({reason}). Delete the folder {located(path).parent} and run the command that wrote it "
        "again; `elusive run` with the run's recipe.toml does only what is missing."
    )


def write_jsonl(path: str | Location, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, atomically."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_jsonl(path: str | Location) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL file that an earlier stage wrote, in order.

    Raises:
        ElusiveError: if it is missing, or a line is not JSON.
    """
    if not is_there(path):
        raise ElusiveError(f"{path} is missing. Run the stage that writes it first.")
    with regular_file(path).open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                row = json.loads(line.decode("utf-8"))
            except (ValueError, RecursionError) as error:
                raise damaged(path, f"line {number}: not valid JSON, {error}") from None
            if not isinstance(row, dict):
                raise damaged(path, f"line {number}: not a JSON object")
            yield row


def file_hash(*paths: str | Location) -> str:
    """SHA-256 over the content of files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        if not is_there(path):
            raise ElusiveError(f"{path} is missing. Run the stage that writes it first.")
        for block in file_blocks(path):
            digest.update(block)
    return digest.hexdigest()
