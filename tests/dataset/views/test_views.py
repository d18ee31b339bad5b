"""Views pick the right number of frames, all of them eventually, and the same ones in every process."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from made import make_dataset

from motionshards.dataset.query.where import parse
from motionshards.dataset.reading.catalog import Catalog, all_conditions, read_catalog
from motionshards.dataset.reading.index_arrays import COLUMNS, Kind
from motionshards.dataset.reading.view import Picks, View
from motionshards.dataset.sequence import Sequence
from motionshards.dataset.views import KPlusOne, Pairs, PosePairs, Singles
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import INDEX

ALL = np.arange(60)
STILLS = Kind("stills", 32)


@pytest.fixture(scope="module")
def rows(data_with_aus: Path) -> pa.Table:
    return pq.read_table(data_with_aus / INDEX)


@pytest.fixture(scope="module")
def catalog(rows: pa.Table) -> Catalog:
    """60 clips of 5 to 8 frames, some with invalid action units."""
    return read_catalog([rows.select(list(COLUMNS))], None, STILLS)


def turns(catalog: Catalog, view: View, turn: int, seed: int = 3) -> Picks:
    return view.pick(catalog, seed, ALL, np.full(60, turn))


@pytest.mark.parametrize("view", [Pairs(2), Pairs(5), KPlusOne(4), Singles(target=False), Sequence(3)])
def test_frames_exist_and_differ_within_a_sample(catalog: Catalog, view: View) -> None:
    for turn in range(5):
        frames = turns(catalog, view, turn).frames
        assert frames.shape == (60, view.n)
        assert (frames >= 0).all() and (frames < catalog.n_frames[:, None]).all()
        assert all(len(set(row)) == view.n for row in frames.tolist())


@pytest.mark.parametrize("view", [Pairs(2), KPlusOne(4), Singles(), PosePairs(30, 0, 90), Sequence(3)])
def test_picks_depend_only_on_seed_clip_and_turn(catalog: Catalog, view: View) -> None:
    usable = np.ones(60, bool)
    for _, without in view.unusable(catalog):
        usable &= ~without
    catalog, clips = catalog.select(usable), np.arange(usable.sum())
    all_at_once = view.pick(catalog, 3, clips, np.full(len(clips), 4)).frames
    for clip in clips:
        alone = view.pick(catalog, 3, clips[clip : clip + 1], np.array([4])).frames
        assert np.array_equal(alone[0], all_at_once[clip])
    assert not np.array_equal(view.pick(catalog, 4, clips, np.full(len(clips), 4)).frames, all_at_once)
    assert not np.array_equal(view.pick(catalog, 3, clips, np.full(len(clips), 5)).frames, all_at_once)


def test_a_clip_keeps_its_frames_when_others_are_filtered_out(rows: pa.Table, catalog: Catalog) -> None:
    fewer = read_catalog([rows.select(list(COLUMNS))], pc.field("n_frames") > 6, STILLS)
    mine = np.flatnonzero(catalog.n_frames > 6)
    same = Pairs(3).pick(catalog, 3, mine, np.full(len(mine), 2)).frames
    assert np.array_equal(Pairs(3).pick(fewer, 3, np.arange(len(mine)), np.full(len(mine), 2)).frames, same)


def test_pairs_are_in_time_order_and_equally_likely(catalog: Catalog) -> None:
    clip = int(np.flatnonzero(catalog.n_frames == 5)[0])
    frames = Pairs(2).pick(catalog, 3, np.full(20_000, clip), np.arange(20_000)).frames
    assert (frames[:, 0] < frames[:, 1]).all()
    _, counts = np.unique(frames @ [10, 1], return_counts=True)
    assert len(counts) == 10
    assert abs(counts / 2000 - 1).max() < 0.1


def test_k_plus_one_holds_out_every_frame_once_before_any_twice(catalog: Catalog) -> None:
    held_out = np.stack([turns(catalog, KPlusOne(3), turn).frames[:, -1] for turn in range(16)])
    for clip, count in enumerate(catalog.n_frames.tolist()):
        assert sorted(held_out[:count, clip]) == list(range(count))
        assert np.array_equal(held_out[:count, clip], held_out[count : 2 * count, clip][: 16 - count])
    kept = turns(catalog, KPlusOne(3), 0).frames[:, :-1]
    assert (np.diff(kept, axis=1) > 0).all()


def test_singles_pick_valid_frames_and_targets_are_valid_frames_of_other_clips(catalog: Catalog) -> None:
    view = Singles()
    ((_, without),) = view.unusable(catalog)
    usable = catalog.select(~without)
    clips = np.arange(len(usable))
    first, valid = usable.arrays["first"], usable.arrays["au_valid"]
    for turn in range(20):
        picks = view.pick(usable, 3, clips, np.full(len(clips), turn))
        assert picks.other_clip is not None and picks.other_frame is not None
        assert valid[first[clips] + picks.frames[:, 0]].all()
        assert valid[first[picks.other_clip] + picks.other_frame].all()
        assert (picks.other_clip != clips).all()


def test_a_target_of_the_same_clip_is_another_valid_frame(catalog: Catalog) -> None:
    few = catalog.arrays["au_valid"].copy()
    few[: catalog.arrays["first"][3]] = False
    few[catalog.arrays["first"][:2]] = True
    catalog = replace(catalog, arrays={**catalog.arrays, "au_valid": few})
    view = Singles("clip")
    none, one = (without for _, without in view.unusable(catalog))
    assert np.flatnonzero(none).tolist() == [2] and np.flatnonzero(one).tolist() == [0, 1]
    usable = catalog.select(~none & ~one)
    clips, first, valid = np.arange(len(usable)), usable.arrays["first"], usable.arrays["au_valid"]
    for turn in range(20):
        picks = view.pick(usable, 3, clips, np.full(len(clips), turn))
        assert picks.other_frame is not None and np.array_equal(picks.other_clip, clips)  # type: ignore[arg-type]
        assert (picks.frames[:, 0] != picks.other_frame).all()
        assert valid[first[clips] + picks.frames[:, 0]].all() and valid[first[clips] + picks.other_frame].all()
    with pytest.raises(ConfigError, match="Singles: target must be True, False or 'clip', not 'same'"):
        Singles("same")


def test_singles_need_action_units(tmp_path: Path) -> None:
    without = read_catalog([pq.read_table(make_dataset(tmp_path, 10) / INDEX).select(list(COLUMNS))], None, STILLS)
    with pytest.raises(ConfigError, match="--add aus"):
        list(Singles().unusable(without))
    assert not list(Singles(target=False).unusable(without))


def test_pose_pairs_differ_as_requested_and_clips_without_such_pairs_are_reported(catalog: Catalog) -> None:
    view = PosePairs(frontal_deg=20, least_deg=5, most_deg=30)
    ((_, without),) = view.unusable(catalog)
    assert 0 < without.sum() < 60
    usable = catalog.select(~without)
    clips = np.arange(len(usable))
    pose, first = usable.arrays["pose"], usable.arrays["first"]
    for turn in range(20):
        frames = view.pick(usable, 3, clips, np.full(len(clips), turn)).frames
        source, target = (pose[first[clips] + frames[:, side]] for side in (0, 1))
        assert (np.abs(source) <= 20).all()
        apart = np.abs(source - target).max(axis=1)
        assert (apart >= 5).all() and (apart <= 30).all()
    for clip in np.flatnonzero(without):
        mine = pose_of(catalog, clip)
        frontal = (np.abs(mine) <= 20).all(axis=1)
        apart = np.abs(mine[:, None] - mine).max(axis=2)[frontal]
        assert not ((apart >= 5) & (apart <= 30)).any()


def pose_of(catalog: Catalog, clip: int) -> np.ndarray:
    first = catalog.arrays["first"]
    return catalog.arrays["pose"][first[clip] : first[clip + 1]]


def test_a_sequence_has_consecutive_frames_from_any_start(catalog: Catalog) -> None:
    starts = np.stack([turns(catalog, Sequence(4), turn).frames for turn in range(60)])
    assert (np.diff(starts, axis=2) == 1).all()
    clip = int(np.flatnonzero(catalog.n_frames == 8)[0])
    assert set(starts[:, clip, 0]) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(("view", "least"), [(Pairs(7), 7), (KPlusOne(7), 8), (Sequence(6), 6)])
def test_clips_that_are_too_short_are_reported(catalog: Catalog, view: View, least: int) -> None:
    ((reason, without),) = view.unusable(catalog)
    assert reason == f"fewer than {least} frames"
    assert np.array_equal(without, catalog.n_frames < least)


@pytest.mark.parametrize("senseless", [lambda: Pairs(0), lambda: Pairs(2, per="video"), lambda: KPlusOne(0), lambda: Sequence(0)])
def test_invalid_views_are_refused(senseless: object) -> None:
    with pytest.raises(ConfigError):
        senseless()  # type: ignore[operator]


def test_a_catalog_matches_the_index(rows: pa.Table, catalog: Catalog) -> None:
    arrays = catalog.arrays
    for number, row in enumerate(rows.to_pylist()):
        frames = slice(arrays["first"][number], arrays["first"][number + 1])
        members = {member["suffix"]: member for member in row["members"]}
        jpegs = [members[f"{frame:03d}.jpg"] for frame in range(row["n_frames"])]
        assert arrays["frame_offset"][frames].tolist() == [jpeg["offset"] for jpeg in jpegs]
        assert arrays["frame_size"][frames].tolist() == [jpeg["size"] for jpeg in jpegs]
        assert arrays["frame_crc"][frames].tolist() == [jpeg["crc32"] for jpeg in jpegs]
        assert arrays["landmarks"][number].tolist() == [members["landmarks.npy"][name] for name in ("offset", "size", "crc32")]
        assert arrays["aus"][number].tolist() == [members["aus.npy"][name] for name in ("offset", "size", "crc32")]
        assert np.array_equal(arrays["pose"][frames, 0], np.array(row["frame_yaw_deg"], np.float32))
        assert arrays["au_valid"][frames].tolist() == row["frame_au_valid"]
        assert catalog.shards[arrays["shard"][number]] == (row["split"], row["shard"])
        assert catalog.identities[arrays["identity"][number]] == row["identity"]
        assert catalog.keys[number].as_py() == row["key"]


def test_a_catalog_does_not_depend_on_the_batching_of_rows(rows: pa.Table, catalog: Catalog) -> None:
    where = all_conditions(parse("n_frames >= 6 and blur > 20"), "train", ["id001", "id003", "id004"])
    whole = read_catalog([rows.select(list(COLUMNS))], where, STILLS)
    parts = read_catalog([rows.select(list(COLUMNS)).slice(start, 7) for start in range(0, 60, 7)], where, STILLS)
    assert 0 < len(whole) < 60
    assert whole.digest() == parts.digest()
    assert all(np.array_equal(whole.arrays[name], parts.arrays[name], equal_nan=name == "pose") for name in whole.arrays)
    assert whole.keys.to_pylist() == parts.keys.to_pylist()
    assert whole.digest() != catalog.digest()
    again = catalog.select(np.isin(catalog.arrays["row"], whole.arrays["row"]))
    assert again.keys.to_pylist() == whole.keys.to_pylist()
    assert np.array_equal(again.arrays["frame_crc"], whole.arrays["frame_crc"])
