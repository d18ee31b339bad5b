"""Random choices among the frames of short and very long clips."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from moving import SIZE, make_moving_dataset

from motionshards.dataset.reading.candidates import MOST, NEVER, Candidates, spread
from motionshards.dataset.reading.catalog import Catalog, read_catalog
from motionshards.dataset.reading.index_arrays import COLUMNS, Kind
from motionshards.dataset.views import KPlusOne, Pairs
from motionshards.schemas.layout import INDEX

COUNTS = np.array([40, MOST, MOST + 1, 100_000])
CLIPS = np.arange(4)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Four clips, some of them very long."""
    rows = pq.read_table(make_moving_dataset(tmp_path_factory.mktemp("long"), 4) / INDEX).select(list(COLUMNS))
    real = read_catalog([rows], None, Kind("video", SIZE, every=5))
    return Catalog({**real.arrays, "video_frames": COUNTS}, real.keys, real.shards, real.identities, real.kind)


def test_candidates_are_all_frames_or_evenly_spaced_ones(catalog: Catalog) -> None:
    offered = Candidates.of(catalog, 3, CLIPS, np.full(4, 7), COUNTS)
    assert offered.frames.shape == offered.ranks.shape == (4, MOST) and offered.counts.tolist() == [40, MOST, MOST, MOST]
    assert np.array_equal(offered.frames[0, :40], np.arange(40)) and (offered.ranks[0, 40:] == NEVER).all()
    assert np.array_equal(offered.frames[1], np.arange(MOST))
    for clip in (2, 3):
        steps = np.diff(offered.frames[clip])
        assert steps.min() >= 1 and steps.max() - steps.min() <= 1
        assert offered.frames[clip, 0] >= 0 and offered.frames[clip, -1] < COUNTS[clip]
    assert (offered.ranks[1:] != NEVER).all()


def test_every_frame_of_a_long_clip_is_a_candidate_in_some_turn(catalog: Catalog) -> None:
    clip, turns = np.full(300, 2), np.arange(300)
    offered = Candidates.of(catalog, 3, clip, turns, COUNTS[clip])
    assert set(np.unique(offered.frames).tolist()) == set(range(MOST + 1))


@pytest.mark.parametrize("view", [Pairs(3), KPlusOne(4)])
def test_views_take_different_frames_of_long_clips(catalog: Catalog, view: Pairs | KPlusOne) -> None:
    frames = np.stack([view.pick(catalog, 3, CLIPS, np.full(4, turn)).frames for turn in range(30)])
    assert (frames >= 0).all() and (frames < COUNTS[:, None]).all()
    assert all(len(set(row)) == view.n for turn in frames for row in turn.tolist())
    assert np.ptp(frames[:, 3]) > 80_000


def test_numbers_are_spread_evenly() -> None:
    numbers, inside = spread(np.array([0, 3, 10]), 5)
    assert inside.tolist() == [[False] * 5, [True] * 3 + [False] * 2, [True] * 5]
    assert numbers[2].tolist() == [0, 2, 4, 6, 8] and numbers[1].tolist() == [0, 1, 2, 2, 2]
