"""Which frames of a clip are stored: a permutation of its frames that depends on seed and key alone.

The first `count` entries of the permutation are taken, so a larger count contains every smaller one and frames can be
added to a data set later without changing those it has.
"""

import functools
import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def stable_hash(seed: int, text: str) -> int:
    """A 64-bit hash of text that is the same on every machine and in every version."""
    hasher = _salted(seed).copy()
    hasher.update(text.encode())
    return int.from_bytes(hasher.digest(), "little")


@functools.cache
def _salted(seed: int) -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=8, salt=seed.to_bytes(8, "little"))


def sample_indices(n: int, count: int, seed: int, key: str) -> NDArray[np.int64]:
    """min(n, count) of n frame numbers, int64, ascending: those of least rank."""
    return np.sort(np.argsort(ranks(np.arange(n), seed, key), kind="stable")[:count]).astype(np.int64)


def ranks(numbers: NDArray[np.int64], seed: int, key: str) -> NDArray[np.uint64]:
    """The rank of each frame number of a clip, uint64. It does not depend on how many frames there are."""
    return splitmix64(np.uint64(stable_hash(seed, key)), numbers + 1)


def splitmix64(start: NDArray[np.uint64] | np.uint64, steps: NDArray[np.integer[Any]] | int) -> NDArray[np.uint64]:
    """What the generator SplitMix64 (Steele, Lea and Flood 2014) gives `steps` after `start`, uint64 of their common shape.

    Counted, so that any one is had without those before it. Unlike numpy's generators, whose streams may change between
    versions, this is fixed for ever.
    """
    with np.errstate(over="ignore"):
        z = start + np.asarray(steps).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
