"""Tubes: intervals of a video in which one face stays in about the same place. Recipes that track faces make a clip of each.

The rule of FOMM's original repository (crop_vox), for `fomm-track`: a tube ends when the face's box overlaps its first box by
less than `FOMM_SAME_PLACE`, or at the maximum length; its box is the union of its boxes. For `track` and `face`, a tube ends when
the union becomes so much larger than the face that the crop would show the face too small, or not completely. In addition to the
original rule, a face is tracked only to a box that overlaps its last one, short gaps are bridged, and tubes end with the shot.

Boxes are float64 [4], edges x0 y0 x1 y1 in source pixels. Frames are numbered within the file.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from motionshards.transforms.extract.detect import iou

Box = NDArray[np.float64]

FOMM_SAME_PLACE = 0.25
# A face moves by a fraction of its size between frames; boxes of two people hardly overlap.
SAME_FACE = 0.3
LONGEST_GAP_S = 0.4


@dataclass(frozen=True, kw_only=True, slots=True)
class TubeRule:
    """When a tube ends, and which tubes are kept.

    min_frames, max_frames: length of a tube; shorter ones are dropped, longer ones are split
    min_px: minimum of the longer side of the union, before the margin, in source pixels
    longest_gap: maximum number of consecutive frames without the face
    same_place: minimum overlap (IoU) with the first box
    widest: maximum ratio of the union's width to the median face's, likewise for heights
    """

    min_frames: int = 64
    max_frames: int = 1024
    min_px: float = 256.0
    longest_gap: int = 0
    same_place: float = 0.0
    widest: float = np.inf


@dataclass(slots=True)
class Tube:
    """Frames [start, stop), and the boxes of those in which the face was detected.

    seen: frame numbers with a detection, ascending; the first is `start`
    boxes, scores: box and detector score for each of them
    limit: upper bound for `stop`
    """

    seen: list[int]
    boxes: list[Box]
    limit: int
    scores: list[float] = field(default_factory=list)

    def add(self, frame: int, box: Box, score: float) -> None:
        """Append a detection of the face, in a frame after all others."""
        self.seen.append(frame)
        self.boxes.append(box)
        self.scores.append(score)

    @property
    def start(self) -> int:
        """The first frame."""
        return self.seen[0]

    @property
    def stop(self) -> int:
        """The frame after the last one."""
        return min(self.seen[-1] + 1, self.limit)

    @property
    def union(self) -> Box:
        """The box that contains the face in every frame."""
        boxes = np.array(self.boxes)
        return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])

    def boxes_at(self, frames: NDArray[np.int64]) -> NDArray[np.float64]:
        """Boxes in frames of the tube, float64 [T,4], interpolated where the face was not detected."""
        known = np.array(self.boxes)
        return np.stack([np.interp(frames, self.seen, known[:, edge]) for edge in range(4)], axis=1)

    def scores_at(self, frames: NDArray[np.int64]) -> NDArray[np.float32]:
        """Detector scores in frames of the tube, float32 [T], NaN where the face was not detected."""
        known = dict(zip(self.seen, self.scores, strict=True))
        return np.array([known.get(frame, np.nan) for frame in frames.tolist()], np.float32)


class TubeBuilder:
    """Tracks one face through consecutive frames of a video.

    `open` is the current tube; None before a face is detected and after a tube has ended.
    """

    def __init__(self, rule: TubeRule) -> None:
        self._rule = rule
        self.open: Tube | None = None
        self._union: Box = np.empty(4)
        self._searched = -1

    def step(self, frame: int, box: Box | None, score: float = np.nan, *, cut: bool = False) -> Tube | None:
        """Add the next searched frame with its face, None if not detected; returns the tube that ended before it, if any.

        cut: whether a new shot starts between the previous frame and this one
        """
        finished = self.finish() if self._ends(frame, box, cut=cut) else None
        if finished is not None and box is not None and not cut and self._full(finished, frame):
            finished.add(frame, box, score)  # so that the frames in between, which were not searched, belong to it
        self._searched = frame
        if box is not None:
            if self.open is None:
                self.open, self._union = Tube([], [], frame + self._rule.max_frames), box
            self.open.add(frame, box, score)
            self._union = _union(self._union, box)
        return finished

    def finish(self) -> Tube | None:
        """End the current tube and return it."""
        finished, self.open = self.open, None
        return finished

    def _ends(self, frame: int, box: Box | None, *, cut: bool) -> bool:
        tube = self.open
        if tube is None:
            return False
        if cut or frame >= tube.limit or frame - tube.seen[-1] > self._rule.longest_gap + 1:
            return True
        if box is None:
            return False
        return float(iou(tube.boxes[0][None], box[None])[0, 0]) < self._rule.same_place or self._too_wide(tube, box)

    def _full(self, tube: Tube, frame: int) -> bool:
        """Whether the tube ends at its limit, and the face was detected in the last and in the next searched frame."""
        return tube.stop < tube.limit <= frame and tube.seen[-1] == self._searched

    def _too_wide(self, tube: Tube, box: Box) -> bool:
        union = _union(self._union, box)
        if (union == self._union).all():
            return False
        boxes = np.array(tube.boxes)
        face = np.median(boxes[:, 2:] - boxes[:, :2], axis=0)
        return bool((union[2:] - union[:2] > self._rule.widest * face).any())


def _union(a: Box, b: Box) -> Box:
    return np.concatenate([np.minimum(a[:2], b[:2]), np.maximum(a[2:], b[2:])])


def choose_face(boxes: NDArray[np.float64], expected: Box | None, last: Box | None, *, gate: bool) -> int | None:
    """Index of the face to track among the boxes [M,4] of a frame, or None.

    Selects the box that overlaps most with the annotation (`expected`), else with the last box; without either, the largest, to
    start a new tube. With `gate`, it must overlap the last box by `SAME_FACE`.
    """
    if not len(boxes):
        return None
    where = expected if expected is not None else last
    if where is None:
        return int((boxes[:, 2:] - boxes[:, :2]).prod(axis=1).argmax())
    overlap = iou(boxes, where[None])[:, 0]
    if gate and last is not None:
        overlap = np.where(iou(boxes, last[None])[:, 0] >= SAME_FACE, overlap, 0.0)
    best = int(overlap.argmax())
    return best if overlap[best] > 0 else None


class MainFace:
    """Tracks one face at a time: the annotated one, else the largest.

    gate: whether a face is only tracked to a box that overlaps its last one by `SAME_FACE`
    """

    def __init__(self, rule: TubeRule, *, gate: bool) -> None:
        self._builder, self._gate = TubeBuilder(rule), gate
        self._ended: list[Tube] = []

    def step(self, frame: int, boxes: NDArray[np.float64], scores: list[float], expected: Box | None, *, cut: bool) -> None:
        """Add the next searched frame with all its faces [M,4]; `expected` is the annotated box of the face."""
        opened = None if cut else self._builder.open
        chosen = choose_face(boxes, expected, opened.boxes[-1] if opened else None, gate=self._gate)
        face = (None, np.nan) if chosen is None else (boxes[chosen], scores[chosen])
        self._ended += _as_list(self._builder.step(frame, *face, cut=cut))

    def finish(self) -> list[Tube]:
        """All tubes, by their start."""
        return self._ended + _as_list(self._builder.finish())


class EveryFace:
    """Tracks all faces at the same time, each to the box that overlaps its last one most."""

    def __init__(self, rule: TubeRule) -> None:
        self._rule = rule
        self._people: list[TubeBuilder] = []
        self._ended: list[Tube] = []

    def step(self, frame: int, boxes: NDArray[np.float64], scores: list[float], expected: Box | None, *, cut: bool) -> None:
        """Add the next searched frame with all its faces [M,4]."""
        lasts = [tube.boxes[-1] for person in self._people if (tube := person.open) is not None]
        owned = {} if cut else _matches(lasts, boxes)
        for number, person in enumerate(self._people):
            face = owned.get(number)
            detection = (None, np.nan) if face is None else (boxes[face], scores[face])
            self._ended += _as_list(person.step(frame, *detection, cut=cut))
        for face in sorted(set(range(len(boxes))) - set(owned.values())):
            self._people.append(TubeBuilder(self._rule))
            self._people[-1].step(frame, boxes[face], scores[face])
        self._people = [person for person in self._people if person.open is not None]

    def finish(self) -> list[Tube]:
        """All tubes by start; among those with the same start, the one that `choose_face` would select comes first."""
        tubes = self._ended + [tube for person in self._people for tube in _as_list(person.finish())]
        return sorted(tubes, key=lambda tube: (tube.start, -(tube.boxes[0][2:] - tube.boxes[0][:2]).prod(), -tube.scores[0]))


def _as_list(tube: Tube | None) -> list[Tube]:
    return [] if tube is None else [tube]


def _matches(lasts: list[Box], boxes: NDArray[np.float64]) -> dict[int, int]:
    """Assign boxes to people, greedily by overlap of at least `SAME_FACE`: person -> box."""
    owned: dict[int, int] = {}
    if lasts and len(boxes):
        overlap = iou(np.array(lasts), boxes)
        while overlap.max() >= SAME_FACE:
            person, face = divmod(int(overlap.argmax()), len(boxes))
            owned[person] = face
            overlap[person], overlap[:, face] = 0.0, 0.0
    return owned
