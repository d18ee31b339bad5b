"""The train command: files of a run, and resumption, processes and precision, which do not change the result."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from checkout import ROOT
from fomm_inputs import TINY
from made import make_dataset
from training_runs import metrics, same

import motionshards.jobs.train
from motionshards.trainers.fomm.config import Config
from motionshards.trainers.fomm.generator import OcclusionAwareGenerator
from motionshards.trainers.fomm.keypoints import KPDetector

# A small adversarial model for frames of 32 px, with all trainable parts.
ADVERSARIAL = f"""
base: vox-adv-256
{TINY}
training:
  epochs: 3
  repeats: 1
  global_batch_size: 4
  milestones: [1]
  one_pair_per_identity: false
  losses: {{scales: [1, 0.5], feature_matching: [10]}}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 clips: three steps per epoch, nine in total."""
    return make_dataset(tmp_path_factory.mktemp("train"), 12)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(ADVERSARIAL)
    return path


def order(data: Path, config: Path | str, run: Path, *more: object) -> list[str]:
    command = [
        "--model",
        "fomm",
        "--config",
        config,
        "--data",
        data,
        "--output",
        run,
        "--vgg",
        "none",
        "--device",
        "cpu",
        "--quiet",
    ]
    return [str(word) for word in [*command, "--log-every", 1, "--workers", 1, *more]]


def state(run: Path, name: str = "last.pt") -> dict[str, Any]:
    content: dict[str, Any] = torch.load(run / name, weights_only=True)
    return content


def test_files_of_a_run(data: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert motionshards.jobs.train.main(order(data, config, run, "--images-every", 4, "--keep-every", 2, "--json")) == 0
    printed = capsys.readouterr()
    assert "12 samples of 32 px per epoch, 3 steps; at step 0 of 9" in printed.err
    lines = metrics(run)
    done = json.loads(printed.out)
    assert (done["checkpoint"], done["step"], done["epoch"]) == (str(run / "last.pt"), 9, 3)
    assert lines[-1].items() <= done["metrics"].items()
    assert [(line["step"], line["epoch"]) for line in lines] == [(step + 1, step // 3) for step in range(9)]
    losses = {"pixel", "gen_gan", "feature_matching", "equivariance_value", "equivariance_jacobian", "disc_gan"}
    rates = [f"lr_{name}" for name in ("generator", "kp_detector", "discriminator")]
    assert all(line.keys() - {"step", "epoch"} == {*losses, *rates} for line in lines)
    # Decayed after the first epoch, that is after the third step.
    assert all([line[rate] for line in lines] == pytest.approx([2e-4] * 3 + [2e-5] * 6) for rate in rates)
    assert [path.name for path in sorted((run / "images").iterdir())] == ["00000004.jpg", "00000008.jpg", "00000009.jpg"]
    assert sorted(path.name for path in run.glob("*.pt")) == ["epoch-0002.pt", "last.pt"]
    content = state(run)
    assert {"generator", "kp_detector", "discriminator", "epoch"} < content.keys()
    assert {f"optimizer_{name}" for name in ("generator", "kp_detector", "discriminator")} < content.keys()
    assert content["epoch"] == 3 and content["motionshards"]["step"] == 9
    settings = Config.from_json(content["motionshards"]["config"])
    OcclusionAwareGenerator(settings.architecture).load_state_dict(content["generator"])
    KPDetector(settings.architecture).load_state_dict(content["kp_detector"])
    (group,) = content["optimizer_generator"]["param_groups"]
    assert group["lr"] == pytest.approx(2e-5), "decayed once, after the first epoch"


@pytest.mark.filterwarnings("error:Detected call of")  # raised by torch if schedulers step before optimizers
@pytest.mark.parametrize(
    "cuts", [(4,), (3,), pytest.param((1, 2, 6, 8), marks=pytest.mark.slow)], ids=["in an epoch", "at its end", "often"]
)
def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one(
    data: Path, config: Path, tmp_path: Path, cuts: tuple[int, ...]
) -> None:
    assert motionshards.jobs.train.main(order(data, config, tmp_path / "whole")) == 0
    for cut in cuts:
        assert motionshards.jobs.train.main(order(data, config, tmp_path / "parts", "--stop-after", cut)) == 0
        assert state(tmp_path / "parts")["motionshards"]["step"] == cut
    assert motionshards.jobs.train.main(order(data, config, tmp_path / "parts")) == 0
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    assert same(state(tmp_path / "parts"), state(tmp_path / "whole"))


@pytest.mark.filterwarnings("error:Detected call of")  # torch's, where schedulers step and optimizers do not
def test_a_discriminator_that_is_not_trained_has_no_learning_rate(data: Path, config: Path, tmp_path: Path) -> None:
    config.write_text(ADVERSARIAL.replace("vox-adv-256", "vox-256").replace("spectral_norm: false", ""))
    assert motionshards.jobs.train.main(order(data, config, tmp_path / "run", "--epochs", 1)) == 0
    line = metrics(tmp_path / "run")[-1]
    assert {"lr_generator", "lr_kp_detector", "pixel"} < line.keys() and "lr_discriminator" not in line
    content = state(tmp_path / "run")
    assert content.keys() >= {"discriminator", "optimizer_discriminator"}, "as in the authors' checkpoints"
    assert content["motionshards"]["schedulers"].keys() == {"optimizer_generator", "optimizer_kp_detector"}


def test_a_finished_run_can_be_extended(data: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert motionshards.jobs.train.main(order(data, config, tmp_path / "run", "--epochs", 1)) == 0
    capsys.readouterr()
    assert motionshards.jobs.train.main(order(data, config, tmp_path / "run", "--epochs", 2)) == 0
    assert "at step 3 of 6" in capsys.readouterr().err
    assert motionshards.jobs.train.main(order(data, config, tmp_path / "whole", "--epochs", 2)) == 0
    assert metrics(tmp_path / "run") == metrics(tmp_path / "whole")
    assert same(state(tmp_path / "run"), state(tmp_path / "whole"))


def started(arguments: list[str], **environment: str) -> "subprocess.Popen[str]":
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}  # with more threads, sums can differ in the last bit
    return subprocess.Popen(
        [sys.executable, "-m", "jobs.train", *arguments],
        cwd=ROOT,
        env={**os.environ, **threads, **environment},
        text=True,
        stderr=subprocess.PIPE,
    )


def wait_for_step(run: Path, step: int, program: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + 60
    while not (run / "metrics.jsonl").exists() or len((run / "metrics.jsonl").read_text().splitlines()) < step:
        assert time.monotonic() < end and program.poll() is None, "training does not progress"
        time.sleep(0.005)


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_killed_run_resumes_from_its_checkpoint(data: Path, config: Path, tmp_path: Path, number: signal.Signals) -> None:
    long = order(data, config, tmp_path / "killed", "--epochs", 40, "--save-every", 5)
    program = started(long)
    wait_for_step(tmp_path / "killed", 12, program)
    program.send_signal(number)
    message = program.communicate(timeout=60)[1]
    before = state(tmp_path / "killed")["motionshards"]["step"]
    if number == signal.SIGTERM:
        advice = f"interrupted. The same command resumes from the checkpoint of step {before}\n"
        assert program.returncode == 130 and message.endswith(advice)
    assert before >= 10 and before < 120
    assert motionshards.jobs.train.main([*long, "--stop-after", str(before + 4)]) == 0
    undisturbed = order(data, config, tmp_path / "whole", "--epochs", 40, "--stop-after", before + 4)
    assert motionshards.jobs.train.main(undisturbed) == 0
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")
    assert same(state(tmp_path / "killed"), state(tmp_path / "whole"))


def test_two_processes_equal_one_with_two_parts(data: Path, config: Path, tmp_path: Path) -> None:
    """Each rank has half of every batch, like a part, so averaged gradients are equal up to rounding."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    arguments = order(data, config, tmp_path / "two")
    environment = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    environment["OMP_NUM_THREADS"] = "1"
    ranks = [started(arguments, RANK=str(rank), LOCAL_RANK=str(rank), **environment) for rank in range(2)]
    for rank in ranks:
        stderr = rank.communicate(timeout=120)[1]
        assert rank.returncode == 0, stderr
    assert motionshards.jobs.train.main(order(data, config, tmp_path / "one", "--accumulate", 2)) == 0
    for one, two in zip(metrics(tmp_path / "one"), metrics(tmp_path / "two"), strict=True):
        assert one == pytest.approx(two, rel=2e-3)
    assert [line["step"] for line in metrics(tmp_path / "two")] == list(range(1, 10)), "only the first rank writes"


def test_init_loads_weights_of_another_run(data: Path, config: Path, tmp_path: Path) -> None:
    assert motionshards.jobs.train.main(order(data, config, tmp_path / "first", "--stop-after", 2)) == 0
    theirs = {name: value for name, value in state(tmp_path / "first").items() if name != "motionshards"}
    torch.save(theirs, tmp_path / "authors.pth.tar", _use_new_zipfile_serialization=False)
    second = order(data, config, tmp_path / "second", "--init", tmp_path / "authors.pth.tar", "--stop-after", 1)
    assert motionshards.jobs.train.main(second) == 0
    content = state(tmp_path / "second")
    assert content["motionshards"]["step"] == 1
    key = "discriminator", next(iter(theirs["discriminator"]))
    assert (content[key[0]][key[1]] - theirs[key[0]][key[1]]).abs().max() <= 2.1e-4, "one step away from the initial weights"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no compiler for torch.compile")
def test_compiled_networks_train_equally(data: Path, config: Path, tmp_path: Path) -> None:
    for name, more in (("eager", ()), ("compiled", ("--compile",))):
        assert motionshards.jobs.train.main(order(data, config, tmp_path / name, "--stop-after", 3, *more)) == 0
    for one, other in zip(metrics(tmp_path / "eager"), metrics(tmp_path / "compiled"), strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_bf16_trains(data: Path, config: Path, tmp_path: Path) -> None:
    run = order(data, config, tmp_path / "run", "--precision", "bf16", "--channels-last", "--stop-after", 2)
    assert motionshards.jobs.train.main(run) == 0
    plain = order(data, config, tmp_path / "plain", "--stop-after", 2)
    assert motionshards.jobs.train.main(plain) == 0
    for one, other in zip(metrics(tmp_path / "run"), metrics(tmp_path / "plain"), strict=True):
        assert one == pytest.approx(other, rel=0.2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--config", "vox256"), "did you mean vox-256?"),
        (
            ("--config", "vox-256"),
            "needs 256: build with --size 256, or in a config of your own set architecture.size: 32",
        ),
        (("--batch", "13"), "fewer than one batch of 13"),
        (("--batch", "0"), "--batch. Must be > 0"),
        (("--vgg", "nowhere.pth"), "nowhere.pth"),
        (("--init", "nowhere.pt"), "checkpoint not found: nowhere.pt"),
        (("--data", "nowhere"), "nowhere does not exist"),
        (("--where", "blurr > 1"), "blurr"),
        (("--log-every", "0"), "--log-every. Must be > 0"),
        (("--model", "fom"), "must be face_rotator, fomm, ganimation or talking_heads; did you mean fomm?"),
    ],
)
def test_invalid_arguments_are_refused_in_one_line(
    data: Path, config: Path, tmp_path: Path, change: tuple[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = motionshards.jobs.train.main(order(data, config, tmp_path / "run", *change))
    stderr = capsys.readouterr().err
    assert (status, message in stderr, stderr.count("\n")) == (2, True, 1), stderr


def test_an_occupied_directory_is_refused_before_the_data_is_read(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "thesis.tex").write_text("")
    assert motionshards.jobs.train.main(order(tmp_path / "absent", config, run)) == 2
    assert "holds no training run (found 'thesis.tex')" in capsys.readouterr().err
    assert [path.name for path in run.iterdir()] == ["thesis.tex"]


def test_a_run_killed_before_its_first_checkpoint_starts_again(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    for name in ("config.json", "metrics.jsonl", "tensorboard/events.out.tfevents.0", "images/000001.png"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).touch()
    assert motionshards.jobs.train.main(order(tmp_path / "absent", config, run)) == 2
    assert f"{tmp_path / 'absent'} does not exist" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA")
def test_missing_gpus_are_refused(data: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert motionshards.jobs.train.main(order(data, config, tmp_path / "run", "--device", "cuda")) == 2
    assert "CUDA is not available" in capsys.readouterr().err


def test_a_run_is_not_resumed_with_other_settings(
    data: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert motionshards.jobs.train.main(order(data, config, tmp_path / "run", "--stop-after", 1)) == 0
    config.write_text(ADVERSARIAL.replace("keypoints: 3", "keypoints: 4"))
    assert motionshards.jobs.train.main(order(data, config, tmp_path / "run")) == 2
    error = capsys.readouterr().err
    assert "architecture.keypoints: 3 → 4" in error and "use another --output" in error
    assert motionshards.jobs.train.main(order(data, config, tmp_path / "new", "--init", tmp_path / "run" / "last.pt")) == 2
    assert "another architecture: shapes: " in capsys.readouterr().err
    config.write_text(ADVERSARIAL)
    assert motionshards.jobs.train.main(order(data, config, tmp_path / "run", "--seed", 1)) == 2
    error = capsys.readouterr().err
    assert "different settings (seed: 0 → 1)" in error and "use another --output" in error
    (tmp_path / "run" / "last.pt").write_bytes(b"no checkpoint")
    assert motionshards.jobs.train.main(order(data, config, tmp_path / "run")) == 2
    assert "cannot be read as a checkpoint" in capsys.readouterr().err
