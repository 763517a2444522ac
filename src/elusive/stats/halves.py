"""Two halves of a corpus's documents, or of each document's questions: on one something is chosen, on the other it is
measured."""

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


def first_half_within(groups: Sequence[str], entries: Sequence[str], seed: int = 0) -> np.ndarray:
    """Which entries are in the first half of their group, each group halved by a hash of the seed and the entries' ids.

    An entry's half depends on its group's ids and the seed, not on other groups or on any order. Of an odd number of
    entries the first half has one less than the second.

    Args:
        groups: the group of each entry, (entries,).
        entries: ids, distinct within a group, (entries,).
        seed: another seed gives other halves.

    Returns:
        bool, (entries,).

    Example:
        >>> first_half_within(["a", "a", "b", "b", "b"], ["1", "2", "3", "4", "5"])
        array([False,  True, False,  True, False])
    """
    places: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        places.setdefault(group, []).append(place)
    first_E = np.zeros(len(entries), dtype=bool)
    for own in places.values():
        first_E[own] = first_half([entries[place] for place in own], seed)
    return first_E
