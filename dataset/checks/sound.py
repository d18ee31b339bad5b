"""Checks the stored sound of a sample against its row. It is untrusted, and decoded in a separate process."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from fractions import Fraction
from typing import Any

import numpy as np

from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.moving import samples_at
from motionshards.schemas.reasons import REASONS
from motionshards.transforms.extract.sound import FlacHeader, flac_samples
from motionshards.transforms.extract.sound_level import measure_sound

LEVELS = ("audio_level_db", "audio_silence", "audio_clipping")
"""Columns of the index that are recomputed from samples."""


def check_sound_row(row: Mapping[str, Any], config: BuildConfig) -> Iterator[str]:
    """Errors in the columns of stored sound, in a row with stored video."""
    has_audio, hz, lost = row["has_audio"], row["audio_hz"], row["audio_lost"]
    if has_audio is None or (has_audio and config.audio == "none"):
        yield f"has_audio is {has_audio}, but the dataset's audio setting is {config.audio!r}"
    expected_hz = None if not has_audio else config.audio_hz if config.audio == "mono" else hz
    if hz != expected_hz or (has_audio and not hz):
        yield f"audio_hz is {hz}, must be {expected_hz or 'null'}"
    if lost is not None and (has_audio or lost not in REASONS):
        yield f"audio_lost is {lost!r}, must be null or, for clips without sound, a reason"
    if any((row[name] is None) == bool(has_audio) for name in LEVELS):
        yield f"{', '.join(LEVELS)} must {'not ' if has_audio else ''}be null"


def check_sound(flac: bytes, meta: Mapping[str, Any], row: Mapping[str, Any], config: BuildConfig) -> Iterator[str]:
    """Errors in the FLAC file, given a meta.json that has been checked."""
    try:
        header = FlacHeader.of(flac)
    except ValueError as error:
        yield f"cannot be read: {error}"
        return
    found = {"hz": header.hz, "channels": header.channels, "samples": header.samples}
    samples = samples_at(row["video_frames"], Fraction(*meta["mp4"]["rate"]), row["audio_hz"])
    channels = 1 if config.audio == "mono" else header.channels
    expected = {"hz": row["audio_hz"], "channels": channels, "samples": samples}
    if wrong := [f"{name} {found[name]}, must be {expected[name]}" for name in found if found[name] != expected[name]]:
        yield f"has {'; '.join(wrong)}"
    elif found != meta["flac"]:
        yield f"has {found}, meta.json records {meta['flac']}"
    else:
        yield from _check_samples(flac, row, config)


def _check_samples(flac: bytes, row: Mapping[str, Any], config: BuildConfig) -> Iterator[str]:
    try:
        level = asdict(measure_sound(flac_samples(flac, config.decode_timeout_s)))
    except ClipRejected as error:
        yield f"cannot be read: {error.detail or error.reason}"
        return
    if wrong := [name for name in LEVELS if row[name] != np.float32(level[name.removeprefix("audio_")])]:
        yield f"the index has different values of {', '.join(wrong)}"
    if row["audio_speech"] is not None and not 0 <= row["audio_speech"] <= 1:
        yield f"audio_speech is {row['audio_speech']}, must be 0 to 1"
