"""Tubes: stretches of a video in which one face stays about where it was. Recipes that track faces make a clip of each.

The rule of FOMM's authors (their crop_vox), for `fomm-track`: a tube ends when its first box and the face's box overlap by
less than `FOMM_SAME_PLACE`, or when it is long enough; its box is the union of its boxes. For `track` and `face` a tube ends when
the union becomes so much larger than the face that the crop would show the face small, or not whole. Beyond what the authors'
rule says, a face is followed only to a box that overlaps its last one, short gaps are bridged, and a shot's end ends a tube.

Boxes are float64 [4], edges x0 y0 x1 y1 in source pixels. Frames are numbers within the file.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from motionshards.transforms.extract.detect import iou

Box = NDArray[np.float64]

FOMM_SAME_PLACE = 0.25
# From one frame to the next a face moves by a fraction of its size; two people's boxes hardly overlap.
SAME_FACE = 0.3
LONGEST_GAP_S = 0.4


@dataclass(frozen=True, kw_only=True, slots=True)
class TubeRule:
    """When a tube ends, and which are kept.

    min_frames, max_frames: a tube has as many; shorter ones are dropped, longer ones are cut
    min_px: the longer side of the union, before the margin, in source pixels
    longest_gap: so many frames in a row may lack the face
    same_place: the least overlap (IoU) with the first box
    widest: the most that the union's width may be of the median face's, and its height likewise
    """

    min_frames: int = 64
    max_frames: int = 1024
    min_px: float = 256.0
    longest_gap: int = 0
    same_place: float = 0.0
    widest: float = np.inf


@dataclass(slots=True)
class Tube:
    """Frames [start, stop) and the boxes of those in which the face was seen.

    seen: frame numbers, ascending; start is the first
    boxes, scores: as many boxes, and the detector's confidence in them
    limit: no frame from here on belongs to it
    """

    seen: list[int]
    boxes: list[Box]
    limit: int
    scores: list[float] = field(default_factory=list)

    def see(self, frame: int, box: Box, score: float) -> None:
        """Note the face in a frame behind all others."""
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
        """The box that holds the face in every frame."""
        boxes = np.array(self.boxes)
        return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])

    def boxes_at(self, frames: NDArray[np.int64]) -> NDArray[np.float64]:
        """float64 [T,4], boxes of frames of the tube, interpolated where the face was not seen."""
        known = np.array(self.boxes)
        return np.stack([np.interp(frames, self.seen, known[:, edge]) for edge in range(4)], axis=1)

    def scores_at(self, frames: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [T], NaN where the face was not seen."""
        known = dict(zip(self.seen, self.scores, strict=True))
        return np.array([known.get(frame, np.nan) for frame in frames.tolist()], np.float32)


class TubeBuilder:
    """Follows one face through the frames of a video, one after the other.

    `open` is the tube that is being followed, None before a face is seen and after a tube ended.
    """

    def __init__(self, rule: TubeRule) -> None:
        self._rule = rule
        self.open: Tube | None = None
        self._union: Box = np.empty(4)
        self._searched = -1

    def step(self, frame: int, box: Box | None, score: float = np.nan, *, cut: bool = False) -> Tube | None:
        """Take the next searched frame with its face, None where it was not seen; gives a tube that ended before it.

        cut: the frame is of another shot than the one before
        """
        finished = self.finish() if self._ends(frame, box, cut=cut) else None
        if finished is not None and box is not None and not cut and self._full(finished, frame):
            finished.see(frame, box, score)  # the frames between, which were not searched, show it too
        self._searched = frame
        if box is not None:
            if self.open is None:
                self.open, self._union = Tube([], [], frame + self._rule.max_frames), box
            self.open.see(frame, box, score)
            self._union = _union(self._union, box)
        return finished

    def finish(self) -> Tube | None:
        """End the tube that is open."""
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
        """Whether a tube ends at its limit, and the face is seen again in the frame that is searched next."""
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
    """Which of the boxes [M,4] of a frame is the face to follow: its number, or None.

    The one that overlaps most with where it is annotated (`expected`), or else with the last box; the largest where a new
    tube may begin. With `gate`, only one that overlaps the last box enough to be the same face.
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
    """Follows one face at a time: the annotated one, else the largest.

    gate: whether a face is only followed to a box that overlaps its last one by `SAME_FACE`
    """

    def __init__(self, rule: TubeRule, *, gate: bool) -> None:
        self._builder, self._gate = TubeBuilder(rule), gate
        self._ended: list[Tube] = []

    def step(self, frame: int, boxes: NDArray[np.float64], scores: list[float], expected: Box | None, *, cut: bool) -> None:
        """Take the next searched frame with all its faces [M,4]; `expected` is where the face is annotated."""
        opened = None if cut else self._builder.open
        chosen = choose_face(boxes, expected, opened.boxes[-1] if opened else None, gate=self._gate)
        face = (None, np.nan) if chosen is None else (boxes[chosen], scores[chosen])
        self._ended += _some(self._builder.step(frame, *face, cut=cut))

    def finish(self) -> list[Tube]:
        """All tubes, by their start."""
        return self._ended + _some(self._builder.finish())


class EveryFace:
    """Follows all faces at the same time, each to the box that overlaps its last one most."""

    def __init__(self, rule: TubeRule) -> None:
        self._rule = rule
        self._people: list[TubeBuilder] = []
        self._ended: list[Tube] = []

    def step(self, frame: int, boxes: NDArray[np.float64], scores: list[float], expected: Box | None, *, cut: bool) -> None:
        """Take the next searched frame with all its faces [M,4]."""
        lasts = [tube.boxes[-1] for person in self._people if (tube := person.open) is not None]
        owned = {} if cut else _matches(lasts, boxes)
        for number, person in enumerate(self._people):
            face = owned.get(number)
            seen = (None, np.nan) if face is None else (boxes[face], scores[face])
            self._ended += _some(person.step(frame, *seen, cut=cut))
        for face in sorted(set(range(len(boxes))) - set(owned.values())):
            self._people.append(TubeBuilder(self._rule))
            self._people[-1].step(frame, boxes[face], scores[face])
        self._people = [person for person in self._people if person.open is not None]

    def finish(self) -> list[Tube]:
        """All tubes by their start; of those that start together, the one that `choose_face` would begin with first."""
        tubes = self._ended + [tube for person in self._people for tube in _some(person.finish())]
        return sorted(tubes, key=lambda tube: (tube.start, -(tube.boxes[0][2:] - tube.boxes[0][:2]).prod(), -tube.scores[0]))


def _some(tube: Tube | None) -> list[Tube]:
    return [] if tube is None else [tube]


def _matches(lasts: list[Box], boxes: NDArray[np.float64]) -> dict[int, int]:
    """Which box is whose: box by person, by falling overlap, of those that overlap by `SAME_FACE`."""
    owned: dict[int, int] = {}
    if lasts and len(boxes):
        overlap = iou(np.array(lasts), boxes)
        while overlap.max() >= SAME_FACE:
            person, face = divmod(int(overlap.argmax()), len(boxes))
            owned[person] = face
            overlap[person], overlap[:, face] = 0.0, 0.0
    return owned
