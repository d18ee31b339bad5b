"""The sound of a clip, of the same time as its video."""

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

LOST_FOR = ("corrupt", "sound_clock", "mixed_sound")
"""Why a clip has no sound: reasons that the input decides. Others reject the clip, as another try may give it its sound."""

Heard = tuple[Media, float, int]
"""A file, when the first frame of a stretch is shown, in seconds as `Timeline.raw_s` counts, and how many frames show it."""


def clip_sound(stretches: Sequence[Heard], rate: Fraction, config: BuildConfig) -> StoredSound | str | None:
    """The sound of a clip's stretches, or the reason code for which it is lost; None where no file has any.

    rate: frames per second of the video

    Raises:
        ClipRejected: of the decoder, for reasons that another try may not meet
    """
    if config.audio == "none":
        return None
    try:
        return _sound(stretches, rate, config)
    except ClipRejected as lost:
        if lost.reason not in LOST_FOR:
            raise
        return lost.reason


def _sound(stretches: Sequence[Heard], rate: Fraction, config: BuildConfig) -> StoredSound | str | None:
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
    """Cut, or continued with silence: the lengths of several stretches are rounded each."""
    if len(samples) >= count:
        return samples[:count]
    return np.concatenate([samples, np.zeros((count - len(samples), samples.shape[1]), np.int16)])
