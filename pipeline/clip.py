"""The whole life of one clip, without Beam: read (ffmpeg, any thread), then finish (model and encoder, one thread)."""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.annotations import annotation
from pipeline.unpack import media
from schemas.config import BuildConfig
from schemas.errors import ClipRejected
from schemas.records import Clip, ClipSpec, Crop, FaceTrack, Landmarks, Rejected, Span
from transforms.extract.crop import WINDOWS, Window, as_crop
from transforms.extract.decode import decode
from transforms.extract.encode import encode_jpegs
from transforms.extract.landmarks.models import FaceModel
from transforms.extract.media import Media
from transforms.extract.quality.measure import measure
from transforms.extract.sample import sample_indices
from transforms.extract.timeline import ReadTimeline, Timeline, timeline_by_decoding, timeline_from_packets
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
    with ExitStack() as opened:
        # Several spans may lie in one file, which is then opened, or unpacked, once.
        files = {span.uri: opened.enter_context(media(span.uri, span.packed, root)) for span in _each_file(spec)}
        try:
            return _read_frames(spec, root, files, timeline_from_packets, config)
        except ClipRejected as lost:
            if lost.reason != "frame_mismatch":
                raise
        return _read_frames(spec, root, files, timeline_by_decoding, config)


def _each_file(spec: ClipSpec) -> Iterable[Span]:
    return {span.uri: span for span in spec.spans}.values()


def _read_frames(spec: ClipSpec, root: Path, files: dict[str, Media], timeline_of: ReadTimeline, config: BuildConfig) -> ReadClip:
    """Sample over the frames of all spans laid end to end, then decode those of each file."""
    parts = [_part(span, root, files[span.uri], timeline_of, config) for span in spec.spans]
    ends = np.cumsum([len(part.frames) for part in parts])
    total = int(ends[-1])
    if total < config.fewest_frames:
        raise ClipRejected("too_few_frames", f"{total} of {config.fewest_frames}")
    chosen = sample_indices(total, config.frames, config.seed, spec.key)
    decoded = []
    for number, (part, end) in enumerate(zip(parts, ends, strict=True)):
        start = end - len(part.frames)
        indices = part.frames[chosen[(chosen >= start) & (chosen < end)] - start]
        if len(indices):
            frames = decode(part.media, part.timeline, indices, config.size, config.fit, config.decode_timeout_s, part.window)
            decoded.append((number, indices, frames))
    return ReadClip(spec, as_crop(decoded), total, sum(part.duration_s for part in parts))


@dataclass(frozen=True, slots=True)
class _Part:
    """A span whose file has been looked at: the numbers of its frames, int64 [n], and the window the recipe takes."""

    media: Media
    timeline: Timeline
    frames: NDArray[np.int64]
    window: Window | None

    @property
    def duration_s(self) -> float:
        return self.timeline.duration_s * len(self.frames) / max(1, len(self.timeline.raw_s))


def _part(span: Span, root: Path, file: Media, timeline_of: ReadTimeline, config: BuildConfig) -> _Part:
    line = timeline_of(file, config.decode_timeout_s)
    known = annotation(span, root, line.size_px)
    window = None
    if config.recipe in WINDOWS:
        if known.box_px is None:
            raise ClipRejected("bad_annotation", f"--recipe {config.recipe} needs a box, and none is annotated")
        window = WINDOWS[config.recipe](known.box_px, line.size_px)
    return _Part(file, line, known.frames(line), window)


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
