"""What a disk may refuse, in words."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from elusive.errors import ElusiveError


@contextlib.contextmanager
def disk_errors(path: str | Path) -> Iterator[None]:
    """Turn what the disk refuses while `path` is written into a message.

    Raises:
        ElusiveError: if the disk is full, or `path` cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ElusiveError(
                f"The disk is full: {path} could not be written. Free some space and run the same command again; "
                "everything finished before this file is kept."
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.EPERM):
            raise ElusiveError(f"Cannot write {path}: {error.strerror}. Choose another output folder.") from error
        raise
