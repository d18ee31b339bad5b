"""Restore the clip that a sample was written from: the inverse of `encode.encode_sample` and `tables.clip_row`."""

from collections.abc import Mapping
from dataclasses import fields
from fractions import Fraction
from typing import Any

import numpy as np

from motionshards.schemas.action_units import ActionUnits, AuFile, AuSequence, SourceFrames
from motionshards.schemas.frames import Display, Placement
from motionshards.schemas.layout import (
    AUS,
    AUS_SEQUENCE,
    IDENTITY,
    LANDMARK_SCORES,
    LANDMARKS,
    META,
    POINT_SCORES,
    POINTS,
    SOUND,
    VIDEO,
    VIDEO_FRAMES,
    is_main_frame,
    smaller_size,
    video_suffix,
)
from motionshards.schemas.moving import Smaller, SoundLevel, StoredSound, size_of
from motionshards.schemas.records import F32, Clip, FaceTrack, Landmarks, Measured, Quality, StoredVideo
from motionshards.schemas.samples.encode import decode_arrays
from motionshards.schemas.tables import QUALITY, spec_from_row


def restore_clip(row: Mapping[str, Any], members: Mapping[str, bytes]) -> Clip:
    """Restore a clip from its marker row and its sample's members. Encoding it again produces the same bytes.

    Numbers that are stored only in meta.json are rounded; those that the row stores too are exact.

    Raises:
        ValueError: a member is not in the format that its name implies
        KeyError: a member or a field of meta.json is missing
    """
    decoded = decode_arrays(members)
    meta = decoded[_stem(META)]
    quality = Quality(**{name: _measure(row, f"frame_{name}") for name in QUALITY})
    jpegs = tuple(content for suffix, content in members.items() if is_main_frame(suffix))
    return Clip(
        spec=spec_from_row({**row, "cost": 1.0}),
        source_frames=row["source_frames"],
        duration_s=row["duration_s"],
        past_end_s=row["past_end_s"],
        placement=_placement(meta, row["frame_pts_s"]),
        track=_track(meta, quality) if "boxes_px" in meta else None,
        landmarks=_landmarks(decoded, *((LANDMARKS, LANDMARK_SCORES) if jpegs else (POINTS, POINT_SCORES))),
        quality=quality,
        jpegs=jpegs,
        aus=_action_units(decoded, row, meta) if AUS in members else None,
        file_frames=tuple(meta.get("file_frames", ())),
        display=_display(row),
        embedding=decoded.get(_stem(IDENTITY)),
        identity_spread=row["identity_spread"],
        video=_video(decoded, meta["mp4"], members[VIDEO]) if "mp4" in meta else None,
        sound=_sound(row, meta["flac"], members[SOUND]) if "flac" in meta else None,
        sound_lost=row["audio_lost"],
        smaller=smaller_in(members),
    )


def _landmarks(decoded: Mapping[str, Any], points: str, scores: str) -> Landmarks | None:
    return Landmarks(decoded[_stem(points)], decoded[_stem(scores)]) if _stem(points) in decoded else None


def _video(decoded: Mapping[str, Any], meta: Mapping[str, Any], mp4: bytes) -> StoredVideo:
    measured = None
    if "pts_s" in meta:
        quality = Quality(**{name: _floats(meta[name]) for name in QUALITY})
        track = _track(meta, quality) if "boxes_px" in meta else None
        measured = Measured(_placement(meta, meta["pts_s"]), track, _landmarks(decoded, POINTS, POINT_SCORES), quality)
    span, index, pts_s = decoded[_stem(VIDEO_FRAMES)].T
    source = SourceFrames(span.astype(np.int32), index.astype(np.int32), pts_s.copy())
    size_px = size_of(meta["point_units"], meta["point_offset_px"])
    return StoredVideo(mp4, size_px, Fraction(*meta["rate"]), meta["crf"], source, meta["every"], measured)


def smaller_in(members: Mapping[str, bytes]) -> tuple[Smaller, ...]:
    """Stills and video of a sample at each of the smaller sizes, in member order."""
    sizes = {suffix: size_px for suffix in members if (size_px := smaller_size(suffix))}
    videos = {size_px: video_suffix(size_px) for size_px in sizes.values()}
    return tuple(
        Smaller(
            size_px,
            jpegs=tuple(members[suffix] for suffix, own in sizes.items() if own == size_px and suffix != mp4),
            mp4=members.get(mp4),
        )
        for size_px, mp4 in videos.items()
    )


def _sound(row: Mapping[str, Any], meta: Mapping[str, Any], flac: bytes) -> StoredSound:
    level = SoundLevel(row["audio_level_db"], row["audio_silence"], row["audio_clipping"], row["audio_speech"])
    return StoredSound(flac, meta["hz"], meta["channels"], meta["samples"], level)


def _placement(meta: Mapping[str, Any], pts_s: Any) -> Placement:
    return Placement(
        span=np.array(meta["span"], np.int32),
        index=np.array(meta["frame_index"], np.int32),
        pts_s=np.array(pts_s, np.float64),
        source_size_px=np.array(meta["source_size_px"], np.int32),
        content_px=np.array(meta["content_px"], np.int32),
        source_to_crop=np.array(meta["source_to_crop"], np.float64),
    )


def _display(row: Mapping[str, Any]) -> Display:
    """The stored display metadata; format version 1 has none."""
    stored = {field.name: row.get(field.name) for field in fields(Display)}
    return Display(**{name: value for name, value in stored.items() if value is not None})


def _track(meta: Mapping[str, Any], quality: Quality) -> FaceTrack:
    return FaceTrack(_floats(meta["boxes_px"]), _floats(meta["box_scores"]), quality.faces.astype(np.int32))


def _action_units(decoded: Mapping[str, Any], row: Mapping[str, Any], meta: Mapping[str, Any]) -> ActionUnits:
    every = decoded.get(_stem(AUS_SEQUENCE))
    return ActionUnits(
        intensity=decoded[_stem(AUS)],
        presence=_floats(meta["au_presence"]) if "au_presence" in meta else None,
        valid=np.array(meta["au_valid"], np.bool_),
        confidence=_floats(row["frame_au_confidence"]),
        files=tuple(file and AuFile(**file) for file in meta.get("au_files", ())),
        sequence=None if every is None else _sequence(every, meta),
    )


def _sequence(intensity: F32, meta: Mapping[str, Any]) -> AuSequence:
    row = np.array(meta["au_sequence_row"], np.int32)
    return AuSequence(intensity, np.array(meta["au_sequence_pts_s"], np.float64), row)


def _measure(row: Mapping[str, Any], name: str) -> F32:
    """A per-frame measure; NaN if format version 1 lacks it."""
    return _floats([None] * row["n_frames"] if row[name] is None else row[name])


def _floats(values: Any) -> F32:
    """A float32 array of (nested lists of) numbers; None, which stands for NaN in JSON, becomes NaN."""
    return np.array(values, np.float32)


def _stem(suffix: str) -> str:
    return suffix.rpartition(".")[0]
