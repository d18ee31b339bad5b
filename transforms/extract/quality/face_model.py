"""A generic rigid face: the 68 iBUG / 300-W landmarks of an average head, in millimeters.

Axes: those of the camera when the head faces it. x to the image's right (the person's left), y down, z away from
the camera, origin at the tip of the nose (landmark 30). Exactly symmetric under x -> -x with `MIRROR_68`.

The coordinates were measured for this project; no published model was copied:

* x and y: dlib 68-point landmarks of 316 frames from 19 clips of 9 people in a small VoxCeleb2-like corpus. Roll was
  removed, faces were scaled by eyes and nose, and mirrored halves averaged; then the median of the near-frontal frames of
  each person (8 had any), then the median over people. The lips are therefore slightly apart, as in speech.
* scale: landmarks 36 and 45 (outer eye corners) are 90 mm apart. Nasion to chin is then 122.6 mm, nasion to the base of
  the nose 53.9 mm and the mouth 52.4 mm wide: adult sizes (compare Farkas, "Anthropometry of the Head and Face", 1994).
* z, relative: a head rotation moves each landmark sideways in proportion to its depth, so the first principal
  component of the mirror-antisymmetric part of x is z up to scale (the factorization of Tomasi & Kanade 1992, of rank
  1 here); the median of the pooled estimate and of three people who turn their heads. The jaw is smoothed by (1 2 1)/4.
  The full factorization of rank 3 was tried and failed: there is too little pitch.
* z, scale: one number, which the footage hardly determines (mostly frontal: 25 to 45 mm from the eyes to the tip of
  the nose fit most clips equally well; the clip with the widest rotations prefers 40). Set by hand to an adult's
  proportions: the outer eye corners were 38 mm behind the tip of the nose.
* zero of pitch: all of the above describes the mean attitude of those speakers, who look down a little. The model is rotated
  by 9.5 degrees about x, chin forward, so that pitch is 0 where PnP with the usual 68-point model (the mean shape of
  OpenFace's point distribution model) has 0. Median of our pitch minus that of PnP over 408 frames of the corpus: 9.7
  degrees before the rotation, 0.1 after it (`python -m benchmarks.faces`). Minus that of mediapipe's face mesh: 9.3 before,
  -0.1 after, 0.0 on 1600 frames of 50 other videos. Yaw is now about the head's anatomical vertical axis, so roll is closer
  to mediapipe's as well: the median difference fell from 0.8 to 0.5 degrees.

The jaw line is the visible contour of a 2D detector, which slides over the head as it rotates: it is less reliable than the
other landmarks (see `pose.py`). By the spread of the estimates, depths are accurate to about 3 mm around the eyes and nose and
to 5 to 15 mm at the mouth and jaw.
"""

import numpy as np
from numpy.typing import NDArray

_Point = tuple[float, float, float]

# The half with x >= 0, index -> (x, y, z); the other half is its reflection.
_HALF_MM: dict[int, _Point] = {
    # jaw, chin to ear
    8: (0.0, 88.1, 20.5), 9: (18.5, 85.2, 25.0), 10: (33.7, 75.6, 36.2), 11: (46.6, 63.0, 49.6),
    12: (56.6, 48.6, 62.0), 13: (63.3, 32.2, 72.4), 14: (66.8, 14.3, 80.4), 15: (69.9, -4.0, 86.8),
    16: (71.4, -22.6, 92.4),
    # brow, inner to outer
    22: (12.8, -52.7, 27.3), 23: (24.9, -57.2, 32.8), 24: (38.4, -58.1, 39.5), 25: (51.0, -53.3, 45.8),
    26: (60.0, -43.8, 53.8),
    # nose: ridge, then foot
    27: (0.0, -36.2, 20.7), 28: (0.0, -23.7, 14.3), 29: (0.0, -12.1, 7.1), 30: (0.0, 0.0, 0.0),
    33: (0.0, 16.2, 7.0), 34: (7.4, 14.6, 9.8), 35: (14.2, 11.7, 13.9),
    # eye, inner corner over the upper lid to the outer corner, back along the lower lid
    42: (19.1, -28.9, 37.4), 43: (27.7, -34.7, 38.0), 44: (36.9, -34.5, 39.7), 45: (45.0, -29.8, 43.4),
    46: (37.4, -27.3, 38.4), 47: (28.4, -27.6, 36.6),
    # lips: outer, then inner contour, top to bottom
    51: (0.0, 28.6, 7.9), 52: (7.0, 27.0, 9.1), 53: (16.6, 31.6, 15.2), 54: (26.2, 39.4, 25.1),
    55: (17.2, 47.8, 14.8), 56: (7.7, 51.1, 7.3), 57: (0.0, 51.9, 6.8),
    62: (0.0, 35.3, 8.0), 63: (7.2, 34.6, 8.4), 64: (22.2, 39.5, 23.4), 65: (7.2, 41.4, 8.3), 66: (0.0, 42.7, 8.0),
}  # fmt: skip

MIRROR_68: NDArray[np.intp] = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31]
    + [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    + [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65],
    dtype=np.intp,
)
"""intp [68]: index of each landmark in the mirrored image (its own inverse)."""


def _both_halves() -> NDArray[np.float64]:
    points = np.full((68, 3), np.nan)
    for index, (x, y, z) in _HALF_MM.items():
        points[MIRROR_68[index]] = (-x, y, z)
        points[index] = (x, y, z)  # after its mirror image: landmarks on the midline are their own, and keep +0
    assert np.isfinite(points).all()
    points.setflags(write=False)
    return points


FACE_68_MM: NDArray[np.float64] = _both_halves()
"""float64 [68, 3]: millimeters, axes and origin as above; read-only."""
