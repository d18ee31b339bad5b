"""Sound of driving videos: in sync with the frames in any container, with all decodable tracks."""

import logging
import re
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from motionshards.trainers.video import Driving, Rgb, write
from motionshards.transforms.extract.ffmpeg import ffmpeg_path

FLASH = "color=black:size=64x48:rate=25:duration=2,geq=lum='if(eq(N,20),255,16)':cb=128:cr=128"
CLICK = "aevalsrc='if(between(t,0.8,0.81),0.9*sin(2*PI*1000*t),0)':s=48000:d=2"
H264 = ("-c:v", "libx264", "-preset", "ultrafast")
CONTAINERS = {
    "mp4": ("mp4", *H264, "-c:a", "aac"),
    "mov": ("mov", *H264, "-c:a", "pcm_s16le"),
    "mkv": ("mkv", *H264, "-c:a", "libopus"),
    "ts": ("ts", *H264, "-c:a", "aac"),
    "m2ts": ("m2ts", *H264, "-c:a", "ac3"),
    "mpg": ("mpg", "-c:v", "mpeg2video", "-c:a", "mp2"),
    "webm": ("webm", "-c:v", "libvpx", "-c:a", "libopus"),
    "flv": ("flv", *H264, "-c:a", "aac"),
    "avi": ("avi", "-c:v", "mpeg4", "-c:a", "libmp3lame"),
}


def ffmpeg(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    command = [ffmpeg_path(), "-nostdin", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True)


def first_above(path: Path, kind: str, filters: str, decoded: tuple[str, ...], sample: type, threshold: int) -> float:
    """When the first sample louder, or frame brighter, than a threshold is to be played, by the container's clock."""
    show = {"a": "ashowinfo", "V": "showinfo"}[kind]
    done = ffmpeg("-copyts", "-i", path, "-map", f"0:{kind}:0", f"-{kind.lower()}f", f"{filters},{show}", *decoded, "-")
    times = [float(time) for time in re.findall(r"pts_time:(\S+)", done.stderr.decode("utf-8", "replace"))]
    samples = np.abs(np.frombuffer(done.stdout, sample).astype(np.float64))
    at = int(np.argmax(samples > threshold))
    assert samples[at] > threshold
    return times[at] if kind == "V" else times[0] + at / 48_000


def lag_s(path: Path) -> float:
    """Time from the flash to the click."""
    flash = first_above(path, "V", "scale=1:1,format=gray", ("-fps_mode", "passthrough", "-f", "rawvideo"), np.uint8, 128)
    return first_above(path, "a", "aresample=48000", ("-ac", "1", "-f", "s16le"), np.int16, 8000) - flash


def written(path: Path) -> Path:
    """Rewrite a video as `jobs.animate` does."""
    driving, target = Driving.at(path), path.with_name("out.mp4")

    def shown() -> list[Rgb]:
        repeats = driving.shown(Fraction(25)).tolist()
        return [frame for frame, count in zip(driving.frames(32), repeats, strict=True) for _ in range(count)]

    write(target, shown(), 32, Fraction(25), driving)
    return target


@pytest.mark.parametrize("kind", CONTAINERS)
def test_sound_keeps_its_offset_in_every_container(tmp_path: Path, kind: str) -> None:
    late_s, (suffix, *codecs) = 0.4, CONTAINERS[kind]
    plain, apart = tmp_path / f"plain.{suffix}", tmp_path / f"apart.{suffix}"
    ffmpeg("-f", "lavfi", "-i", FLASH, "-f", "lavfi", "-i", CLICK, *codecs, plain)
    ffmpeg("-itsoffset", str(late_s), "-i", plain, "-i", plain, "-map", "0:v", "-map", "1:a", "-c", "copy", apart)
    assert lag_s(apart) == pytest.approx(-late_s, abs=0.06), "the test video does not have the intended offset"
    assert lag_s(written(apart)) == pytest.approx(lag_s(apart), abs=1e-3)


def test_a_track_that_cannot_be_decoded_is_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file as written by phones: AAC, and the same in surround with a proprietary codec."""
    path = tmp_path / "phone.mp4"
    tracks = ("-f", "lavfi", "-i", CLICK, "-f", "lavfi", "-i", CLICK, "-f", "lavfi", "-i", CLICK)
    maps = ("-map", "0", "-map", "1", "-map", "2", "-map", "3", "-c:a:0", "aac", "-c:a:1", "aac", "-c:a:2", "libmp3lame")
    ffmpeg("-f", "lavfi", "-i", FLASH, *tracks, *maps, *H264, path)
    raw = path.read_bytes()
    second = raw.index(b"mp4a", raw.index(b"mp4a") + 4)
    path.write_bytes(raw[:second] + raw[second:].replace(b"mp4a", b"apac", 1).replace(b"esds", b"dapa", 1))
    with caplog.at_level(logging.WARNING, "motionshards"):
        target = written(path)
    assert Driving.at(path).audio == Driving.at(target).audio == ("aac", "mp3")
    (line,) = {record.getMessage() for record in caplog.records}
    assert "skipped sound track 2" in line and "\n" not in line


def test_videos_with_jittered_times(tmp_path: Path) -> None:
    path = tmp_path / "jitter.mp4"
    source = "testsrc2=size=64x48:rate=30:duration=1,settb=1/90000,setpts='(N/30+0.0015*sin(N*2)+0.7)/TB'"
    uneven = ("-fps_mode", "passthrough", "-enc_time_base", "1/90000", "-video_track_timescale", "90000")
    ffmpeg("-f", "lavfi", "-i", source, *H264, *uneven, path)
    driving = Driving.at(path)
    assert len(list(driving.frames(32))) == 30
    assert driving.shown(Fraction(30)).tolist() == [1] * 30
    expected = np.arange(30) / 30 + 0.0015 * np.sin(np.arange(30) * 2)
    np.testing.assert_allclose(driving.timeline.pts_s, expected - expected[0], rtol=0, atol=2.3e-5)


def test_videos_whose_size_changes_are_scaled_to_one_size(tmp_path: Path) -> None:
    for name, size in (("small", "96x64"), ("large", "192x160")):
        ffmpeg("-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25:duration=0.4", "-c:v", "libvpx", tmp_path / f"{name}.webm")
    (tmp_path / "list").write_text("ffconcat version 1.0\nfile small.webm\nfile large.webm\n")
    ffmpeg("-f", "concat", "-i", tmp_path / "list", "-c", "copy", tmp_path / "grows.webm")
    driving = Driving.at(tmp_path / "grows.webm")
    assert [frame.shape for frame in driving.frames(32)] == [(32, 32, 3)] * 20
    assert {frame.shape for frame in driving.whole_frames()} == {(64, 96, 3)}


def test_whole_frames_are_as_displayed(tmp_path: Path) -> None:
    path = tmp_path / "wide.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=96x96:rate=25:duration=0.2,setsar=4/3", *H264, path)
    assert {frame.shape for frame in Driving.at(path).whole_frames()} == {(96, 128, 3)}
