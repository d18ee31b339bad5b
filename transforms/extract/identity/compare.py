"""Comparisons of face descriptors: their spread, and whether they belong to two people.

Distances are Euclidean, on dlib's scale. In 19 clips of 9 people, frames of one clip are 0.02 to 0.58 apart (median 0.26), frames
of different people 0.41 to 1.05 (median 0.83), and means over 5 frames 0.13 to 0.32 (one person) and 0.42 to 0.98 (two).
"""

import numpy as np
from numpy.typing import NDArray

# dlib's threshold. None of 1,900 draws of five frames of one clip exceeds it; 91 % of draws with frames of two people do.
TWO_PEOPLE = 0.6


def spread(descriptors: NDArray[np.float32]) -> float:
    """The largest distance between two descriptors of a clip, float32 [n,128], n at least 1; 0 for a single one."""
    from scipy.spatial.distance import pdist  # imported late: takes 0.2 s, and most builds compare nothing

    return float(pdist(descriptors).max(initial=0.0))


def has_two_people(descriptors: NDArray[np.float32]) -> bool:
    """Whether descriptors of a tube, float32 [n,128], belong to two people: average linkage finds two distant groups.

    Their order is irrelevant, so a tube that jumps to another face and back is detected, too.
    """
    from scipy.cluster.hierarchy import linkage

    return len(descriptors) > 1 and bool(linkage(descriptors, "average")[-1, 2] > TWO_PEOPLE)
