"""The whole life of one clip, without Beam: read (ffmpeg, any thread), then finish (model and encoder, one thread)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from schemas.config import BuildConfig
from schemas.errors import ClipRejected
from schemas.layout import uri_to_path
from schemas.records import Clip, ClipSpec, Crop, FaceTrack, Landmarks, Rejected
from transforms.extract import decode
from transforms.extract.crop import whole_frame
from transforms.extract.encode import encode_jpegs
from transforms.extract.landmarks.models import FaceModel
from transforms.extract.quality.measure import measure
from transforms.extract.sample import sample_indices
from transforms.extract.track import centred_box, track


@dataclass(frozen=True, slots=True)
class ReadClip:
    """A clip whose frames have been sampled, decoded and cropped."""

    spec: ClipSpec
    crop: Crop
    source_frames: int
    duration_s: float


def read_clip(spec: ClipSpec, root: Path, config: BuildConfig) -> ReadClip | Rejected:
    """Decode the sampled frames of a clip; every expected failure becomes a Rejected."""
    try:
        return _read(spec, root, config)
    except ClipRejected as lost:
        return Rejected(spec, lost.reason, lost.detail)


def finish_clips(read: list[ReadClip], model: FaceModel | None, config: BuildConfig) -> list[Clip | Rejected]:
    """Faces, landmarks, quality and JPEG of several clips, whose frames go to the model as one batch."""
    if not read:
        return []
    faces = [(None, None)] * len(read) if model is None else _faces([r.crop for r in read], model)
    return [_finish(clip, found, points, config) for clip, (found, points) in zip(read, faces, strict=True)]


def build_clip(spec: ClipSpec, root: Path, model: FaceModel | None, config: BuildConfig) -> Clip | Rejected:
    """One clip from file to finished sample."""
    read = read_clip(spec, root, config)
    return read if isinstance(read, Rejected) else finish_clips([read], model, config)[0]


def _read(spec: ClipSpec, root: Path, config: BuildConfig) -> ReadClip:
    paths = [str(root / uri_to_path(span.uri)) for span in spec.spans]
    for path in paths:
        decode.check_file(path)
    try:
        return _read_frames(spec, paths, decode.timeline_from_packets, config)
    except ClipRejected as lost:
        if lost.reason != "frame_mismatch":
            raise
    return _read_frames(spec, paths, decode.timeline_by_decoding, config)


def _read_frames(spec: ClipSpec, paths: list[str], timeline_of: decode.ReadTimeline, config: BuildConfig) -> ReadClip:
    """Sample over the frames of all spans laid end to end, then decode those of each file."""
    timelines = [timeline_of(path, config.decode_timeout_s) for path in paths]
    inside = [
        np.flatnonzero((line.pts_s >= span.start_s) & (line.pts_s < span.end_s))
        for span, line in zip(spec.spans, timelines, strict=True)
    ]
    ends = np.cumsum([len(frames) for frames in inside])
    total = int(ends[-1])
    if total < config.fewest_frames:
        raise ClipRejected("too_few_frames", f"{total} of {config.fewest_frames}")
    picked = np.split(chosen := sample_indices(total, config.frames, config.seed, spec.key), np.searchsorted(chosen, ends[:-1]))
    parts = []
    for number, (first, frames, choice) in enumerate(zip(ends - [len(f) for f in inside], inside, picked, strict=True)):
        if len(choice):
            indices = frames[choice - first]
            decoded = decode.decode(paths[number], timelines[number], indices, config.size, config.fit, config.decode_timeout_s)
            parts.append((number, indices, decoded))
    share = [len(frames) / max(1, len(line.raw_s)) for frames, line in zip(inside, timelines, strict=True)]
    duration_s = sum(line.duration_s * part for line, part in zip(timelines, share, strict=True))
    return ReadClip(spec, whole_frame(parts), total, duration_s)


def _faces(crops: list[Crop], model: FaceModel) -> list[tuple[FaceTrack, Landmarks]]:
    """The track and the landmarks of each clip; both model calls see the frames of all clips together."""
    rgb = np.concatenate([crop.rgb for crop in crops])
    ends = np.cumsum([len(crop) for crop in crops])[:-1].tolist()
    detections = model.detect(rgb)
    starts = [0, *ends]
    tracks = [
        track(detections[start : start + len(crop)], centred_box(crop.rgb.shape[1]))
        for start, crop in zip(starts, crops, strict=True)
    ]
    found = model.landmarks(rgb, np.concatenate([one.boxes_px for one in tracks]))
    points, scores = np.split(found.points_px, ends), np.split(found.scores, ends)
    return [(t, Landmarks(p, s)) for t, p, s in zip(tracks, points, scores, strict=True)]


def _finish(read: ReadClip, faces: FaceTrack | None, points: Landmarks | None, config: BuildConfig) -> Clip | Rejected:
    if faces is not None and not faces.found.any():
        return Rejected(read.spec, "no_face", f"in none of {len(read.crop)} sampled frames")
    return Clip(
        spec=read.spec,
        source_frames=read.source_frames,
        duration_s=read.duration_s,
        placement=read.crop.placement,
        track=faces,
        landmarks=points,
        quality=measure(read.crop, faces, points),
        jpegs=encode_jpegs(read.crop.rgb, config.jpeg_quality),
    )
