"""Processes of their own that have torch and transformers loaded: forked from one that loads them once.

A process that is killed, or that trains together with another, has to be a real one; that each of them takes ten
seconds to load its libraries need not be. What is about the command line itself starts `python -m elusive` instead.
"""

import gc
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

LIBRARIES = (
    "accelerate",
    "bitsandbytes",
    "peft",
    "torch.distributed.fsdp",
    "transformers.models.llama.modeling_llama",
    "elusive.cli.recipes",
    "elusive.cli.research",
    "elusive.cli.stages",
    "elusive.evaluation.stage",
    "elusive.pipeline",
    "elusive.training.stage",
)
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([*LIBRARIES])


def start(arguments: Sequence[str], environment: Mapping[str, str], output: Path, *, fsdp: bool = False) -> BaseProcess:
    """Run `elusive` in a process of its own.

    Args:
        arguments: those of the command, without its name.
        environment: all of its environment variables.
        output: where what it prints goes, errors too.
        fsdp: let it spread weights over processes without GPUs.
    """
    process = CONTEXT.Process(target=_elusive, args=(list(arguments), dict(environment), str(output), fsdp))
    process.start()
    return process


def start_together(
    arguments: Sequence[str], environment: Mapping[str, str], output: Path, *, ranks: int = 2, fsdp: bool = False
) -> list[BaseProcess]:
    """Run `elusive` in processes that train together: with the environment variables that torchrun sets.

    Args:
        arguments: those of the command, without its name.
        environment: all other environment variables.
        output: where what they print goes, with the rank at the end of the name.
        ranks: how many processes.
        fsdp: let them spread weights without GPUs.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = {"WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        start(
            arguments,
            {**environment, **{name: str(value) for name, value in together.items()}, "RANK": rank, "LOCAL_RANK": rank},
            output.with_name(output.name + rank),
            fsdp=fsdp,
        )
        for rank in map(str, range(ranks))
    ]


def finish(*processes: BaseProcess, seconds: float = 300) -> None:
    """Wait for processes, and end those that are left when one has failed."""
    try:
        for process in processes:
            process.join(seconds)
            assert process.exitcode == 0
    finally:
        for process in processes:
            process.kill()
            process.join()


def workers_of_this_server(start_worker: Callable[..., None] | None = None) -> None:
    """Let processes that the command starts be forked from the server too, and not load the libraries again.

    Args:
        start_worker: what they do first, in the place of `jobs._start_worker`.
    """
    from multiprocessing import forkserver

    from elusive.experiments import jobs

    # In a process that the server forked its address is known, but not that it runs.
    forkserver._forkserver.ensure_running = lambda: None  # pyright: ignore[reportAttributeAccessIssue]
    jobs.START_METHOD = "forkserver"
    if start_worker:
        jobs._start_worker = start_worker


def _elusive(arguments: list[str], environment: dict[str, str], output: str, fsdp: bool) -> None:
    # As in a terminal: the jobs that a script starts in the background ignore Ctrl-C, and all that these start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stream = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    os.environ.clear()
    os.environ.update(environment)
    workers_of_this_server()
    gc.freeze()  # what was loaded stays; looking through it at each collection takes time
    if fsdp:
        from .cli import fsdp_on_cpus

        assert fsdp_on_cpus.own_init
    from elusive.cli.main import main

    main(arguments)
