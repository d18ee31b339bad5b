"""Encode a clip as the files of one WebDataset sample, and decode their arrays. No pickle: only JPEG, mp4, FLAC, npy and JSON.

000.jpg … NNN.jpg    frames in time order, RGB
mp4                  H.264 video of constant rate, M frames (this and the next four only with --store video or both)
flac                 audio of the same span (absent if the source has none)
frames.npy           float64 [M,3], the source frame that each video frame shows: span, number in its file, seconds
points.npy           uint16 [L,68,2], landmarks of every n-th frame of the video, see `schemas.moving`
point_scores.npy     uint8 [L,68], their scores times 255
landmarks.npy        float32 [N,68,2], crop pixels, NaN rows where no face was found (absent with --landmarks none)
landmark_scores.npy  float32 [N,68] (absent with --landmarks none)
aus.npy              float32 [N,17], intensities of action units 0 to 5, NaN rows where not valid (absent with --aus none)
aus_sequence.npy     float32 [F,17], the same of all frames of the clip (only with --aus-frames all)
identity.npy         float32 [128], mean face descriptor, NaN where no face was found (only with --identity-embedding)
256.000.jpg …        the same frames at a smaller size (this and the next only with several sizes)
256.mp4              the same video at a smaller size
meta.json            identity and source of the clip, and lists of length N for time, position and quality; null if missing

Without stills N is L: the lists describe the measured frames of the video.
"""

import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.action_units import ActionUnits
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
    frame_suffix,
    video_suffix,
)
from motionshards.schemas.moving import measured_rows, point_scale, quantized, quantized_scores, restored_px, restored_scores
from motionshards.schemas.records import Clip, FaceTrack, Landmarks, Quality, StoredVideo
from motionshards.schemas.samples.members import array_member, embedding_member, meta_member
from motionshards.schemas.tables import QUALITY, spec_row

# Samples do not depend on whether videos were read from archives or directories: archive locations are in the index only.
_IN_INDEX = ("packed", "track_packed")


def encode_sample(clip: Clip) -> dict[str, bytes]:
    """The members of a sample by suffix, in the order of the tar."""
    members = {frame_suffix(number): jpeg for number, jpeg in enumerate(clip.jpegs)}
    if clip.video is not None:
        measured = clip.video.measured.landmarks if clip.video.measured else clip.landmarks
        members |= _video_members(clip.video, measured, clip.sound.flac if clip.sound else None)
    if clip.landmarks is not None and clip.jpegs:
        members[LANDMARKS] = npy_bytes(clip.landmarks.points_px)
        members[LANDMARK_SCORES] = npy_bytes(clip.landmarks.scores)
    if clip.aus is not None:
        members[AUS] = npy_bytes(clip.aus.intensity)
        if clip.aus.sequence is not None:
            members[AUS_SEQUENCE] = npy_bytes(clip.aus.sequence.intensity)
    if clip.embedding is not None:
        members[IDENTITY] = npy_bytes(clip.embedding)
    for smaller in clip.smaller:
        members |= {frame_suffix(number, smaller.size_px): jpeg for number, jpeg in enumerate(smaller.jpegs)}
        if smaller.mp4 is not None:
            members[video_suffix(smaller.size_px)] = smaller.mp4
    members[META] = json.dumps(_meta(clip), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return members


def _video_members(video: StoredVideo, points: Landmarks | None, flac: bytes | None) -> dict[str, bytes]:
    source = video.source
    members = {VIDEO: video.mp4} if flac is None else {VIDEO: video.mp4, SOUND: flac}
    members[VIDEO_FRAMES] = npy_bytes(np.stack([source.span, source.index, source.pts_s], axis=1).astype(np.float64))
    if points is not None:
        members[POINTS] = npy_bytes(quantized(points.points_px, video.size_px))
        members[POINT_SCORES] = npy_bytes(quantized_scores(points.scores))
    return members


def npy_bytes(array: NDArray[Any]) -> bytes:
    """An array as the bytes of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def decode_arrays(members: Mapping[str, bytes], frames: int | None = None) -> dict[str, Any]:
    """Decode the arrays and meta.json of a sample, keyed by suffix without extension, but not images, video and audio.

    `points` are float32 in stored pixels and `point_scores` float32. Unknown members are ignored; without meta.json, so are
    those of a stored video.

    frames: N, if known

    Raises:
        ValueError: a member is not in the format that its name implies
    """
    meta = meta_member(members[META], frames) if META in members else None
    rows = {AUS_SEQUENCE: None, **_video_rows(meta)}
    decoded: dict[str, Any] = {
        name.removesuffix(".npy"): array_member(name, members[name], rows.get(name, len(meta["pts_s"]) if meta else frames))
        for name in (LANDMARKS, LANDMARK_SCORES, AUS, AUS_SEQUENCE, *_video_rows(meta))
        if name in members
    }
    if IDENTITY in members:
        decoded[IDENTITY.removesuffix(".npy")] = embedding_member(members[IDENTITY])
    if meta is None:
        return decoded
    if POINTS in members:
        video = meta["mp4"]
        decoded["points"] = restored_px(decoded["points"], video["point_units"], video["point_offset_px"])
        decoded["point_scores"] = restored_scores(decoded["point_scores"])
    return {**decoded, "meta": meta}


def _video_rows(meta: Mapping[str, Any] | None) -> dict[str, int]:
    """Number of rows of each array of a stored video, by member."""
    video = meta.get("mp4") if meta else None
    if not video:
        return {}
    rows = measured_rows(video["frames"], video["every"])
    return {VIDEO_FRAMES: video["frames"], POINTS: rows, POINT_SCORES: rows}


def _meta(clip: Clip) -> dict[str, Any]:
    meta = {
        **spec_row(clip.spec),
        "source_frames": clip.source_frames,
        **({"file_frames": list(clip.file_frames)} if clip.file_frames else {}),
        "duration_s": _rounded(clip.duration_s),
        **_described(clip.placement, clip.quality, clip.track),
        **_unusual(clip.display),
    }
    meta["spans"] = [_span(span) for span in meta["spans"]]
    if clip.aus is not None:
        meta |= _aus_meta(clip.aus)
    if clip.video is not None:
        meta["mp4"] = _video_meta(clip.video)
    if clip.sound is not None:
        meta["flac"] = {name: getattr(clip.sound, name) for name in ("hz", "channels", "samples")}
    return meta


def _described(place: Placement, quality: Quality, track: FaceTrack | None) -> dict[str, Any]:
    """The lists of meta.json with one entry per described frame."""
    described = {
        "span": place.span.tolist(),
        "frame_index": place.index.tolist(),
        "pts_s": _rounded(place.pts_s.tolist()),
        "source_size_px": place.source_size_px.tolist(),
        "content_px": place.content_px.tolist(),
        "source_to_crop": _rounded(place.source_to_crop.tolist(), 9),
        **{name: _rounded(getattr(quality, name).tolist(), 4) for name in QUALITY},
    }
    if track is not None:
        described["boxes_px"] = _rounded(track.boxes_px.tolist())
        described["box_scores"] = _rounded(track.scores.tolist())
    return described


def _video_meta(video: StoredVideo) -> dict[str, Any]:
    units, offset_px = point_scale(video.size_px)
    rate = [video.rate.numerator, video.rate.denominator]
    meta = {"rate": rate, "frames": len(video), "crf": video.crf, "every": video.every}
    meta |= {"point_units": units, "point_offset_px": offset_px}
    measured = video.measured
    return meta | (_described(measured.placement, measured.quality, measured.track) if measured else {})


def _unusual(display: Display) -> dict[str, Any]:
    """The display metadata that are specified and differ from the defaults."""
    stored = asdict(display)
    return {name: value for name, value in stored.items() if value is not None and value != getattr(Display(), name)}


def _aus_meta(aus: ActionUnits) -> dict[str, Any]:
    """The smaller arrays, kept in meta.json: a separate member would cost a tar header and an npy header per clip."""
    meta: dict[str, Any] = {"au_valid": aus.valid.tolist(), "au_confidence": _rounded(aus.confidence.tolist(), 4)}
    if aus.presence is not None:
        meta["au_presence"] = [[None if value != value else int(value) for value in frame] for frame in aus.presence.tolist()]
    if aus.sequence is not None:
        meta |= {"au_sequence_row": aus.sequence.row.tolist(), "au_sequence_pts_s": _rounded(aus.sequence.pts_s.tolist())}
    return {**meta, "au_files": [file and asdict(file) for file in aus.files]} if aus.files else meta


def _span(span: dict[str, Any]) -> dict[str, Any]:
    present = {name: value for name, value in span.items() if value is not None and name not in _IN_INDEX}
    return {**present, "end_s": _rounded(span["end_s"])}


def _rounded(value: Any, digits: int = 6) -> Any:
    """Round the floats of nested lists; NaN and infinity become None, since JSON has neither."""
    if isinstance(value, list):
        return [_rounded(item, digits) for item in value]
    return round(value, digits) if math.isfinite(value) else None
