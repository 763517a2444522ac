"""How a command ends early: SIGTERM is a clean stop, and no process that a command started outlives it."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

CODE = 143
"""Exit code of a command that SIGTERM stopped: 128 + 15, as shells have it."""


class Stopped(SystemExit):
    """SIGTERM came; like Ctrl-C it is no error, and what is done stays done."""

    def __init__(self, code: int = CODE) -> None:
        super().__init__(code)


class _Stop:
    """What became of SIGTERM in this process."""

    came = False
    deferred = False
    """A block is running that stops by itself, at a moment that suits it."""
    is_worker = False


def _on_sigterm(number: int, frame: object) -> None:
    again, _Stop.came = _Stop.came, True
    # A worker may be told twice, by a scheduler and by its command; the command ends it if that takes too long.
    if (again and _Stop.is_worker) or (not again and _Stop.deferred):
        return
    raise Stopped


@contextlib.contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM raise `Stopped` while the block runs, so that locks and temporary files are given back.

    Does nothing in a thread other than the main one, where signals cannot be handled.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _Stop.came = False


@contextlib.contextmanager
def stop_deferred() -> Iterator[Callable[[], bool]]:
    """Let the block end by itself when SIGTERM has come; a command that is told twice stops at once.

    Yields:
        Whether SIGTERM has come.

    Raises:
        Stopped: after the block, if it has.
    """
    _Stop.deferred = True
    try:
        yield lambda: _Stop.came
    finally:
        _Stop.deferred = False
    if _Stop.came:
        raise Stopped


def start_worker() -> None:
    """What a process that a command has started does first: it ends when the command does, however that ends.

    Ctrl-C in a terminal reaches all processes of a command; what becomes of the workers is for the command to say.
    """
    import multiprocessing

    _Stop.is_worker = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _on_sigterm)
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(parent: int) -> None:
    from multiprocessing.connection import wait

    wait([parent])
    os._exit(1)
