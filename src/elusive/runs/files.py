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

from .disk import disk_errors
from .lock import check_still_locked, temporary_parts

ProgressFunction = Callable[[int, int], None]
"""Called with (done, total) while a stage works."""


def silent(done: int, total: int) -> None:
    """Show no progress."""


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place once the block ends well.

    The file is flushed to disk before the rename, so a reader sees the old content or the new, never a part.

    Raises:
        ElusiveError: if the disk is full, the folder cannot be written, or it was removed after this process had locked
            it; whatever stood at `path` still stands.
    """
    path = Path(path)
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


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        ElusiveError: if it is missing or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ElusiveError(f"{path} is missing. Run the stage that writes it first.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ElusiveError(f"{path} is not valid JSON ({error}). Delete its folder and run the stage again.") from None


def write_jsonl(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, atomically."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_jsonl(path: str | Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL file that an earlier stage wrote, in order.

    Raises:
        ElusiveError: if it is missing, or a line is not JSON.
    """
    try:
        with Path(path).open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                try:
                    yield json.loads(line)
                except json.JSONDecodeError as error:
                    raise ElusiveError(f"{path}, line {number}: not valid JSON ({error.msg}).") from None
    except UnicodeDecodeError as error:
        raise ElusiveError(f"{path} is not valid UTF-8 ({error}). Delete its folder and run the stage again.") from None
    except FileNotFoundError:
        raise ElusiveError(f"{path} is missing. Run the stage that writes it first.") from None


def file_hash(*paths: str | Path) -> str:
    """SHA-256 over the content of files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            with Path(path).open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
        except FileNotFoundError:
            raise ElusiveError(f"{path} is missing. Run the stage that writes it first.") from None
    return digest.hexdigest()
