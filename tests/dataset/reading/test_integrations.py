"""Streams in Hugging Face accelerate and PyTorch Lightning: one or two processes receive their part of every batch once."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT
from made import make_dataset

from motionshards.dataset.stream import ClipStream, Pairs

SUPPORT = ROOT / "tests" / "support"

Keys = list[list[str]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 clips, 5 batches of 6; read-only."""
    return make_dataset(tmp_path_factory.mktemp("integrations"), 30)


@pytest.fixture(scope="module")
def epochs(data: Path) -> list[Keys]:
    """The keys of each batch in three epochs, in one process."""
    stream = ClipStream(data, Pairs(2), global_batch_size=6)
    return [[list(batch.keys) for batch in stream] for _ in range(3)]


def run(*command: object) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *map(str, command)], env=environment, capture_output=True, text=True, timeout=300)


def ranks(result: Path, processes: int) -> list[Any]:
    return [json.loads(Path(f"{result}.{rank}").read_text()) for rank in range(processes)]


def joined(parts: list[Keys]) -> Keys:
    """The global batches, joined from the parts of the ranks."""
    return [[key for part in step for key in part] for step in zip(*parts, strict=True)]


def through_accelerate(data: Path, result: Path, processes: int, epochs: list[Keys]) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", processes] if processes > 1 else []
    done = run(*launcher, SUPPORT / "accelerate_program.py", data, result)
    assert done.returncode == 0, done.stderr
    found = ranks(result, processes)
    for source in ("0 workers", "2 workers", "make_loader"):
        whole, left, after = (joined([one[source][number] for one in found]) for number in range(3))
        assert (whole, left, after) == (epochs[0], epochs[1][:2], epochs[2])
    for workers in (0, 2):
        assert joined([one[f"{workers} workers, epoch 1"] for one in found]) == epochs[1]
        assert joined([one[f"{workers} workers, resumed"] for one in found]) == epochs[1][2:]
    for one in found:
        assert "dispatch_batches=False" in one["default"] and "dispatch_batches=False" in one["dispatched"]
        assert processes == 1 or "split_batches=False" in one["split"]


def test_two_processes_of_accelerate_share_each_batch(data: Path, epochs: list[Keys], tmp_path: Path) -> None:
    through_accelerate(data, tmp_path / "result", 2, epochs)


@pytest.mark.slow
def test_one_process_of_accelerate_reads_all(data: Path, epochs: list[Keys], tmp_path: Path) -> None:
    through_accelerate(data, tmp_path / "result", 1, epochs)


def through_lightning(data: Path, result: Path, processes: int, source: str, mode: str) -> list[tuple[int, list[str]]]:
    """Epoch and keys of each global batch that a run sees."""
    done = run(SUPPORT / "lightning_program.py", data, result, processes, source, mode)
    assert done.returncode == 0, done.stderr
    found = ranks(Path(f"{result}-{mode}"), processes)
    return [(steps[0][0], [key for _, keys in steps for key in keys]) for steps in zip(*found, strict=True)]


def numbered(epochs: list[Keys], batches: int) -> list[tuple[int, list[str]]]:
    return [(epoch, keys) for epoch, whole in enumerate(epochs) for keys in whole[:batches]]


def test_two_processes_of_lightning_share_each_batch(data: Path, epochs: list[Keys], tmp_path: Path) -> None:
    assert through_lightning(data, tmp_path / "result", 2, "loader", "whole") == numbered(epochs, 5)


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "source"), [(1, "loader"), (2, "loader"), (1, "0"), (2, "2")])
def test_epochs_limited_by_lightning_differ(data: Path, epochs: list[Keys], tmp_path: Path, processes: int, source: str) -> None:
    assert through_lightning(data, tmp_path / "result", processes, source, "limited") == numbered(epochs, 2)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_lightning_resumes_mid_epoch_from_a_checkpoint(data: Path, epochs: list[Keys], tmp_path: Path, processes: int) -> None:
    first = through_lightning(data, tmp_path / "result", processes, "loader", "stopped")
    assert first == numbered(epochs, 5)[:7]
    assert through_lightning(data, tmp_path / "result", processes, "loader", "resumed") == numbered(epochs, 5)[7:]


@pytest.mark.slow
def test_a_stream_opened_before_the_process_group_is_refused(data: Path, tmp_path: Path) -> None:
    done = run(SUPPORT / "lightning_program.py", data, tmp_path / "result", 2, "0", "early")
    assert done.returncode != 0
    assert "open it after the process group is initialized" in done.stderr or "create the stream after" in done.stderr
