"""Resource limits: memory, time and log are bounded for any file."""

import struct
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from all_frames import all_frames

from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.decode import decode
from motionshards.transforms.extract.decoder.limits import check_count
from motionshards.transforms.extract.ffmpeg import Running, run_ffmpeg
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.timeline import Timeline, timeline_by_decoding, timeline_from_packets


def box(name: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), name) + content


def full(name: bytes, *parts: bytes, flags: int = 0) -> bytes:
    return box(name, struct.pack(">I", flags), *parts)


def many_samples(path: Path, chunks: int, each: int, rate_hz: int, sample_bytes: int = 1) -> Path:
    """A QuickTime file whose chunks of samples are all the same bytes."""
    count, unit = chunks * each, struct.pack(">9I", 65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    ftyp, data = box(b"ftyp", b"qt  ", bytes(4), b"qt  "), box(b"mdat", bytes(each * sample_bytes))
    size = struct.pack(">HHII", 16, 16, 72 << 16, 72 << 16)
    entry = box(
        b"raw ", bytes(6), struct.pack(">H", 1), bytes(16), size, bytes(4), struct.pack(">H", 1), bytes(32), b"\0\x18\xff\xff"
    )
    table = box(
        b"stbl",
        full(b"stsd", struct.pack(">I", 1), entry),
        full(b"stts", struct.pack(">III", 1, count, 1)),
        full(b"stsc", struct.pack(">IIII", 1, 1, each, 1)),
        full(b"stsz", struct.pack(">II", sample_bytes, count)),
        full(b"stco", struct.pack(">I", chunks), struct.pack(">I", len(ftyp) + 8) * chunks),
    )
    info = box(
        b"minf",
        full(b"vmhd", bytes(8), flags=1),
        box(b"dinf", full(b"dref", struct.pack(">I", 1), full(b"url ", flags=1))),
        table,
    )
    length = struct.pack(">II", rate_hz, count)
    media = box(b"mdia", full(b"mdhd", bytes(8), length, bytes(4)), full(b"hdlr", b"mhlrvide", bytes(13)), info)
    head = full(
        b"tkhd", struct.pack(">IIIII", 0, 0, 1, 0, count), bytes(16), unit, struct.pack(">II", 16 << 16, 16 << 16), flags=7
    )
    movie = full(b"mvhd", bytes(8), length, struct.pack(">IH", 65536, 256), bytes(10), unit, bytes(24), struct.pack(">I", 2))
    path.write_bytes(ftyp + data + box(b"moov", movie, box(b"trak", head, media)))
    return path


@pytest.mark.parametrize(
    ("rate_hz", "chunks"), [(25_000, 10_000), pytest.param(25, 10_000, marks=pytest.mark.slow)], ids=["in 160 s", "in 44 hours"]
)
def test_a_small_file_of_millions_of_packets_is_refused_in_little_memory(tmp_path: Path, rate_hz: int, chunks: int) -> None:
    path = many_samples(tmp_path / "a.mov", chunks, 400, rate_hz)
    assert path.stat().st_size < 50_000
    with pytest.raises(ClipRejected, match="too_many_packets"):
        timeline_from_packets(replace(Media.at(path), memory_bytes=400 << 20), 60)


def test_as_many_packets_as_a_video_may_have_are_listed(tmp_path: Path) -> None:
    path = many_samples(tmp_path / "a.mov", 60, 200, 1000)
    line = timeline_from_packets(Media.at(path), 60)
    np.testing.assert_allclose(line.raw_s, np.arange(12_000) / 1000)


def test_the_limits_of_the_number_of_frames() -> None:
    check_count(10_000, 0.0)
    check_count(2_000_000, 80_000.0)
    for frames, covered_s in ((10_001, 0.0), (70_001, 60.0), (2_000_001, 80_000.0)):
        with pytest.raises(ClipRejected, match="too_many_packets"):
            check_count(frames, covered_s)


def test_frames_are_counted_while_they_are_decoded(tmp_path: Path) -> None:
    path = many_samples(tmp_path / "a.mov", 60, 400, 100_000, 16 * 16 * 3)
    with pytest.raises(ClipRejected, match="too_many_packets"):
        timeline_by_decoding(Media.at(path), 60)


def test_exceeding_the_memory_limit_has_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "large.mkv"
    source = ["-f", "lavfi", "-i", "color=red:size=3840x2160:rate=5:duration=0.4"]
    assert run_ffmpeg([*source, "-c:v", "libx264", "-preset", "ultrafast", str(path)], 60).returncode == 0
    line = timeline_from_packets(Media.at(path), 60)
    assert len(list(all_frames(Media.at(path), line, 0, 2, (64, 36), 60))) == 2
    little = replace(Media.at(path), memory_bytes=60 << 20)
    with pytest.raises(ClipRejected) as rejection:
        list(all_frames(little, line, 0, 2, (64, 36), 60))
    assert rejection.value.reason == "too_much_memory" and "60 MB" in str(rejection.value)


def test_a_frame_with_too_many_pixels_is_rejected(tmp_path: Path) -> None:
    source = ["-f", "lavfi", "-i", "color=red:size=32x32:rate=5:duration=1", str(tmp_path / "a.gif")]
    assert run_ffmpeg(source, 60).returncode == 0
    raw = bytearray((tmp_path / "a.gif").read_bytes())
    raw[6:10] = (20_000).to_bytes(2, "little") * 2
    (tmp_path / "a.gif").write_bytes(raw)
    with pytest.raises(ClipRejected):
        timeline_by_decoding(Media.at(tmp_path / "a.gif"), 60)


def test_only_the_beginning_and_end_of_an_endless_log_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import sys\nfor n in range(400_000): print('[error]', n, file=sys.stderr)\nprint('x' * 10**7, file=sys.stderr)"
    monkeypatch.setattr("motionshards.transforms.extract.ffmpeg.command", lambda arguments: [sys.executable, *arguments])
    with Running(["-c", program], 60) as running:
        assert list(running.chunks()) == []
        result = running.result()
    assert len(result.log) < 2 << 20
    assert result.log.startswith("[error] 0\n") and result.log.endswith("x\n")
    assert len(result.errors()) <= 500


def test_no_thread_is_started_for_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    """When memory is exhausted, Python's `Thread.start` can block forever, and the clip would be rejected as too slow."""

    def refuse(self: threading.Thread) -> None:
        raise AssertionError("a thread was started")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert run_ffmpeg(["-version"], 60).returncode == 0


def test_a_long_log_and_long_output_do_not_deadlock(monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import sys\nfor _ in range(50):\n    sys.stderr.write('x' * 99_999 + '\\n')\n    sys.stdout.buffer.write(bytes(10**6))"
    )
    monkeypatch.setattr("motionshards.transforms.extract.ffmpeg.command", lambda arguments: [sys.executable, *arguments])
    assert len(run_ffmpeg(["-c", program], 60).stdout) == 50 * 10**6


def test_input_and_a_long_log_do_not_deadlock(monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import sys\nwhile sys.stdin.buffer.read(10**5): sys.stderr.write('x' * 10**5)"
    monkeypatch.setattr("motionshards.transforms.extract.ffmpeg.command", lambda arguments: [sys.executable, *arguments])
    with Running(["-c", program], 60, feed=True) as running:
        for _ in range(100):
            running.write(memoryview(bytes(10**5)))
        assert running.result().returncode == 0


def test_a_window_too_large_to_be_padded_is_rejected_without_decoding(tmp_path: Path) -> None:
    from motionshards.transforms.extract.crop import square_window

    with pytest.raises(ClipRejected, match="bad_annotation"):
        square_window(np.array([0.0, 0.0, 1e6, 1e6]), (96, 64))
    with pytest.raises(ClipRejected):
        decode(Media.at(tmp_path / "none"), Timeline(np.arange(3) / 25, (96, 64)), np.array([0]), 32, "pad", 60)
