"""Tubes: stretches of a video in which one face stays about where it was. The recipe `track` makes a clip of each.

The rule is that of FOMM's authors (their crop_vox): a tube ends when its first box and the face's box overlap by less than
`SAME_PLACE`, or when it is long enough; its box is the union of its boxes. Ours adds what they leave open: a face is only
followed to a box that overlaps its last one, short gaps are bridged, and a cut of the scene ends a tube.

Boxes are float64 [4], edges x0 y0 x1 y1 in source pixels. Frames are numbers within the file.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from motionshards.transforms.extract.detect import iou

Box = NDArray[np.float64]

SAME_PLACE = 0.25
# From one frame to the next a face moves by a fraction of its size; two people's boxes hardly overlap.
SAME_FACE = 0.3
LONGEST_GAP_S = 0.4
# ffmpeg's `scdet` calls a change of 10 % of the grey range, beyond what changed one frame before, a cut.
CUT = 0.10


@dataclass(frozen=True, kw_only=True, slots=True)
class TubeRule:
    """When a tube ends, and which are kept.

    min_frames, max_frames: a tube has as many; shorter ones are dropped, longer ones are cut
    min_px: the longer side of the union, before the margin, in source pixels
    longest_gap: so many frames in a row may lack the face
    """

    min_frames: int = 64
    max_frames: int = 1024
    min_px: float = 256.0
    longest_gap: int = 0


@dataclass(slots=True)
class Tube:
    """Frames [start, stop) and the boxes of those in which the face was seen.

    seen: frame numbers, ascending; start is the first
    boxes: as many boxes
    limit: no frame from here on belongs to it
    """

    seen: list[int]
    boxes: list[Box]
    limit: int

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


class TubeBuilder:
    """Follows one face through the frames of a video, one after the other.

    `open` is the tube that is being followed, None before a face is seen and after a tube ended.
    """

    def __init__(self, rule: TubeRule) -> None:
        self._rule = rule
        self.open: Tube | None = None

    def step(self, frame: int, box: Box | None, *, cut: bool = False) -> Tube | None:
        """Take the next frame with its face, None where it was not seen; gives a tube that ended before it.

        cut: the scene is another one than in the frame before
        """
        ended = self._ends(frame, box, cut=cut)
        finished = self.finish() if ended else None
        if box is not None:
            if self.open is None:
                self.open = Tube([frame], [box], frame + self._rule.max_frames)
            else:
                self.open.seen.append(frame)
                self.open.boxes.append(box)
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
        return box is not None and float(iou(tube.boxes[0][None], box[None])[0, 0]) < SAME_PLACE


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


class CutFinder:
    """Cuts of the scene, by the measure of ffmpeg's `scdet` filter on grey thumbnails.

    The change of a frame is the mean absolute difference from the frame before, as a share of the grey range; its score is
    the least of the change and of how much the change differs from the one before, so that steady motion is no cut.
    """

    def __init__(self) -> None:
        self._last: NDArray[np.float64] | None = None
        self._change = 0.0

    def step(self, rgb: NDArray[np.uint8]) -> bool:
        """Whether a scene begins with this frame, uint8 [H,W,3]; the size must not change."""
        grey = rgb[:: max(1, rgb.shape[0] // 64), :: max(1, rgb.shape[1] // 64)].mean(axis=2)
        if self._last is None:
            self._last = grey
            return False
        change = float(np.abs(grey - self._last).mean()) / 255
        score = min(change, abs(change - self._change))
        self._last, self._change = grey, change
        return score > CUT
