"""How well landmark_score and landmark_residual detect wrong landmarks: corrupted landmarks, ranked among those of the corpus.

All cases but the last run the real predictor on a box or an image unlike its training data. The ground truth is known: the
landmarks of the undisturbed frame, transformed like the image.
"""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.faces_found import SIZE_PX, Corpus, Found, model
from benchmarks.faces_sheet import Sheet
from benchmarks.report import Report
from motionshards.dataset.plotting.overlay import Marks, marked
from motionshards.schemas.records import Landmarks

_EVERY = 4  # every fourth frame of the corpus is corrupted
_WRONG = 0.1  # mean distance from the true points, relative to the distance between the outer eye corners
_AT = 95.0
_GOAL, _FEWEST = 0.95, 20
_SHIFTED, _RIDGE, _RIDGE_SHIFT = "nose ridge on the cheek", slice(27, 31), 0.2
_MAX_EXAMPLES = 12

Rgb = NDArray[np.uint8]
Points = NDArray[np.float32]
Boxes = NDArray[np.float32]


def rank_wrong_landmarks(report: Report, corpus: Corpus, sheet: Sheet) -> dict[str, Any]:
    """Report the share of wrong landmarks that rank among the 5 % least reliable of the corpus."""
    rows, found = list[list[Any]](), corpus.found
    _add_worst(sheet, found)
    for name, case, expected in _cases(found):
        off = np.linalg.norm(case.points_px - expected, axis=2).mean(axis=1) / _eye_distance(expected)
        wrong = off > _WRONG if name != _SHIFTED else np.ones(len(case), np.bool_)
        shares = [float(column[wrong].mean()) if wrong.any() else 1.0 for column in _doubtful(case, found)]
        rows.append([name, len(case), int(wrong.sum()), *(100 * share for share in shares)])
    counts, percents = (np.array([row[column] for row in rows], np.float64) for column in (2, -1))
    pooled, least = np.average(percents, weights=counts) / 100, percents[counts >= _FEWEST].min(initial=100) / 100
    rows.append(["none (the corpus)", len(found), 0, *(100 * float(column.mean()) for column in _doubtful(found, found))])
    heads = ["corruption", "frames", "wrong", "by landmark_residual %", "by landmark_score %", "by either %"]
    report.table(f"Wrong landmarks beyond the {_AT:g}th percentile of the corpus's frames", heads, rows)
    report.note(
        f"Landmarks are wrong if their mean distance from the true points exceeds {_WRONG:g} of the eye distance; a moved nose "
        f"ridge is always wrong. Either column finds {100 * pooled:.1f} % of all wrong ones (goal {100 * _GOAL:g} %), at least "
        f"{100 * least:.1f} % in each row with {_FEWEST} or more wrong frames."
    )
    return {"wrong_found": float(pooled), "wrong_found_least": float(least), "wrong_goal_met": bool(pooled >= _GOAL)}


def _add_worst(sheet: Sheet, found: Found) -> None:
    """Add the least reliable frames to the sheet: by landmark_score, then by landmark_residual."""
    for frame in [*np.argsort(found.landmark_score)[:_MAX_EXAMPLES], *np.argsort(-found.residual)[:_MAX_EXAMPLES]]:
        marks = Marks(found.points_px[frame], found.boxes_px[frame].tolist(), found.pose_deg[frame].tolist())
        caption = f"clip {found.clip[frame]} score {found.landmark_score[frame]:.2f} residual {found.residual[frame]:.3f}"
        sheet.add(np.asarray(marked(found.rgb[frame], SIZE_PX, marks)), caption)


def _cases(found: Found) -> Iterator[tuple[str, Found, Points]]:
    """Yield name, what the build would store, and the true landmarks."""
    rgb, boxes, points = found.rgb[::_EVERY], found.boxes_px[::_EVERY], found.points_px[::_EVERY]
    side = (boxes[:, 2:] - boxes[:, :2]).mean(axis=1, keepdims=True)
    for name, x, y in (("left", -0.35, 0.0), ("right", 0.35, 0.0), ("up", 0.0, -0.35), ("down", 0.0, 0.35)):
        yield f"box moved {name} by 35 % of its side", _found(found, rgb, boxes + side * np.array([x, y, x, y])), points
    for factor in (0.6, 1.6):
        grown = side * (factor - 1) / 2 * np.array([-1, -1, 1, 1])
        yield f"box scaled by {factor:g}", _found(found, rgb, boxes + grown), points
    for angle in (-50, 50):
        turned, moved = _turned(rgb, boxes, points, angle)
        yield f"image rotated by {angle}°", _found(found, turned, boxes), moved
    for name, part in {"left half": (0, 0, 0.5, 1), "upper half": (0, 0, 1, 0.5), "lower half": (0, 0.5, 1, 1.1)}.items():
        yield f"{name} of the face covered", _found(found, _covered(rgb, boxes, part), boxes), points
    ridge = points.copy()
    ridge[:, _RIDGE, 0] += _RIDGE_SHIFT * _eye_distance(points)[:, None]
    yield _SHIFTED, _placed(found, rgb, boxes, Landmarks(ridge, _scores(found))), points


def _found(found: Found, rgb: Rgb, boxes: NDArray[np.floating]) -> Found:
    boxes = boxes.astype(np.float32)
    return _placed(found, rgb, boxes, model().landmarks(rgb, boxes))


def _placed(found: Found, rgb: Rgb, boxes: Boxes, landmarks: Landmarks) -> Found:
    return Found.of(found.clip[::_EVERY], rgb, boxes, found.detector_score[::_EVERY], landmarks)


def _scores(found: Found) -> NDArray[np.float32]:
    """float32 [T,68] with the means of the undisturbed frames."""
    return found.landmark_score[::_EVERY, None].repeat(68, axis=1).astype(np.float32)


def _turned(rgb: Rgb, boxes: Boxes, points: Points, angle: float) -> tuple[Rgb, Points]:
    """Rotate images and landmarks about the center of the box."""
    images, moved = np.empty_like(rgb), np.empty_like(points)
    for number, box in enumerate(boxes.astype(np.float64)):
        affine = cv2.getRotationMatrix2D(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), angle, 1.0)
        images[number] = cv2.warpAffine(rgb[number], affine, (SIZE_PX, SIZE_PX))
        moved[number] = points[number] @ affine[:, :2].T + affine[:, 2]
    return images, moved


def _covered(rgb: Rgb, boxes: Boxes, part: tuple[float, float, float, float]) -> Rgb:
    """Fill a part of the box (x0 y0 x1 y1 relative to its side) with the box's mean color, like an occluding hand."""
    images = rgb.copy()
    for image, (x0, y0, x1, y1) in zip(images, boxes.clip(0, SIZE_PX).round().astype(int), strict=True):
        color = image[y0:y1, x0:x1].mean(axis=(0, 1)).astype(np.uint8)
        (left, right), (top, bottom) = (
            (low + np.array(part[axis::2]) * (high - low)).astype(int) for axis, low, high in ((0, x0, x1), (1, y0, y1))
        )
        image[top:bottom, left:right] = color
    return images


def _eye_distance(points: Points) -> NDArray[np.float64]:
    distance: NDArray[np.float64] = np.linalg.norm(points[:, 45].astype(np.float64) - points[:, 36], axis=1)
    return distance


def _doubtful(case: Found, usual: Found) -> tuple[NDArray[np.bool_], ...]:
    """Masks of frames beyond the corpus's percentile: by residual, by score, by either."""
    residual = case.residual > np.percentile(usual.residual, _AT)
    score = case.landmark_score < np.percentile(usual.landmark_score, 100 - _AT)
    return residual, score, residual | score
