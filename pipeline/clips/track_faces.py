"""The recipes `track` and `fomm-track`: a face is followed through every frame, and each tube becomes a clip.

Frames are decoded once. Which frames of a tube are stored depends on their ranks alone, not on the tube's length, so while
it grows no more than the N frames of least rank are held at full size, and N more in a gap that may yet close.
"""

import heapq
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
from numpy.typing import NDArray

from motionshards.pipeline.clips.annotations import Annotation
from motionshards.pipeline.clips.read import ReadClip
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.layout import tube_key
from motionshards.schemas.records import ClipSpec, Crop, Display, FaceTrack, Placement, Rejected
from motionshards.transforms.extract.crop import TUBE_WINDOWS, Window, longer_side_px
from motionshards.transforms.extract.decode import cut, seek_s, window_place
from motionshards.transforms.extract.detect import Detections
from motionshards.transforms.extract.frame_facts import FrameFacts
from motionshards.transforms.extract.landmarks.models import FaceModel
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.sample import ranks
from motionshards.transforms.extract.stream import Pair, stream
from motionshards.transforms.extract.timeline import Timeline
from motionshards.transforms.extract.tubes import LONGEST_GAP_S, CutFinder, Tube, TubeBuilder, TubeRule, choose_face

# A tube's box is the union of the boxes of a head that moves: one of them is smaller by about this.
_UNION_TO_FACE = 1.5
_LARGEST_SCALE = 2.0
_MOST_AT_ONCE = 16

# Frames are read by several threads, and models need not be safe to share.
_MODEL = threading.Lock()


@dataclass(frozen=True, slots=True)
class Followed:
    """What is followed: frames [start, stop) of a file that has been looked at."""

    spec: ClipSpec
    media: Media
    timeline: Timeline
    known: Annotation
    start: int
    stop: int


def follow(what: Followed, model: FaceModel, config: BuildConfig) -> list[ReadClip | Rejected]:
    """The tubes of a clip, in time order: those that are kept and those that are not; at least one outcome.

    Raises:
        ClipRejected: corrupt, frame_mismatch, size_changes, and as `ordered`
    """
    if seek_s(what.timeline, np.array([what.start])):
        try:
            return _follow(what, model, config, seek=True)
        except ClipRejected as lost:
            if lost.reason not in ("corrupt", "frame_mismatch"):
                raise
    return _follow(what, model, config, seek=False)


def _follow(what: Followed, model: FaceModel, config: BuildConfig, *, seek: bool) -> list[ReadClip | Rejected]:
    if not what.timeline.one_size:
        raise ClipRejected("size_changes", f"recipe {config.recipe}")
    follower, small_px, seen = _Follower(what, config), _small_px(what.timeline, model, config), FrameFacts()
    line, limit_s = what.timeline, config.decode_timeout_s
    frames = stream(what.media, line, what.start, what.stop, small_px, limit_s, seek=seek, hdr=config.hdr, seen=seen)
    for number, (full, _), cut_here, found in _searched(frames, what.start, model, config.detect_every):
        follower.step(number, full, cut_here, None if found is None else _in_source(found, small_px, what.timeline.size_px))
    return follower.finish(seen.display)


def _small_px(line: Timeline, model: FaceModel, config: BuildConfig) -> tuple[int, int]:
    """The size at which the model just finds the smallest faces that are wanted, in square pixels."""
    scale, (width, height) = min(_LARGEST_SCALE, model.least_face_px * _UNION_TO_FACE / config.tube_min_px), line.size_px
    return max(16, round(width * float(line.pixel_aspect) * scale)), max(16, round(height * scale))


def _in_source(found: Detections, small_px: tuple[int, int], size_px: tuple[int, int]) -> Detections:
    """The boxes as edges in source pixels; those of a model are centres of pixels."""
    scale = np.tile(np.array(size_px) / np.array(small_px), 2)
    return Detections((found.boxes_px + np.float32(0.5)) * scale.astype(np.float32), found.scores)


def _searched(
    frames: Iterator[Pair], start: int, model: FaceModel, every: int
) -> Iterator[tuple[int, Pair, bool, Detections | None]]:
    """Each frame with whether a scene begins, and its faces where it was searched: every so many frames, and after cuts."""
    cuts, waiting, since = CutFinder(), list[tuple[int, Pair, bool, bool]](), count()
    for number, pair in enumerate(frames, start):
        cut_here = cuts.step(pair[1])
        since = count() if cut_here else since
        waiting.append((number, pair, cut_here, next(since) % every == 0))
        if sum(search for *_, search in waiting) >= min(model.batch_frames, _MOST_AT_ONCE) or len(waiting) >= _MOST_AT_ONCE:
            yield from _with_faces(waiting, model)
            waiting = []
    yield from _with_faces(waiting, model)


def _with_faces(
    waiting: list[tuple[int, Pair, bool, bool]], model: FaceModel
) -> Iterator[tuple[int, Pair, bool, Detections | None]]:
    small = [pair[1] for _, pair, _, search in waiting if search]
    found: Iterator[Detections] = iter(())
    if small:
        with _MODEL:
            found = iter(model.detect(small))
    for number, pair, cut_here, search in waiting:
        yield number, pair, cut_here, next(found) if search else None


@dataclass(frozen=True, slots=True, order=True)
class _Held:
    """A frame that may be stored; the order is that of the ranks, turned, so that the worst stands first in a heap."""

    minus_rank: int
    number: int
    rgb: NDArray[np.uint8]
    faces: int
    score: float


class _Follower:
    """The state between frames: the tube that is open and those of its frames that may be stored."""

    def __init__(self, what: Followed, config: BuildConfig) -> None:
        self._what, self._config = what, config
        line = what.timeline
        gap = round(LONGEST_GAP_S * len(line.raw_s) / line.duration_s) if line.duration_s else 0
        self._rule = TubeRule(
            min_frames=max(config.tube_min_frames, config.fewest_frames),
            max_frames=config.tube_max_frames,
            min_px=config.tube_min_px,
            longest_gap=gap + config.detect_every - 1,
        )
        self._builder = TubeBuilder(self._rule)
        self._sure: list[_Held] = []
        self._pending: list[_Held] = []
        self._faces = 0
        self._outcomes: list[ReadClip | Rejected] = []

    def step(self, number: int, rgb: NDArray[np.uint8], cut_here: bool, found: Detections | None) -> None:
        """The next frame at full size, and all its faces in source pixels, None where it was not searched."""
        box, score = None, np.nan
        if found is not None:
            self._faces, boxes = len(found), found.boxes_px.astype(np.float64)
            opened = None if cut_here else self._builder.open
            expected = self._what.known.box_at(float(self._what.timeline.pts_s[number]))
            last = opened.boxes[-1] if opened else None
            chosen = choose_face(boxes, expected, last, gate=self._config.recipe == "track")
            if chosen is not None:
                box, score = boxes[chosen], float(found.scores[chosen])
        ended = self._builder.step(number, box, cut=cut_here)
        if ended is not None:
            self._close(ended)
        self._hold(number, rgb, score, seen=box is not None)

    def finish(self, display: Display) -> list[ReadClip | Rejected]:
        """All outcomes, of a video that is to be shown so."""
        ended = self._builder.finish()
        if ended is not None:
            self._close(ended)
        frames = self._what.stop - self._what.start
        shown = [_shown(one, display) for one in self._outcomes]
        return shown or [Rejected(self._what.spec, "no_face", f"in none of {frames} frames")]

    def _hold(self, number: int, rgb: NDArray[np.uint8], score: float, *, seen: bool) -> None:
        tube = self._builder.open
        if tube is None:
            return
        key = tube_key(self._what.spec.key, tube.start)
        rank = int(ranks(np.array([number - tube.start]), self._config.seed, key)[0])
        self._pending.append(_Held(-rank, number, rgb, self._faces, score))
        self._pending = heapq.nlargest(self._config.frames, self._pending)
        if seen:
            self._sure = heapq.nlargest(self._config.frames, self._sure + self._pending)
            self._pending = []

    def _close(self, tube: Tube) -> None:
        held = sorted((held for held in self._sure if held.number < tube.stop), key=lambda held: held.number)
        self._sure, self._pending = [], []
        spec = self._spec(tube)
        try:
            self._outcomes.append(self._read(spec, tube, held))
        except ClipRejected as lost:
            if not lost.reason.startswith("tube_"):
                raise
            self._outcomes.append(Rejected(spec, lost.reason, lost.detail))

    def _spec(self, tube: Tube) -> ClipSpec:
        """The tube as a clip: its time, and its box as an annotation."""
        spec, times = self._what.spec, self._what.timeline.pts_s
        x0, y0, x1, y1 = tube.union.tolist()
        span = replace(
            spec.spans[0],
            start_s=float(times[tube.start]),
            end_s=float(times[tube.start]) + self._duration_s(tube),
            box=(x0, y0, x1, y1),
            reference_px=self._what.timeline.size_px,
            track_uri=None,
            track_packed=None,
        )
        return replace(spec, key=tube_key(spec.key, tube.start), spans=(span,))

    def _duration_s(self, tube: Tube) -> float:
        """To the start of the frame behind the tube; the last frame of a file lasts as long as a frame does."""
        line = self._what.timeline
        end_s = line.pts_s[tube.stop] if tube.stop < len(line.pts_s) else line.duration_s
        return max(float(end_s - line.pts_s[tube.start]), 1e-3)

    def _read(self, spec: ClipSpec, tube: Tube, held: list[_Held]) -> ReadClip:
        length, side = tube.stop - tube.start, longer_side_px(tube.union, self._what.timeline.pixel_aspect)
        if length < self._rule.min_frames:
            raise ClipRejected("tube_too_short", f"{length} of {self._rule.min_frames} frames")
        if side < self._rule.min_px:
            raise ClipRejected("tube_too_small", f"{side:.0f} of {self._rule.min_px:.0f} px")
        line = self._what.timeline
        window = TUBE_WINDOWS[self._config.recipe](tube.union, line.size_px, line.pixel_aspect)
        rgb = cut(np.stack([one.rgb for one in held]), window, self._config.size, self._config.decode_timeout_s)
        place = self._place(window, np.array([one.number for one in held]))
        whole = (len(self._what.timeline.raw_s),)
        return ReadClip(spec, Crop(rgb, place), length, self._duration_s(tube), whole, track=_track(tube, place, held))

    def _place(self, window: Window, numbers: NDArray[np.int64]) -> Placement:
        line = self._what.timeline
        size_px = np.tile(np.array(line.size_px, np.int32), (len(numbers), 1))
        affine, content = window_place(window, size_px, self._config.size)
        span = np.zeros(len(numbers), np.int32)
        return Placement(span, numbers.astype(np.int32), line.pts_s[numbers], size_px, content, affine)


def _shown(outcome: ReadClip | Rejected, display: Display) -> ReadClip | Rejected:
    return replace(outcome, crop=replace(outcome.crop, display=display)) if isinstance(outcome, ReadClip) else outcome


def _track(tube: Tube, place: Placement, held: list[_Held]) -> FaceTrack:
    """The tube's boxes in crop pixels; where the face was not seen they are interpolated, and have no score."""
    corners = tube.boxes_at(place.index.astype(np.int64)).reshape(-1, 2, 2) - 0.5
    boxes = corners @ place.source_to_crop[:, :, :2].transpose(0, 2, 1) + place.source_to_crop[:, None, :, 2]
    scores = np.array([one.score for one in held], np.float32)
    return FaceTrack(boxes.reshape(-1, 4).astype(np.float32), scores, np.array([one.faces for one in held], np.int32))
