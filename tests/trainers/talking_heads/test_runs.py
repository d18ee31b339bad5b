"""Runs of the training command on talking heads: resuming, the dataset they need, precision and processes."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkout import ROOT
from made import make_dataset
from training_runs import embeddings, metrics, same

import motionshards.jobs.train
from motionshards.dataset.reading.world import World
from motionshards.dataset.stream import ClipStream
from motionshards.schemas.errors import ConfigError
from motionshards.trainers.checkpoint import METADATA_KEY
from motionshards.trainers.settings import to_json
from motionshards.trainers.talking_heads.architecture import Architecture
from motionshards.trainers.talking_heads.config import Config, LossWeights, TrainingConfig
from motionshards.trainers.talking_heads.training import TalkingHeadsPlan
from motionshards.trainers.task import Runtime, Task

TINY = """
architecture: {size: 32, width: 4, halvings: 4, residuals: 1}
training: {epochs: 2, global_batch_size: 4, frames: 2, learning_rate: 0.001}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 clips of 7 people: three steps per epoch, six in total."""
    return make_dataset(tmp_path_factory.mktemp("heads"), 12)


Order = Callable[..., list[str]]


@pytest.fixture
def command_line(data: Path, tmp_path: Path) -> Order:
    """command_line("run", ...) -> arguments of jobs.train."""
    (tmp_path / "tiny.yaml").write_text(TINY)

    def command(run: str, *more: object, **changes: object) -> list[str]:
        named = {"config": tmp_path / "tiny.yaml", "data": data, "output": tmp_path / run, "vgg": "none", "vggface": "none"}
        words = [str(word) for name, value in {**named, **changes}.items() for word in (f"--{name}", value)]
        fixed = ["--model", "talking_heads", "--device", "cpu", "--quiet", "--log-every", "1", "--workers", "1"]
        return [*words, *fixed, *map(str, more)]

    return command


def task(data: Path, weights: dict[str, float], **files: str) -> Task:
    """The task of the tiny settings with these weights of losses."""
    shape = Architecture(size=32, width=4, halvings=4, residuals=1)
    training = TrainingConfig(frames=2, losses=LossWeights(**weights))
    expected = TalkingHeadsPlan(Config(architecture=shape, training=training))
    stream = ClipStream(data, expected.view, global_batch_size=training.global_batch_size)
    return expected.task(Runtime(world=World(), device=torch.device("cpu"), **files), stream)


def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one(command_line: Order, tmp_path: Path) -> None:
    assert motionshards.jobs.train.main(command_line("whole", "--images-every", 5)) == 0
    assert motionshards.jobs.train.main(command_line("parts", "--stop-after", 2)) == 0
    assert motionshards.jobs.train.main(command_line("parts")) == 0
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    losses = {"pixel", "adversarial", "feature_matching", "match", "discriminator", "without_face"}
    rates = {"lr_G": 1e-3, "lr_D": 2e-4}
    assert all(line.keys() - {"step", "epoch"} == losses | rates.keys() for line in metrics(tmp_path / "whole"))
    assert all(rates.items() <= line.items() for line in metrics(tmp_path / "whole"))
    whole, parts = (torch.load(tmp_path / run / "last.pt", weights_only=True) for run in ("whole", "parts"))
    assert same(whole, parts)
    assert {"E_state_dict", "G_state_dict", "D_state_dict", "optimizerG", "optimizerD", "epoch"} < whole.keys()
    names = whole[METADATA_KEY]["names"]["videos"]
    assert names == sorted(names) and names[0] == "id000/video0" and whole["D_state_dict"]["W"].shape == (32, len(names))
    assert sorted(path.name for path in (tmp_path / "whole" / "images").iterdir()) == ["00000005.jpg", "00000006.jpg"]


def test_a_run_is_not_resumed_with_other_videos(command_line: Order, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert motionshards.jobs.train.main(command_line("run", "--stop-after", 1)) == 0
    other = make_dataset(tmp_path / "other", 12, identity=lambda clip: 100 + clip % 5)
    capsys.readouterr()
    assert motionshards.jobs.train.main(command_line("run", data=other)) == 2
    stderr = capsys.readouterr().err
    assert "was trained on other videos: " in stderr and "Use --init to start a new run" in stderr and stderr.count("\n") == 1
    assert (
        motionshards.jobs.train.main(command_line("new", "--init", tmp_path / "run" / "last.pt", "--stop-after", 1, data=other))
        == 0
    )


def test_landmarks_are_required(command_line: Order, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = make_dataset(tmp_path / "bare", 12, landmarks=False)
    assert motionshards.jobs.train.main(command_line("run", data=bare)) == 2
    stderr = capsys.readouterr().err
    assert "talking_heads needs landmarks, and the dataset has none: build it with --landmarks dlib" in stderr
    assert stderr.count("\n") == 1


@pytest.mark.parametrize(("weights", "expected"), [({}, 0.1), ({"vgg19": 0, "match": 80}, 0.1), ({"match": 3}, 3)])
def test_without_vgg_networks_the_published_match_weight_is_lowered(
    data: Path, caplog: pytest.LogCaptureFixture, weights: dict[str, float], expected: float
) -> None:
    """A warning is logged, and the task's config has the weight that is used."""
    created = task(data, weights, vgg="none", vggface="none")
    assert created.config["training"]["losses"] == to_json(LossWeights(**{**weights, "match": expected}))
    assert len(caplog.messages) == (expected == 0.1)
    assert "losses.match is 0.1 instead of the published 80" in caplog.text or expected == 3


@pytest.mark.parametrize("network", ["vgg", "vggface"])
def test_with_a_vgg_network_the_published_match_weight_is_kept(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, network: str
) -> None:
    files = {"vgg": "none", "vggface": "none", network: str(tmp_path / "absent.pth")}
    with pytest.raises(ConfigError, match=r"absent\.pth does not exist"):
        task(data, {}, **files)
    assert not caplog.messages


def test_without_vgg_networks_embeddings_do_not_collapse(command_line: Order, data: Path, tmp_path: Path) -> None:
    """At the published match weight they are exactly 0 after 12 steps; 79 is not replaced."""
    for name, losses in (("default", "{}"), ("published", "{match: 79}")):
        config = tmp_path / f"{name}.yaml"
        config.write_text(f"{TINY.replace('0.001', '0.003').rstrip().removesuffix('}')}, losses: {losses}}}")
        assert motionshards.jobs.train.main(command_line(name, "--epochs", 4, config=config)) == 0
    assert not embeddings(tmp_path / "published", data).any()
    alive = embeddings(tmp_path / "default", data)
    assert alive.mean() > 0.01 and alive.std(dim=0).mean() > 1e-5


@pytest.mark.slow
def test_bf16_trains_alike(command_line: Order, tmp_path: Path) -> None:
    assert motionshards.jobs.train.main(command_line("rounded", "--precision", "bf16", "--channels-last", "--stop-after", 2)) == 0
    assert motionshards.jobs.train.main(command_line("exact", "--stop-after", 2)) == 0
    for one, other in zip(metrics(tmp_path / "rounded"), metrics(tmp_path / "exact"), strict=True):
        assert one == pytest.approx(other, rel=0.1, abs=0.05)


@pytest.mark.slow
def test_two_processes_equal_one(command_line: Order, tmp_path: Path) -> None:
    """No network uses batch statistics, and spectral norms iterate equally often: only rounding differs.

    Adam divides by gradients, so differences grow tenfold per step: from 1e-7 in step 1 to 1e-3 in step 4.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    there = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "jobs.train", *command_line("two")],
            cwd=ROOT,
            env={**os.environ, **there, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            text=True,
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    for rank in ranks:
        stderr = rank.communicate(timeout=120)[1]
        assert rank.returncode == 0, stderr
    assert motionshards.jobs.train.main(command_line("one")) == 0
    for one, two in zip(metrics(tmp_path / "one")[:3], metrics(tmp_path / "two")[:3], strict=True):
        assert one == pytest.approx(two, rel=5e-3, abs=1e-3)
