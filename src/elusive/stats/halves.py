"""Two halves of a corpus's documents: on one something is chosen, on the other it is measured."""

import hashlib
import random
from collections.abc import Sequence
from typing import Literal

import numpy as np

Draw = Literal["hash", "shuffle"]


def first_half(documents: Sequence[str], seed: int = 0, draw: Draw = "hash") -> np.ndarray:
    """Which entries are about a document of the first half; all entries about one document are in the same half.

    The halves depend on the ids and the seed, not on the order of the entries. Of an odd number of documents the first
    half has one less than the second.

    Args:
        documents: the document of each entry, (entries,).
        seed: another seed gives other halves.
        draw: how documents are ordered before the first half of them is taken. `hash`: by a hash of the seed and the
            id. `shuffle`: by a seeded shuffle of the sorted ids. Both stay because published numbers depend on them:
            the heads of docs/recall.md were chosen on halves by hash, the held-out tables of docs/results.md on
            halves by shuffle.

    Returns:
        bool, (entries,).

    Example:
        >>> first_half(["a", "a", "b", "c", "d"])
        array([ True,  True, False, False,  True])
    """
    order = sorted(set(documents))
    if draw == "hash":
        order.sort(key=lambda document: hashlib.sha256(f"{seed}:{document}".encode()).hexdigest())
    else:
        random.Random(f"halves {seed}").shuffle(order)
    first = set(order[: len(order) // 2])
    return np.array([document in first for document in documents], dtype=bool)
