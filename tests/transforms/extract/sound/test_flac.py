"""Stored sound: lossless FLAC whose bytes depend on the samples only."""

import ctypes
import hashlib
import io
import platform
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from videos import ffmpeg

from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.decoder.audio.processor import baseline_processor
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.sound import FlacHeader, Pcm, flac_bytes, flac_samples, read_sound

NOISE = np.random.default_rng(0).integers(-(2**15), 2**15, (20_000, 2)).astype(np.int16)
AVX2 = platform.machine() == "x86_64" and " avx2 " in Path("/proc/cpuinfo").read_text()


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("hz", [8_000, 16_000, 44_100, 192_000])
def test_samples_are_decoded_unchanged(channels: int, hz: int) -> None:
    samples = np.resize(NOISE, (9_999, channels))
    flac = flac_bytes([Pcm(samples, hz)], 60)
    assert FlacHeader.of(flac) == FlacHeader(hz, channels, 9_999, hashlib.md5(samples.tobytes()).digest())
    back = flac_samples(flac, 60)
    assert back.hz == hz
    np.testing.assert_array_equal(back.samples, samples)


def test_parts_are_concatenated() -> None:
    parts = [Pcm(NOISE[:1], 16_000), Pcm(NOISE[1:7_000], 16_000), Pcm(NOISE[7_000:], 16_000)]
    assert flac_bytes(parts, 60) == flac_bytes([Pcm(NOISE, 16_000)], 60)
    with pytest.raises(ValueError, match="same rate and number of channels"):
        flac_bytes([Pcm(NOISE, 16_000), Pcm(NOISE, 8_000)], 60)


def test_there_is_no_padding_and_no_version() -> None:
    flac = flac_bytes([Pcm(NOISE, 16_000)], 60)
    assert b"Lav" not in flac
    tone = (np.sin(np.arange(16_000) / 5) * 1000).astype(np.int16)[:, None]
    assert len(flac_bytes([Pcm(tone, 16_000)], 60)) < 0.5 * tone.nbytes


def test_damage_is_detected() -> None:
    """Whatever bit is flipped, the samples are correct or rejected. Few bits are never read."""
    flac, found = flac_bytes([Pcm(NOISE[:2_000], 16_000)], 60), []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        bad = bytearray(flac)
        bad[rng.integers(42 if seed % 2 else len(bad))] ^= 1 << int(rng.integers(8))
        found.append(_same_or_corrupt(bytes(bad)))
    for cut in (0, 41, 60, len(flac) - 1):
        assert not _same_or_corrupt(flac[:cut])
    assert found.count(True) < 20


def _same_or_corrupt(flac: bytes) -> bool:
    try:
        back = flac_samples(flac, 60)
    except ClipRejected:
        return False
    np.testing.assert_array_equal(back.samples, NOISE[:2_000])
    return True


@pytest.fixture
def instructions() -> Iterator[None]:
    yield
    ctypes.CDLL(av._core.__file__).av_force_cpu_flags(-1)


@pytest.mark.usefixtures("instructions")
def test_samples_do_not_depend_on_the_processor(tmp_path: Path) -> None:
    """Decoders and resampler with other instruction sets give other samples; those of the project do not."""
    sound = ["-f", "lavfi", "-i", "anoisesrc=d=2:r=44100:a=0.3:seed=3", "-ac", "2", "-c:a", "aac"]
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=48x32:rate=25:duration=2", *sound, tmp_path / "a.mp4")
    libavutil = ctypes.CDLL(av._core.__file__)
    bare = _decoded(tmp_path / "a.mp4")
    if AVX2:
        libavutil.av_force_cpu_flags(0)
        plain = _decoded(tmp_path / "a.mp4")
        assert plain != bare
        libavutil.av_force_cpu_flags(-1)
        with baseline_processor():
            assert _decoded(tmp_path / "a.mp4") == plain
        assert _decoded(tmp_path / "a.mp4") == bare  # restored afterwards
    read = read_sound(Media.at(tmp_path / "a.mp4"), 0.0, 50, Fraction(25), None, False, 60)
    with baseline_processor():
        samples = np.frombuffer(_decoded(tmp_path / "a.mp4"), np.int16).reshape(-1, 2)
    assert read is not None
    np.testing.assert_array_equal(read.samples, samples[: len(read.samples)])


def _decoded(path: Path) -> bytes:
    resampler = av.AudioResampler("s16", "stereo", 44_100, options={"internal_sample_fmt": "fltp"})
    with av.open(io.BytesIO(path.read_bytes())) as source:
        frames = [one for frame in source.decode(audio=0) for one in resampler.resample(frame)]
    return b"".join(bytes(one.planes[0])[: 4 * one.samples] for one in frames)
