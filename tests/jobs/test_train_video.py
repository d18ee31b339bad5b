"""Models train on a dataset with video only."""

from pathlib import Path

import moving
import numpy as np
import pytest
from moving import make_moving_dataset
from training_runs import metrics

import motionshards.jobs.train

FOMM = """
architecture:
  size: 64
  keypoints: 3
  detector: {block_expansion: 4, max_features: 8, blocks: 2}
  dense_motion: {block_expansion: 4, max_features: 8, blocks: 2}
  generator: {block_expansion: 4, max_features: 8, bottleneck_blocks: 1}
training:
  {epochs: 2, repeats: 5, global_batch_size: 6, learning_rate: 0.002, one_pair_per_identity: false, losses: {scales: [1.0, 0.5]}}
"""
HEADS = """
architecture: {size: 64, width: 4, halvings: 4, residuals: 1}
training: {epochs: 2, repeats: 5, global_batch_size: 6, frames: 2, learning_rate: 0.001}
"""


def moving_square(clip: int, frame: int) -> np.ndarray:
    """A square that moves in a circle."""
    rgb = np.full((moving.SIZE, moving.SIZE, 3), (40 + 9 * clip, 60, 90), np.uint8)
    x, y = (np.array([np.cos(frame / 7), np.sin(frame / 7)]) * 16 + 24).astype(int)
    rgb[y : y + 16, x : x + 16] = (220, 200, 30 * clip % 200)
    return rgb


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moving, "image", moving_square)
        return make_moving_dataset(tmp_path_factory.mktemp("video"))


@pytest.mark.slow
@pytest.mark.parametrize(("model", "config"), [("fomm", FOMM), ("talking_heads", HEADS)])
def test_losses_fall(video: Path, tmp_path: Path, model: str, config: str) -> None:
    """20 steps."""
    (tmp_path / "tiny.yaml").write_text(config)
    words = ["--model", model, "--config", str(tmp_path / "tiny.yaml"), "--data", str(video), "--output", str(tmp_path / "run")]
    words += ["--vgg", "none", "--device", "cpu", "--quiet", "--log-every", "5", "--workers", "1"]
    if model == "talking_heads":
        words += ["--vggface", "none"]
    assert motionshards.jobs.train.main(words) == 0
    lines = metrics(tmp_path / "run")
    assert [line["step"] for line in lines] == [5, 10, 15, 20]
    assert lines[-1]["pixel"] < 0.97 * lines[0]["pixel"]


def test_the_option_selects_stills_or_video(video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny.yaml").write_text(FOMM)
    words = ["--model", "fomm", "--config", str(tmp_path / "tiny.yaml"), "--data", str(video), "--output", str(tmp_path / "run")]
    assert motionshards.jobs.train.main([*words, "--vgg", "none", "--frames-of", "stills"]) == 2
    assert "frames is 'stills', but the dataset was built with --store video" in capsys.readouterr().err


def test_frames_of_the_models_size_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_moving_dataset(tmp_path / "data", 6, smaller=(32,))
    for size, status, message in (
        (32, 0, "60 samples of 32 px per epoch"),
        (48, 2, "data has frames of 64 and 32 px, and --config"),
    ):
        (tmp_path / "tiny.yaml").write_text(FOMM.replace("size: 64", f"size: {size}").replace("repeats: 5", "repeats: 10"))
        words = [
            "--model",
            "fomm",
            "--config",
            str(tmp_path / "tiny.yaml"),
            "--data",
            str(data),
            "--output",
            str(tmp_path / "run"),
        ]
        words += ["--vgg", "none", "--device", "cpu", "--quiet", "--workers", "1", "--stop-after", "1"]
        assert motionshards.jobs.train.main(words) == status
        assert message in capsys.readouterr().err
