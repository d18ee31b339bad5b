"""Frames that are encoded again look as before, and can be cut as stored video can."""

from fractions import Fraction

import numpy as np
from moving import SIZE, picture, seen_in

from motionshards.transforms.extract.encoded.mp4 import Mp4Encoder
from motionshards.transforms.extract.encoded.remux import key_frames
from motionshards.transforms.extract.stored_video import FrameReader


def test_frames_survive_encoding() -> None:
    pictures, encoder = np.stack([picture(3, frame) for frame in range(30)]), Mp4Encoder(SIZE, Fraction(25), 12)
    for rgb in pictures:
        encoder.add(rgb)
    mp4, read = encoder.finished(), np.empty_like(pictures)
    FrameReader().into(mp4, np.arange(30), read)
    assert [seen_in(frame) for frame in read] == [(3, number) for number in range(30)]
    assert np.abs(read.astype(int) - pictures).mean() < 3
    assert key_frames(mp4).tolist() == [0, 12, 24]
