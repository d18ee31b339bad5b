"""The audio of a clip, covering the same time range as its video."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.moving import SoundLevel, StoredSound, samples_at
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.sound import Pcm, flac_bytes, read_sound
from motionshards.transforms.extract.sound_level import measure_sound
from motionshards.transforms.extract.speech import speech_share

AUDIO_LOSS_REASONS = ("corrupt", "sound_clock", "mixed_sound")
"""Reasons for storing a clip without audio, determined by the input. Other failures may not recur and reject the clip."""

SoundStretch = tuple[Media, float, int]
"""A file, the timestamp of a stretch's first frame (seconds, as in `Timeline.raw_s`), and its number of video frames."""


def clip_sound(stretches: Sequence[SoundStretch], rate: Fraction, config: BuildConfig) -> StoredSound | str | None:
    """Read the audio of a clip's stretches. Returns a reason code if it cannot be decoded, None if no file has audio.

    rate: frames per second of the video

    Raises:
        ClipRejected: the decoder failed for a reason that may not recur
    """
    if config.audio == "none":
        return None
    try:
        return _sound(stretches, rate, config)
    except ClipRejected as rejection:
        if rejection.reason not in AUDIO_LOSS_REASONS:
            raise
        return rejection.reason


def _sound(stretches: Sequence[SoundStretch], rate: Fraction, config: BuildConfig) -> StoredSound | str | None:
    mono, limit_s = config.audio == "mono", config.decode_timeout_s
    hz = config.audio_hz if mono else None
    parts = [read_sound(media, start_s, frames, rate, hz, mono, limit_s) for media, start_s, frames in stretches]
    kinds = {(part.hz, part.samples.shape[1]) for part in parts if part is not None}
    if not kinds:
        return None
    if len(kinds) > 1:
        return "mixed_sound"
    ((hz, channels),) = kinds
    pieces = [
        np.zeros((samples_at(frames, rate, hz), channels), np.int16) if part is None else part.samples
        for part, (_, _, frames) in zip(parts, stretches, strict=True)
    ]
    pcm = Pcm(
        _of_length(
            pieces[0] if len(pieces) == 1 else np.concatenate(pieces),
            samples_at(sum(frames for _, _, frames in stretches), rate, hz),
        ),
        hz,
    )
    return StoredSound(flac_bytes([pcm], limit_s), hz, channels, len(pcm.samples), _level(pcm, config))


def _level(pcm: Pcm, config: BuildConfig) -> SoundLevel:
    level = measure_sound(pcm)
    return replace(level, speech=speech_share(pcm)) if config.speech else level


def _of_length(samples: np.ndarray, count: int) -> np.ndarray:
    """Trim or pad with silence to `count` samples: the length of each stretch is rounded separately."""
    if len(samples) >= count:
        return samples[:count]
    return np.concatenate([samples, np.zeros((count - len(samples), samples.shape[1]), np.int16)])
