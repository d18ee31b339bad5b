"""Planning: every clip in one unit, units of equal cost, nothing planned twice, the same plan for any listing order."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from motionshards.pipeline.planning import plan
from motionshards.pipeline.planning.plan import (
    Subset,
    assign_units,
    listing_table,
    plan_again,
    plan_new,
    planned_keys,
    read_unit,
    units,
)
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.records import ClipSpec, Span
from motionshards.schemas.tables import REJECTIONS, spec_row, table

CONFIG = BuildConfig(source="voxceleb2", clips_per_shard=16)


def clips(count: int, start: int = 0, seed: int = 0) -> list[ClipSpec]:
    rng = np.random.default_rng(seed)
    return [
        ClipSpec(
            key=f"id{n % 7}/video{n % 31}/{n:05d}",
            source="voxceleb2",
            split="test" if n % 5 == 0 else "train",
            identity=f"id{n % 7}",
            video=f"video{n % 31}",
            spans=(Span(f"{n}.mp4"), Span(f"{n}b.mp4", 1.0, 2.5))[: 1 + n % 2],
            cost=float(np.float32(rng.uniform(0.1, 0.4))),
        )
        for n in range(start, start + count)
    ]


def all_planned(out: Path) -> list[ClipSpec]:
    return [clip for unit in units(out) for clip in read_unit(out, unit)]


def by_key(specs: list[ClipSpec]) -> list[ClipSpec]:
    return sorted(specs, key=lambda clip: clip.key)


@pytest.mark.parametrize("count", [1, 2, 3, 17, 100, 1000])
def test_every_clip_is_in_one_unit_unchanged(tmp_path: Path, count: int) -> None:
    assert plan_new(tmp_path, listing_table(iter(clips(count)), CONFIG), CONFIG, Subset()) == count
    assert by_key(all_planned(tmp_path)) == by_key(clips(count))


def test_units_have_one_split_and_unique_names(tmp_path: Path) -> None:
    plan_new(tmp_path, listing_table(iter(clips(500)), CONFIG), CONFIG, Subset())
    plan_new(tmp_path, listing_table(iter(clips(900)), CONFIG), CONFIG, Subset())
    names = [unit.name for unit in units(tmp_path)]
    assert len(names) == len(set(names))
    for unit in units(tmp_path):
        assert {clip.split for clip in read_unit(tmp_path, unit)} == {unit.split}
        assert unit.name.startswith(f"voxceleb2-{unit.split}-")


def test_the_plan_does_not_depend_on_the_order_of_the_listing(tmp_path: Path) -> None:
    listing = clips(300)
    shuffled = [listing[n] for n in np.random.default_rng(1).permutation(len(listing))]
    plan_new(tmp_path / "a", listing_table(iter(listing), CONFIG), CONFIG, Subset())
    plan_new(tmp_path / "b", listing_table(iter(shuffled), CONFIG), CONFIG, Subset())
    assert (tmp_path / "a/plan/plan-000000.parquet").read_bytes() == (tmp_path / "b/plan/plan-000000.parquet").read_bytes()


def test_another_seed_gives_another_order(tmp_path: Path) -> None:
    for seed in (0, 1):
        plan_new(
            tmp_path / str(seed),
            listing_table(iter(clips(300)), BuildConfig(source="voxceleb2", seed=seed)),
            BuildConfig(source="voxceleb2", seed=seed),
            Subset(),
        )
    first, second = ([clip.key for clip in all_planned(tmp_path / str(seed))] for seed in (0, 1))
    assert first != second
    assert sorted(first) == sorted(second)


def test_clips_of_an_identity_are_spread_over_the_shards(tmp_path: Path) -> None:
    plan_new(tmp_path, listing_table(iter(clips(2000)), CONFIG), CONFIG, Subset())
    train = [unit for unit in units(tmp_path) if unit.split == "train"]
    where = [n for n, unit in enumerate(train) for clip in read_unit(tmp_path, unit) if clip.identity == "id3"]
    assert len(set(where)) > 0.8 * len(train)


def test_a_second_run_plans_only_new_clips(tmp_path: Path) -> None:
    plan_new(tmp_path, listing_table(iter(clips(100)), CONFIG), CONFIG, Subset())
    first = (tmp_path / "plan/plan-000000.parquet").read_bytes()
    assert plan_new(tmp_path, listing_table(iter(clips(100)), CONFIG), CONFIG, Subset()) == 0
    assert plan_new(tmp_path, listing_table(iter(clips(130)), CONFIG), CONFIG, Subset()) == 30
    assert (tmp_path / "plan/plan-000000.parquet").read_bytes() == first
    assert Counter(planned_keys(tmp_path).to_pylist()) == Counter(clip.key for clip in clips(130))


def test_limit_is_a_random_choice_that_grows(tmp_path: Path) -> None:
    for limit in (10, 25, 60):
        plan_new(tmp_path / str(limit), listing_table(iter(clips(200)), CONFIG), CONFIG, Subset(limit=limit))
    chosen = [set(planned_keys(tmp_path / str(limit)).to_pylist()) for limit in (10, 25, 60)]
    assert [len(keys) for keys in chosen] == [10, 25, 60]
    assert chosen[0] < chosen[1] < chosen[2]
    assert len({key.split("/")[0] for key in chosen[2]}) == 7


def test_splits_are_chosen_before_the_limit(tmp_path: Path) -> None:
    assert plan_new(tmp_path, listing_table(iter(clips(200)), CONFIG), CONFIG, Subset(frozenset({"test"}), 15)) == 15
    assert {unit.split for unit in units(tmp_path)} == {"test"}


def test_an_empty_listing_plans_nothing(tmp_path: Path) -> None:
    assert plan_new(tmp_path, listing_table(iter([]), CONFIG), CONFIG, Subset()) == 0
    assert units(tmp_path) == []
    assert planned_keys(tmp_path).to_pylist() == []


def test_repeated_keys_are_numbered(tmp_path: Path) -> None:
    twins = [ClipSpec("id1/v/1", "voxceleb2", split, "id1", "v", (Span(f"{split}.mp4"),), 0.1) for split in ("train", "test")]
    assert plan_new(tmp_path, listing_table(iter(twins), CONFIG), CONFIG, Subset()) == 2
    planned = {clip.spans[0].uri: clip.key for clip in all_planned(tmp_path)}
    assert planned["train.mp4"] == "id1/v/1"
    assert planned["test.mp4"] == "id1/v/1~2"
    assert plan_new(tmp_path, listing_table(iter(twins), CONFIG), CONFIG, Subset()) == 0


def test_planning_again_makes_new_units_for_the_same_keys(tmp_path: Path) -> None:
    plan_new(tmp_path, listing_table(iter(clips(50)), CONFIG), CONFIG, Subset())
    before = units(tmp_path)
    rows = table([{**spec_row(clip), "shard": "x"} for clip in clips(3)], REJECTIONS)
    built = {unit.name for unit in before}
    assert plan_again(tmp_path, rows, CONFIG, built) == 3
    assert plan_again(tmp_path, rows, CONFIG, built) == 0, "they are already waiting to be built"
    assert plan_again(tmp_path, rows.slice(0, 0), CONFIG, built) == 0
    added = units(tmp_path)[len(before) :]
    assert {clip.key for unit in added for clip in read_unit(tmp_path, unit)} == {clip.key for clip in clips(3)}
    assert not {unit.name for unit in added} & {unit.name for unit in before}


@pytest.mark.parametrize("seed", range(20))
def test_units_have_equal_cost_and_consecutive_numbers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cost = rng.lognormal(sigma=0.7, size=int(rng.integers(1, 5000)))
    number = assign_units(cost, clips_per_shard=int(rng.integers(1, 300)))
    assert number[0] == 0
    assert set(np.diff(number)) <= {0, 1}
    sums = np.bincount(number, weights=cost)
    assert np.ptp(sums) <= 2 * cost.max() + 1e-9


@pytest.mark.parametrize(
    ("count", "expected"), [(1, 1), (4, 1), (5, 2), (19, 5), (32, 8), (256, 8), (2048, 8), (2049, 9), (25_600, 100)]
)
def test_small_datasets_have_several_units(count: int, expected: int) -> None:
    assert assign_units(np.ones(count), 256).max() + 1 == expected


def test_a_unit_is_read_across_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_ROW_GROUP", 7)
    plan_new(tmp_path, listing_table(iter(clips(100)), CONFIG), CONFIG, Subset())
    assert by_key(all_planned(tmp_path)) == by_key(clips(100))


def test_listing_is_read_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing is consumed lazily: at most one chunk of its records is in memory at a time."""
    monkeypatch.setattr(plan, "_CHUNK", 10)
    alive: Counter[str] = Counter()

    def listing() -> Iterator[ClipSpec]:
        for clip in clips(95):
            alive["most"] = max(alive["most"], pa.total_allocated_bytes())
            yield clip

    assert plan_new(tmp_path, listing_table(listing(), CONFIG), CONFIG, Subset()) == 95
    assert alive["most"] > 0, "arrow tables should have been filled while the listing was still being read"
