"""The sound of a video as 16-bit samples, synchronized with its frames; and FLAC, the format in which it is stored."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.frames import require
from motionshards.schemas.moving import samples_at
from motionshards.transforms.extract.decode import seek_before
from motionshards.transforms.extract.decoder.client import Answers, ordered
from motionshards.transforms.extract.media import Media, in_memory

_SAMPLE_BYTES = 2


@dataclass(frozen=True, slots=True)
class Pcm:
    """Uncompressed sound.

    samples: int16 [n, channels]
    hz: samples per second
    """

    samples: NDArray[np.int16]
    hz: int

    def __post_init__(self) -> None:
        require(
            self.samples.dtype == np.int16 and self.samples.ndim == 2 and len(self.samples) > 0,
            "samples must be int16 [n, channels]",
        )
        require(1 <= self.samples.shape[1] <= 8, "sound must have 1 to 8 channels")
        require(self.hz > 0, "the sampling rate must be positive")


def read_sound(
    media: Media, start_s: float, frames: int, rate: Fraction, hz: int | None, mono: bool, timeout_s: float
) -> Pcm | None:
    """Decode the sound of `frames` consecutive frames, from the first audio stream played by default.

    Samples are placed by their timestamps: sample j is heard `j / hz` seconds after `start_s`; samples are 0 where the file has
    no sound. Sound far into a long file is reached by a seek; if that misses the position or causes errors, the file is decoded
    from its start.

    start_s: presentation time of the first frame, on the clock of `Timeline.raw_s`
    rate: frames per second
    hz: sample rate; None keeps that of the source
    mono: whether to mix channels to one

    Returns None for a file without sound.

    Raises:
        ClipRejected: corrupt, sound_clock, too_much_memory, and as `ordered`
    """
    seek_s = seek_before(start_s)
    if seek_s:
        try:
            return _read_from(seek_s, media, start_s, frames, rate, hz, mono, timeout_s)
        except ClipRejected as rejection:
            if rejection.reason not in ("corrupt", "frame_mismatch"):
                raise
    return _read_from(0, media, start_s, frames, rate, hz, mono, timeout_s)


def _read_from(
    seek_s: int, media: Media, start_s: float, frames: int, rate: Fraction, hz: int | None, mono: bool, timeout_s: float
) -> Pcm | None:
    seconds = frames / rate
    order = {"start_s": start_s, "seconds": [seconds.numerator, seconds.denominator], "seek_s": seek_s, "hz": hz, "mono": mono}
    with ordered(media, timeout_s, do="sound", **order) as answers:
        answers.expect("stream")
        found = answers.expect("sound")
        if found is None:
            answers.finish()
            return None
        hz, channels = found
        return Pcm(_filled(answers, samples_at(frames, rate, hz), channels, media), hz)


def _filled(answers: Answers, count: int, channels: int, media: Media) -> NDArray[np.int16]:
    """Receive `count` samples in pieces: int16 [count, channels]."""
    if count * channels * _SAMPLE_BYTES > media.memory_bytes:
        raise ClipRejected("too_much_memory", f"{count} samples of {channels} channels exceed {media.memory_bytes >> 20} MB")
    samples, at = np.empty((count, channels), np.int16), 0
    while message := answers.next():
        end = at + message["samples"]
        if end > count:
            raise ClipRejected("corrupt", "more samples than announced")
        answers.fill(samples[at:end].data.cast("B"))
        at = end
    if at < count:
        raise ClipRejected("corrupt", f"only {at} of {count} samples")
    return samples


def flac_bytes(parts: Sequence[Pcm], timeout_s: float) -> bytes:
    """Concatenate sounds of the same rate and number of channels, and encode them as 16-bit FLAC.

    The bytes depend on the samples only. The header contains their number and their MD5.

    Raises:
        ClipRejected: decode_timeout, decoder_killed, too_much_memory
    """
    hz, channels = parts[0].hz, parts[0].samples.shape[1]
    require(
        all((one.hz, one.samples.shape[1]) == (hz, channels) for one in parts),
        "sounds must have the same rate and number of channels",
    )
    with (
        in_memory("sound", [np.ascontiguousarray(one.samples, "<i2").data for one in parts]) as media,
        ordered(media, timeout_s, do="flac", hz=hz, channels=channels) as answers,
    ):
        content = bytearray(answers.expect("flac"))
        answers.fill(memoryview(content))
        answers.finish()
    return bytes(content)


def flac_samples(flac: bytes, timeout_s: float) -> Pcm:
    """Decode 16-bit FLAC, and check it against the number and the MD5 of samples in its header.

    Raises:
        ClipRejected: corrupt, decode_timeout, decoder_killed, too_much_memory
    """
    try:
        header = FlacHeader.of(flac)
    except ValueError as error:
        raise ClipRejected("corrupt", str(error)) from error
    kind = {"hz": header.hz, "channels": header.channels}
    with in_memory("sound", [flac]) as media, ordered(media, timeout_s, do="samples", **kind) as answers:
        samples = _filled(answers, header.samples, header.channels, media)
    if hashlib.md5(samples.astype("<i2", copy=False).data, usedforsecurity=False).digest() != header.md5:
        raise ClipRejected("corrupt", "the samples do not match their MD5")
    return Pcm(samples, header.hz)


@dataclass(frozen=True, slots=True)
class FlacHeader:
    """The header (STREAMINFO) of a FLAC file.

    hz: samples per second
    samples: number of samples per channel
    md5: digest of the samples, interleaved and little-endian
    """

    hz: int
    channels: int
    samples: int
    md5: bytes

    @classmethod
    def of(cls, flac: bytes) -> "FlacHeader":
        """The header of a file. Raises ValueError for anything but 16-bit FLAC."""
        require(len(flac) >= 42 and flac[:4] == b"fLaC" and flac[4] & 0x7F == 0, "not a FLAC file")
        packed = int.from_bytes(flac[18:26], "big")
        require((packed >> 36 & 31) + 1 == 8 * _SAMPLE_BYTES, "FLAC must have 16 bits per sample")
        return cls(packed >> 44, (packed >> 41 & 7) + 1, packed & (1 << 36) - 1, flac[26:42])
