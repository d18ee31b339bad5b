"""Head pose by PnP with the usual 68-point model, to check the zero and the scale of this project's angles."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.faces_found import SIZE_PX, Corpus
from benchmarks.faces_sheet import Sheet
from benchmarks.report import Report
from motionshards.transforms.extract.quality.pose import FOCAL_PER_SIDE, euler_angles

USUAL_68_MM: NDArray[np.float64] = np.array(
    [
        # jaw, from the image's left to right
        (-73.4, -29.8, 47.7), (-72.8, -10.9, 45.9), (-70.5, 7.9, 44.8), (-66.9, 26.1, 43.1), (-59.8, 42.6, 38.6),
        (-48.4, 56.5, 30.8), (-34.1, 67.2, 18.5), (-17.9, 75.1, 3.6), (0.1, 77.1, -0.9), (17.5, 74.8, 5.2),
        (32.6, 66.9, 19.2), (46.4, 56.3, 30.8), (57.3, 42.4, 37.6), (64.4, 25.5, 40.9), (68.2, 7.0, 42.3),
        (70.5, -11.7, 44.1), (71.4, -30.4, 47.1),
        # brows
        (-61.1, -49.4, 14.3), (-51.3, -58.8, 7.3), (-37.8, -62.0, 0.4), (-24.0, -61.0, -6.6), (-11.6, -56.7, -12.0),
        (12.1, -57.4, -12.1), (25.1, -61.9, -7.3), (38.3, -62.8, -1.0), (51.2, -59.3, 5.3), (60.1, -50.2, 11.6),
        # nose
        (0.7, -42.2, -13.4), (0.8, -31.0, -21.2), (1.0, -19.9, -29.3), (1.2, -8.4, -36.9), (-14.8, 2.6, -20.1),
        (-7.2, 4.8, -23.5), (0.6, 6.6, -25.9), (8.3, 4.7, -23.7), (15.2, 2.6, -20.9),
        # eyes
        (-46.0, -37.5, 7.0), (-37.7, -42.7, 3.0), (-27.9, -42.7, 1.4), (-19.6, -36.8, -0.1), (-28.3, -35.1, -0.1),
        (-38.1, -34.9, 1.5), (19.3, -37.0, -0.7), (27.9, -43.3, 0.2), (37.4, -43.1, 1.7), (45.2, -38.1, 4.9),
        (38.2, -35.5, 0.3), (28.8, -35.5, -1.2),
        # lips
        (-28.9, 28.6, -2.2), (-17.5, 22.2, -15.9), (-6.7, 19.0, -22.6), (0.4, 20.7, -23.7), (8.4, 19.0, -22.7),
        (18.9, 22.4, -15.6), (28.8, 28.1, -3.2), (19.1, 36.3, -15.0), (9.0, 39.6, -22.6), (0.4, 40.4, -23.6),
        (-7.4, 39.8, -22.4), (-18.2, 36.7, -15.1), (-24.4, 28.7, -4.8), (-6.9, 25.5, -20.9), (0.3, 26.0, -22.2),
        (8.4, 25.3, -21.0), (24.5, 28.3, -5.7), (8.4, 30.6, -20.7), (0.2, 31.4, -21.9), (-7.2, 30.8, -20.3),
    ]
)  # fmt: skip
"""float64 [68,3]: the mean shape of OpenFace's point distribution model, which many repositories pass to OpenCV's solvePnP.
x to the image's right, y down, z away from the camera. Not quite symmetric: the tip of the nose is at x = 1.2."""

_GOAL_DEG = 2.0
_START_MM = np.array([0.0, 0.0, 700.0])  # in front of the camera: without an initial guess some solutions are behind it


def compare_with_pnp(report: Report, corpus: Corpus, _: Sheet) -> dict[str, Any]:
    """Compare this project's angles with those of PnP."""
    found = corpus.found
    by_pnp = pnp_pose(found.points_px, (SIZE_PX, SIZE_PX))
    rows, figures = [], dict[str, Any]()
    for name, own, pnp in zip(("yaw", "pitch", "roll"), found.pose_deg.T.astype(np.float64), by_pnp.T, strict=True):
        offset = float(np.median(own - pnp))
        deviation = float(np.median(np.abs(own - pnp - offset)))
        slope, correlation = float(np.polyfit(pnp, own, 1)[0]), float(np.corrcoef(own, pnp)[0, 1])
        rows.append([name, offset, deviation, slope, correlation, float(np.median(own))])
        figures |= {f"{name}_offset_deg": offset, f"{name}_slope": slope, f"{name}_r": correlation}
    columns = ["angle", "median offset °", "median deviation from it °", "slope", "r", "median of this project's °"]
    report.table("Head pose compared with PnP with the usual 68-point model", columns, rows)
    report.note(f"Goal: a pitch offset below {_GOAL_DEG:g}°. PnP weights the jaw like the eyes; its model is not symmetric.")
    return {**figures, "pitch_goal_met": abs(figures["pitch_offset_deg"]) < _GOAL_DEG}


def pnp_pose(points_px: NDArray[np.float32], size_px: tuple[int, int]) -> NDArray[np.float64]:
    """Yaw, pitch and roll [T,3] in degrees of landmarks [T,68,2], by cv2.solvePnP on all points, with our signs and camera."""
    focal_px, (cx, cy) = FOCAL_PER_SIDE * max(size_px), (np.array(size_px) - 1) / 2
    camera = np.array([[focal_px, 0, cx], [0, focal_px, cy], [0, 0, 1]])
    rotations = [_rotation(points, camera) for points in points_px.astype(np.float64)]
    return euler_angles(np.stack(rotations)).astype(np.float64)


def _rotation(points_px: NDArray[np.float64], camera: NDArray[np.float64]) -> NDArray[np.float64]:
    start = np.zeros(3), _START_MM.copy()
    _, vector, _ = cv2.solvePnP(USUAL_68_MM, points_px, camera, None, *start, useExtrinsicGuess=True)
    return np.asarray(cv2.Rodrigues(vector)[0], np.float64)
