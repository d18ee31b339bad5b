"""Damaged videos of all containers: frames or a reason code, in bounded time and memory."""

import functools
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from all_frames import all_frames
from videos import ffmpeg

from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.constant_rate import shown_frames
from motionshards.transforms.extract.decode import decode
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.output_images import ExtraOutputs, ToVideo
from motionshards.transforms.extract.sound import read_sound
from motionshards.transforms.extract.timeline import Timeline, timeline_by_decoding, timeline_from_packets

LIMIT_S, RATE = 10.0, Fraction(25)
KINDS = {
    "mp4": ("mp4", "-c:v", "libx264", "-bf", "2", "-c:a", "aac"),
    "fragmented mp4": ("mp4", "-c:v", "libx264", "-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"),
    "mov": ("mov", "-c:v", "mjpeg", "-c:a", "pcm_s16le"),
    "mkv": ("mkv", "-c:v", "libx264", "-c:a", "libopus"),
    "webm": ("webm", "-c:v", "libvpx", "-c:a", "libvorbis"),
    "ts": ("ts", "-c:v", "libx264", "-c:a", "mp2"),
    "avi": ("avi", "-c:v", "mpeg4", "-bf", "2", "-c:a", "libmp3lame"),
    "flv": ("flv", "-c:v", "flv1", "-c:a", "aac"),
    "gif": ("gif", "-an"),
}


@functools.cache
def whole(kind: str, folder: Path) -> bytes:
    path = folder / f"whole.{KINDS[kind][0]}"
    video = ["-f", "lavfi", "-i", "testsrc2=size=48x32:rate=10:duration=1,format=yuv420p"]
    sound = ["-f", "lavfi", "-i", "sine=duration=1:sample_rate=44100"]
    ffmpeg(*video, *sound, "-g", "5", *KINDS[kind][1:], path)
    return path.read_bytes()


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes flipped, overwritten by extremes, removed, repeated or inserted; mostly in the header, which has sizes."""
    raw = bytearray(content)
    for _ in range(int(rng.choice([1, 1, 1, 2, 5]))):
        end = len(raw) if rng.random() < 0.5 else min(len(raw), 1500)
        at, count = int(rng.integers(0, max(1, end))), int(rng.integers(1, 16))
        match rng.integers(6):
            case 0:
                raw[at : at + 1] = bytes([int(rng.integers(256))])
            case 1:
                raw[at : at + 4] = int(rng.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**24])).to_bytes(4, "big")
            case 2:
                del raw[at : at + count]
            case 3:
                raw[at:at] = rng.bytes(count)
            case 4:
                raw[at:at] = raw[at : at + 40 * count]
            case _:
                del raw[len(raw) - int(rng.integers(1, max(2, len(raw) // 2))) :]
    return bytes(raw)


def outcome(path: Path) -> str:
    """The outcome of a file: a number of frames, or a reason."""
    rejected: ClipRejected | None = None
    for timeline_of in (timeline_from_packets, timeline_by_decoding):
        try:
            return frames_by(timeline_of(Media.at(path), LIMIT_S), path)
        except ClipRejected as error:
            rejected = error
        if rejected.reason != "frame_mismatch":
            break
    assert rejected is not None and rejected.reason in REASONS, rejected
    assert str(path.parent) not in rejected.detail
    return rejected.reason


def frames_by(line: Timeline, path: Path) -> str:
    media, count = Media.at(path), len(line.raw_s)
    assert (np.diff(line.raw_s) >= 0).all()
    stills, shown = np.unique(np.linspace(0, count - 1, 5).astype(np.int64)), shown_frames(line.raw_s, line.duration_s, RATE)
    frames = decode(media, line, stills, 32, "pad", LIMIT_S, extra=ExtraOutputs(video=ToVideo(shown[:2000], RATE)))
    assert np.isfinite(frames.source_to_frame).all()
    assert frames.video is not None and frames.video.frames == min(2000, len(shown))
    check_sound(media, float(line.raw_s[0]))
    if line.one_size and count <= 1000:
        assert sum(1 for _ in all_frames(media, line, 0, count, (24, 16), LIMIT_S)) == count
    return str(count)


def check_sound(media: Media, start_s: float) -> None:
    """The samples of one second, none, or a reason."""
    reason, sound = "", None
    try:
        sound = read_sound(media, start_s, 10, Fraction(10), 16_000, True, LIMIT_S)
    except ClipRejected as error:
        reason = error.reason
    assert not reason or reason in REASONS | {"sound_clock"}
    assert sound is None or sound.samples.shape == (16_000, 1)


REASONS = {
    *("corrupt", "frame_mismatch", "not_a_video", "no_video_stream", "too_many_packets", "too_much_memory", "decode_timeout"),
    "decoder_killed",
}


def check(kind: str, folder: Path, seeds: range) -> set[str]:
    content, seen = whole(kind, folder), []
    path = folder / f"mutated.{KINDS[kind][0]}"
    path.write_bytes(content)
    assert outcome(path) == "10"
    for seed in seeds:
        path.write_bytes(mutated(content, np.random.default_rng(seed)))
        start = time.monotonic()
        seen.append(outcome(path))
        assert time.monotonic() - start < 6 * LIMIT_S, f"seed {seed}"
    return {*seen}


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_mutations_are_frames_or_a_reason(kind: str, tmp_path: Path) -> None:
    check(kind, tmp_path, range(6))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_mutations_are_frames_or_a_reason(kind: str, tmp_path: Path) -> None:
    assert {"10", "corrupt"} <= check(kind, tmp_path, range(100, 300))
