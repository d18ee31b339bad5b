"""Zero and scale of the head pose, compared with OpenCV's PnP with the usual 68-point model."""

import itertools

import numpy as np
import pytest

from motionshards.transforms.extract.quality.face_model import FACE_68_MM
from motionshards.transforms.extract.quality.pose import FOCAL_PER_SIDE, head_pose

pytest.importorskip("cv2")
from benchmarks.faces_pose import pnp_pose

SIZE = (256, 256)
GRID = np.array(list(itertools.product((-20.0, 0.0, 20.0), (-15.0, -5.0, 0.0, 10.0, 20.0), (-10.0, 0.0, 10.0))))


def test_zero_pitch_matches_pnp_with_the_usual_model() -> None:
    """For faces that match our model exactly, looking up and down."""
    yaw, pitch, roll = np.radians(GRID * [-1, -1, 1]).T
    points = np.broadcast_to(FACE_68_MM, (len(GRID), 68, 3))
    for angle, first, second in ((yaw, 2, 0), (pitch, 1, 2), (roll, 0, 1)):
        turned, cosine, sine = points.copy(), np.cos(angle)[:, None], np.sin(angle)[:, None]
        turned[..., first] = cosine * points[..., first] - sine * points[..., second]
        turned[..., second] = sine * points[..., first] + cosine * points[..., second]
        points = turned
    points = points + [0, 0, 700]
    image = (FOCAL_PER_SIDE * 256 * points[..., :2] / points[..., 2:] + 127.5).astype(np.float32)
    np.testing.assert_allclose(head_pose(image, SIZE), GRID, atol=0.01)
    offset = np.median(GRID - pnp_pose(image, SIZE), axis=0)
    assert (np.abs(offset) < 2).all()
