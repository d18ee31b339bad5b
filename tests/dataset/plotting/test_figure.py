"""Figures of clips and batches of every view: their content and size."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from checkout import ROOT
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from moving import make_moving_dataset

from motionshards.dataset.index import Dataset
from motionshards.dataset.plotting.panel import spread
from motionshards.dataset.reading.view import View
from motionshards.dataset.stream import Batch, ClipStream, KPlusOne, Pairs, PosePairs, Sequence, Singles
from motionshards.schemas.action_units import INTENSITIES
from motionshards.schemas.errors import ConfigError
from motionshards.transforms.augment.augment import Augment

VIEWS: dict[str, View] = {
    "pairs": Pairs(2),
    "k-plus-one": KPlusOne(3),
    "singles": Singles(),
    "pose-pairs": PosePairs(frontal_deg=180, most_deg=180),
    "sequence": Sequence(4),
}


def first(data: Path, view: View, size: int = 4) -> Batch:
    return next(iter(ClipStream(data, view, global_batch_size=size, seed=0)))


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def strips(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.images]


def pixels(axes: Axes) -> np.ndarray:
    return np.asarray(axes.images[0].get_array())


@pytest.mark.parametrize("view", VIEWS)
def test_each_view_is_shown(data_with_aus: Path, view: str) -> None:
    batch = first(data_with_aus, VIEWS[view])
    figure, n = batch.show(), batch.frames.shape[1]
    assert [text for text in texts(figure) if "/" in text] == list(batch.keys)
    numbers = [f"frame {number}" for number in batch.number.flatten().tolist()]
    assert [text.partition("\n")[0] for text in texts(figure) if text.startswith("frame")] == numbers
    assert len(strips(figure)) == 4 and sum(bool(axes.patches) for axes in figure.axes) == 4 * n
    width, height = figure.get_size_inches()
    assert width < 12.5 and height < 13


def test_bars_are_the_action_units_and_those_of_the_target(data_with_aus: Path) -> None:
    batch = first(data_with_aus, Singles())
    figure = batch.show(clips=1)
    (bars,) = [axes for axes in figure.axes if axes.patches]
    assert batch.aus is not None and batch.target_aus is not None
    heights = [bar.get_height() for bar in bars.patches]  # type: ignore[attr-defined]
    np.testing.assert_allclose(heights, torch.cat([batch.aus[0, 0], batch.target_aus[0]]), rtol=1e-6)
    strongest = int(batch.target_aus[0].argmax())
    assert any(text.startswith(f"→ {INTENSITIES[strongest]} {batch.target_aus[0, strongest]:.1f}") for text in texts(figure))


def test_landmarks_are_drawn_where_they_are(data: Path) -> None:
    batch = first(data, Pairs(2), size=1)
    assert batch.landmarks is not None
    gray, nobody = torch.full_like(batch.frames, 128), torch.full_like(batch.landmarks, torch.nan)
    at_the_left = nobody.clone()
    at_the_left[:, 0] = torch.stack([torch.full((68,), 8.0), torch.linspace(2, 29, 68)], dim=1)
    no_pose = torch.full_like(batch.pose, torch.nan)
    shown = [
        pixels(strips(replace(batch, frames=gray, landmarks=points, pose=no_pose).show())[0]) for points in (nobody, at_the_left)
    ]
    side = shown[0].shape[0]
    columns = np.flatnonzero((shown[0] != shown[1]).any(axis=(0, 2)))
    assert np.abs(columns / side * 32 - 8.5).max() < 1


def test_augmented_batches_show_the_pixels_of_the_model(data: Path) -> None:
    batch = replace(first(data, Pairs(2)), landmarks=None)
    augmented = Augment()(batch, Augment().draw(4, torch.Generator().manual_seed(0)))
    assert augmented.frames.dtype == torch.float32
    for before, after in zip(strips(batch.show()), strips(augmented.show()), strict=True):
        np.testing.assert_array_equal(pixels(before), pixels(after))


def test_sound_is_a_waveform_and_long_sequences_are_thinned(tmp_path: Path) -> None:
    batch = first(make_moving_dataset(tmp_path / "data", 2), Sequence(16, audio=True), size=2)
    figure = batch.show(clips=1, frames=4)
    shown = [text.partition("\n")[0] for text in texts(figure) if text.startswith("frame")]
    assert shown == [f"frame {batch.number[0, number]}" for number in (0, 5, 10, 15)]
    assert sum(bool(axes.collections) for axes in figure.axes) == 1 and "0.64 s of sound at 16,000 Hz" in texts(figure)


def test_a_clip_shows_boxes_and_its_whole_sound(tmp_path: Path) -> None:
    sample = Dataset.open(make_moving_dataset(tmp_path / "data", 1))[0]
    assert sample.marks(0).box_px == [8, 8, 56, 56]
    figure = sample.show(frames=3)
    assert texts(figure)[:4] == [sample.key, "0.00 s", "0.80 s", "1.40 s"]
    assert "1.60 s of sound at 16,000 Hz" in texts(figure)


def test_a_notebook_displays_one_image_without_pyplot(data: Path) -> None:
    program = (
        f"import sys; from motionshards.dataset.index import Dataset; sample = Dataset.open({str(data)!r})[0]\n"
        "assert 'matplotlib' not in sys.modules\n"
        "print(sample.show()._repr_png_()[:4], 'matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == r"b'\x89PNG' False" + "\n"


def test_keys_are_not_parsed_as_formulas_and_long_ones_are_truncated(data: Path) -> None:
    batch = first(data, Singles(target=False), size=1)
    long = "a$x_2$\x1b/" + "b" * 200
    (title,) = [text for text in texts(replace(batch, keys=(long,)).show()) if "bbb" in text]
    assert title.startswith("…b") and len(title) < 40
    figure = replace(batch, keys=("a$\\frac$\x1b/",)).show()
    figure.draw_without_rendering()
    assert "a$\\frac$\\x1b/" in texts(figure)


@pytest.mark.parametrize("counts", [{"clips": 0}, {"frames": 0}, {"frames": -1}], ids=str)
def test_a_figure_of_nothing_is_refused(data: Path, counts: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        first(data, Pairs(2), size=1).show(**counts)


def test_numbers_are_spread_evenly() -> None:
    assert spread(9, 9) == list(range(9)) and spread(3, 9) == [0, 1, 2] and spread(101, 3) == [0, 50, 100]


def test_without_matplotlib_the_error_names_the_extra(data: Path) -> None:
    program = (
        "import sys; sys.modules['matplotlib'] = sys.modules['matplotlib.axes'] = None\n"
        "from motionshards.dataset.index import Dataset\nfrom motionshards.schemas.errors import ConfigError\n"
        f"try: Dataset.open({str(data)!r})[0].show()\nexcept ConfigError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.count("\n") == 1 and "pip install 'motionshards[notebook]'" in done.stdout
