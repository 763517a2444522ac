"""Where files lie: on a file system of this machine, or at a URL that fsspec reaches (s3://, gs://, hf://, memory://).

What a storage offers decides what is done there. In an object store a file is put whole or not at all, which is all
that finished files need; there are no renames, no folders and no locks of a system. fsspec finds the package of a
storage by its scheme, and credentials and endpoints where that package looks for them.
"""

import contextlib
import dataclasses
import fnmatch
import functools
import io
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from .errors import ElusiveError

_URL = re.compile(r"([a-z][a-z0-9+.-]+):/(/?)(.*)", re.DOTALL)
_LOCAL = ("file", "local")
_OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci", "hf", "memory")
"""Schemes of storages that show a file once all of it is there, under the name it was put by."""
_BUFFER_BYTES = 1 << 18


class Stat(NamedTuple):
    """What a storage knows of a file."""

    st_size: int


@dataclasses.dataclass(frozen=True, order=True)
class UrlPath:
    """A file or folder at a URL: the part of `pathlib.Path` that stages need.

    Attributes:
        url: the URL, without a slash at its end.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> "UrlPath":
        return UrlPath(f"{self.url}/{name}")

    @property
    def name(self) -> str:
        """The last part."""
        return self.url.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The last part without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """What follows the last dot of the last part, with the dot."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> "UrlPath":
        """The folder around it."""
        return UrlPath(self.url.rpartition("/")[0])

    def with_name(self, name: str) -> "UrlPath":
        """The file of another name in the same folder."""
        return self.parent / name

    def absolute(self) -> "UrlPath":
        """Itself: a URL says the same on every machine."""
        return self

    def exists(self) -> bool:
        """Whether a file is there, or anything below."""
        return self._info() is not None

    def is_file(self) -> bool:
        """Whether a file is there."""
        return (self._info() or {}).get("type") == "file"

    def is_dir(self) -> bool:
        """Whether anything lies below."""
        return (self._info() or {}).get("type") == "directory"

    def stat(self) -> Stat:
        """The size of a file.

        Raises:
            FileNotFoundError: if there is none.
        """
        if (info := self._info()) is None:
            raise FileNotFoundError(self.url)
        return Stat(int(info.get("size") or 0))

    def glob(self, pattern: str) -> Iterator["UrlPath"]:
        """What lies in this folder itself under names of a pattern, by one listing."""
        with self._reached() as (storage, key):
            try:
                found = storage.ls(key, detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return
        names = {one.rstrip("/").rpartition("/")[2] for one in found if one.rstrip("/") != key}
        yield from (self / name for name in names if fnmatch.fnmatchcase(name, pattern))

    def files_below(self, pattern: str = "") -> list["UrlPath"]:
        """All files below a folder, sorted; those alone whose path from here has a pattern of fsspec (`**/*.jsonl`)."""
        with self._reached() as (storage, key):
            try:
                found = storage.glob(f"{key}/{pattern}", detail=True) if pattern else storage.find(key, detail=True)
            except FileNotFoundError:
                return []
            files = [path for path, info in found.items() if info["type"] == "file"]
        return [self / path.removeprefix(key).lstrip("/") for path in sorted(files)]

    def open(self, mode: str = "rb", buffering: int = _BUFFER_BYTES) -> BinaryIO:
        """A file to be read, as a buffered stream that can be sought in.

        Raises:
            FileNotFoundError: if there is none.
            ElusiveError: if the storage cannot be reached.
        """
        if mode != "rb":
            raise ValueError(f"{self.url}: a file is read here, or put whole by `put`; expected mode rb, got {mode!r}")
        with self._reached() as (storage, key):
            return io.BufferedReader(_Reading(storage.open(key, "rb"), self.url), buffering)

    def put(self, file: Path) -> None:
        """Put a file of this machine here; whoever looks sees what was here before, or all of it.

        Raises:
            ElusiveError: if the storage refuses, or shows files that are half written (ftp, sftp, ...).
        """
        self._check_whole_files()
        with self._reached(writes=True) as (storage, key):
            storage.put_file(str(file), key)

    def _check_whole_files(self) -> None:
        scheme = self.url.partition(":")[0]
        if scheme not in _OBJECT_STORES:
            raise ElusiveError(
                f"{self}: expected an output folder of this machine or in an object store "
                f"({', '.join(_OBJECT_STORES)}), where a file is whole or not there; {scheme} does not promise that. "
                "Write to a local folder, and copy."
            )

    def create(self, content: bytes) -> bool:
        """Make a file, unless one is there; storages that can decide this for two who come at once do so.

        Returns:
            Whether it was made.

        Raises:
            ElusiveError: as `put`.
        """
        self._check_whole_files()
        with self._reached(writes=True) as (storage, key):
            try:
                storage.pipe_file(key, content, mode="create")
            except OSError:  # stores name a condition that failed in more than one way
                if self.exists():
                    return False
                raise
        return True

    def read_bytes(self) -> bytes:
        """The content of a file.

        Raises:
            FileNotFoundError: if there is none.
        """
        with self.open() as stream:
            return stream.read()

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove a file."""
        with self._reached() as (storage, key):
            try:
                storage.rm_file(key)
            except FileNotFoundError:
                if not missing_ok:
                    raise

    def _info(self) -> dict[str, Any] | None:
        # fsspec's own exists() takes any failure for no.
        with self._reached() as (storage, key):
            try:
                return storage.info(key)
            except (FileNotFoundError, NotADirectoryError):
                return None

    @contextlib.contextmanager
    def _reached(self, *, writes: bool = False) -> Iterator[tuple[Any, str]]:
        """The storage, and what it calls this path.

        Raises:
            FileNotFoundError: if nothing is there, where it is read.
            ElusiveError: if the storage's package is missing, or it cannot be reached or used.
        """
        storage, key = _storage(self.url)
        storage.invalidate_cache()  # listings are remembered, and other commands write here too
        try:
            yield storage, key
        except ElusiveError:
            raise
        except Exception as error:  # of whatever library serves the scheme
            if isinstance(error, FileNotFoundError) and not writes:
                raise
            raise _not_reached(self.url, error) from error


Location = Path | UrlPath
"""Where a file or folder lies."""


def located(path: str | Location) -> Location:
    """The place that a path or URL names.

    `pathlib` makes `s3:/bucket` of `s3://bucket`; a path that went through it is known by its scheme.

    Raises:
        ElusiveError: if it is a URL of a scheme that nothing here knows.

    Example:
        >>> located("runs/demo").name, located("s3://bucket/corpus/").name
        ('demo', 'corpus')
    """
    if isinstance(path, UrlPath) or not (found := _URL.match(str(path))):
        return path if isinstance(path, UrlPath) else Path(path)
    scheme, slash, rest = found.groups()
    if not slash and (isinstance(path, str) or not _is_known(scheme)):
        return Path(path)
    if scheme in _LOCAL:
        return Path(rest if slash else f"/{rest}")
    if not _is_known(scheme):
        raise ElusiveError(
            f"{path}: expected a path, or a URL of a storage that fsspec knows (s3://, gs://, hf://, ...), got the "
            f"scheme {scheme!r}. Correct it; a local folder of this name is given as ./{path}."
        )
    return UrlPath(f"{scheme}://{rest.rstrip('/')}")


def is_url(path: str | Location) -> bool:
    """Whether a path names a place that is not on a file system of this machine."""
    return isinstance(located(path), UrlPath)


def local(path: str | Location, what: str) -> Path:
    """A path on a file system of this machine.

    Args:
        path: the path.
        what: what is to lie there, for the message.

    Raises:
        ElusiveError: if it is a URL.
    """
    place = located(path)
    if isinstance(place, UrlPath):
        raise ElusiveError(
            f"{place}: expected a local folder for {what}, got a URL. Corpora, scores and augmented texts "
            "(generate, score, augment) can lie in object stores; copy the rest there when it is done."
        )
    return place


@functools.cache
def _is_known(scheme: str) -> bool:
    import fsspec

    return scheme in fsspec.available_protocols()


def _storage(url: str) -> tuple[Any, str]:
    """The storage of a URL, and what it calls the path.

    Raises:
        ElusiveError: if the package that serves it is missing, or it does not take the URL.
    """
    import fsspec
    from fsspec.registry import known_implementations

    try:
        return fsspec.url_to_fs(url)
    except ImportError as error:
        package = known_implementations[url.partition(":")[0]]["class"].partition(".")[0]
        raise ElusiveError(f"{url} needs the package {package} ({error}). Run: pip install {package}") from None
    except Exception as error:  # of whatever library serves the scheme
        raise _not_reached(url, error) from error


def _not_reached(url: str, error: Exception) -> ElusiveError:
    reason = " ".join(str(error).split())[:400]
    return ElusiveError(
        f"{url} could not be reached ({type(error).__name__}: {reason}). Check the address, the credentials and the "
        "network, and run the same command again."
    )


class _Reading(io.RawIOBase):
    """A file of a storage as a raw stream; what its library raises becomes a message."""

    def __init__(self, file: Any, url: str) -> None:
        self._file, self._url = file, url

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            block = self._file.read(len(buffer))
        except Exception as error:  # of whatever library serves the scheme
            raise _not_reached(self._url, error) from error
        buffer[: len(block)] = block
        return len(block)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()
