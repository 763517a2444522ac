"""Folders for what is needed while a command runs, and not after it."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from elusive.errors import ElusiveError

from .lock import locked, was_left_locked

_PREFIX = "elusive-temporary-"


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A new folder that is gone when the block ends; those that killed commands left are removed first.

    It lies where the environment variable TMPDIR says.
    """
    _remove_left()
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder, locked(folder):
        yield Path(folder)


def _remove_left() -> None:
    """Remove the folders of commands that have ended: their locks are free."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        # In use, of another host or another user: not ours to remove.
        with contextlib.suppress(ElusiveError, OSError):
            if was_left_locked(folder):
                with locked(folder):
                    shutil.rmtree(folder)
