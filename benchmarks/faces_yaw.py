"""Share of detected faces by yaw: in the corpus, and with heads rotated by a warp."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.faces_found import SIZE_PX, Corpus, model
from benchmarks.faces_other import cnn_box
from benchmarks.faces_sheet import Sheet
from benchmarks.faces_turn import turned
from benchmarks.report import Report
from motionshards.transforms.extract.quality.pose import fitted_pose

_EDGES_DEG = (0, 5, 10, 15, 20, 30, 90)
_ANGLES_DEG = (0, 15, 30)
_NEARLY_FRONTAL_DEG = 5
_MAX_EXAMPLES = 6


def find_by_yaw(report: Report, corpus: Corpus, sheet: Sheet) -> dict[str, Any]:
    """Report the shares that the detector of a build and dlib's CNN find."""
    figures = _in_corpus(report, corpus, sheet) | _turned(report, corpus, sheet)
    report.note(
        "Yaw is measured from the build's landmarks; in frames that its detector misses, they start from the box of dlib's CNN. "
        "The corpus was cropped by detectors and has hardly any heads beyond 20°. The warp is credible up to about 30°: beyond, "
        "the far cheek is cut off and the near one stretched, so detection of real faces beyond 30° is not measured here."
    )
    return figures


def _in_corpus(report: Report, corpus: Corpus, sheet: Sheet) -> dict[str, Any]:
    found, missed_boxes = corpus.found, [(rgb, cnn_box(rgb)) for rgb in corpus.missed_rgb]
    for rgb, box in missed_boxes[:_MAX_EXAMPLES]:
        sheet.add(rgb, "missed; box by CNN" if box is not None else "missed by both", None if box is None else box[None])
    with_box = [(rgb, box) for rgb, box in missed_boxes if box is not None]
    missed = _bins(_yaws(np.array([rgb for rgb, _ in with_box]), [box for _, box in with_box]))
    bins, rng = _bins(found.pose_deg[:, 0]), np.random.default_rng(0)
    rows = list[list[Any]]()
    for number, (low, high) in enumerate(pairwise(_EDGES_DEG)):
        detected, lost = np.flatnonzero(bins == number), int((missed == number).sum())
        examined = rng.permutation(detected)[: max(2, corpus.frames // 2)]
        by_cnn = [cnn_box(found.rgb[frame]) is not None for frame in examined]
        share = 100 * len(detected) / (len(detected) + lost) if len(detected) + lost else "–"
        rows.append(
            [f"{low} to {high}°", len(detected) + lost, share, len(by_cnn), 100 * float(np.mean(by_cnn)) if by_cnn else "–"]
        )
    columns = ["yaw", "frames", "detected %", "examined by the CNN", "detected by the CNN %"]
    report.table("Detected faces of the corpus by yaw", columns, rows)
    total = len(found) + len(corpus.missed_rgb)
    neither = sum(box is None for _, box in missed_boxes)
    report.note(f"The detector misses {len(corpus.missed_rgb)} of {total} frames; in {neither} of these, neither does the CNN.")
    return {"found_corpus": len(found) / total}


def _turned(report: Report, corpus: Corpus, sheet: Sheet) -> dict[str, Any]:
    found, rows, figures = corpus.found, list[list[Any]](), dict[str, Any]()
    frontal = np.flatnonzero(np.abs(found.pose_deg[:, 0]) < _NEARLY_FRONTAL_DEG)
    chosen = frontal[np.unique(np.linspace(0, len(frontal) - 1, max(3, corpus.frames // 2)).astype(int))]
    for angle in _ANGLES_DEG:
        angles = (angle, -angle) if angle else (0,)
        images = [turned(found.rgb[frame], found.points_px[frame], signed) for frame in chosen for signed in angles]
        boxes, second = model().detect(images, own_scale=True), [cnn_box(image) is not None for image in images]
        detected = np.array([len(one) > 0 for one in boxes])
        best = [one.boxes_px[0] for one in boxes if len(one)]
        yaw = np.abs(_yaws(np.array([image for image, one in zip(images, detected, strict=True) if one]), best))
        rows.append([f"{angle}°", len(images), 100 * detected.mean(), 100 * float(np.mean(second)), float(np.median(yaw))])
        figures[f"found_turned_{angle}"] = float(detected.mean())
        for image in [image for image, one in zip(images, detected, strict=True) if not one][:_MAX_EXAMPLES]:
            sheet.add(image, f"missed: rotated by {angle}°")
    columns = ["rotated by", "images", "detected %", "detected by the CNN %", "median of the measured yaw °"]
    report.table(f"Heads within {_NEARLY_FRONTAL_DEG}° of frontal, rotated by a warp", columns, rows)
    return figures


def _yaws(rgb: NDArray[np.uint8], boxes: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    if not boxes:
        return np.empty(0, np.float32)
    pose, _ = fitted_pose(model().landmarks(rgb, np.stack(boxes)).points_px, (SIZE_PX, SIZE_PX))
    return pose[:, 0]


def _bins(yaw_deg: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.searchsorted(_EDGES_DEG, np.abs(yaw_deg), side="right") - 1
