"""The order of an epoch: each slot once, independent of how the work is divided, and well mixed."""

import numpy as np
import pytest

from motionshards.dataset.reading.order import Order, hashed

SHARDS = np.repeat(np.arange(20), 30)  # 600 units in 20 shards


def all_slots(order: Order, epoch: int) -> list[tuple[int, int]]:
    slots = order.slots(epoch, np.arange(len(order)))
    return list(zip(slots.unit.tolist(), slots.turn.tolist(), strict=True))


@pytest.mark.parametrize("shuffle", ["global", "shard", "none"])
@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_an_epoch_draws_every_unit_repeats_times_with_consecutive_turns(shuffle: str, repeats: int, epoch: int) -> None:
    expected = [(unit, epoch * repeats + repeat) for unit in range(600) for repeat in range(repeats)]
    assert sorted(all_slots(Order(SHARDS, 5, shuffle, repeats, window=3), epoch)) == expected


@pytest.mark.parametrize("shuffle", ["global", "shard"])
def test_the_order_depends_on_seed_and_epoch_only(shuffle: str) -> None:
    first = all_slots(Order(SHARDS, 5, shuffle, 2), 3)
    assert first == all_slots(Order(SHARDS.copy(), 5, shuffle, 2), 3)
    units = [unit for unit, _ in first]
    for other in (Order(SHARDS, 6, shuffle, 2), Order(SHARDS, 5, shuffle, 2)):
        epoch = 3 if other.seed == 6 else 4
        assert [unit for unit, _ in all_slots(other, epoch)] != units


def test_the_order_never_changes_between_releases() -> None:
    """Old states must stay valid, so these numbers must not change."""
    assert Order(np.zeros(8, np.int64), 1).slots(2, np.arange(8)).unit.tolist() == [1, 3, 4, 0, 7, 6, 5, 2]
    assert hashed(1, 2, 3).tolist() == [2869315087210772132]


@pytest.mark.parametrize("shuffle", ["global", "shard", "none"])
@pytest.mark.parametrize("repeats", [1, 4])
def test_slots_can_be_computed_one_by_one(shuffle: str, repeats: int) -> None:
    order = Order(SHARDS, 5, shuffle, repeats, window=3)
    whole = order.slots(1, np.arange(len(order)))
    for number in np.random.default_rng(0).integers(0, len(order), 50):
        one = order.slots(1, np.array([number]))
        assert (one.unit[0], one.turn[0]) == (whole.unit[number], whole.turn[number])


def test_the_shuffle_by_shards_needs_one_window_of_shards_at_a_time() -> None:
    order = Order(SHARDS, 5, "shard", 2, window=4)
    units = order.slots(1, np.arange(len(order))).unit
    seen = set()
    for window in range(5):
        low, high = window * 4 * 30 * 2, (window + 1) * 4 * 30 * 2
        shards = set(SHARDS[units[low:high]].tolist())
        assert shards == set(order.shards(1, window).tolist())
        assert {order.window_of(1, low), order.window_of(1, high - 1)} == {window}
        seen |= shards
    assert seen == set(range(20))
    assert len(order.shards(1, 5)) == 0


def test_windows_of_shards_of_different_sizes_end_with_their_last_unit() -> None:
    shard = np.repeat(np.arange(7), [1, 50, 3, 20, 9, 1, 16])
    order = Order(shard, 2, "shard", 1, window=2)
    units = order.slots(0, np.arange(100)).unit
    for number in range(100):
        assert shard[units[number]] in order.shards(0, order.window_of(0, number))


def test_substitutes_are_slots_of_the_same_window() -> None:
    order = Order(SHARDS, 5, "shard", 2, window=4)
    numbers = np.arange(len(order))
    near = order.substitutes(1, numbers, 6)
    assert near.shape == (1200, 6)
    assert (near // 240 == (numbers // 240)[:, None]).all()
    anywhere = Order(SHARDS, 5, "global", 2).substitutes(1, numbers, 6)
    assert anywhere.min() >= 0 and anywhere.max() < 1200 and len(np.unique(anywhere)) > 1100
    assert np.array_equal(anywhere[70:80], Order(SHARDS, 5, "global", 2).substitutes(1, numbers[70:80], 6))


def test_repeats_of_a_unit_are_near_but_interleaved_with_others() -> None:
    units = Order(np.zeros(2000, np.int64), 5, "global", 4).slots(0, np.arange(8000)).unit
    apart = [np.flatnonzero(units == unit) for unit in range(0, 2000, 50)]
    assert all(places[-1] - places[0] < 256 * 4 for places in apart)
    assert np.mean(units[1:] == units[:-1]) < 0.02


def test_the_global_shuffle_draws_from_shards_like_independent_draws() -> None:
    """The units of a batch come from as many shards as with independent draws: on average 16 of 20 for 32 draws."""
    units = Order(SHARDS, 5).slots(0, np.arange(600)).unit
    distinct = [len(set(SHARDS[units[start : start + 32]].tolist())) for start in range(0, 576, 32)]
    expected = 20 * (1 - (1 - 1 / 20) ** 32)
    assert abs(np.mean(distinct) - expected) < 1.0
    assert abs(np.corrcoef(units[1:], units[:-1])[0, 1]) < 0.15


def test_hashes_of_neighboring_numbers_are_uncorrelated() -> None:
    values = hashed(0, np.arange(1000)[:, None], np.arange(10))
    assert len(np.unique(values)) == 10_000
    bits = np.unpackbits(values.view(np.uint8)).reshape(-1, 64)
    assert abs(bits.mean(axis=0) - 0.5).max() < 0.03


@pytest.mark.parametrize("wrong", [{"shuffle": "some"}, {"repeats": 0}, {"window": 0}])
def test_invalid_orders_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Order(SHARDS, 0, **wrong)  # type: ignore[arg-type]
