"""FramesDataset as a replacement for the original repositories' class, used as in their training, evaluation and animation."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from made import make_dataset
from moving import SIZE, make_moving_dataset, seen_in
from torch.utils.data import DataLoader

from motionshards import Augment, ClipStream, FommBatches, FramesDataset, Pairs, make_loader
from motionshards.dataset.index import Dataset
from motionshards.schemas.errors import ConfigError, DatasetError
from motionshards.schemas.layout import VIDEO, tar_path
from motionshards.transforms.augment.augment import to_float

# As in the configuration files of the original repositories.
AUGMENTATION = {
    "flip_param": {"horizontal_flip": True, "time_flip": True},
    "jitter_param": {"brightness": 0.1, "contrast": 0.1, "saturation": 0.1, "hue": 0.1},
}


class Repeated(torch.utils.data.Dataset[Any]):
    """A dataset repeated several times, as in the original training code."""

    def __init__(self, dataset: FramesDataset, times: int) -> None:
        self.dataset, self.times = dataset, times

    def __len__(self) -> int:
        return self.times * len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index % len(self.dataset)]


@pytest.fixture(scope="module")
def moving(once: Callable[..., Path]) -> Path:
    """Eight clips of 5 identities, the last four in the split test; read-only."""
    return once("originals-moving", lambda out: make_moving_dataset(out, 8, split=lambda clip: "test" if clip >= 4 else "train"))


def seen(image: torch.Tensor) -> tuple[int, int]:
    """Clip and number of a frame, float [3,H,W]."""
    return seen_in((image * 255).byte().permute(1, 2, 0).numpy())


def damage_video(data: Path, row: dict[str, Any]) -> None:
    (place,) = [member for member in row["members"] if member["suffix"] == VIDEO]
    with tar_path(data, row["split"], row["shard"]).open("r+b") as tar:
        tar.seek(place["offset"])
        tar.write(b"\0" * 100)


def clip_of(name: str) -> int:
    return int(name.split("#")[1].rpartition("clip")[2])


def pairs(dataset: FramesDataset, workers: int, seed: int, times: int = 4) -> list[tuple[str, int, int]]:
    """Name and frame numbers of each item, in the order of a shuffling loader."""
    torch.manual_seed(seed)
    loader = DataLoader(Repeated(dataset, times), batch_size=4, shuffle=True, num_workers=workers, drop_last=True)
    found = []
    for batch in loader:
        assert batch["source"].shape == batch["driving"].shape == (4, 3, SIZE, SIZE)
        for name, *frames in zip(batch["name"], batch["source"], batch["driving"], strict=True):
            (clip, first), (other, second) = map(seen, frames)
            assert clip == other == clip_of(name)
            found.append((name, first, second))
    return found


def test_training_draws_different_frames_in_each_epoch_and_worker(moving: Path) -> None:
    dataset = FramesDataset(str(moving), frame_shape=None)
    drawn = pairs(dataset, workers=2, seed=0)
    assert all(first < second for _, first, second in drawn)
    assert sorted(name for name, *_ in drawn) == sorted(dataset.videos * 4) and len(set(drawn)) > 12
    assert drawn == pairs(dataset, workers=2, seed=0)
    assert {one[1:] for one in drawn} != {one[1:] for one in pairs(dataset, workers=2, seed=1)}


def test_items_are_identities_of_which_any_clip_is_drawn(tmp_path: Path) -> None:
    data = make_moving_dataset(tmp_path / "data", 6, frames=lambda clip: 12, identity=lambda clip: clip % 2)
    dataset = FramesDataset(data, (SIZE, SIZE, 3), id_sampling=True)
    assert dataset.videos == ["id000", "id001"]
    drawn = pairs(dataset, workers=0, seed=0, times=16)
    assert {clip_of(name) for name, *_ in drawn} == set(range(6))
    torch.manual_seed(0)
    assert all(dataset[1]["name"].startswith("id001#") for _ in range(8))


def test_items_for_training(moving: Path) -> None:
    dataset = FramesDataset(moving, [32, 32, 3], augmentation_params=AUGMENTATION)
    item = dataset[2]
    assert list(item) == ["source", "driving", "name", "id"] and item["id"] == 2 and item["name"] == dataset.videos[2]
    for name in ("source", "driving"):
        assert item[name].shape == (3, 32, 32) and item[name].dtype == torch.float32
        assert 0 <= item[name].min() < item[name].max() <= 1
    with pytest.raises(IndexError):
        dataset[4]


def test_whole_videos_for_evaluation_and_animation(moving: Path) -> None:
    arguments = {"frame_shape": None, "pairs_list": "pairs.csv", "augmentation_params": AUGMENTATION}
    dataset = FramesDataset(root_dir=moving, is_train=False, **arguments)
    assert (dataset.root_dir, dataset.pairs_list) == (moving, "pairs.csv")
    samples = [one for one in Dataset.open(moving).samples() if int(one.key[-5:]) >= 4]
    for index, (batch, sample) in enumerate(zip(DataLoader(dataset, batch_size=1, num_workers=1), samples, strict=True)):
        assert batch["name"] == [dataset.videos[index]] and dataset.videos[index].endswith(f"#000000#{len(sample.video):06d}.mp4")
        assert (batch["video"] == to_float(torch.from_numpy(sample.video.read())[None]).transpose(1, 2)).all()


def test_stills_are_read(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", 6, split=lambda clip: "train" if clip < 4 else "val")
    assert FramesDataset(data, None)[0]["source"].shape == (3, 32, 32)
    assert [item["video"].shape[1] for item in FramesDataset(data, None, is_train=False)] == [5, 6]  # of 5 + clip % 4


@pytest.mark.parametrize(("time_flip", "reversed_share", "mirrored_share"), [(True, 0.5, 0.25), (False, 0, 0.5)])
def test_flips_are_as_frequent_as_in_the_original_repositories(
    moving: Path, time_flip: bool, reversed_share: float, mirrored_share: float
) -> None:
    flips = {"flip_param": {"horizontal_flip": True, "time_flip": time_flip}}
    dataset = FramesDataset(moving, None, augmentation_params=flips)
    torch.manual_seed(0)
    drawn = [(seen(item["source"]), seen(item["driving"])) for item in (dataset[1] for _ in range(300))]
    plain = [(first, second) for (clip, first), (_, second) in drawn if clip == 1]  # a mirrored 1 shows another number
    assert 1 - len(plain) / 300 == pytest.approx(mirrored_share, abs=0.08)
    assert sum(first > second for first, second in plain) / len(plain) == pytest.approx(reversed_share, abs=0.1)


def test_a_damaged_clip_is_replaced_in_training_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = make_moving_dataset(tmp_path / "data", 8, frames=lambda clip: 12, split=lambda clip: "test" if clip >= 4 else "train")
    rows = Dataset.open(data).index().to_pylist()
    for row in (rows[0], rows[4]):
        damage_video(data, row)
    dataset = FramesDataset(data, None)
    damaged = next(number for number, name in enumerate(dataset.videos) if clip_of(name) in (0, 4))
    with caplog.at_level(logging.WARNING):
        assert clip_of(dataset[damaged]["name"]) not in (0, 4)
    assert "substituting another clip" in caplog.text
    with pytest.raises(DatasetError, match="cannot be read: damaged"):
        list(FramesDataset(data, None, is_train=False))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"frame_shape": (256, 128, 3)}, r"frame_shape must be \[side, side, 3\] or null, not \(256, 128, 3\)"),
        ({"frame_shape": 256}, "frame_shape must be .* not 256"),
        ({"augmentation_params": {"rotation_param": {"degrees": 5}}}, "rotation_param has no equivalent; supported are"),
        ({"augmentation_params": {"jitter_param": {"gamma": 1}}}, "gamma has no equivalent"),
        ({"augmentation_params": {"jitter_param": {"hue": 2}}}, "augmentation_params: hue must be at most 0.5"),
        ({"where": "blurr > 5"}, "blurr"),
        ({"where": "video == 'absent'"}, "no clip passes"),
    ],
)
def test_arguments_without_equivalent_are_refused(moving: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FramesDataset(moving, **arguments)


def test_where_selects_clips(moving: Path) -> None:
    assert len(FramesDataset(moving, where="identity == 'id001' or identity == 'id002'")) == 2


@pytest.mark.parametrize("augment", [None, Augment(flip=0.5)])
def test_batches_match_those_of_the_loader(moving: Path, augment: Augment | None) -> None:
    with make_loader(ClipStream(moving, Pairs(2), global_batch_size=2, seed=3), processes=1, augment=augment) as loader:
        batches = FommBatches(loader)
        plain = list(loader)
        loader.set_epoch(0)
        assert len(batches) == len(plain) == 2
        for ours, theirs in zip(plain, batches, strict=True):
            frames = to_float(ours.frames) if augment is None else ours.frames
            assert (torch.stack([theirs["source"], theirs["driving"]], 1) == frames).all()
            assert [clip_of(name) for name in theirs["name"]] == [int(key[-5:]) for key in ours.keys]


def test_batches_need_pairs(moving: Path) -> None:
    stream = ClipStream(moving, Pairs(3), global_batch_size=2)
    with make_loader(stream, processes=1) as loader, pytest.raises(ConfigError, match="Pairs"):
        FommBatches(loader)
    with pytest.raises(ConfigError, match="FommBatches needs a loader"):
        FommBatches(DataLoader([1]))  # type: ignore[arg-type]
