"""Runs of the stages of the face rotator with the train command: files, resumption and initialization from each other."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from checkout import ROOT
from face_rotator_inputs import face
from made import SIZE, make_clip, make_dataset, write_shard
from training_runs import metrics, same

import motionshards.dataset.build
import motionshards.jobs.train
from motionshards.dataset.index import Dataset
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import INDEX
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.records import Clip, Landmarks
from motionshards.schemas.tables import INDEX as INDEX_SCHEMA
from motionshards.trainers.face_rotator.color import to_images
from motionshards.trainers.face_rotator.losses import pixel_distance
from motionshards.trainers.face_rotator.networks import is_trained
from motionshards.trainers.face_rotator.pose import rotation
from motionshards.trainers.face_rotator.restore import restore

CLIPS, FRAMES = 12, 6


TINY = """
base: {stage}
architecture: {{size: 32, width: 4, halvings: 2, blocks: 1}}
training: {{epochs: 2, global_batch_size: 4, frontal_deg: 10, least_deg: 0, most_deg: 15}}
"""


def talking_clip(number: int) -> Clip:
    """A clip of a person who moves the head slightly and opens the mouth in every third frame."""
    clip, random = make_clip(number, FRAMES, f"id{number % 4:03d}", "train", True, False, SIZE), np.random.default_rng(number)
    yaw, pitch, roll = random.uniform(-6, 6, (3, FRAMES)).astype(np.float32)
    points = torch.stack([face(mouth=0.4 * (frame % 3 == 0)) for frame in range(FRAMES)]).numpy()
    return replace(
        clip,
        quality=replace(clip.quality, yaw_deg=yaw, pitch_deg=pitch, roll_deg=roll),
        landmarks=Landmarks(points, np.ones((FRAMES, 68), np.float32)),
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 clips: three steps per epoch, six in total."""
    out = tmp_path_factory.mktemp("talking")
    entry, marker = write_shard(out, [talking_clip(number) for number in range(CLIPS)], "train", "made-train-000000")
    pq.write_table(marker.select(INDEX_SCHEMA.names), out / INDEX)
    config = BuildConfig(source="demo", size=SIZE, landmarks="dlib")
    Manifest(config=config, provenance={}, input="", complete=True, shards=(entry,)).write(out)
    return out


def command_line(data: Path, stage: str, run: Path, *more: object) -> list[str]:
    config = run.parent / f"{stage}.yaml"
    config.write_text(TINY.format(stage=stage))
    command = ["--model", "face_rotator", "--config", config, "--data", data, "--output", run, "--vgg", "none", "--device", "cpu"]
    return [str(word) for word in [*command, "--quiet", "--log-every", 1, "--workers", 1, *more]]


def state(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(run / "last.pt", weights_only=True)
    return content


@pytest.fixture(scope="module")
def rotator(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run."""
    run = tmp_path_factory.mktemp("rotator") / "run"
    assert motionshards.jobs.train.main(command_line(data, "rotator", run, "--images-every", 3)) == 0
    return run


def test_files_of_a_run(rotator: Path) -> None:
    lines = metrics(rotator)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert all(line.keys() == {"step", "epoch", "pixel_painted", "pixel_moved", "unfit", "lr_rotator"} for line in lines)
    assert 0 < np.mean([line["unfit"] for line in lines]) < 1
    assert [path.name for path in sorted((rotator / "images").iterdir())] == ["00000003.jpg", "00000006.jpg"]
    assert {"morpher", "rotator", "combiner", "optimizer_rotator"} <= state(rotator).keys()
    restored = restore([rotator / "last.pt"])
    assert [*restored.networks] == ["rotator"] and restored.architecture.size == 32 and not restored.matte


@pytest.mark.parametrize("cut", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one(data: Path, rotator: Path, tmp_path: Path, cut: int) -> None:
    assert motionshards.jobs.train.main(command_line(data, "rotator", tmp_path / "run", "--stop-after", cut)) == 0
    assert state(tmp_path / "run")["motionshards"]["step"] == cut
    assert motionshards.jobs.train.main(command_line(data, "rotator", tmp_path / "run")) == 0
    assert metrics(tmp_path / "run") == metrics(rotator)
    assert same(state(tmp_path / "run"), state(rotator))


def test_a_combiner_starts_from_a_rotator_and_resumes_without_init(
    data: Path, rotator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert motionshards.jobs.train.main(command_line(data, "combiner", tmp_path / "run")) == 2
    assert "--init RUN/last.pt of a run of --config rotator" in capsys.readouterr().err
    first_steps = command_line(data, "combiner", tmp_path / "run", "--init", rotator / "last.pt", "--stop-after", 2)
    assert motionshards.jobs.train.main(first_steps) == 0
    assert motionshards.jobs.train.main(command_line(data, "combiner", tmp_path / "run")) == 0
    assert metrics(tmp_path / "run")[-1]["step"] == 6
    assert same(state(tmp_path / "run")["rotator"], state(rotator)["rotator"])
    restored = restore([tmp_path / "run" / "last.pt"])
    assert [*restored.networks] == ["rotator", "combiner"]
    assert all(is_trained(network) for network in restored.networks.values())


def test_later_files_take_precedence_and_published_ones_have_one_network(rotator: Path, tmp_path: Path) -> None:
    published = {key: value + 1 for key, value in state(rotator)["rotator"].items()}
    torch.save(published, tmp_path / "rotator.pt", _use_new_zipfile_serialization=False)
    both = [rotator / "last.pt", tmp_path / "rotator.pt"]
    assert same(dict(restore(both).networks["rotator"].state_dict()), published)
    assert same(dict(restore(both[::-1]).networks["rotator"].state_dict()), state(rotator)["rotator"])
    with pytest.raises(ConfigError, match="another architecture"):
        restore(both[1:])


@pytest.mark.slow
def test_two_processes_equal_one_with_two_parts(data: Path, tmp_path: Path) -> None:
    """Also if the numbers of usable pairs differ between processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    there = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "jobs.train", *command_line(data, "rotator", tmp_path / "two")]
    ranks = [subprocess.Popen(command, cwd=ROOT, env={**os.environ, **there, "RANK": str(rank)}) for rank in range(2)]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    assert motionshards.jobs.train.main(command_line(data, "rotator", tmp_path / "one", "--accumulate", 2)) == 0
    for one, two in zip(metrics(tmp_path / "one"), metrics(tmp_path / "two"), strict=True):
        assert one == pytest.approx(two, rel=2e-3)


def test_datasets_without_landmarks_are_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    without = make_dataset(tmp_path / "data", 4, landmarks=False)
    (tmp_path / "runs").mkdir()
    config = tmp_path / "runs" / "wide.yaml"
    config.write_text(TINY.format(stage="morpher").replace("frontal_deg: 10", "frontal_deg: 90"))
    command = command_line(without, "morpher", tmp_path / "runs" / "run", "--batch", 1)
    assert motionshards.jobs.train.main([str(config) if word.endswith("morpher.yaml") else word for word in command]) == 2
    assert "needs landmarks, and the dataset has none: add them with dataset.build --add landmarks" in capsys.readouterr().err


SMALL = """
base: rotator
architecture: {size: 64, width: 8, halvings: 2, blocks: 2}
training:
  epochs: 9
  repeats: 240
  global_batch_size: 6
  learning_rate: 0.003
  frontal_deg: 6
  alike: 2
  flip: 0
"""


CLIP = "id99001/uOgnqlReo_Q/00001"


@pytest.mark.slow
def test_a_rendered_clip_is_memorized(demo_videos: Path, tmp_path: Path) -> None:
    """After 360 steps both outputs are closer to the target than the source is, given the pose only."""
    data, run, config = tmp_path / "data", tmp_path / "run", tmp_path / "small.yaml"
    build = ["--source", "voxceleb2", "--input", demo_videos, "--output", data, "--size", 64, "--frames", 24, "--quiet"]
    assert motionshards.dataset.build.main([str(word) for word in [*build, "--split", "test", "--landmarks", "dlib"]]) == 0
    config.write_text(SMALL)
    command = ["--model", "face_rotator", "--config", config, "--data", data, "--split", "test", "--where", f"key == '{CLIP}'"]
    more = ["--output", run, "--vgg", "none", "--device", "cpu", "--quiet", "--log-every", 20]
    assert motionshards.jobs.train.main([str(word) for word in [*command, *more]]) == 0
    _, first, *_, last = metrics(run)  # the very first is the first step alone
    for name in ("pixel_painted", "pixel_moved"):
        assert last[name] < first[name] / 2, name
    copied, painted, moved = np.mean(list(distances(data, run)), axis=0)
    assert max(painted, moved) < 0.7 * copied, (copied, painted, moved)


@torch.no_grad()
def distances(data: Path, run: Path) -> Iterator[tuple[float, ...]]:
    """Return the distances of source, painted and moved image from the targets of the clip's pairs."""
    network = restore([run / "last.pt"]).networks["rotator"]
    (sample,) = (sample for sample in Dataset.open(data).samples() if sample.key == CLIP)
    angles = [sample.meta[name] for name in ("yaw_deg", "pitch_deg", "roll_deg")]
    pose = torch.tensor(angles).T
    images = to_images(torch.from_numpy(sample.frames).permute(0, 3, 1, 2).float() / 255)
    for source in np.flatnonzero((pose.abs() <= 6).all(dim=1)):
        targets = np.flatnonzero((pose - pose[source]).abs().amax(dim=1) >= 1)
        pairs = torch.stack([pose[source].expand(len(targets), -1), pose[targets]], dim=1)
        still = images[source].expand(len(targets), -1, -1, -1)
        rotated = network(still, rotation(pairs))
        candidates = (still, rotated.painted, rotated.moved)
        yield tuple(pixel_distance(image, images[targets]).mean().item() for image in candidates)
