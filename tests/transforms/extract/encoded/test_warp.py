"""Frames warped plane by plane look like frames warped in RGB."""

from fractions import Fraction

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from motionshards.transforms.extract.decoder.filters import RGB, SCALER
from motionshards.transforms.extract.decoder.graph import Chain
from motionshards.transforms.extract.decoder.stored.yuv import ToYuv
from motionshards.transforms.extract.encoded import warp
from motionshards.transforms.extract.encoded.warp import warped

cv2 = pytest.importorskip("cv2")
SIZE = 64
ENLARGED = [[2, 0, -20.5], [0, 2, -31.25]]


def rgb_of(frame: av.VideoFrame) -> NDArray[np.float64]:
    """Chroma interpolated at its sample positions, unlike in fast conversions."""
    exact = Chain([("scale", f"in_range=tv:in_color_matrix=smpte170m:in_chroma_loc=left:flags={SCALER}"), RGB])
    return exact.of(frame, Fraction(1, 25), Fraction(1)).to_ndarray().astype(float)


@pytest.fixture
def frame() -> av.VideoFrame:
    """A disc of one color on a smooth background: its edge is visible if luma and chroma are misaligned."""
    y, x = np.mgrid[:SIZE, :SIZE]
    ground = np.stack([80 + x, 60 + y, 200 - x], axis=2)
    disc = ((x - 30) ** 2 + (y - 34) ** 2 < 15**2)[..., None]
    rgb = np.where(disc, np.array([220, 40, 60]), ground).astype(np.uint8)
    yuv: av.VideoFrame = ToYuv(SIZE).of_rgb(av.VideoFrame.from_ndarray(rgb, format="rgb24"), Fraction(1, 25))
    return yuv


def test_the_identity_changes_no_sample(frame: av.VideoFrame) -> None:
    moved = warped(frame, np.array([[1.0, 0, 0], [0, 1, 0]]), SIZE)
    assert np.array_equal(moved.to_ndarray(), frame.to_ndarray())


def test_what_is_outside_is_gray(frame: av.VideoFrame) -> None:
    moved = warped(frame, np.array([[1.0, 0, 1000], [0, 1, 0]]), SIZE)
    assert np.abs(rgb_of(moved) - 127).max() <= 1


def error(frame: av.VideoFrame, affine: list[list[float]]) -> float:
    """Mean difference between a frame warped in YUV and in RGB."""
    matrix = np.array(affine, float)
    border = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": (127, 127, 127)}
    expected = cv2.warpAffine(rgb_of(frame), matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR, **border)
    return float(np.abs(rgb_of(warped(frame, matrix, SIZE)) - expected).mean())


@pytest.mark.parametrize(
    "affine",
    [[[1, 0, 3], [0, 1, -5]], [[0.9, 0.2, -3], [-0.2, 0.9, 9]], ENLARGED, [[0.5, 0.1, 8], [0, 0.6, 4]]],
)
def test_warped_frames_are_those_warped_in_rgb(frame: av.VideoFrame, affine: list[list[float]]) -> None:
    assert error(frame, affine) < 2.5


def test_chroma_is_at_the_encoders_sample_positions(frame: av.VideoFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the left of its square and midway between rows; elsewhere colors would be shifted."""
    found = error(frame, ENLARGED)
    for right, down in ((0, 0), (0.5, 0), (0.5, 0.5)):
        monkeypatch.setattr(warp, "_TO_LUMA", np.array([[2, 0, right], [0, 2, down], [0, 0, 1]]))
        assert error(frame, ENLARGED) > 1.15 * found
