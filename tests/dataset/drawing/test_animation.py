"""GIFs: selected frames, delays, the waveform and the shared palette."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from moving import seen_in
from PIL import Image

from motionshards.dataset.drawing import animation
from motionshards.dataset.drawing.motion import read_clip
from motionshards.dataset.index import Dataset
from motionshards.dataset.plotting.overlay import BOX
from motionshards.schemas.errors import ConfigError


def test_a_stored_video_plays_in_real_time_with_a_line_on_its_waveform(moving: Path) -> None:
    data = Dataset.open(moving)
    rows = data.index().to_pylist()
    _, motion = read_clip(data, rows[1])
    assert motion is not None
    shown = animation.of_video(motion, 64, drawn=False)
    assert shown.delays_ms == [80] * 22 + [40]
    for number, image in enumerate(shown.images):
        pixels = np.asarray(image)
        assert pixels.shape == (80, 64, 3)
        assert seen_in(pixels[:64]) == (1, 2 * number)
        (line,) = np.flatnonzero((pixels[64:] == BOX).all(axis=(0, 2)))
        assert line == round(63 * 2 * number / 45)
    drawn = animation.of_video(motion, 64, drawn=True)
    assert all((np.asarray(one) != np.asarray(other)).any() for one, other in zip(shown.images, drawn.images, strict=True))
    _, silent = read_clip(data, rows[0])
    assert silent is not None
    assert animation.of_video(silent, 64, drawn=False).images[0].size == (64, 64)


@pytest.mark.parametrize(
    ("rate", "delays"), [(Fraction(30000, 1001), [100] * 15), (24, [80, 90, 80, 80]), (10, [100] * 45), (50, [80] * 11 + [20])]
)
def test_delays_of_video_add_up_to_its_length(moving: Path, rate: Fraction, delays: list[int]) -> None:
    data = Dataset.open(moving)
    _, motion = read_clip(data, data.index().to_pylist()[1])
    assert motion is not None
    found = animation.of_video(
        replace(motion, video=replace(motion.video, rate=Fraction(rate)), audio=None), 16, drawn=False
    ).delays_ms
    assert found[: len(delays)] == delays
    assert sum(found) == pytest.approx(45_000 / rate, abs=5)


def test_a_video_that_would_not_fit_in_memory_is_refused(moving: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Dataset.open(moving)
    _, motion = read_clip(data, data.index().to_pylist()[1])
    monkeypatch.setattr(animation, "_MOST_PX", 20 * 64**2)
    with pytest.raises(ConfigError, match="a GIF of 23 frames of 64 px is too large: use --mp4"):
        animation.of_video(motion, 16, drawn=False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("times", "spans", "delays"),
    [
        ([0.0, 0.1, 0.3, 0.36], [0, 0, 0, 0], [100, 200, 60, 100]),
        ([0.0, 0.01, 5.0], [0, 0, 0], [40, 500, 500]),
        ([0.0, 0.2, 0.0, 0.2], [0, 0, 1, 1], [200, 200, 200, 200]),
        ([0.0, 0.0], [0, 1], [200, 200]),
        ([3.0], [0], [200]),
    ],
)
def test_delays(times: list[float], spans: list[int], delays: list[int]) -> None:
    assert animation.delays_ms({"pts_s": times, "span": spans}) == delays


def test_a_gif_of_one_color(tmp_path: Path) -> None:
    gray = [Image.new("RGB", (64, 64), (90, 90, 90))] * 2
    assert animation.in_shared_colors(gray)[0].convert("RGB").getcolors() == [(64 * 64, (90, 90, 90))]
