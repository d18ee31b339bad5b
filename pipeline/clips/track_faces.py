"""The recipes that track faces: each tube of a clip becomes a separate clip.

Tubes are found in downscaled images of every frame (`find_tubes`). The stored frames of a tube are then sampled and decoded as
those of any clip, cropped by the tube's window.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from motionshards.pipeline.clips.find_tubes import MODEL_LOCK, Faces, Footage, find_tubes, tube_rule
from motionshards.pipeline.clips.read import ReadClip
from motionshards.pipeline.clips.sequences import Sequences, image_size_px
from motionshards.pipeline.clips.sound import clip_sound
from motionshards.pipeline.clips.video import Stretch, crop_and_video, with_video
from motionshards.schemas.action_units import SourceFrames
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.frames import Crop, Frames
from motionshards.schemas.layout import tube_key, tube_start
from motionshards.schemas.records import ClipSpec, FaceTrack, Rejected
from motionshards.transforms.extract.constant_rate import rate_of
from motionshards.transforms.extract.crop import longer_side_px, tube_window
from motionshards.transforms.extract.decode import decode
from motionshards.transforms.extract.identity.compare import has_two_people, spread
from motionshards.transforms.extract.identity.descriptor import descriptors
from motionshards.transforms.extract.landmarks.models import FaceModel
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.output_images import Search
from motionshards.transforms.extract.portrait import moved_to_contain, portrait_square
from motionshards.transforms.extract.sample import sample_indices
from motionshards.transforms.extract.timeline import Timeline
from motionshards.transforms.extract.tubes import Box, Tube, TubeRule

# Eyes and mouth are located in a few frames of a tube, at a size that makes faces at least 85 px large.
_LOOKED_AT, _LOOKED_AT_PX = 9, 256
_COMPARED = 2  # compare every second of them, since a descriptor takes 60 to 100 ms


def track_faces(footage: Footage, model: FaceModel, config: BuildConfig) -> list[ReadClip | Rejected]:
    """Track faces and read each tube: at least one outcome, ordered by the start of the tubes, kept or rejected.

    Raises:
        ClipRejected: no_face, face_too_small, size_changes, corrupt, frame_mismatch, and the reasons of `ordered`
    """
    rule = tube_rule(footage, config)
    tubes, faces = find_tubes(footage, model, config, rule)
    return [_outcome(footage, tube, key, faces, model, config, rule) for key, tube in _keyed(footage.spec.key, tubes)]


def read_tube(
    media: Media,
    line: Timeline,
    spec: ClipSpec,
    indices: NDArray[np.int64],
    length: int,
    config: BuildConfig,
    sequences: Sequences | None,
    search: Search | None = None,
    *,
    read_video: bool = False,
) -> ReadClip:
    """Read stills `indices` of the tube `spec`, which has `length` frames; does not detect its face.

    search: images for face detection, as in `decode`
    read_video: whether to read its video and audio

    Raises:
        ClipRejected: tube_outside, aus_failed, and the reasons of `decode`
    """
    (span,) = spec.spans
    window = tube_window(config.recipe, np.array(span.box), line.size_px, line.pixel_aspect, config.tube_margin)
    frames, limit_s, seconds = tube_start(spec.key) + np.arange(length), config.decode_timeout_s, span.end_s - span.start_s
    every = None if sequences is None else sequences.sink(spec.key, frames, image_size_px(window, line, length))
    stretch, rate = Stretch(indices), rate_of(config.fps, line) if read_video else None
    if rate is not None:
        stretch = with_video(indices, line, frames, seconds, rate, config)
    besides = stretch.besides(config, search, every)
    found = decode(media, line, stretch.indices, config.size, config.fit, limit_s, window, config.hdr, besides)
    crop, video = crop_and_video([(0, stretch, found)], [line.pts_s], config)
    sound = None if rate is None else clip_sound([(media, float(line.raw_s[frames[0]]), stretch.shown)], rate, config)
    all_frames = SourceFrames(np.zeros(length, np.int32), frames.astype(np.int32), line.pts_s[frames])
    whole = (len(line.raw_s),)
    return ReadClip(spec, crop, length, seconds, whole, all_frames, video=video, sound=sound, smaller=found.smaller)


def _keyed(key: str, tubes: list[Tube]) -> Iterator[tuple[str, Tube]]:
    for start, together in groupby(tubes, key=lambda tube: tube.start):
        for number, tube in enumerate(together, 1):
            yield tube_key(key, start, number), tube


def _outcome(
    footage: Footage, tube: Tube, key: str, faces: Faces, model: FaceModel, config: BuildConfig, rule: TubeRule
) -> ReadClip | Rejected:
    spec = _spec(footage, tube, key, tube.union)
    try:
        _check(tube, footage.timeline, rule)
        if config.recipe == "face" or config.one_person:
            frames, points = _look_closely(footage, tube, model, config)
            if config.one_person:
                _check_one_person(frames, points)
            if config.recipe == "face":
                spec = _spec(footage, tube, key, _portrait(footage, tube, frames, points, config))
        return _read(footage, spec, tube, faces, config)
    except ClipRejected as rejection:
        if rejection.reason != "two_people" and not rejection.reason.startswith(("tube_", "aus_")):
            raise
        return Rejected(spec, rejection.reason, rejection.detail)


def _check(tube: Tube, line: Timeline, rule: TubeRule) -> None:
    length, side = tube.stop - tube.start, longer_side_px(tube.union, line.pixel_aspect)
    if length < rule.min_frames:
        raise ClipRejected("tube_too_short", f"{length} of {rule.min_frames} frames")
    if side < rule.min_px:
        raise ClipRejected("tube_too_small", f"{side:.0f} of {rule.min_px:.0f} px")


def _spec(footage: Footage, tube: Tube, key: str, box: Box) -> ClipSpec:
    """The tube as a clip, with its time range, and its box as an annotation."""
    (span,), line, (width, height) = footage.spec.spans, footage.timeline, footage.timeline.size_px
    start_s, (x0, y0, x1, y1) = float(line.pts_s[tube.start]), box.tolist()
    place = replace(
        span,
        start_s=start_s,
        end_s=start_s + _duration_s(tube, line),
        box=(x0, y0, x1, y1),
        reference_px=(float(width), float(height)),  # floats, as read from parquet
        track_uri=None,
        track_packed=None,
        frames=None,
        shown_times=None,
    )
    return replace(footage.spec, key=key, spans=(place,))


def _duration_s(tube: Tube, line: Timeline) -> float:
    """Duration up to the start of the frame after the tube, or up to the end of the file."""
    end_s = line.pts_s[tube.stop] if tube.stop < len(line.pts_s) else line.duration_s
    return max(float(end_s - line.pts_s[tube.start]), 1e-3)


def _read(footage: Footage, spec: ClipSpec, tube: Tube, faces: Faces, config: BuildConfig) -> ReadClip:
    line, length = footage.timeline, tube.stop - tube.start
    chosen = sample_indices(length, config.frames, config.seed, spec.key) if config.stores_stills else np.empty(0, np.int64)
    indices = tube.start + chosen
    read = read_tube(footage.media, line, spec, indices, length, config, footage.sequences, read_video=config.stores_video)

    def track(crop: Crop) -> FaceTrack:
        frames = crop.placement.index.astype(np.int64)
        boxes = _in_crop(tube.boxes_at(frames), crop.placement.source_to_crop)
        return FaceTrack(boxes, tube.scores_at(frames), faces.count_at(frames))

    if read.video is not None and read.video.rows is not None:
        read = replace(read, video=replace(read.video, track=track(read.video.rows)))
    return replace(read, duration_s=_duration_s(tube, line), track=track(read.crop))


def _check_one_person(frames: Frames, points: NDArray[np.float32]) -> None:
    """Raise ClipRejected (two_people) if the face descriptors show two people."""
    seen = np.flatnonzero(np.isfinite(points).all(axis=(1, 2)))[::_COMPARED]
    with MODEL_LOCK:
        found = descriptors(frames.rgb[seen], points[seen])
    if has_two_people(found):
        raise ClipRejected("two_people", f"descriptors of {len(seen)} frames are up to {spread(found):.2f} apart")


def _portrait(footage: Footage, tube: Tube, frames: Frames, points: NDArray[np.float32], config: BuildConfig) -> Box:
    """The square crop of the recipe `face`, edges in source pixels."""
    affine = frames.source_to_frame
    scale, offset = affine[:, [0, 1], [0, 1]], affine[:, :, 2]
    in_source = (points - offset[:, None]) / scale[:, None] + 0.5
    square = portrait_square(in_source, footage.timeline.pixel_aspect, config.face_scale)
    return moved_to_contain(square, tube.union)


def _look_closely(footage: Footage, tube: Tube, model: FaceModel, config: BuildConfig) -> tuple[Frames, NDArray[np.float32]]:
    """Decode a few frames of a tube in which the face was detected, and their landmarks, float32 [n,68,2].

    The choice does not depend on which frames are stored.
    """
    line = footage.timeline
    chosen = np.unique(np.linspace(0, len(tube.seen) - 1, _LOOKED_AT).round().astype(np.int64))
    indices = np.array(tube.seen)[chosen]
    window = tube_window("track", tube.union, line.size_px, line.pixel_aspect)
    limit_s = config.decode_timeout_s
    frames = decode(footage.media, line, indices, _LOOKED_AT_PX, config.fit, limit_s, window, config.hdr)
    with MODEL_LOCK:
        return frames, model.landmarks(frames.rgb, _in_crop(tube.boxes_at(indices), frames.source_to_frame)).points_px


def _in_crop(boxes: NDArray[np.float64], affine: NDArray[np.float64]) -> NDArray[np.float32]:
    """Map boxes [T,4], edges in source pixels, through affines [T,2,3] to crop pixels (pixel centers)."""
    corners = (boxes.reshape(-1, 2, 2) - 0.5) @ affine[:, :, :2].transpose(0, 2, 1) + affine[:, None, :, 2]
    return corners.reshape(-1, 4).astype(np.float32)
