"""Confidence measures of the faces of a clip: index columns computed from the stored sample.

They are meant for filters when reading; no clip is rejected because of them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FRAME_SCORES = ("detector_score", "landmark_score")
"""Per-frame measures, `frame_<name>` in the index; in the sample, box_scores and landmark_scores.npy."""
CONFIDENCE = ("face_share", "least_detector_score", "least_landmark_score", "landmark_residual", "yaw_jump_deg")
"""Per-clip measures."""

ADJACENT_S = 0.11
"""Stored frames of one file at most this far apart count as adjacent: 0.1 s plus the rounding of any time base."""

_DETECTOR_DIGITS = 6  # the precision of meta.json, so that columns computed from a sample equal those of the build
_SCORE_DIGITS, _YAW_DIGITS = 4, 2

Floats = NDArray[np.floating[Any]]


def confidence_columns(
    *,
    boxes_px: Floats,
    detector_scores: Floats,
    landmark_scores: Floats,
    residual: Floats,
    yaw_deg: Floats,
    span: NDArray[np.integer[Any]],
    pts_s: Floats,
) -> dict[str, Any]:
    """Compute the columns of CONFIDENCE (None where no frame has a value) and FRAME_SCORES (float32 [T], NaN without a face).

    For T stored frames: boxes [T,4], detector scores [T], landmark scores [T,68], residual of the pose fit [T] and yaw [T],
    each NaN where there is no face; span index [T] and time within the file [T].
    """
    found = np.isfinite(boxes_px).all(axis=1)
    detector = detector_scores.astype(np.float64).round(_DETECTOR_DIGITS).astype(np.float32)
    means = landmark_scores.astype(np.float64).mean(axis=1).round(_SCORE_DIGITS)
    landmark = np.where(found, means, np.nan).astype(np.float32)
    adjacent = (np.diff(span) == 0) & (np.diff(pts_s) <= ADJACENT_S)
    jumps = np.abs((np.diff(yaw_deg.astype(np.float64)) + 180) % 360 - 180)[adjacent].round(_YAW_DIGITS)
    return {
        "face_share": float(found.mean()),
        "least_detector_score": _over(np.min, detector),
        "least_landmark_score": _over(np.min, landmark),
        "landmark_residual": _over(np.max, residual),
        "yaw_jump_deg": _over(np.max, jumps),
        "frame_detector_score": detector,
        "frame_landmark_score": landmark,
    }


def _over(function: Any, values: Floats) -> float | None:
    """Apply `function` to the values that are not NaN; None if there are none."""
    present = values[~np.isnan(values)]
    return float(function(present)) if len(present) else None
