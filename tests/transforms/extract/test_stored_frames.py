"""Stored videos are read exactly and joined by decoders."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from videos import MakeVideo, ffmpeg

from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.moving import Encoded
from motionshards.transforms.extract.decode import decode
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.output_images import ExtraOutputs, ToVideo
from motionshards.transforms.extract.stored_frames import frames_of_mp4, joined
from motionshards.transforms.extract.timeline import timeline_by_decoding

Stored = Callable[..., Encoded]


@pytest.fixture
def stored(make_video: MakeVideo) -> Stored:
    """stored(first, last, ...) -> these frames of a video, encoded."""

    def encode(first: int, last: int, size: int = 64, rate: Fraction = Fraction(25), crf: int = 18) -> Encoded:
        media = Media.at(make_video("a.mp4"))
        video, line = ToVideo(np.arange(first, last), rate, crf), timeline_by_decoding(media, 60)
        found = decode(media, line, np.array([first]), size, "pad", 60, extra=ExtraOutputs(video=video)).video
        assert found is not None
        return found

    return encode


def test_selected_frames_match_a_plain_decode(stored: Stored, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(mp4 := stored(0, 30).mp4)
    exact = "scale=flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact,format=rgb24"
    plain = np.frombuffer(ffmpeg("-i", tmp_path / "a.mp4", "-vf", exact, "-f", "rawvideo", "-"), np.uint8).reshape(-1, 64, 64, 3)
    for which in ([0], [29], [5, 5, 3, 29, 0, 13], range(30)):
        np.testing.assert_array_equal(frames_of_mp4(mp4, np.array(which), 60), plain[list(which)])


def test_joined_videos_have_the_frames_of_each(stored: Stored, tmp_path: Path) -> None:
    parts = [stored(0, 13), stored(20, 21), stored(30, 50, crf=30)]
    whole = joined([part.mp4 for part in parts], 60)
    frames = [frames_of_mp4(part.mp4, np.arange(part.frames), 60) for part in parts]
    np.testing.assert_array_equal(frames_of_mp4(whole, np.arange(34), 60), np.concatenate(frames))
    (tmp_path / "a.mp4").write_bytes(whole)
    line = timeline_by_decoding(Media.at(tmp_path / "a.mp4"), 60)
    np.testing.assert_allclose(line.raw_s, np.arange(34) / 25, rtol=0, atol=1e-12)
    assert whole == joined([part.mp4 for part in parts], 60)
    assert parts[0].mp4 == joined([parts[0].mp4], 60)


def test_videos_that_differ_are_not_joined(stored: Stored) -> None:
    first = stored(0, 5).mp4
    for other in (stored(0, 5, size=48), stored(0, 5, rate=Fraction(30))):
        with pytest.raises(ValueError, match="video 2 cannot be joined"):
            joined([first, first, other.mp4], 60)


def test_other_files_are_rejected(stored: Stored) -> None:
    mp4 = stored(0, 20).mp4
    with pytest.raises(ClipRejected, match="frame_mismatch"):
        frames_of_mp4(mp4, np.array([3, 20]), 60)
    for damaged in (b"", b"nothing", mp4[: len(mp4) // 2]):
        with pytest.raises(ClipRejected):
            frames_of_mp4(damaged, np.array([19]), 60)
    with pytest.raises(ValueError, match="video 1 cannot be joined"):
        joined([mp4, mp4[:-1000]], 60)
