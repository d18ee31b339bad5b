"""All kinds of bad input have a reason code, and none raises anything else."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from checkout import ROOT
from decoders import decoders
from videos import MakeVideo, ffmpeg

from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.decode import decode
from motionshards.transforms.extract.media import Media, check_file
from motionshards.transforms.extract.timeline import Timeline, timeline_by_decoding, timeline_from_packets

X264 = ("-c:v", "libx264", "-preset", "ultrafast")
SILENT = ("-f", "lavfi", "-i", "sine=duration=1")
COVER = ("-f", "lavfi", "-i", "color=red:size=32x32:duration=0.04", "-map", "0", "-map", "1", "-frames:v", "1", "-c:v", "mjpeg")
GARBAGE = {
    "html": b"<!DOCTYPE html>\n<html><head><title>404</title></head><body>Not found</body></html>\n" * 30,
    "text": b"It was a dark and stormy night.\n" * 100,
    "json": b'{"error": "video unavailable"}',
    "one byte": b"x",
    "zeros": bytes(5000),
    "noise": np.random.default_rng(0).bytes(5000),
}


def frames_in(path: Path) -> int:
    """The number of decodable frames: by packets, or by decoding if these are wrong."""
    check_file(str(path))
    try:
        return frames_of(path, timeline_from_packets(Media.at(path), 60))
    except ClipRejected as rejection:
        if rejection.reason != "frame_mismatch":
            raise
    return frames_of(path, timeline_by_decoding(Media.at(path), 60))


def frames_of(path: Path, timeline: Timeline) -> int:
    n = len(timeline.raw_s)
    return len(decode(Media.at(path), timeline, np.arange(n), 32, "pad", 60)) if n else 0


def reason(path: Path) -> str:
    with pytest.raises(ClipRejected) as rejection:
        frames_in(path)
    assert str(path.parent) not in rejection.value.detail, "the detail depends on the location of the input"
    return rejection.value.reason


@pytest.mark.parametrize("part", [0.2, 0.4, 0.6, 0.8, "but one byte"])
@pytest.mark.parametrize("faststart", [True, False], ids=["moov first", "moov last"])
def test_a_truncated_video_is_corrupt(make_video: MakeVideo, part: float | str, faststart: bool) -> None:
    path = make_video("a.mp4", "-c:v", "libx264", "-bf", "2", "-g", "12", *(("-movflags", "+faststart") if faststart else ()))
    assert frames_in(path) == 50
    whole = path.read_bytes()
    assert (whole.index(b"moov") < whole.index(b"mdat")) == faststart
    path.write_bytes(whole[: len(whole) - 1 if isinstance(part, str) else int(part * len(whole))])
    if isinstance(part, str) and not faststart:
        assert frames_in(path) == 50  # the last byte is in the name of the encoder
    else:
        assert reason(path) == "corrupt"


def test_a_truncated_header_is_rejected_and_not_a_video_of_zero_frames(make_video: MakeVideo) -> None:
    path = make_video("a.mp4", "-c:v", "libx264", "-movflags", "+faststart")
    whole = path.read_bytes()
    outcomes = []
    for atom in (b"mdhd", b"minf", b"stbl", b"stsd", b"stts", b"stsc", b"stsz", b"stco", b"udta"):
        path.write_bytes(whole[: whole.index(atom) - 4])
        try:
            outcomes.append((atom, frames_in(path)))
        except ClipRejected as rejection:
            outcomes.append((atom, rejection.reason))
    assert {outcome for _, outcome in outcomes} <= {"corrupt", "not_a_video", "no_video_stream"}, outcomes


def test_flipped_bits_are_rejected_or_lose_no_frame(make_video: MakeVideo) -> None:
    path = make_video("a.mp4", "-c:v", "libx264", "-bf", "2", "-g", "12", source="testsrc2=size=96x64:rate=25:duration=1")
    whole = path.read_bytes()
    start = whole.index(b"mdat") + 4
    end = start - 8 + int.from_bytes(whole[start - 8 : start - 4], "big")
    outcomes = []
    for seed in range(20):
        rng, damaged = np.random.default_rng(seed), bytearray(whole)
        damaged[rng.integers(start, end)] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            outcomes.append(str(frames_in(path)))
        except ClipRejected as rejection:
            outcomes.append(rejection.reason)
    assert set(outcomes) <= {"25", "corrupt", "frame_mismatch"}
    assert outcomes.count("corrupt") >= 5, outcomes


def test_flipped_bits_in_the_header_never_raise_anything_else(make_video: MakeVideo) -> None:
    path = make_video("a.mp4", *X264, source="testsrc2=size=96x64:rate=25:duration=0.4")
    whole = path.read_bytes()
    start, rejections = whole.index(b"moov"), 0
    for seed in range(30):
        rng, damaged = np.random.default_rng(seed), bytearray(whole)
        damaged[rng.integers(start, len(whole))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            assert frames_in(path) <= 10
        except ClipRejected:
            rejections += 1
    assert rejections


@pytest.mark.parametrize("kind", GARBAGE)
def test_files_that_are_not_videos_are_rejected(tmp_path: Path, kind: str) -> None:
    for name in ("a.mp4", "a.webm", "a"):
        (tmp_path / name).write_bytes(GARBAGE[kind])
        assert reason(tmp_path / name) in {"not_a_video", "corrupt"}


def test_text_is_not_a_damaged_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    for kind in ("html", "text", "json", "one byte"):
        path.write_bytes(GARBAGE[kind])
        assert reason(path) == "not_a_video", kind


def test_a_file_with_sound_only_has_no_video_stream(tmp_path: Path) -> None:
    ffmpeg(*SILENT, "-c:a", "aac", tmp_path / "a.mp4")
    ffmpeg(*SILENT, "-c:a", "libvorbis", tmp_path / "a.webm")
    assert reason(tmp_path / "a.mp4") == reason(tmp_path / "a.webm") == "no_video_stream"


def test_cover_art_is_not_a_video(tmp_path: Path) -> None:
    ffmpeg(*SILENT, *COVER, "-c:a", "aac", "-disposition:v", "attached_pic", tmp_path / "a.m4a")
    assert reason(tmp_path / "a.m4a") == "no_video_stream"


@pytest.mark.parametrize("name", ["a.mp3", "a.wav", "a.mp4"])
def test_formats_other_than_video_are_not_opened(tmp_path: Path, name: str) -> None:
    if name == "a.mp3":
        ffmpeg(*SILENT, *COVER, "-c:a", "libmp3lame", "-disposition:v", "attached_pic", tmp_path / name)
    else:
        ffmpeg(*SILENT, "-f", "wav", tmp_path / name)
    assert reason(tmp_path / name) in {"no_video_stream", "not_a_video"}


def test_paths_that_are_not_files_have_their_reasons(tmp_path: Path) -> None:
    folder, fifo, listening = tmp_path / "folder.mp4", tmp_path / "fifo.mp4", socket.socket(socket.AF_UNIX)
    folder.mkdir()
    os.mkfifo(fifo)
    listening.bind(os.path.relpath(tmp_path / "s.mp4"))
    (tmp_path / "to_folder.mp4").symlink_to(folder)
    for path in (folder, fifo, tmp_path / "s.mp4", tmp_path / "to_folder.mp4", Path("/dev/null")):
        assert reason(path) == "not_a_file", path
    listening.close()


def test_broken_links_are_unreadable(tmp_path: Path, make_video: MakeVideo) -> None:
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "absent")
    (tmp_path / "a.mp4").symlink_to(tmp_path / "b.mp4")
    (tmp_path / "b.mp4").symlink_to(tmp_path / "a.mp4")
    for name in ("dangling.mp4", "a.mp4", "absent.mp4", "absent/a.mp4", "x" * 300):
        assert reason(tmp_path / name) == "unreadable"
    make_video("real.mp4", *X264)
    (tmp_path / "good.mp4").symlink_to(tmp_path / "real.mp4")
    assert frames_in(tmp_path / "good.mp4") == 50


def test_a_file_without_bytes_is_empty(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    assert reason(tmp_path / "a.mp4") == "empty_file"


def test_a_file_without_read_permission_is_unreadable(tmp_path: Path) -> None:
    """As the user nobody if the tests run as root, which ignores permissions."""
    path = tmp_path / "a.mp4"
    path.write_bytes(b"secret")
    path.chmod(0)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    program = """
import os, sys
from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.media import check_file
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
assert os.stat(sys.argv[1]).st_size == 6
try:
    check_file(sys.argv[1])
except ClipRejected as rejection:
    print(rejection.reason, rejection.detail)
"""
    command = [sys.executable, "-c", program, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == ["unreadable", "Permission", "denied"]


def test_a_frame_of_400_megapixels_is_not_decoded(make_video: MakeVideo) -> None:
    path = make_video("a.gif", source="testsrc2=size=32x32:rate=5:duration=1")
    assert frames_in(path) == 5
    raw = bytearray(path.read_bytes())
    raw[6:10] = (20_000).to_bytes(2, "little") * 2
    path.write_bytes(raw)
    assert reason(path) == "corrupt"


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Path]:
    """A file that never ends: readers block."""
    path = tmp_path / "endless.ts"
    os.mkfifo(path)
    with open(os.open(path, os.O_RDWR), "rb", buffering=0):  # a writer that never closes it
        yield path


@pytest.mark.parametrize("limit_s", [0.001, 0.3])
def test_a_decoder_that_takes_too_long_is_killed(fifo: Path, limit_s: float) -> None:
    start = time.monotonic()
    for attempt in (
        lambda: timeline_from_packets(Media.at(fifo), limit_s),
        lambda: timeline_by_decoding(Media.at(fifo), limit_s),
        lambda: decode(Media.at(fifo), Timeline(np.arange(3) / 25, (96, 64)), np.array([0]), 32, "pad", limit_s),
    ):
        with pytest.raises(ClipRejected) as rejection:
            attempt()
        assert rejection.value.reason == "decode_timeout" and f"{limit_s:g} s" in rejection.value.detail
    assert time.monotonic() - start < 5
    assert not decoders(0)


def reason_after(signum: int, fifo: Path, video: bytes) -> str:
    """The reason of a clip whose decoder receives a signal after reading half of the video."""
    reasons: list[str] = []

    def attempt() -> None:
        try:
            timeline_by_decoding(Media.at(fifo), 60)
        except ClipRejected as rejection:
            reasons.append(rejection.reason)

    thread = threading.Thread(target=attempt)
    thread.start()
    with fifo.open("wb", buffering=0) as stream:
        stream.write(video[: len(video) // 2])
        (decoder,) = decoders(1)
        time.sleep(0.3)
        decoder.send_signal(signum)
    thread.join()
    return reasons[0]


def test_a_killed_decoder_is_retryable(fifo: Path, make_video: MakeVideo) -> None:
    assert reason_after(signal.SIGKILL, fifo, make_video("a.ts", *X264).read_bytes()) == "decoder_killed"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_terminated_decoder_does_not_blame_the_file(fifo: Path, make_video: MakeVideo, signum: int) -> None:
    """Ctrl-C and batch systems signal the whole process group."""
    assert reason_after(signum, fifo, make_video("a.ts", *X264).read_bytes()) == "decoder_killed"
