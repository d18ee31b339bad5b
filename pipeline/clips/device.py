"""Which GPU this process computes on: one process a GPU, found by locks that the kernel drops when a process ends."""

import fcntl
import functools
import os
import tempfile
from pathlib import Path

from motionshards.schemas.config import BuildConfig
from motionshards.transforms.extract.landmarks.models import ON_TORCH
from motionshards.transforms.extract.landmarks.options import ModelOptions


def gpus(landmarks: str) -> int:
    """How many GPUs a build with these landmarks can use here; 0 where it computes on the CPU."""
    if landmarks not in ON_TORCH:
        return 0
    import torch

    return torch.cuda.device_count()


def model_options(config: BuildConfig, weights: Path | None, scratch: Path | None, *, compiled: bool) -> ModelOptions:
    """How this process is to run the model.

    scratch: a directory that the workers of this machine share; None is the system's for temporary files
    """
    device = _device(config.landmarks, scratch or Path(tempfile.gettempdir()))
    return ModelOptions(config.detector, config.precision, weights, device, compiled)


@functools.cache
def _device(landmarks: str, scratch: Path) -> str:
    """The first GPU that no other worker has; where all are taken, they are shared."""
    count = gpus(landmarks)
    if not count:
        return "cpu"
    for number in range(count):
        descriptor = os.open(scratch / f"motionshards-{os.getuid()}-gpu-{number}", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            return f"cuda:{number}"  # the descriptor stays open, and the lock with it
    return f"cuda:{os.getpid() % count}"
