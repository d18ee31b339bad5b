"""All quality measures of a clip's frames. Nothing is filtered here: thresholds are chosen when reading.

Pixel measures are computed in integers and the pose is rounded, so that shards do not depend on a processor's float sums.
"""

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.frames import Crop
from motionshards.schemas.records import FaceTrack, Landmarks, Quality
from motionshards.transforms.extract.quality.pose import fitted_pose

_LUMA = np.array([77, 150, 29], np.uint16)  # of 256: ITU-R BT.601; 255 times their sum fits into 16 bits
_POSE_DIGITS, _RESIDUAL_DIGITS = 2, 4


def measure(crop: Crop, track: FaceTrack | None, landmarks: Landmarks | None) -> Quality:
    """Quality measures of each frame; those of the face are NaN without one."""
    images = [_gray(frame, content) for frame, content in zip(crop.rgb, crop.placement.content_px, strict=True)]
    missing = np.full(len(crop), np.nan, np.float32)
    height, width = crop.rgb.shape[1:3]
    pose, residual = np.stack([missing] * 3, axis=1), missing
    if landmarks is not None:
        pose, residual = fitted_pose(landmarks.points_px, (width, height))
    pose = pose.round(_POSE_DIGITS)
    return Quality(
        blur=np.array([laplacian_variance(gray) for gray in images], np.float32),
        brightness=np.array([gray.mean() for gray in images], np.float32),
        face_size_px=missing if track is None else face_size_px(track.boxes_px, crop.placement.source_to_crop),
        faces=missing if track is None else track.faces.astype(np.float32),
        yaw_deg=pose[:, 0],
        pitch_deg=pose[:, 1],
        roll_deg=pose[:, 2],
        landmark_residual=residual.round(_RESIDUAL_DIGITS),
    )


def _gray(frame: NDArray[np.uint8], content_px: NDArray[np.int32]) -> NDArray[np.int16]:
    """The luma of the frame without its padding, int16 [H,W], 0 to 255."""
    x0, y0, x1, y1 = content_px
    red, green, blue = (frame[y0:y1, x0:x1, channel] * factor for channel, factor in enumerate(_LUMA))
    gray: NDArray[np.int16] = ((red + green + blue + np.uint16(128)) >> 8).astype(np.int16)
    return gray


def laplacian_variance(gray: NDArray[np.int16]) -> float:
    """Variance of the 4-neighbor Laplacian of int16 [H,W], 0 to 255, the focus measure of Pech-Pacheco et al., ICPR 2000.

    0 for images smaller than 3x3 pixels.
    """
    if min(gray.shape) < 3:
        return 0.0
    laplacian = gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:] - 4 * gray[1:-1, 1:-1]
    values = laplacian.ravel().astype(np.float64)  # integers, and sums of squares below 2^53: exact in any order
    count, total, squares = len(values), int(values.sum()), int(np.square(values).sum())
    return (squares * count - total**2) / count**2


def face_size_px(boxes_px: NDArray[np.float32], source_to_crop: NDArray[np.float64]) -> NDArray[np.float32]:
    """The longer side of each face box in source pixels, float32 [T]; the crop affines are axis-aligned."""
    scale = source_to_crop[:, [0, 1], [0, 1]]
    sides = (boxes_px[:, 2:] - boxes_px[:, :2]) / scale
    longer: NDArray[np.float32] = sides.max(axis=1).astype(np.float32)
    return longer
