"""The processes that train one model together, as torchrun or `accelerate launch` started them."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

ItemT = TypeVar("ItemT")


def rank() -> int:
    """The number of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def count() -> int:
    """Number of processes; 1 unless several were launched together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process writes files and prints."""
    return rank() == 0


def share_weights() -> bool:
    """Whether `accelerate launch` spreads weights over the processes (FSDP)."""
    return count() > 1 and os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


@contextlib.contextmanager
def main_first(*, cpu: bool) -> Iterator[None]:
    """Let the main process run the block before the others, which then find what it wrote.

    Args:
        cpu: whether they compute on CPUs, which decides how they communicate.
    """
    if count() == 1:
        yield
        return
    from accelerate import PartialState

    with PartialState(cpu=cpu).main_process_first():
        yield


def from_main(find: Callable[[], ItemT]) -> ItemT:
    """What the main process finds, in every process; the others do not look."""
    if count() == 1:
        return find()
    from accelerate.utils import broadcast_object_list

    found: list[Any] = [find() if is_main() else None]
    return broadcast_object_list(found)[0]


def own_share(items: Sequence[ItemT]) -> Sequence[ItemT]:
    """Every n-th item, beginning with this process's number."""
    return items[rank() :: count()]


def gathered(items: Sequence[ItemT]) -> list[ItemT]:
    """The items of all processes, in the order that `own_share` took them from; every process calls this."""
    if count() == 1:
        return list(items)
    import torch

    shares: list[Any] = [None] * count()
    torch.distributed.all_gather_object(shares, list(items))
    longest = max(map(len, shares))
    return [share[place] for place in range(longest) for share in shares if place < len(share)]
