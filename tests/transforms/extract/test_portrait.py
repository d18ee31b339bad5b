"""The square of a portrait: scale and center of FFHQ, constant over time, for all pixel aspects."""

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from motionshards.transforms.extract.portrait import moved_to_contain, portrait_square

SQUARE = Fraction(1)


def points(eyes_px: float, mouth_px: float, at: tuple[float, float] = (100.0, 50.0)) -> NDArray[np.float64]:
    """[68,2]: eyes centered `at`, with this distance, and the mouth this far below; other points are arbitrary."""
    face = np.random.default_rng(0).uniform(0, 200, (68, 2))
    face[36:42], face[42:48] = (np.array(at) + [side * eyes_px / 2, 0] for side in (-1, 1))
    face[[48, 54]] = np.array(at) + np.array([[-10, mouth_px], [10, mouth_px]])
    return face


@pytest.mark.parametrize(("eyes_px", "mouth_px", "side"), [(40, 40, 160), (30, 40, 144), (10, 40, 144), (40, 20, 160)])
def test_scale_and_center_match_ffhq(eyes_px: float, mouth_px: float, side: float) -> None:
    x0, y0, x1, y1 = portrait_square(points(eyes_px, mouth_px)[None], SQUARE)
    assert (x1 - x0, y1 - y0) == pytest.approx((side, side))
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx((100, 50 + 0.1 * mouth_px))


def test_the_square_is_the_median_of_the_frames_scaled_about_its_center() -> None:
    frames = np.stack([points(40, 40, (x, 50.0)) for x in (90, 99, 100, 101, 160)])
    frames[1] = points(120, 40, (99, 50))  # wrong landmarks in one frame
    still = portrait_square(frames, SQUARE)
    np.testing.assert_allclose(still, portrait_square(points(40, 40)[None], SQUARE))
    wider = portrait_square(frames, SQUARE, 1.5)
    np.testing.assert_allclose(wider[2:] - wider[:2], 1.5 * (still[2:] - still[:2]))
    np.testing.assert_allclose(wider[2:] + wider[:2], still[2:] + still[:2])


def test_the_window_is_square_as_displayed() -> None:
    face, narrow = points(40, 40), np.array([3 / 4, 1])
    np.testing.assert_allclose(
        portrait_square(face[None] * narrow, Fraction(4, 3)), portrait_square(face[None], SQUARE) * np.tile(narrow, 2)
    )


def test_the_square_is_moved_just_enough_to_contain_the_face() -> None:
    square = np.array([0.0, 0, 100, 100])
    assert moved_to_contain(square, np.array([10.0, 20, 90, 80])).tolist() == [0, 0, 100, 100]
    assert moved_to_contain(square, np.array([-10.0, 40, 60, 130])).tolist() == [-10, 30, 90, 130]
    assert moved_to_contain(square, np.array([-40.0, 0, 160, 50])).tolist() == [10, 0, 110, 100], "centered if it does not fit"
