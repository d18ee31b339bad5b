"""GPU assignment: one worker process per GPU, by file locks that the kernel releases when a process ends."""

import fcntl
import functools
import os
import tempfile
from pathlib import Path

from motionshards.schemas.config import BuildConfig
from motionshards.transforms.extract.landmarks.models import ON_TORCH
from motionshards.transforms.extract.landmarks.options import ModelOptions


def gpus(landmarks: str) -> int:
    """Number of GPUs of this machine that a build with these landmarks can use; 0 if it runs on the CPU."""
    if landmarks not in ON_TORCH:
        return 0
    import torch

    return torch.cuda.device_count()


def model_options(config: BuildConfig, weights: Path | None, scratch: Path | None, *, compiled: bool) -> ModelOptions:
    """The options with which this process runs the face model.

    scratch: a directory shared by the workers of this machine; None for the system's temporary directory
    """
    device = _device(config.landmarks, scratch or Path(tempfile.gettempdir()))
    return ModelOptions(config.detector, config.precision, weights, device, compiled)


@functools.cache
def _device(landmarks: str, scratch: Path) -> str:
    """The first GPU that no other worker has locked; if all are locked, they are shared."""
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
            return f"cuda:{number}"  # the descriptor stays open to keep the lock
    return f"cuda:{os.getpid() % count}"
