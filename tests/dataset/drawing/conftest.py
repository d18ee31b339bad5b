"""Read-only datasets with stored video."""

from pathlib import Path

import pytest
from moving import make_moving_dataset


@pytest.fixture(scope="session", params=["video", "both"])
def moving(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips of 40, 45 and 50 frames from two spans; the first has no sound."""
    out = tmp_path_factory.mktemp("moving") / request.param
    return make_moving_dataset(out, 3, store=request.param, sound=lambda clip: clip, spans=2)
