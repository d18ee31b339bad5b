"""How doubtful the faces of a clip are: columns of the index that follow from what its sample stores.

Each is a number to filter by when reading; nothing is rejected for it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FRAME_SCORES = ("detector_score", "landmark_score")
"""Measures of each frame, `frame_<name>` in the index; the sample has them as box_scores and landmark_scores.npy."""
DOUBT = ("face_share", "least_detector_score", "least_landmark_score", "landmark_residual", "yaw_jump_deg")
"""Measures of a clip."""

ADJACENT_S = 0.11
"""Stored frames of one file that are at most this far apart count as adjacent; 0.1 s in any time base do."""

_DETECTOR_DIGITS = 6  # as meta.json has them, so that columns that are computed from a sample are those of the build
_SCORE_DIGITS, _YAW_DIGITS = 4, 2

Floats = NDArray[np.floating[Any]]


def doubt_columns(
    *,
    boxes_px: Floats,
    detector_scores: Floats,
    landmark_scores: Floats,
    residual: Floats,
    yaw_deg: Floats,
    span: NDArray[np.integer[Any]],
    pts_s: Floats,
) -> dict[str, Any]:
    """The columns of DOUBT, None where no frame has a value, and float32 [T] of FRAME_SCORES, NaN where there is no face.

    Of T stored frames: boxes [T,4], detector's scores [T], scores of landmarks [T,68], residual of the pose fit [T], yaw [T],
    each NaN where there is no face; number of the file [T] and time in it [T].
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
    """The least or the greatest of the values that are not NaN; None where there are none."""
    present = values[~np.isnan(values)]
    return float(function(present)) if len(present) else None
