"""Selects the frames of a clip to store, by a permutation that depends on the seed and the key only.

The first `count` frames of the permutation are stored, so a larger count contains every smaller one, and frames can be
added to a dataset later without changing the existing ones.
"""

import functools
import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def stable_hash(seed: int, text: str) -> int:
    """A 64-bit hash of a string that is the same on every machine and in every version."""
    hasher = _salted(seed).copy()
    hasher.update(text.encode())
    return int.from_bytes(hasher.digest(), "little")


@functools.cache
def _salted(seed: int) -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=8, salt=seed.to_bytes(8, "little"))


def sample_indices(n: int, count: int, seed: int, key: str) -> NDArray[np.int64]:
    """Select min(n, count) of n frame numbers, those with the lowest ranks: int64, ascending."""
    return np.sort(np.argsort(ranks(np.arange(n), seed, key), kind="stable")[:count]).astype(np.int64)


def ranks(numbers: NDArray[np.int64], seed: int, key: str) -> NDArray[np.uint64]:
    """The rank of each frame number of a clip, uint64, independent of the number of frames."""
    return splitmix64(np.uint64(stable_hash(seed, key)), numbers + 1)


def splitmix64(start: NDArray[np.uint64] | np.uint64, steps: NDArray[np.integer[Any]] | int) -> NDArray[np.uint64]:
    """The output of the generator SplitMix64 (Steele, Lea and Flood 2014) `steps` after `start`, uint64, broadcast.

    Counter-based: any output is computed without the ones before it. Unlike the streams of numpy's generators, it will never
    change between versions.
    """
    with np.errstate(over="ignore"):
        z = start + np.asarray(steps).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
