"""Frames by number match a plain decode of the whole file, at exact times, for all supported containers and codecs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from videos import MakeVideo, ffmpeg

from motionshards.pipeline.clips.clip import read_clip
from motionshards.pipeline.clips.read import ReadClip
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.layout import path_to_uri
from motionshards.schemas.records import ClipSpec, Rejected, Span
from motionshards.transforms.extract.decode import decode
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.timeline import Timeline, timeline_by_decoding, timeline_from_packets

X264 = ("-c:v", "libx264", "-preset", "ultrafast")


SIZE, CONTENT = 48, (0, 8, 48, 40)  # a 96x64 image in a square of 48


FLAGS = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
LIMIT_S = 60.0


def plain_decode(path: Path) -> NDArray[np.uint8]:
    """All frames decoded by plain ffmpeg, scaled with the same flags: uint8 [n, 32, 48, 3]."""
    scale = f"scale=48:32:flags={FLAGS},format=rgb24"
    raw = ffmpeg("-i", f"file:{path}", "-map", "0:V:0", "-vf", scale, "-fps_mode", "passthrough", "-f", "rawvideo", "-")
    return np.frombuffer(raw, np.uint8).reshape(-1, 32, 48, 3)


def content(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    x0, y0, x1, y1 = CONTENT
    return rgb[:, y0:y1, x0:x1]


def read(path: Path, frames: int, **more: Any) -> ReadClip | Rejected:
    """Read a file like the pipeline: by packets, or by decoding if these are wrong."""
    spec = ClipSpec("i/v/c", "s", "train", "i", "v", (Span(path_to_uri(path.name), **more),), 1.0)
    return read_clip(spec, path.parent, None, BuildConfig(source="s", frames=frames, min_frames=1, size=SIZE))[0]


def accepted(result: ReadClip | Rejected) -> ReadClip:
    assert isinstance(result, ReadClip), result
    return result


@dataclass(frozen=True)
class Video:
    name: str
    options: tuple[str, ...]
    times_s: NDArray[np.float64]
    source: str = "testsrc2=size=96x64:rate=25:duration=1"
    encoder: str = ""


STEADY = np.arange(25) / 25
WEBM = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "10")
HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:bframes=3:keyint=9")
VFR = "testsrc2=size=96x64:rate=100:duration=0.25,setpts=N*(N+1)/2"
VIDEOS = {
    "b-frames": Video("a.mp4", ("-c:v", "libx264", "-bf", "3", "-g", "9"), STEADY),
    "mkv": Video("a.mkv", ("-c:v", "libx264", "-bf", "2"), STEADY),
    "mpegts": Video("a.ts", ("-c:v", "libx264", "-bf", "2", "-g", "8"), STEADY),
    "29.97": Video("a.mp4", X264, np.arange(30) * 1001 / 30000, "testsrc2=size=96x64:rate=30000/1001:duration=1"),
    "15.79": Video("a.mp4", X264, np.arange(16) / 15.79, "testsrc2=size=96x64:rate=1579/100:duration=1"),
    "variable rate": Video(
        "a.mp4",
        (*X264, "-fps_mode", "passthrough", "-video_track_timescale", "1000"),
        np.arange(25) * np.arange(1, 26) / 200,
        VFR,
    ),
    "10 bit": Video("a.mp4", (*X264, "-pix_fmt", "yuv420p10le"), STEADY),
    "full range": Video("a.mp4", (*X264, "-pix_fmt", "yuvj420p"), STEADY),
    "hevc": Video("a.mp4", HEVC, STEADY, encoder="libx265"),
    "vp9": Video("a.webm", WEBM, STEADY, encoder="libvpx-vp9"),
    "mpeg-4 part 2": Video("a.avi", ("-c:v", "mpeg4"), STEADY),
    "late start": Video("a.mkv", (*X264, "-output_ts_offset", "7"), STEADY),
    "early start": Video("a.mkv", (*X264, "-output_ts_offset", "-3"), STEADY),
    "one frame": Video("a.mp4", (*X264, "-frames:v", "1"), STEADY[:1]),
}


@pytest.fixture(scope="module")
def encoders() -> str:
    return ffmpeg("-hide_banner", "-encoders").decode()


@pytest.fixture(params=VIDEOS, ids=str)
def video(request: pytest.FixtureRequest, make_video: MakeVideo, encoders: str) -> tuple[Path, Video]:
    chosen = VIDEOS[request.param]
    if chosen.encoder and f" {chosen.encoder} " not in encoders:
        pytest.skip(f"this ffmpeg has no {chosen.encoder}")
    return make_video(chosen.name, *chosen.options, source=chosen.source), chosen


def test_frames_by_number_match_a_plain_decode_at_exact_times(video: tuple[Path, Video]) -> None:
    path, expected = video
    images, timeline = plain_decode(path), timeline_from_packets(Media.at(path), LIMIT_S)
    n = len(expected.times_s)
    assert len(images) == len(timeline.raw_s) == n
    assert len({image.tobytes() for image in images}) == n, "the frames of this video are not distinguishable"
    np.testing.assert_allclose(timeline.pts_s, expected.times_s, rtol=0, atol=1e-9 if path.suffix == ".mp4" else 5.1e-4)
    np.testing.assert_array_equal(timeline_by_decoding(Media.at(path), LIMIT_S).raw_s, timeline.raw_s)
    rng = np.random.default_rng(0)
    for indices in (np.arange(n), np.array([0]), np.array([n - 1]), np.sort(rng.choice(n, (n + 1) // 2, replace=False))):
        frames = decode(Media.at(path), timeline, indices, SIZE, "pad", LIMIT_S)
        np.testing.assert_array_equal(content(frames.rgb), images[indices])
        np.testing.assert_array_equal(frames.pts_s, timeline.pts_s[indices])
        assert frames.source_size_px.tolist() == [[96, 64]] * len(indices)
        assert frames.content_px.tolist() == [list(CONTENT)] * len(indices)
        assert not frames.rgb[:, :8].any() and not frames.rgb[:, 40:].any()


def test_duration_extends_to_the_end_of_the_last_frame(make_video: MakeVideo) -> None:
    for rate in (10, 25):
        path = make_video("a.mp4", *X264, source=f"testsrc2=size=32x32:rate={rate}:duration=2")
        assert timeline_from_packets(Media.at(path), LIMIT_S).duration_s == pytest.approx(2.0)
    assert Timeline(np.zeros(0), (96, 64)).duration_s == Timeline(np.zeros(1), (96, 64)).duration_s == 0.0
    assert Timeline(np.zeros(0), (96, 64)).pts_s.shape == (0,)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_times_start_at_the_first_frame_even_if_sound_starts_earlier(make_video: MakeVideo, tmp_path: Path, name: str) -> None:
    path = make_video("plain.mp4", "-c:v", "libx264", "-bf", "2")
    sound = ("-f", "lavfi", "-i", "sine=duration=2")
    ffmpeg(*sound, "-itsoffset", "0.5", "-i", path, "-map", "1:v", "-map", "0:a", "-c:v", "copy", "-c:a", "aac", tmp_path / name)
    timeline = timeline_from_packets(Media.at(tmp_path / name), LIMIT_S)
    assert timeline.raw_s[0] == pytest.approx(0.5, abs=0.05)
    np.testing.assert_allclose(timeline.pts_s, np.arange(50) / 25, atol=5.1e-4)
    frames = decode(Media.at(tmp_path / name), timeline, np.array([0, 7, 49]), SIZE, "pad", LIMIT_S)
    np.testing.assert_array_equal(content(frames.rgb), plain_decode(path)[[0, 7, 49]])


@pytest.mark.parametrize("start", ["0.1", "0.5", "1.23"])
@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
def test_a_trimmed_remux_has_the_frames_that_a_player_shows(make_video: MakeVideo, tmp_path: Path, start: str, name: str) -> None:
    """In mp4, an edit list removes the packets between the key frame and the start."""
    whole = make_video("whole.mp4", "-c:v", "libx264", "-bf", "2", "-g", "20")
    ffmpeg("-ss", start, "-i", whole, "-c", "copy", tmp_path / name)
    images = plain_decode(tmp_path / name)
    assert 10 < len(images) <= (50 if name.endswith("mkv") else 49)
    clip = accepted(read(tmp_path / name, 999))
    assert clip.source_frames == len(images) == len(clip.crop)
    np.testing.assert_array_equal(content(clip.crop.rgb), images)


def with_uncoded_frames(avi: Path, numbers: list[int]) -> None:
    """Overwrite packets of an MPEG-4 video by VOPs flagged as not coded: packets without frames."""
    raw = bytearray(avi.read_bytes())
    at, packets = raw.index(b"movi") + 4, []
    while raw[at : at + 4] == b"00dc":
        length = int.from_bytes(raw[at + 4 : at + 8], "little")
        packets.append((at + 8, length))
        at += 8 + length + length % 2
    for number in numbers:
        start, length = packets[number]
        raw[start : start + length] = bytes([0, 0, 1, 0xB6, 0x50, 0x80]).ljust(length, b"\0")
    avi.write_bytes(raw)


def test_a_container_with_more_packets_than_frames_is_counted_by_decoding(make_video: MakeVideo) -> None:
    path = make_video("a.avi", "-c:v", "mpeg4", "-g", "300", "-b:v", "2M", source="testsrc2=size=96x64:rate=25:duration=1")
    with_uncoded_frames(path, [3, 15])
    images, packets = plain_decode(path), timeline_from_packets(Media.at(path), LIMIT_S)
    assert (len(packets.raw_s), len(images)) == (25, 23)
    with pytest.raises(ClipRejected) as rejection:
        decode(Media.at(path), packets, np.arange(25), SIZE, "pad", LIMIT_S)
    assert rejection.value.reason == "frame_mismatch"
    clip = accepted(read(path, 999))
    assert clip.source_frames == len(clip.crop) == 23
    np.testing.assert_array_equal(content(clip.crop.rgb), images)


def test_a_frame_is_never_confused_with_its_neighbor_if_packets_are_wrong(make_video: MakeVideo) -> None:
    path = make_video("a.avi", "-c:v", "mpeg4", "-g", "300", "-b:v", "2M", source="testsrc2=size=96x64:rate=25:duration=1")
    with_uncoded_frames(path, [3, 15])
    images, packets = plain_decode(path), timeline_from_packets(Media.at(path), LIMIT_S)
    for index in (0, 1, 2):
        frames = decode(Media.at(path), packets, np.array([index]), SIZE, "pad", LIMIT_S)
        np.testing.assert_array_equal(content(frames.rgb)[0], images[index])
    for index in range(3, 25, 3):
        with pytest.raises(ClipRejected) as rejection:
            decode(Media.at(path), packets, np.array([index]), SIZE, "pad", LIMIT_S)
        assert rejection.value.reason == "frame_mismatch"


@pytest.mark.parametrize("name", ["a.avi", "a.mpg"])
def test_packets_without_times_are_read_by_decoding(make_video: MakeVideo, name: str) -> None:
    path = make_video(name, "-c:v", "mpeg4" if name == "a.avi" else "mpeg2video", "-bf", "2")
    images = plain_decode(path)
    clip = accepted(read(path, 999))
    assert clip.source_frames == len(images) == 50
    np.testing.assert_array_equal(content(clip.crop.rgb), images)
    np.testing.assert_allclose(clip.crop.placement.pts_s, np.arange(50) / 25, atol=1e-4)
    assert clip.duration_s == pytest.approx(2.0)


def test_packets_without_times_are_reported(make_video: MakeVideo) -> None:
    path = make_video("a.h264", "-c:v", "libx264", "-bf", "2")
    with pytest.raises(ClipRejected) as rejection:
        timeline_from_packets(Media.at(path), LIMIT_S)
    assert rejection.value.reason == "frame_mismatch"


def test_a_span_of_a_video_without_packet_times_has_its_frames(make_video: MakeVideo) -> None:
    path = make_video("a.mpg", "-c:v", "mpeg2video", "-bf", "2")
    clip = accepted(read(path, 999, start_s=0.5, end_s=1.5))
    np.testing.assert_allclose(clip.crop.placement.pts_s, np.arange(13, 38) / 25, atol=0.021)


@pytest.mark.parametrize("timescale", ["90000", "1000000"])
def test_times_of_seven_digits_are_read(make_video: MakeVideo, timescale: str) -> None:
    """11 s at the usual 90 kHz clock."""
    long = "testsrc2=size=96x64:rate=2:duration=20"
    path = make_video("a.mp4", *X264, "-video_track_timescale", timescale, source=long)
    timeline = timeline_from_packets(Media.at(path), LIMIT_S)
    frames = decode(Media.at(path), timeline, np.array([0, 20, 39]), SIZE, "pad", LIMIT_S)
    np.testing.assert_allclose(frames.pts_s, [0, 10, 19.5])


@pytest.mark.parametrize(
    "count",
    [100, 101, 999],
)
def test_the_maximum_number_of_frames_can_be_selected(make_video: MakeVideo, count: int) -> None:
    path = make_video("a.mkv", "-c:v", "ffv1", source="testsrc2=size=16x16:rate=100:duration=10")
    timeline = timeline_from_packets(Media.at(path), LIMIT_S)
    indices = np.sort(np.random.default_rng(0).permutation(1000)[:count])
    frames = decode(Media.at(path), timeline, indices, 16, "pad", LIMIT_S)
    np.testing.assert_array_equal(frames.pts_s, timeline.pts_s[indices])


def test_a_video_that_changes_its_size_has_correct_frames_or_is_rejected(make_video: MakeVideo, tmp_path: Path) -> None:
    make_video("small.mkv", "-c:v", "mjpeg", source="testsrc2=size=96x64:rate=25:duration=1")
    make_video("large.mkv", "-c:v", "mjpeg", source="testsrc2=size=192x128:rate=25:duration=1,negate")
    (tmp_path / "list").write_text("ffconcat version 1.0\nfile small.mkv\nfile large.mkv\n")
    path = tmp_path / "both.mkv"
    ffmpeg("-f", "concat", "-i", tmp_path / "list", "-c", "copy", path)
    timeline = timeline_from_packets(Media.at(path), LIMIT_S)
    assert len(timeline.raw_s) == 50
    wholes = {96: plain_decode(tmp_path / "small.mkv"), 192: plain_decode(tmp_path / "large.mkv")}
    given = 0
    for indices in ([0, 7, 24], [3, 28], [30], [24, 25, 26], [0, 49]):
        try:
            frames = decode(Media.at(path), timeline, np.array(indices), SIZE, "pad", LIMIT_S)
        except ClipRejected as rejection:
            reason = rejection.reason
            assert reason == "frame_mismatch" and max(indices) >= 25
            continue
        given += 1
        for index, image, width in zip(indices, content(frames.rgb), frames.source_size_px[:, 0], strict=True):
            assert width == (96 if index < 25 else 192)
            np.testing.assert_array_equal(image, wholes[width][index % 25])
    assert given


def test_frames_of_real_videos_match_their_packets(corpus: Path) -> None:
    videos = sorted(corpus.rglob("*.mp4"))
    assert len(videos) > 20
    for path in videos[:: len(videos) // 3]:
        packets, decoded = timeline_from_packets(Media.at(path), LIMIT_S), timeline_by_decoding(Media.at(path), LIMIT_S)
        np.testing.assert_array_equal(packets.raw_s, decoded.raw_s)
        assert len(decode(Media.at(path), packets, np.array([0, len(packets.raw_s) - 1]), SIZE, "pad", LIMIT_S)) == 2
