"""One command at a time in a folder that is written.

A command holds an operating-system lock on `.elusive.lock` in the folder that it writes, and names itself in that
file. The system gives the lock up when the process ends, however it ends, so a lock cannot outlive a crash. Network
file systems pass such locks on from host to host as a rule, but not all do, and some have none. So the file decides
where the lock cannot: one that another host left behind is refused, because nobody here can see whether its command
still works.

Object stores have no locks either. In a folder at a URL, making the file is the lock: it is made only where there is
none, which stores decide for two who come at once (S3, Google's and Azure's do; the hub, and some that speak S3's
protocol, do not). A command that was killed leaves it behind; the next one on the same host sees that, on another it is
refused. Whoever holds it looks before each file whether it is still its own.
"""

import contextlib
import dataclasses
import datetime
import errno
import json
import multiprocessing
import os
import platform
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import lock_descriptor

from elusive.errors import ElusiveError
from elusive.storage import Location, UrlPath, located

from .disk import disk_errors
from .terminal import warn

LOCK = ".elusive.lock"
"""Name of the file that is locked; it lies in the folder as long as the folder is in use."""

TEMPORARY = "elusive-"
"""Begins the middle part of the name of a file that is being written: .train.elusive-k3j2x1ab.jsonl."""
_IS_TEMPORARY = re.compile(rf"\..*\.{TEMPORARY}\w{{8}}(\.\w+)?")

_NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK}

_SECONDS_FOR_CHILDREN = 30.0
_SECONDS_FOR_RECORD = 1.0
_SECONDS_OF_CLOCKS = 2.0
"""A moment in the past moves by so much when a host's clock is set right."""
_LONGEST_COMMAND = 200


class FolderInUseError(ElusiveError):
    """Another command writes in the folder."""


@dataclasses.dataclass(frozen=True)
class Owner:
    """The command that uses a folder, as the lock file names it.

    Attributes:
        process: the id of its process; of a worker's lock, that of the process which started the worker.
        began: when that process started, in seconds since 1970; ids are given again, such moments are not.
        host: the name of its host.
        boot: the id of the host's boot, "" where there is none; the same in all containers of a host.
        since: when it took the folder.
        command: its command line.
    """

    process: int
    began: float
    host: str
    boot: str
    since: str
    command: str

    @classmethod
    def here(cls) -> "Owner":
        """This command, from now on."""
        parent = multiprocessing.parent_process()
        process = parent.pid if parent and parent.pid else os.getpid()
        since = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
        program = Path(sys.argv[0])
        name = program.parent.name if program.name == "__main__.py" else program.name
        command = " ".join([name, *sys.argv[1:]])[:_LONGEST_COMMAND]
        return cls(process, _began(process) or 0.0, platform.node(), _boot_id(), since, command)

    @classmethod
    def of(cls, path: Location) -> "Owner | None":
        """The process that a lock file names; None where it names none (yet)."""
        try:
            found = json.loads(path.read_bytes())
            return cls(**{field.name: found[field.name] for field in dataclasses.fields(cls)})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    @property
    def is_of_this_host(self) -> bool:
        """Whether its host is this one, at this boot or an earlier one."""
        return self.host == platform.node() or (self.boot != "" and self.boot == _boot_id())

    @property
    def has_ended(self) -> bool:
        """Whether that process of this host is there no more."""
        began = _began(self.process)
        return self.boot != _boot_id() or began is None or abs(began - self.began) > _SECONDS_OF_CLOCKS

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, since {self.since} ({self.command})"


class _Lock:
    """A folder's lock file, held by this process."""

    def __init__(self, path: Path, descriptor: int, made_folder: bool) -> None:
        self.path, self.descriptor, self.made_folder = path, descriptor, made_folder

    def write(self, owner: Owner) -> None:
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, json.dumps(dataclasses.asdict(owner)).encode(), 0)
        os.fsync(self.descriptor)

    def release(self) -> None:
        # Removed while it is still held: whoever opened it meanwhile sees that it is gone, and opens the next one.
        if _is(self.path, self.descriptor):
            self.path.unlink()
        os.close(self.descriptor)
        if self.made_folder:
            with contextlib.suppress(OSError):
                self.path.parent.rmdir()  # where nothing was written


_held: dict[Path, _Lock] = {}
"""The locks of this process by folder."""

_held_at_urls: dict[UrlPath, bytes] = {}
"""What this process wrote into the lock files of folders at URLs."""


@contextlib.contextmanager
def locked(folder: str | Location) -> Iterator[None]:
    """Keep other commands out of a folder while the block runs; half-written files of killed ones are removed first.

    Args:
        folder: made if it is not there. Its sub-folders are not locked: each stage locks its own.

    Raises:
        FolderInUseError: if another command, of this process too, uses the folder; says which, where and since when.
        ElusiveError: if another host left it locked, or the folder cannot be written.
    """
    folder = located(folder)
    if isinstance(folder, UrlPath):
        with _locked_at_url(folder):
            yield
        return
    with disk_errors(folder):
        made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        place = folder.resolve()
        lock = _Lock(place / LOCK, _taken(place / LOCK, folder), made)
    try:
        lock.write(Owner.here())
        _held[place] = lock
        remove_temporaries(place)
        yield
    finally:
        if _held.get(place) is lock:
            del _held[place]
        lock.release()


@contextlib.contextmanager
def _locked_at_url(folder: UrlPath) -> Iterator[None]:
    path, content = folder / LOCK, json.dumps(dataclasses.asdict(Owner.here())).encode()
    if not path.create(content):
        owner = Owner.of(path)
        if owner and not (owner.host == platform.node() and owner.has_ended):
            raise _in_use_at_url(folder, owner)
        path.unlink(missing_ok=True)
        if not path.create(content):  # somebody was faster
            raise _in_use_at_url(folder, Owner.of(path))
    _held_at_urls[folder] = content
    try:
        check_still_locked(path)  # of two who came at once, a store without the condition keeps the last one's file
        yield
    finally:
        del _held_at_urls[folder]
        if _holds(path, content):
            path.unlink(missing_ok=True)


def _in_use_at_url(folder: UrlPath, owner: Owner | None) -> FolderInUseError:
    return FolderInUseError(
        f"{folder} is in use by {owner or 'another command'}. Wait until it is done, or give another output folder. "
        f"Whether a command of another host still works cannot be told from here; if it has ended, delete "
        f"{folder / LOCK}."
    )


def _holds(path: UrlPath, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except FileNotFoundError:
        return False


def check_still_locked(path: str | Location) -> None:
    """Refuse to write to a folder that was removed, or moved and made again, since this process locked it.

    Args:
        path: the file or folder; nothing is refused where this process has not locked a folder around it.

    Raises:
        ElusiveError: if the folder is another one now.
    """
    path = located(path)
    if isinstance(path, UrlPath):
        for folder, content in _held_at_urls.items():
            if str(path).startswith(f"{folder}/") and not _holds(folder / LOCK, content):
                raise _replaced(folder)
        return
    if not _held:
        return
    path = path.resolve()
    for folder in (path, *path.parents):
        if (lock := _held.get(folder)) and not _is(lock.path, lock.descriptor):
            raise _replaced(folder)


def _replaced(folder: Location) -> ElusiveError:
    return ElusiveError(
        f"{folder} was removed or replaced while this command was writing to it, so nothing more is written there. Run "
        "the same command again."
    )


def was_left_locked(folder: str | Location) -> bool:
    """Whether a folder is in use, or was when its command was killed."""
    return (located(folder) / LOCK).exists()


def is_passing(name: str) -> bool:
    """Whether a file of this name lies in a folder only while a command works there: the lock, or one half written."""
    return name == LOCK or _IS_TEMPORARY.fullmatch(name) is not None


def _taken(path: Path, shown: Path) -> int:
    """The descriptor of a lock file, locked."""
    began = time.monotonic()
    while True:
        descriptor, is_new = _opened(path)
        try:
            taken = _lock(descriptor, path, is_new, shown)
        except BaseException:
            os.close(descriptor)
            raise
        if taken and _is(path, descriptor):
            return descriptor
        os.close(descriptor)
        if taken:
            continue  # its owner removed it before it was locked here
        _wait_or_refuse(Owner.of(path), time.monotonic() - began, shown)


def _opened(path: Path) -> tuple[int, bool]:
    """A lock file's descriptor, and whether this call made the file."""
    with contextlib.suppress(FileExistsError):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644), True
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o644), False


def _lock(descriptor: int, path: Path, is_new: bool, shown: Path) -> bool:
    """Whether the lock is taken.

    Raises:
        ElusiveError: if another host left it.
    """
    try:
        if not lock_descriptor(descriptor, blocking=False):
            return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        warn(
            f"elusive: the file system of {shown} has no locks ({error.strerror}). {LOCK} in it stands for one; on "
            "such a file system start one command at a time."
        )
        if not is_new and (owner := Owner.of(path)) and owner.is_of_this_host and not owner.has_ended:
            return False
    owner = Owner.of(path)
    if owner and not owner.is_of_this_host:
        raise ElusiveError(
            f"{shown} was in use by {owner}, which did not give it back. Whether that command still works there cannot "
            f"be told from here ({platform.node()}). If it has ended, delete {path} and run this command again."
        )
    return True


def _wait_or_refuse(owner: Owner | None, waited: float, shown: Path) -> None:
    """Wait for the processes that a killed command had started, which are about to end; refuse any other."""
    is_ending = owner is not None and owner.is_of_this_host and owner.has_ended
    if waited > (_SECONDS_FOR_CHILDREN if is_ending else 0 if owner else _SECONDS_FOR_RECORD):
        ended = " That process has ended, but others that it started have not." if is_ending else ""
        raise FolderInUseError(
            f"{shown} is in use by {owner or 'another command'}.{ended} Wait until it is done, or give another output "
            "folder."
        )
    time.sleep(0.05)


def _is(path: Path, descriptor: int) -> bool:
    """Whether a descriptor is that of the file at a path."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _began(process: int) -> float | None:
    """When a process of this host started; None if it has ended."""
    import psutil

    try:
        found = psutil.Process(process)
        return None if found.status() == psutil.STATUS_ZOMBIE else found.create_time()
    except psutil.NoSuchProcess:
        return None


def remove_temporaries(folder: Location) -> None:
    """Remove what killed commands had begun to write, except in sub-folders that another command may be using."""
    if isinstance(folder, UrlPath):  # where nothing is written but whole files
        return
    for place, inside, files in os.walk(folder):
        inside[:] = [name for name in inside if not was_left_locked(Path(place) / name)]
        for name in files:
            if _IS_TEMPORARY.fullmatch(name):
                (Path(place) / name).unlink(missing_ok=True)


def temporary_parts(path: Path) -> dict[str, Any]:
    """How `tempfile` names a file that is being written, so that the next command knows it for what it is."""
    # The suffix stays last: libraries choose a format by it.
    return {"prefix": f".{path.stem}.{TEMPORARY}", "suffix": path.suffix, "dir": path.parent}
