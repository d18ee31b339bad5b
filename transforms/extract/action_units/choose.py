"""From rows of OpenFace to the action units of a clip: selects the row of the clip's face and checks that it is valid.

Boxes and points are in crop pixels, x right, y down, the center of the top left pixel is (0, 0).
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.action_units import INTENSITIES, MIN_CONFIDENCE, PRESENCES, ActionUnits, AuFile, AuSequence
from motionshards.transforms.extract.action_units.rows import Row
from motionshards.transforms.extract.action_units.source import StoredClip

# The box around the landmarks and a detector's box overlap by about 0.6 on the same face.
MIN_OVERLAP = 0.2


def is_usable(row: Row) -> bool:
    """Whether OpenFace computed action units for this row.

    `success` alone is not enough: it is 1 in the frame in which a face is first detected, whatever the validator finds, and in
    frames whose confidence is too low for action units all of them are zero.
    """
    values = (*row.intensity, *row.presence)
    return row.success and row.confidence >= MIN_CONFIDENCE and not any(map(math.isnan, values)) and any(values)


def face_of(
    rows: Sequence[Row], box_px: NDArray[np.float32] | None, to_crop: NDArray[np.float64] | None, *, same_crop: bool
) -> Row | None:
    """The usable row of the clip's face in one frame; None where there is none.

    Selects the row that overlaps most with `box_px`, float32 [4] and maybe NaN, where there are landmarks and a box; else the
    one with the highest confidence.

    to_crop: float64 [2,3], from pixels of the program's image to crop pixels; None if the images are the stored frames
    same_crop: whether the images show the same area as the stored frame, so that a face elsewhere is not the clip's. Otherwise
        the images may have any size, and where nothing overlaps, the highest confidence decides.
    """
    usable = [row for row in rows if is_usable(row)]
    if not usable:
        return None
    most_confident = max(usable, key=lambda row: row.confidence)
    if box_px is None or np.isnan(box_px).any() or any(row.points_px is None for row in usable):
        return most_confident
    overlaps = [_overlap(row, box_px, to_crop) for row in usable]
    if max(overlaps) >= MIN_OVERLAP:
        return usable[int(np.argmax(overlaps))]
    return None if same_crop else most_confident


def of_all_frames(
    clip: StoredClip, rows: Sequence[Sequence[Row]], to_crop: NDArray[np.float64], files: tuple[AuFile | None, ...] = ()
) -> ActionUnits:
    """The action units of a clip from the rows of all of its F frames.

    Face boxes are known in the stored frames only. If OpenFace tracked another face in a stored frame, the frames around it
    are invalid too, up to half-way to the next stored frame.

    to_crop: float64 [T,2,3], see `face_of`
    """
    assert clip.every is not None, "a build knows all frames of a clip"
    row, boxes, same_crop = clip.every.rows(clip.span, clip.index), clip.boxes, clip.images is not None
    candidates = [rows[number] for number in row]
    chosen = [face_of(*each, same_crop=same_crop) for each in zip(candidates, boxes, to_crop, strict=True)]
    found = as_action_units(chosen, candidates, files)
    if not clip.keep_every:
        return found
    other = [one is None and any(map(is_usable, each)) for one, each in zip(chosen, candidates, strict=True)]
    intensity = np.full((len(rows), len(INTENSITIES)), np.nan, np.float32)
    for number, each in enumerate(rows):
        nearest = int(np.argmin(abs(row - number)))
        if not other[nearest] and (face := face_of(each, boxes[nearest], to_crop[nearest], same_crop=False)):
            intensity[number] = face.intensity
    return replace(found, sequence=AuSequence(intensity, clip.every.pts_s, row))


def _overlap(row: Row, box_px: NDArray[np.float32], to_crop: NDArray[np.float64] | None) -> float:
    """Intersection over union of the box around the landmarks and `box_px`; 0 if undefined."""
    points = row.points_px
    assert points is not None
    if to_crop is not None:
        points = points @ to_crop[:, :2].T + to_crop[:, 2]
    low, high = points.min(axis=0), points.max(axis=0)
    shared = np.prod(np.clip(np.minimum(high, box_px[2:]) - np.maximum(low, box_px[:2]), 0, None))
    union = np.prod(high - low) + np.prod(box_px[2:] - box_px[:2]) - shared
    return float(shared / union) if union > 0 else 0.0


def as_action_units(
    chosen: Sequence[Row | None], candidates: Sequence[Sequence[Row]], files: tuple[AuFile | None, ...] = ()
) -> ActionUnits:
    """The action units of a clip from the chosen row of each frame.

    candidates: all rows of each frame; where none is chosen, the highest confidence among them is recorded
    """
    frames = len(chosen)
    intensity = np.full((frames, len(INTENSITIES)), np.nan, np.float32)
    presence = np.full((frames, len(PRESENCES)), np.nan, np.float32)
    confidence = np.full(frames, np.nan, np.float32)
    for number, (row, rows) in enumerate(zip(chosen, candidates, strict=True)):
        if row is not None:
            intensity[number], presence[number], confidence[number] = row.intensity, row.presence, row.confidence
        elif rows:
            # A row without a face is all zeros.
            confidence[number] = max((one.confidence for one in rows if one.confidence > 0), default=np.nan)
    return ActionUnits(intensity, presence, np.array([row is not None for row in chosen], bool), confidence, files)
