"""Marks drawn on a frame, compared with geometry computed here."""

import numpy as np
import pytest
from PIL import Image
from sheets import has_color

from motionshards.dataset.plotting import overlay
from motionshards.dataset.plotting.overlay import Marks
from motionshards.schemas.action_units import INTENSITIES
from motionshards.transforms.extract.quality.face_model import FACE_68_MM
from motionshards.transforms.extract.quality.pose import FOCAL_PER_SIDE, head_pose


def test_a_point_is_drawn_where_it_is() -> None:
    for place in ([31.5, 31.5], [7.25, 50.0], [0.0, 0.0]):
        points = np.tile(np.array(place), (68, 1))
        drawn = np.asarray(overlay.marked(np.zeros((64, 64, 3), np.uint8), 256, Marks(points)))
        y, x = np.nonzero(drawn.max(-1) > 60)
        expected = (np.array(place) + 0.5) * 4 - 0.5
        if place != [0.0, 0.0]:  # that one is cut off by the edge
            np.testing.assert_allclose([x.mean(), y.mean()], expected, atol=0.6)
        assert np.hypot(x - expected[0], y - expected[1]).max() < 4


def test_lines_connect_the_points_of_a_part_and_nothing_else_is_drawn() -> None:
    points = np.full((68, 2), 200.0)
    points[:17] = np.stack([np.linspace(20, 180, 17), np.full(17, 40.0)], -1)
    drawn = np.asarray(overlay.marked(np.zeros((256, 256, 3), np.uint8), 256, Marks(points))).max(-1)
    assert (drawn[40, 20:181] > 60).all()
    rest = drawn.copy()
    rest[34:47, 14:187], rest[190:211, 190:211] = 0, 0
    assert not rest.any()


def test_a_box_is_drawn_and_missing_marks_are_skipped() -> None:
    gray = np.full((64, 64, 3), 40, np.uint8)
    bare = np.asarray(overlay.marked(gray, 128))
    drawn = np.asarray(overlay.marked(gray, 128, Marks(box_px=[10, 20, 40, 50])))
    assert drawn[round(20.5 * 2), 40].min() > 90
    assert drawn[70, round(40.5 * 2) - 1].min() > 90
    np.testing.assert_array_equal(drawn[50:90, 30:70], bare[50:90, 30:70])
    nothing = Marks(np.full((68, 2), np.nan), [None] * 4, [None, 1.0, 2.0])
    np.testing.assert_array_equal(np.asarray(overlay.marked(gray, 128, nothing)), bare)
    far = Marks(np.full((68, 2), 1e6), [-1e6, -1e6, 1e6, 1e6], [720.0, -400.0, 1e4])
    assert overlay.marked(gray, 128, far).size == (128, 128)


@pytest.mark.parametrize("angles", [(0, 0, 0), (40, 0, 0), (0, 25, 0), (0, 0, -30), (-35, 15, 20)])
def test_the_axes_are_those_of_the_stored_angles(angles: tuple[float, float, float]) -> None:
    """Rotated according to the axes, the model face has the pose measured by `quality.pose`."""
    right, up, forward = overlay.head_axes(*angles)
    placed = FACE_68_MM @ np.stack([right, -up, -forward]) + [0, 0, 800.0]
    image = placed[:, :2] / placed[:, 2:] * FOCAL_PER_SIDE * 256 + 127.5
    np.testing.assert_allclose(head_pose(image[None], (256, 256))[0], angles, atol=0.5)


def test_bar_heights_are_proportional_to_intensities() -> None:
    values = np.linspace(0, 5, len(INTENSITIES))
    bars = np.asarray(overlay.au_bars(values, (340, 100))).astype(int)
    middles = (np.arange(17) * 20 + 10).tolist()
    heights = [int((np.abs(bars[:, x] - bars[0, middles[0]]).max(-1) > 60)[:80].sum()) for x in middles]
    assert heights == sorted(heights)
    assert heights[0] < 3
    assert heights[8] == pytest.approx(heights[16] / 2, abs=2)
    none = np.asarray(overlay.au_bars(np.full(17, np.nan), (340, 100))).astype(int)
    assert has_color(none, overlay.WARNING)
    assert not has_color(bars, overlay.WARNING)


def test_names_in_any_script_can_be_written() -> None:
    for words in ("id1/clip·1", "人/\n\x00/ü", "\udcff", "", "x" * 1000):
        image = Image.new("RGB", (200, 30))
        overlay.text_line(image, (5, 20), words, 12)
        assert (np.asarray(image).any()) == bool(words)
