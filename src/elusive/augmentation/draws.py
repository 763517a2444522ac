"""Random draws of kept tokens, by (seed, document id, copy number) alone."""

import hashlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt64


def copy_generator(seed: int, document_id: str, copy: int, of: str = "") -> np.random.Generator:
    """The generator of one copy: the same whatever the batch, the shard, the worker or the arm.

    Arms share their draws, so a token kept at one chance is kept at every smaller one, which lowers the noise of
    comparisons between arms.

    Args:
        seed: of the augmented set.
        document_id: the document.
        copy: its number.
        of: what is drawn, where it is not which tokens stay; each has draws of its own.
    """
    name = f"{of}\0{document_id}" if of else document_id
    return np.random.default_rng(int.from_bytes(_digest(seed, name, copy), "little"))


def copy_seeds(
    seed: int, document_ids: Sequence[str], copies: Sequence[int]
) -> UInt64[np.ndarray, "{len(document_ids)} {len(copies)} 4"]:
    """What seeds `copy_generator` for each copy of many documents, at a tenth of its cost.

    Half the time of augmenting short texts went into seeding one generator after the other. These are numpy's own
    SeedSequence and PCG64, for all copies at once; a test compares them with numpy's.

    Args:
        seed: of the augmented set.
        document_ids: the documents.
        copies: numbers of their copies.

    Returns:
        uint64, (documents, copies, 4): the words that PCG64 takes from its SeedSequence, for `kept_in_copies`.
    """
    digests = b"".join(_digest(seed, document, copy) for document in document_ids for copy in copies)
    entropy_N4 = np.frombuffer(digests, dtype="<u4").reshape(-1, 4).astype(np.uint32)
    return _seed_words(entropy_N4).reshape(len(document_ids), len(copies), 4)


def _digest(seed: int, document_id: str, copy: int) -> bytes:
    return hashlib.blake2b(f"{seed}\0{copy}\0{document_id}".encode(), digest_size=16).digest()


def _seed_words(entropy_N4: np.ndarray) -> np.ndarray:
    """`SeedSequence(entropy).generate_state(4, np.uint64)` of many entropies of 128 bits, uint32 -> uint64 (N, 4)."""
    hashing = _hashed(0x43B0D7E5, 0x931E8875)
    pool = [hashing(word_N) for word_N in entropy_N4.T]
    for source, target in itertools.permutations(range(4), 2):
        mixed_N = np.uint32(0xCA01F9DD) * pool[target] - np.uint32(0x4973F715) * hashing(pool[source])
        pool[target] = mixed_N ^ (mixed_N >> np.uint32(16))
    hashing = _hashed(0x8B51F9DD, 0x58F38DED)
    words_N8 = np.stack([hashing(pool[number % 4]) for number in range(8)], axis=1).astype(np.uint64)
    return words_N8[:, 0::2] | words_N8[:, 1::2] << np.uint64(32)


def _hashed(constant: int, factor: int) -> Callable[[np.ndarray], np.ndarray]:
    """SeedSequence's hash, whose constant is multiplied by a factor at each call."""
    constants = itertools.accumulate(itertools.repeat(factor), lambda last, by: last * by % 2**32, initial=constant)
    pairs = itertools.pairwise(constants)

    def hashing(word_N: np.ndarray) -> np.ndarray:
        before, after = next(pairs)
        hashed_N = (word_N ^ np.uint32(before)) * np.uint32(after)
        return hashed_N ^ (hashed_N >> np.uint32(16))

    return hashing


def _pcg64_state(seed_high: int, seed_low: int, stream_high: int, stream_low: int) -> dict[str, Any]:
    increment = ((stream_high << 64 | stream_low) << 1 | 1) % 2**128
    state = ((increment + (seed_high << 64 | seed_low)) * _PCG64_FACTOR + increment) % 2**128
    return {"bit_generator": "PCG64", "state": {"state": state, "inc": increment}, "has_uint32": 0, "uinteger": 0}


_PCG64_FACTOR = 0x2360ED051FC65DA44385DF649FCCF645


def kept_in_copies(
    probability: Float[np.ndarray, " tokens"],
    seeds_C4: UInt64[np.ndarray, "copies 4"],
    generator: np.random.Generator,
    units: Int[np.ndarray, " tokens"] | None = None,
) -> Bool[np.ndarray, "copies tokens"]:
    """Draw which tokens stay in each copy of a document.

    Args:
        probability: float, (tokens,).
        seeds_C4: of this document, from `copy_seeds`.
        generator: any with a PCG64 bit generator, which is set anew for each copy.
        units: the first token of each token's word or phrase, whose draw decides for it; None: each has its own.

    Returns:
        bool, (copies, tokens).
    """
    drawn_CT = np.empty((len(seeds_C4), len(probability)))
    bits = generator.bit_generator
    for drawn, seed in zip(drawn_CT, seeds_C4.tolist(), strict=True):
        bits.state = _pcg64_state(*seed)
        generator.random(out=drawn)
    return (drawn_CT if units is None else drawn_CT[:, units]) >= probability


def kept_tokens(
    probability: Float[np.ndarray, " tokens"],
    generator: np.random.Generator,
    units: Int[np.ndarray, " tokens"] | None = None,
) -> Bool[np.ndarray, " tokens"]:
    """Draw which tokens stay.

    Args:
        probability: float, (tokens,).
        generator: of this copy.
        units: as in `kept_in_copies`.

    Returns:
        bool, (tokens,).
    """
    drawn = generator.random(len(probability))
    return (drawn if units is None else drawn[units]) >= probability
