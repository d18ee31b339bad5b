"""A generic rigid face: where the 68 iBUG / 300-W landmarks lie on an average head, in millimetres.

Axes: those of the camera when the head faces it. x to the image's right (the person's left), y down, z away from
the camera, origin at the tip of the nose (landmark 30). Exactly symmetric under x -> -x with `MIRROR_68`.

How the figures were obtained (our own; no published model was copied):

* x and y: dlib 68-point landmarks of 316 frames, 19 clips and 9 people of a small VoxCeleb2-like corpus. Roll
  removed, scaled by the eyes and nose, mirrored halves averaged; the median of the near-frontal frames of each person
  (8 had any), then the median over people. The lips therefore stand slightly apart, as in speech.
* scale: landmarks 36 and 45 (outer eye corners) 90 mm apart. Nasion to chin is then 122.6 mm, nasion to the foot of
  the nose 53.9 mm and the mouth 52.4 mm wide: adult sizes (compare Farkas, "Anthropometry of the Head and Face", 1994).
* z, relative: a turn of the head moves each landmark sideways in proportion to its depth, so the first principal
  component of the mirror-antisymmetric part of x is z up to scale (the factorisation of Tomasi & Kanade 1992, of rank
  1 here); the median of the pooled estimate and of three people who turn their heads. The jaw is smoothed by (1 2 1)/4.
  The full factorisation of rank 3 was tried and failed: too little pitch.
* z, scale: one number, which the footage hardly determines (mostly frontal: 25 to 45 mm from the eyes to the tip of
  the nose fit most clips alike; the clip with the widest turns prefers 40). Set by hand to an adult's proportions:
  the outer eye corners lie 38 mm behind the tip of the nose.

What follows from that: 0 pitch is the mean attitude of those speakers before their camera; the 6-point model of
the PnP tutorials (chin (0, -330, -65), ...) reads about 5 degrees less. The jaw line is where a 2-D detector puts
the visible contour, which slides over the head as it turns: trust it less than the rest (see `pose.py`). Depths
are, by the spread of the estimates, good to some 3 mm around the eyes and nose and 5 to 15 at the mouth and jaw.
"""

import numpy as np
from numpy.typing import NDArray

_Point = tuple[float, float, float]

# The half with x >= 0, index -> (x, y, z); the other half is its reflection.
_HALF_MM: dict[int, _Point] = {
    # jaw, chin to ear
    8: (0.0, 83.5, 34.8), 9: (18.5, 79.9, 38.7), 10: (33.7, 68.6, 48.2), 11: (46.6, 54.0, 59.3),
    12: (56.6, 37.7, 69.2), 13: (63.3, 19.8, 76.7), 14: (66.8, 0.8, 81.7), 15: (69.9, -18.3, 84.9),
    16: (71.4, -37.5, 87.4),
    # brow, inner to outer
    22: (12.8, -56.5, 18.2), 23: (24.9, -61.8, 22.9), 24: (38.4, -63.8, 29.4), 25: (51.0, -60.1, 36.4),
    26: (60.0, -52.1, 45.8),
    # nose: ridge, then foot
    27: (0.0, -39.1, 14.4), 28: (0.0, -25.7, 10.2), 29: (0.0, -13.1, 5.0), 30: (0.0, 0.0, 0.0),
    33: (0.0, 14.8, 9.6), 34: (7.4, 12.8, 12.1), 35: (14.2, 9.3, 15.6),
    # eye, inner corner over the upper lid to the outer corner, back along the lower lid
    42: (19.1, -34.7, 32.1), 43: (27.7, -40.5, 31.8), 44: (36.9, -40.6, 33.5), 45: (45.0, -36.6, 37.9),
    46: (37.4, -33.3, 33.4), 47: (28.4, -33.3, 31.5),
    # lips: outer, then inner contour, top to bottom
    51: (0.0, 26.9, 12.5), 52: (7.0, 25.1, 13.4), 53: (16.6, 28.7, 20.2), 54: (26.2, 34.7, 31.3),
    55: (17.2, 44.7, 22.5), 56: (7.7, 49.2, 15.6), 57: (0.0, 50.1, 15.3),
    62: (0.0, 33.5, 13.7), 63: (7.2, 32.7, 14.0), 64: (22.2, 35.1, 29.6), 65: (7.2, 39.5, 15.0), 66: (0.0, 40.8, 14.9),
}  # fmt: skip

MIRROR_68: NDArray[np.intp] = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31]
    + [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    + [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65],
    dtype=np.intp,
)
"""intp [68]: the landmark each one becomes in a mirrored image (its own inverse)."""


def _both_halves() -> NDArray[np.float64]:
    points = np.full((68, 3), np.nan)
    for index, (x, y, z) in _HALF_MM.items():
        points[MIRROR_68[index]] = (-x, y, z)
        points[index] = (x, y, z)  # after its mirror: landmarks of the midline are their own, and keep +0
    assert np.isfinite(points).all()
    points.setflags(write=False)
    return points


FACE_68_MM: NDArray[np.float64] = _both_halves()
"""float64 [68, 3]: millimetres, axes and origin as above; read-only."""
