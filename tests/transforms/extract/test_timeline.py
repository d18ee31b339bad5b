"""Timelines of files with misleading packets, headers or titles: exact times, all frames, and metadata is never parsed as log."""

import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from videos import MakeVideo, ffmpeg

from motionshards.pipeline.clips.clip import read_clip
from motionshards.pipeline.clips.read import ReadClip
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.records import ClipSpec, Rejected, Span
from motionshards.transforms.extract.decode import decode
from motionshards.transforms.extract.ffmpeg import ffmpeg_path
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.timeline import Timeline, square_pixels, timeline_by_decoding, timeline_from_packets

X264 = ("-c:v", "libx264", "-preset", "ultrafast")
JITTER = "testsrc2=size=96x64:rate=30:duration=2,settb=1/90000,setpts='(N/30+0.0015*sin(N*2)+0.7)/TB'"
UNEVEN = ("-fps_mode", "passthrough", "-enc_time_base", "1/90000", "-video_track_timescale", "90000", "-bf", "0")


def both(path: Path) -> tuple[Timeline, Timeline]:
    return timeline_from_packets(Media.at(path), 60), timeline_by_decoding(Media.at(path), 60)


def read(path: Path, recipe: str = "resize") -> ReadClip | Rejected:
    where = {"box": (8.0, 8.0, 56.0, 56.0), "reference_px": (96.0, 64.0)} if recipe == "bbox" else {}
    spec = ClipSpec("i/v/c", "s", "train", "i", "v", (Span(path.name, **where),), 1.0)  # type: ignore[arg-type]
    config = BuildConfig(source="s", frames=999, min_frames=1, size=48, recipe=recipe)
    return read_clip(spec, path.parent, None, config)[0]


def test_uneven_times_are_exact_from_packets_and_from_the_decoder(make_video: MakeVideo) -> None:
    path = make_video("a.mp4", *X264, *UNEVEN, source=JITTER)
    expected = np.round((np.arange(60) / 30 + 0.0015 * np.sin(np.arange(60) * 2)) * 90000) / 90000
    for line in both(path):
        np.testing.assert_allclose(line.pts_s, expected - expected[0], rtol=0, atol=1.2e-5)
    np.testing.assert_array_equal(*(line.raw_s for line in both(path)))


def test_a_cut_with_decreasing_decoding_times_is_accepted(make_video: MakeVideo) -> None:
    """As written by `-ss -c copy` if frames before the first keyframe in time come after it in the file."""
    open_groups = ("-c:v", "libx265", "-x265-params", "log-level=error:keyint=50:open-gop=1")
    whole = make_video("whole.mkv", *open_groups, source="testsrc2=size=96x64:rate=25:duration=6")
    cut = whole.with_name("cut.mkv")
    ffmpeg("-ss", "4.5", "-i", whole, "-c", "copy", cut)
    copying = ["-v", "error", "-xerror", "-i", str(cut), "-map", "0:V:0", "-c", "copy", "-f", "framecrc", "-"]
    done = subprocess.run([ffmpeg_path(), *copying], capture_output=True, check=False)
    assert b"Non-monoton" in done.stderr, "the file is not as expected"
    clip = read(cut)
    assert isinstance(clip, ReadClip), clip
    assert clip.source_frames == len(clip.crop) == 50
    np.testing.assert_allclose(np.diff(clip.crop.placement.pts_s), 0.04, atol=1e-3)


@pytest.fixture
def growing(make_video: MakeVideo, tmp_path: Path) -> Path:
    """Ten frames of 96x64, then fifteen of 192x160, as in a video call with increasing bandwidth."""
    for name, size, seconds in (("small", "96x64", 0.4), ("large", "192x160", 0.6)):
        make_video(f"{name}.webm", "-c:v", "libvpx", source=f"testsrc2=size={size}:rate=25:duration={seconds}")
    (tmp_path / "list").write_text("ffconcat version 1.0\nfile small.webm\nfile large.webm\n")
    ffmpeg("-f", "concat", "-i", tmp_path / "list", "-c", "copy", tmp_path / "growing.webm")
    return tmp_path / "growing.webm"


def test_a_changing_size_is_recorded_for_each_frame(growing: Path) -> None:
    clip = read(growing)
    assert isinstance(clip, ReadClip), clip
    assert clip.crop.placement.source_size_px.tolist() == [[96, 64]] * 10 + [[192, 160]] * 15
    np.testing.assert_allclose(clip.crop.placement.pts_s, np.arange(25) / 25, atol=1e-3)
    assert clip.crop.placement.content_px[[0, -1]].tolist() == [[0, 8, 48, 40], [0, 4, 48, 44]]


def test_a_changing_size_is_rejected_if_a_single_window_is_required(growing: Path) -> None:
    rejected = read(growing, "bbox")
    assert isinstance(rejected, Rejected) and rejected.reason == "size_changes"


LIES = (
    "a\n[info]   Stream #0:0: Video: h264, yuv420p, 10x10 [SAR 4:3 DAR 1:1], 99 fps, 99 tbr\n"
    "[showinfo@source @ 0x1] [info] n:   0 pts:      7 pts_time:7 sar:4/3 s:1x1 \n"
    "[info]       displaymatrix: rotation of 90.00 degrees\n[error] corrupt\nconfig in time_base: 1/1, frame_rate: 1/1\n"
    "config in time_base: 1/0, frame_rate: 0/0"
)


@pytest.mark.parametrize("place", [("-metadata",), ("-metadata:s:v:0",)], ids=["file", "stream"])
def test_text_in_a_file_is_never_parsed_as_log(make_video: MakeVideo, place: tuple[str]) -> None:
    texts = [word for name in ("title", "comment", "language") for word in (*place, f"{name}={LIES}")]
    path = make_video("a.mkv", *X264, *texts, source="testsrc2=size=96x64:rate=25:duration=0.4")
    for line in both(path):
        assert (line.size_px, line.rate_hz, line.pixel_aspect, len(line.raw_s)) == ((96, 64), 25.0, 1, 10)
        assert line.one_size
    assert isinstance(read(path), ReadClip)


@pytest.mark.parametrize(("degrees", "size"), [(45, (96, 64)), (50, (96, 64)), (90, (64, 96)), (-90, (64, 96)), (180, (96, 64))])
def test_any_rotation_is_read(make_video: MakeVideo, degrees: int, size: tuple[int, int]) -> None:
    plain = make_video("plain.mp4", *X264, source="testsrc2=size=96x64:rate=25:duration=0.4")
    turned = plain.with_name("turned.mp4")
    ffmpeg("-display_rotation", str(degrees), "-i", plain, "-c", "copy", turned)
    packets, decoded = both(turned)
    assert packets.size_px == decoded.size_px == size
    np.testing.assert_array_equal(packets.raw_s, decoded.raw_s)
    assert len(decode(Media.at(turned), packets, np.arange(10), 32, "pad", 60, (8, 8, 40, 40))) == 10


def test_a_rotated_pixel_has_the_inverse_aspect(make_video: MakeVideo) -> None:
    plain = make_video("plain.mp4", *X264, "-vf", "setsar=4/3", source="testsrc2=size=96x64:rate=25:duration=0.4")
    turned = plain.with_name("turned.mp4")
    ffmpeg("-display_rotation", "90", "-i", plain, "-c", "copy", turned)
    for path, expected, display in ((plain, Fraction(4, 3), (128, 64)), (turned, Fraction(3, 4), (64, 128))):
        for line in both(path):
            assert (line.pixel_aspect, line.display_px) == (expected, display)


def test_square_pixels_never_shorten_a_side() -> None:
    assert square_pixels((96, 64), Fraction(1)) == (96, 64)
    assert square_pixels((90, 64), Fraction(16, 15)) == (96, 64)
    assert square_pixels((96, 64), Fraction(1, 2)) == (96, 128)
