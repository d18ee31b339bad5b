"""Affine warps of frames in yuv420p, which has half as many samples as RGB and needs no conversion."""

from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

# Chroma samples are on every second column and midway between two rows: pixel (x, y) is at (2 x, 2 y + 1/2) of luma.
_TO_LUMA = np.array([[2, 0, 0], [0, 2, 0.5], [0, 0, 1]])
_GRAY = (125, 128, 128)  # 127 in RGB, in limited range


def warped(frame: av.VideoFrame, affine: NDArray[np.float64], size_px: int) -> av.VideoFrame:
    """Warp a frame in yuv420p, limited range, of even width and height, by an affine map; gray outside the frame.

    Samples are interpolated linearly by OpenCV, in one thread.

    affine: [2,3], from pixels of the frame to pixels of the result; pixel centers are whole numbers
    size_px: height and width of the result, even
    """
    import cv2  # imported late: it needs libGL

    cv2.setNumThreads(1)
    of_luma = np.vstack([affine, [0, 0, 1]])
    of_chroma = np.linalg.inv(_TO_LUMA) @ of_luma @ _TO_LUMA
    moved = av.VideoFrame(size_px, size_px, "yuv420p")
    for number, (matrix, side_px, gray) in enumerate(zip((of_luma, of_chroma, of_chroma), _sides(size_px), _GRAY, strict=True)):
        border: dict[str, Any] = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": gray}
        source, target = _plane(frame, number), _plane(moved, number)
        target[:] = cv2.warpAffine(source, matrix[:2], (side_px, side_px), flags=cv2.INTER_LINEAR, **border)
    return moved


def _sides(size_px: int) -> tuple[int, int, int]:
    return size_px, size_px // 2, size_px // 2


def _plane(frame: av.VideoFrame, number: int) -> NDArray[np.uint8]:
    """A view of a plane, uint8 [H,W]."""
    plane = frame.planes[number]
    rows: NDArray[np.uint8] = np.frombuffer(memoryview(plane), np.uint8)[: plane.line_size * plane.height]
    return rows.reshape(plane.height, plane.line_size)[:, : plane.width]
