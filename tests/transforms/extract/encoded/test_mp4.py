"""Re-encoded frames look the same, and can be cut like stored video."""

from fractions import Fraction

import av
import numpy as np
import pytest
from moving import SIZE, image, seen_in

from motionshards.transforms.extract.encoded.mp4 import Mp4Encoder
from motionshards.transforms.extract.encoded.remux import key_frames
from motionshards.transforms.extract.stored_video import FrameReader


def test_frames_survive_encoding() -> None:
    images, encoder = np.stack([image(3, frame) for frame in range(30)]), Mp4Encoder(SIZE, Fraction(25), 12)
    for rgb in images:
        encoder.add(av.VideoFrame.from_ndarray(rgb, format="rgb24"))
    mp4, read = encoder.finished(), np.empty_like(images)
    FrameReader().into(mp4, np.arange(30), read)
    assert [seen_in(frame) for frame in read] == [(3, number) for number in range(30)]
    assert np.abs(read.astype(int) - images).mean() < 3
    assert key_frames(mp4).tolist() == [0, 12, 24]


@pytest.mark.parametrize(("matrix", "most"), [(1, 2.5), (6, 2.0), (9, 6.0)])
def test_frames_with_any_color_matrix_are_scaled(matrix: int, most: float) -> None:
    """BT.709, BT.601, and BT.2020, which is always converted through RGB."""
    images = np.stack([image(5, frame) for frame in range(13)])
    encoder = Mp4Encoder(SIZE // 2, Fraction(25), 12)
    for rgb in images:
        yuv = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p", dst_colorspace=matrix)
        yuv.colorspace, yuv.color_range = matrix, 1
        encoder.add(yuv)
    read = np.empty((13, SIZE // 2, SIZE // 2, 3), np.uint8)
    FrameReader().into(encoder.finished(), np.arange(13), read)
    halves = images.reshape(13, SIZE // 2, 2, SIZE // 2, 2, 3).mean(axis=(2, 4))
    assert np.abs(read - halves).mean() < most
