"""A dataset with stored video, and its export as frames."""

from collections.abc import Callable
from pathlib import Path

import pytest
from moving import make_moving_dataset

from motionshards.dataset.export.__main__ import main


@pytest.fixture(scope="session")
def moving(once: Callable[..., Path]) -> Path:
    """Twelve clips in three shards, every third without sound; read-only."""
    return once(
        "export-moving", lambda path: make_moving_dataset(path, frames=lambda clip: 20 + clip, sound=lambda clip: clip % 3)
    )


@pytest.fixture(scope="session")
def exported(moving: Path, once: Callable[..., Path]) -> Path:
    """Its export as frames by one worker; read-only."""

    def write(path: Path) -> None:
        assert main([str(moving), "--format", "frames", "--output", str(path), "--workers", "1", "--quiet"]) == 0

    return once("export-frames", write)
