"""Stored videos are cut at key frames, and frames keep their pixels, order and rate."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from moving import SIZE, X264, flac_of, image, mp4_of

from motionshards.transforms.extract.encoded.remux import cut_mp4, key_frames
from motionshards.transforms.extract.stored_video import FrameReader

REORDERED = {"crf": "12", "x264-params": "keyint=12:scenecut=0:bframes=3:open-gop=0"}
FRAMES = 50


def pixels(mp4: bytes, frames: int) -> np.ndarray:
    read = np.empty((frames, SIZE, SIZE, 3), np.uint8)
    FrameReader().into(mp4, np.arange(frames), read)
    return read


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001)])
@pytest.mark.parametrize("options", [X264, REORDERED], ids=["in order", "reordered"])
def test_parts_have_the_frames_of_the_original(rate: Fraction, options: dict[str, str]) -> None:
    mp4 = mp4_of([image(1, frame) for frame in range(FRAMES)], rate, options=options, reordered=options is REORDERED)
    assert key_frames(mp4).tolist() == [0, 12, 24, 36, 48]
    parts = [cut_mp4(mp4, start, stop) for start, stop in ((0, 24), (24, 48), (48, 50))]
    assert (
        np.concatenate([pixels(part, frames) for part, frames in zip(parts, (24, 24, 2), strict=True)]) == pixels(mp4, FRAMES)
    ).all()
    with av.open(io.BytesIO(parts[1])) as container:
        assert [frame.pts * frame.time_base for frame in container.decode(video=0)] == [number / rate for number in range(24)]


def test_the_same_cut_has_the_same_bytes() -> None:
    mp4 = mp4_of([image(1, frame) for frame in range(30)])
    assert cut_mp4(mp4, 12, 24) == cut_mp4(mp4, 12, 24)


@pytest.mark.parametrize(("start", "stop"), [(5, 24), (0, 23), (12, 12), (24, 12), (0, 31), (-12, 12)])
def test_cuts_at_other_frames_are_refused(start: int, stop: int) -> None:
    mp4 = mp4_of([image(1, frame) for frame in range(30)])
    with pytest.raises(ValueError, match=f"a video of 30 frames cannot be cut from frame {start} to {stop}"):
        cut_mp4(mp4, start, stop)


@pytest.mark.parametrize("content", [b"", b"no mp4", flac_of(np.zeros(100, np.int16)), mp4_of([image(0, 0)], streams=2)])
def test_other_files_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="mp4"):
        key_frames(content)
    with pytest.raises(ValueError, match="mp4"):
        cut_mp4(content, 0, 1)
