"""The processes that train one model together, as torchrun or `accelerate launch` started them."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

ItemT = TypeVar("ItemT")


def rank() -> int:
    """This process's number among all, from 0."""
    return int(os.environ.get("RANK", "0"))


def count() -> int:
    """How many processes there are; 1 where none were launched together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process writes files and speaks to people."""
    return rank() == 0


@contextlib.contextmanager
def main_first(*, cpu: bool) -> Iterator[None]:
    """Let the main process run the block before the others, which then find what it wrote.

    Args:
        cpu: whether they compute on CPUs, which decides how they talk to each other.
    """
    if count() == 1:
        yield
        return
    from accelerate import PartialState

    with PartialState(cpu=cpu).main_process_first():
        yield


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
