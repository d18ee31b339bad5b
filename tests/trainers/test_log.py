"""The log of a run: tags, and image grids as files and in TensorBoard."""

from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch

from motionshards.trainers.grid import GAP_PX, HEADER_PX, MIN_PX
from motionshards.trainers.log import Log, tag

VALUES = {"epoch": 1.0, "perceptual": 2.0, "unfit": 0.5, "waiting": 0.25, "lr_kp_detector": 2e-4}
TAGS = ["time/epoch", "loss/perceptual", "data/unfit", "time/waiting", "lr/kp_detector"]
COLORS = {"source": (1.0, 0.0, 0.0), "driving": (0.0, 1.0, 0.0), "prediction": (0.0, 0.0, 1.0)}


def columns(size_px: int) -> dict[str, torch.Tensor]:
    """Two rows, the second half as bright as the first."""
    rows = torch.tensor([1.0, 0.5])[:, None, None, None]
    return {label: torch.tensor(color)[:, None, None].expand(2, 3, size_px, size_px) * rows for label, color in COLORS.items()}


def test_scalars_are_grouped() -> None:
    assert [tag(name) for name in VALUES] == TAGS


@pytest.mark.parametrize(("size_px", "side_px"), [(256, 256), (16, MIN_PX)])
def test_images_are_a_grid_with_labels(tmp_path: Path, size_px: int, side_px: int) -> None:
    Log(tmp_path, 0).images(7, columns(size_px))
    grid = simplejpeg.decode_jpeg((tmp_path / "images" / "00000007.jpg").read_bytes()).astype(float)
    pitch = side_px + GAP_PX
    assert grid.shape == (HEADER_PX + 2 * pitch, 3 * pitch - GAP_PX, 3)
    for column, color in enumerate(COLORS.values()):
        left = column * pitch
        assert grid[:HEADER_PX, left : left + side_px].min() < 60, "a label"
        for row, bright in enumerate((255, 127.5)):
            middle = grid[HEADER_PX + row * pitch + side_px // 2, left + side_px // 2]
            np.testing.assert_allclose(middle, np.multiply(color, bright), atol=6)


def test_tensorboard_has_the_same(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard, of the extra train, is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = Log(tmp_path, 0)
    log.scalars(3, VALUES)
    log.images(3, columns(16))
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert sorted(found.Tags()["scalars"]) == sorted(TAGS) and found.Tags()["images"] == ["images/samples"]
    assert found.Scalars("lr/kp_detector")[0].value == pytest.approx(2e-4)
    (image,) = found.Images("images/samples")
    assert (image.height, image.width) == (HEADER_PX + 2 * (MIN_PX + GAP_PX), 3 * (MIN_PX + GAP_PX) - GAP_PX)
