"""Frames of an interval as a stream: the same as decoded by number, and no process is left behind."""

import time
from pathlib import Path

import numpy as np
import pytest
from all_frames import all_frames
from decoders import decoders
from videos import MakeVideo, ffmpeg

from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.decode import cut, decode
from motionshards.transforms.extract.decoder.filters import RGB, scaled
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.output_images import OutputImage
from motionshards.transforms.extract.stream import decode_images
from motionshards.transforms.extract.timeline import Timeline, timeline_from_packets

SIZE = (96, 64)
LONG = "testsrc2=size=96x64:rate=25:duration=20"


@pytest.fixture
def video(make_video: MakeVideo) -> tuple[Media, Timeline]:
    media = Media.at(make_video("a.mp4", source=LONG))
    return media, timeline_from_packets(media, 60)


def full(media: Media, line: Timeline, start: int, stop: int, *, seek: bool = True) -> np.ndarray:
    return np.array(list(all_frames(media, line, start, stop, SIZE, seek=seek)))


@pytest.mark.parametrize(("start", "stop"), [(0, 500), (0, 1), (37, 60), (490, 500), (499, 500), (300, 310)])
def test_frames_match_decoding_by_number(video: tuple[Media, Timeline], start: int, stop: int) -> None:
    media, line = video
    frames = full(media, line, start, stop)
    assert len(frames) == stop - start
    chosen = np.unique([start, (start + stop) // 2, stop - 1])
    window = (16, 0, 80, 64)
    expected = decode(media, line, chosen, 64, "pad", 60, window).rgb
    np.testing.assert_array_equal(frames[chosen - start][:, :, 16:80], expected)
    np.testing.assert_array_equal(frames, full(media, line, start, stop, seek=False))


@pytest.mark.parametrize("window", [(10, 5, 53, 48), (-20, -10, 76, 86), (0, 0, 64, 64), (40, 30, 120, 110)])
@pytest.mark.parametrize("size", [64, 43, 100])
def test_frames_cropped_later_match_those_cropped_while_decoding(
    video: tuple[Media, Timeline], window: tuple[int, int, int, int], size: int
) -> None:
    media, line = video
    frames = full(media, line, 20, 30)
    expected = decode(media, line, np.array([20, 24, 29]), size, "pad", 60, window).rgb
    np.testing.assert_array_equal(cut(frames[[0, 4, 9]], window, size, 60), expected)


def test_a_rotated_video_is_upright(make_video: MakeVideo, tmp_path: Path) -> None:
    plain = make_video("plain.mp4")
    ffmpeg("-display_rotation", "90", "-i", plain, "-c", "copy", tmp_path / "t.mp4")
    media = Media.at(tmp_path / "t.mp4")
    line = timeline_from_packets(media, 60)
    assert line.size_px == (64, 96)
    turned = next(all_frames(media, line, 0, 1, (64, 96)))
    original = Media.at(plain)
    before = next(all_frames(original, timeline_from_packets(original, 60), 0, 1, (96, 64)))
    assert turned.shape == (96, 64, 3)
    # ffmpeg rotates before converting to RGB, so subsampled chroma may be rounded differently.
    assert np.abs(turned.astype(int) - np.rot90(before).astype(int)).mean() < 4


def test_a_reader_that_stops_early_leaves_no_process(video: tuple[Media, Timeline]) -> None:
    media, line = video
    frames = all_frames(media, line, 0, 500, (32, 20))
    next(frames)
    assert decoders(1)
    frames.close()
    assert not decoders(0)


def test_a_slow_reader_does_not_count_as_a_slow_decoder(video: tuple[Media, Timeline]) -> None:
    media, line = video
    count = 0
    for _ in all_frames(media, line, 0, 30, (32, 20), 1.0):
        time.sleep(0.05)
        count += 1
    assert count == 30


def test_a_decoder_that_hangs_is_killed(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "endless.ts")
    writer = os.open(tmp_path / "endless.ts", os.O_RDWR)
    line = Timeline(np.arange(30) / 25, SIZE)
    start_s = time.monotonic()
    with pytest.raises(ClipRejected, match="decode_timeout"):
        list(all_frames(Media.at(tmp_path / "endless.ts"), line, 0, 30, (32, 20), 0.3))
    assert time.monotonic() - start_s < 3
    os.close(writer)
    assert not decoders(0)


def test_damaged_or_mismatched_files_are_rejected(video: tuple[Media, Timeline], tmp_path: Path) -> None:
    media, line = video
    raw = bytearray(Path(media.path).read_bytes())
    start = raw.index(b"mdat") + 4
    for place in range(start + len(raw) // 3, start + len(raw) // 2, 7):
        raw[place] ^= 0x55
    (tmp_path / "b.mp4").write_bytes(raw)
    with pytest.raises(ClipRejected, match="corrupt"):
        list(all_frames(Media.at(tmp_path / "b.mp4"), line, 0, 500, (32, 20), 60))
    late = Timeline(line.raw_s + 0.01, line.size_px)
    with pytest.raises(ClipRejected, match="frame_mismatch"):
        list(all_frames(media, late, 0, 20, (32, 20), 60))
    longer = Timeline(np.arange(600) / 25, line.size_px)
    with pytest.raises(ClipRejected, match="frame_mismatch"):
        list(all_frames(media, longer, 480, 600, (32, 20), 60, seek=False))
    other = Timeline(line.raw_s, (64, 96))
    with pytest.raises(ClipRejected):
        list(all_frames(media, other, 0, 20, (32, 20), 60))


def test_one_decoding_feeds_several_readers(video: tuple[Media, Timeline]) -> None:
    """A few full frames, every second one small in gray, and tiny images of all: each only where requested."""
    media, line = video
    some, halves = (3, 17, 29), tuple(range(0, 30, 2))
    exact = OutputImage((scaled(*SIZE), RGB), only=some)
    gray = OutputImage((scaled(48, 32), ("format", "gray")), only=halves)
    tiny = OutputImage((scaled(27, 18), RGB))
    found = list(decode_images(media, line, 10, 40, (exact, gray, tiny), 60))
    whole = full(media, line, 10, 40)
    assert [place for place, (one, _, _) in enumerate(found) if one is not None] == list(some)
    assert [place for place, (_, one, _) in enumerate(found) if one is not None] == list(halves)
    for place in some:
        np.testing.assert_array_equal(found[place][0], whole[place])
    for place in halves:
        seen = found[place][1]
        assert seen is not None and seen.shape == (32, 48, 1)
    assert all(one is not None and one.shape == (18, 27, 3) for _, _, one in found)
    without = list(decode_images(media, line, 10, 40, (exact, gray), 60))
    requested = [[one is not None for one in each] for each in without]
    assert requested == [[one is not None for one in each[:2]] for each in found], "also frames without any requested image"
