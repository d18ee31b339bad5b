"""Fixed random weights of both networks."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from motionshards.transforms.extract.landmarks.fan import weights


@pytest.fixture(scope="session")
def weight_files(once: Callable[..., Path]) -> Path:
    """A directory with files of the published names; S3FD's classes are biased so that it detects a few faces, not thousands."""
    return once("fan-weights", _write)


def _write(root: Path) -> None:
    root.mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fan, s3fd = weights.NETWORKS["fan"].make(), weights.NETWORKS["sfd"].make()
    for name, background in (("conv3_3_norm_mbox_conf", 0.55), ("conv5_3_norm_mbox_conf", 0.25)):
        getattr(s3fd, name).bias.data[:-1] += background
    torch.save(fan.state_dict(), root / weights.NETWORKS["fan"].file)
    torch.save(s3fd.state_dict(), root / weights.NETWORKS["sfd"].file)
