"""The stream of batches: content and order, over any number of ranks and workers, and after any interruption."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.utils.data
from made import SIZE
from streams import interleaved, ordinary, seen

from motionshards.dataset.index import Sample
from motionshards.dataset.loader import make_loader
from motionshards.dataset.reading.view import View
from motionshards.dataset.stream import Batch, ClipStream, KPlusOne, Pairs, PosePairs, Sequence, Singles, World


@pytest.fixture(scope="module")
def data(data_with_aus: Path) -> Path:
    return data_with_aus


@pytest.mark.parametrize("view", [Pairs(2), KPlusOne(4), Singles(), PosePairs(40, 0, 90), Sequence(3)])
def test_batches_match_the_stored_data(data: Path, samples: dict[str, Sample], view: View) -> None:
    stream = ClipStream(data, view, global_batch_size=5, last="pad")
    count = 0
    for batch in stream:
        assert (batch.frames.dtype, tuple(batch.frames.shape)) == (torch.uint8, (5, view.n, SIZE, SIZE, 3))
        for row, key in enumerate(batch.keys):
            sample, frames = samples[key], batch.number[row].numpy()
            np.testing.assert_array_equal(batch.frames[row], sample.frames[frames])
            np.testing.assert_array_equal(batch.landmarks[row], sample.landmarks[frames])  # type: ignore[index]
            np.testing.assert_array_equal(batch.aus[row], sample.aus[frames])  # type: ignore[index]
            pose = np.array([sample.meta[name] for name in ("yaw_deg", "pitch_deg", "roll_deg")]).T[frames]
            np.testing.assert_allclose(batch.pose[row], pose, atol=1e-4)
            assert stream.identities[batch.identity[row]] == key.split("/")[0]
            count += not batch.padded[row]
    assert count == stream.slots == 60 - sum(stream.excluded.values())


def test_the_targets_of_singles_are_action_units_of_other_clips(data: Path, samples: dict[str, Sample]) -> None:
    rows = {tuple(row): key for key, sample in samples.items() for row in np.nan_to_num(sample.aus, nan=-1).tolist()}
    for batch in ClipStream(data, Singles(), global_batch_size=6):
        assert batch.target_aus is not None
        for key, own, target in zip(batch.keys, batch.aus[:, 0], batch.target_aus, strict=True):  # type: ignore[index]
            assert torch.isfinite(own).all() and torch.isfinite(target).all()
            assert rows[tuple(target.tolist())] != key


@pytest.mark.parametrize(("last", "batches", "unpadded"), [("drop", 8, 56), ("pad", 9, 60)])
def test_every_clip_is_drawn_once_per_epoch(data: Path, last: str, batches: int, unpadded: int) -> None:
    stream = ClipStream(data, Pairs(2), global_batch_size=7, last=last)
    found = seen(stream)
    assert len(stream) == batches == len(list(stream))
    assert len(found) == batches * 7
    real = [key for key, _, padded in found if not padded]
    assert len(real) == len(set(real)) == unpadded
    assert [key for key, _, padded in found if padded] == real[: len(found) - unpadded]


def test_repeats_draw_every_clip_with_different_frames(data: Path) -> None:
    found = seen(ClipStream(data, Pairs(2), global_batch_size=6, repeats=3))
    keys, pairs = [key for key, _, _ in found], {(key, frames) for key, frames, _ in found}
    assert len(keys) == 180 and set(map(keys.count, keys)) == {3}
    assert len(pairs) > 150


def test_pairs_per_identity_draw_all_clips_of_a_person_in_turn(data: Path) -> None:
    stream = ClipStream(data, Pairs(2, per="identity"), global_batch_size=7)
    assert stream.slots == 7
    met: dict[str, list[str]] = {}
    for epoch in range(9):
        stream.set_epoch(epoch)
        for key, _, _ in seen(stream):
            met.setdefault(key.split("/")[0], []).append(key)
    assert set(map(len, met.values())) == {9}
    assert sorted(len(set(keys)) for keys in met.values()) == [8, 8, 8, 9, 9, 9, 9]


@pytest.mark.parametrize("shuffle", ["global", "shard", "none"])
@pytest.mark.parametrize("last", ["drop", "pad"])
def test_ranks_and_workers_share_one_sequence(data: Path, shuffle: str, last: str) -> None:
    def stream(rank: int, size: int) -> ClipStream:
        return ClipStream(
            data, Pairs(2), global_batch_size=8, world=World(rank, size), shuffle=shuffle, repeats=2, window=2, last=last, seed=4
        )

    alone = seen(stream(0, 1))
    assert len(alone) == 120
    for size in (2, 4, 8):
        assert interleaved([list(stream(rank, size)) for rank in range(size)]) == alone
    for workers in (1, 3):
        assert interleaved([list(ordinary(stream(rank, 2), workers)) for rank in range(2)]) == alone
    ours = []
    for rank in range(2):
        with make_loader(stream(rank, 2), processes=1 + rank, threads=1 + rank * 4) as loader:
            ours.append([Batch(**vars(batch)) for batch in loader])
    assert interleaved(ours) == alone


def test_spawned_workers_read_the_same(data: Path) -> None:
    stream = ClipStream(data, Pairs(2), global_batch_size=6)
    spawned = torch.utils.data.DataLoader(stream, batch_size=None, num_workers=1, multiprocessing_context="spawn")
    assert seen(spawned) == seen(ClipStream(data, Pairs(2), global_batch_size=6))


def test_epochs_differ_and_follow_each_other(data: Path) -> None:
    stream = ClipStream(data, Pairs(2), global_batch_size=6)
    with make_loader(stream) as loader:
        passes = [seen(loader) for _ in range(3)]
        assert len({tuple(one) for one in passes}) == 3
        loader.set_epoch(1)
        assert seen(loader) == passes[1]
        assert seen(loader) == passes[2]
        loader.set_epoch(0)
        assert seen(loader) == passes[0]
    for epoch in range(3):
        stream.set_epoch(epoch)
        assert seen(ordinary(stream)) == passes[epoch]


def test_persistent_workers_follow_set_epoch(data: Path) -> None:
    stream = ClipStream(data, Pairs(2), global_batch_size=6)
    kept = torch.utils.data.DataLoader(stream, batch_size=None, num_workers=2, persistent_workers=True)
    for epoch in (0, 3, 1):
        stream.set_epoch(epoch)
        found = seen(kept)
        stream.set_epoch(epoch)
        assert found == seen(stream)


@pytest.mark.parametrize("shuffle", ["global", pytest.param("shard", marks=pytest.mark.slow)])
def test_a_state_resumes_with_exactly_the_remaining_batches_in_any_world(data: Path, shuffle: str) -> None:
    """Stops at 100 random positions of three epochs, and resumes with other world and batch sizes."""
    random = np.random.default_rng(0)

    def stream(rank: int, size: int, batch: int) -> ClipStream:
        world = World(rank, size)
        return ClipStream(data, Pairs(2), global_batch_size=batch, world=world, shuffle=shuffle, repeats=2, window=2, seed=9)

    whole = [seen(_epoch(stream(0, 1, 4), epoch)) for epoch in range(3)]
    with make_loader(stream(0, 1, 4)) as writer:
        for _ in range(100):
            epoch, batches = int(random.integers(3)), int(random.integers(31))
            writer.set_epoch(epoch)
            assert seen(islice(writer, batches)) == whole[epoch][: 4 * batches]
            size, batch = ((1, 4), (2, 8), (4, 4), (1, 1), (2, 2))[random.integers(5)]
            parts = []
            for rank in range(size):
                reader = stream(rank, size, batch)
                reader.load_state_dict(writer.state_dict())
                parts.append(list(reader))
            rest = whole[epoch][4 * batches :]
            expected = rest[: len(rest) // batch * batch] or seen(_epoch(stream(0, 1, batch), epoch + 1))
            assert interleaved(parts) == expected


def _epoch(stream: ClipStream, epoch: int) -> ClipStream:
    stream.set_epoch(epoch)
    return stream
