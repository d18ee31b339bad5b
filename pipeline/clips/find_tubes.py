"""First phase of the recipes that track faces: find faces and shots in one pass over downscaled frames, and link tubes."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from motionshards.pipeline.clips.annotations import Annotation
from motionshards.pipeline.clips.sequences import Sequences
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.records import ClipSpec
from motionshards.transforms.extract.decode import seek_s
from motionshards.transforms.extract.decoder.filters import GRAY, RGB, scaled
from motionshards.transforms.extract.detect import Detections
from motionshards.transforms.extract.landmarks.models import FaceModel
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.output_images import OutputImage
from motionshards.transforms.extract.search import (
    MAX_ENLARGED_PX,
    MAX_ENLARGED_SEARCHES,
    Detect,
    Pixels,
    search_around,
    search_batches,
)
from motionshards.transforms.extract.shots.finder import ShotFinder, Shots
from motionshards.transforms.extract.shots.windows import THUMBNAIL_PX
from motionshards.transforms.extract.stream import decode_images
from motionshards.transforms.extract.timeline import Timeline
from motionshards.transforms.extract.tubes import FOMM_SAME_PLACE, LONGEST_GAP_S, EveryFace, MainFace, Tube, TubeRule

# A tube's box is the union of the boxes of a moving head; a single box is smaller by about this factor.
_UNION_TO_FACE = 1.5
# Maximum ratio of the union of a tube's boxes to a single box. A face then spans at least a third of the side of a `track`
# crop; a `face` crop, whose side does not grow with motion, contains the face in every frame.
_WIDEST, _WIDEST_PORTRAIT = 2.5, 1.5
# Area averaging, restricted to swscale code paths with identical results on every processor.
_AREA = "area+accurate_rnd+bitexact"

Found = TypeVar("Found")

# Clips are read in several threads, and models need not be thread-safe.
MODEL_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class Footage:
    """Frames [start, stop) of a file with a known timeline, and their face annotation.

    sequences: where images of all frames of its tubes are written; None if they are not needed
    """

    spec: ClipSpec
    media: Media
    timeline: Timeline
    known: Annotation
    start: int
    stop: int
    sequences: Sequences | None = None


@dataclass(frozen=True, slots=True)
class Faces:
    """Detected faces of the searched frames.

    numbers: int64 [S], frame numbers within the file, ascending
    found: S detections; boxes are edges in source pixels
    """

    numbers: NDArray[np.int64]
    found: Sequence[Detections]

    def count_at(self, frames: NDArray[np.int64]) -> NDArray[np.int32]:
        """Number of faces in each of these frames, or in the last searched frame before it, int32 [T]."""
        counts = np.array([len(one) for one in self.found], np.int32)
        return counts[np.searchsorted(self.numbers, frames, side="right") - 1]


def tube_rule(footage: Footage, config: BuildConfig) -> TubeRule:
    """The tracking parameters of the recipe."""
    line, parity = footage.timeline, config.recipe == "fomm-track"
    gap = round(LONGEST_GAP_S * len(line.raw_s) / line.duration_s) if line.duration_s else 0
    return TubeRule(
        min_frames=max(config.tube_min_frames, config.required_frames),
        max_frames=config.tube_max_frames,
        min_px=config.required_tube_px,
        longest_gap=gap + config.detect_every - 1,
        same_place=FOMM_SAME_PLACE if parity else 0.0,
        widest=np.inf if parity else _WIDEST_PORTRAIT * config.face_scale if config.recipe == "face" else _WIDEST,
    )


def find_tubes(footage: Footage, model: FaceModel, config: BuildConfig, rule: TubeRule) -> tuple[list[Tube], Faces]:
    """Find the tubes of a clip, ordered by start and including those that are too short or too small, and all detected faces.

    Raises:
        ClipRejected: no_face, face_too_small, size_changes, corrupt, frame_mismatch, and the reasons of `ordered`
    """
    if not footage.timeline.one_size:
        raise ClipRejected("size_changes", f"recipe {config.recipe}")
    faces, shots = _from_keyframe(footage, lambda seek: _look_through(footage, model, config, rule, seek=seek))
    tubes = _followed(footage, faces, shots, config, rule)
    if not tubes:
        raise _from_keyframe(footage, lambda seek: _without_face(footage, model, config, seek=seek))
    return tubes, faces


def _from_keyframe(footage: Footage, read: Callable[[bool], Found]) -> Found:
    """Return `read(True)`, which seeks to the preceding keyframe, or `read(False)`, from the file's start, if that fails."""
    try:
        return read(True)
    except ClipRejected as rejection:
        if rejection.reason not in ("corrupt", "frame_mismatch") or not seek_s(footage.timeline, np.array([footage.start])):
            raise
    return read(False)


def _look_through(footage: Footage, model: FaceModel, config: BuildConfig, rule: TubeRule, *, seek: bool) -> tuple[Faces, Shots]:
    line, shots, every = footage.timeline, ShotFinder(), config.detect_every
    small_px = _small_px(line, model, _least_face_px(config))
    places = np.arange(0, footage.stop - footage.start, every)
    outputs = OutputImage(_filters(small_px, model), only=None if every == 1 else tuple(places.tolist()))
    thumbnail = OutputImage((scaled(*THUMBNAIL_PX), RGB))

    def images() -> Iterator[Pixels]:
        limit_s, span = config.decode_timeout_s, (footage.start, footage.stop)
        for image, small in decode_images(footage.media, line, *span, (outputs, thumbnail), limit_s, hdr=config.hdr, seek=seek):
            assert small is not None, "thumbnails are requested for all frames"
            shots.add(small)
            if image is not None:
                yield _searchable(image)

    if model.batch_frames > 1:
        found = search_batches(images(), _detect(model), model.batch_frames)
    else:
        found = search_around(images(), _detect(model), model.least_face_px, max(1, rule.longest_gap // every))
    faces = [_in_source(one, small_px, line.size_px) for one in found]
    return Faces(footage.start + places, faces), shots.finish()


def _least_face_px(config: BuildConfig) -> float:
    """Minimum face size to track, in source pixels."""
    return max(config.detect_min_px, config.required_tube_px / _UNION_TO_FACE)


def _small_px(line: Timeline, model: FaceModel, face_px: float) -> tuple[int, int]:
    """Image size (width, height), with square pixels, at which the model just detects faces of `face_px`; never upscaled."""
    scale, (width, height) = min(1.0, model.least_face_px / face_px), line.size_px
    return max(16, round(width * float(line.pixel_aspect) * scale)), max(16, round(height * scale))


def _filters(small_px: tuple[int, int], model: FaceModel) -> tuple[tuple[str, str], ...]:
    if not model.searches_gray:
        return scaled(*small_px), RGB
    return ("scale", f"w={small_px[0]}:h={small_px[1]}:flags={_AREA}"), GRAY


def _searchable(image: Pixels) -> Pixels:
    return image[..., 0] if image.shape[2] == 1 else image


def _detect(model: FaceModel, *, enlarged: bool = False) -> Detect:
    def detect(images: Sequence[Pixels]) -> list[Detections]:
        with MODEL_LOCK:
            return model.detect(images, enlarged=enlarged, own_scale=not enlarged)

    return detect


def _in_source(found: Detections, small_px: tuple[int, int], size_px: tuple[int, int]) -> Detections:
    """Convert a model's boxes, which refer to pixel centers, to edges in source pixels."""
    scale = np.tile(np.array(size_px) / np.array(small_px), 2)
    return Detections((found.boxes_px + np.float32(0.5)) * scale.astype(np.float32), found.scores)


def _followed(footage: Footage, faces: Faces, shots: Shots, config: BuildConfig, rule: TubeRule) -> list[Tube]:
    """Link faces to tubes, each within one shot and without transition frames."""
    starts = np.zeros(len(shots.blended), np.bool_)
    starts[shots.starts] = True
    # The shot number also increases at each transition frame, so that tubes end there.
    shot_of = np.cumsum(starts | shots.blended)
    follower = EveryFace(rule) if config.faces == "all" else MainFace(rule, gate=config.recipe != "fomm-track")
    last = 0
    for number, found in zip(faces.numbers.tolist(), faces.found, strict=True):
        place = number - footage.start
        if not shots.blended[place]:
            expected = footage.known.box_at(float(footage.timeline.pts_s[number]))
            boxes, cut = found.boxes_px.astype(np.float64), bool(shot_of[place] != last)
            follower.step(number, boxes, found.scores.tolist(), expected, cut=cut)
            last = shot_of[place]
    return follower.finish()


def _without_face(footage: Footage, model: FaceModel, config: BuildConfig, *, seek: bool) -> ClipRejected:
    """Why a clip has no tube. Searches a few frames at a higher resolution, to distinguish small faces from none."""
    line, count = footage.timeline, footage.stop - footage.start
    small_px = _small_px(line, model, config.detect_min_px)
    places = sorted({count * (2 * number + 1) // (2 * MAX_ENLARGED_SEARCHES) for number in range(MAX_ENLARGED_SEARCHES)})
    finer = OutputImage(_filters(small_px, model), only=tuple(places))
    limit_s, span = config.decode_timeout_s, (footage.start, footage.stop)
    detect = _detect(model, enlarged=small_px[0] * small_px[1] <= MAX_ENLARGED_PX)
    read = decode_images(footage.media, line, *span, (finer,), limit_s, hdr=config.hdr, seek=seek)
    boxes = [
        _in_source(detect([_searchable(image)])[0], small_px, line.size_px).boxes_px for (image,) in read if image is not None
    ]
    found = np.concatenate(boxes)
    if not len(found):
        return ClipRejected("no_face", f"in none of {count} frames")
    side_px, least_px = (found[:, 2:] - found[:, :2]).max(), max(_least_face_px(config), model.least_face_px)
    return ClipRejected("face_too_small", f"{side_px:.0f} px in the source; faces of at least {least_px:.0f} px are tracked")
