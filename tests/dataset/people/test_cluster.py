"""Clustering of generated points, compared with scipy's and with known people."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

from motionshards.dataset.people.cluster import cluster


def partition(label: NDArray[np.int64]) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(label == number).tolist()) for number in np.unique(label)}


@pytest.mark.parametrize("seed", range(15))
def test_groups_are_those_of_scipy(seed: int) -> None:
    """Each point is from a separate video; some points are equal."""
    random = np.random.default_rng(seed)
    points = random.normal(0, random.choice([0.03, 0.05, 0.06]), (int(random.integers(2, 150)), 128)).astype(np.float32)
    points[random.integers(0, len(points), 3)] = points[0]
    limit = float(random.uniform(0.3, 0.9))
    tree = linkage(pdist(points.astype(np.float64), "sqeuclidean"), "average")
    expected = fcluster(tree, limit**2, "distance")
    assert partition(cluster(points, np.arange(len(points)), limit)) == partition(expected)


@pytest.mark.parametrize("people", [1, 2, 7, 60])
def test_people_are_found_in_any_order_and_numbered_by_their_clips(people: int) -> None:
    random = np.random.default_rng(people)
    center = random.normal(0, 0.06, (people, 128))
    who = np.concatenate([np.arange(people), random.integers(0, people, 300)])
    video = who * 4 + random.integers(0, 4, len(who))
    points = (center[who] + random.normal(0, 0.02, (len(who), 128))).astype(np.float32)
    found = cluster(points, video, 0.5)
    assert partition(found) == partition(who)
    sizes = np.bincount(found)
    assert (np.diff(sizes) <= 0).all()
    order = random.permutation(len(who))
    assert partition(cluster(points[order], video[order], 0.5)) == partition(who[order])
    ties = [number for number in range(1, people) if sizes[number] == sizes[number - 1]]
    assert all(np.argmax(found == number - 1) < np.argmax(found == number) for number in ties)


def test_neighbors_of_neighbors_are_not_merged_in_a_chain() -> None:
    """Single linkage would merge them into one person."""
    points = np.zeros((20, 128), np.float32)
    points[:, 0] = np.arange(20) * 0.3
    found = cluster(points, np.arange(20), 0.42)
    assert len(np.unique(found)) > 5 and all(np.ptp(points[found == number, 0]) < 0.95 for number in np.unique(found))


def test_no_point_and_a_single_point() -> None:
    assert cluster(np.empty((0, 128), np.float32), np.empty(0, np.int64), 0.4).tolist() == []
    assert cluster(np.ones((1, 128), np.float32), np.zeros(1, np.int64), 0.4).tolist() == [0]
    assert cluster(np.ones((3, 128), np.float32), np.zeros(3, np.int64), 0.4).tolist() == [0, 0, 0]
