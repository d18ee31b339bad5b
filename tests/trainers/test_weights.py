"""Checkpoints of other code load; damaged and hostile files are refused in one line, within bounded memory."""

import io
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from motionshards.schemas.errors import ConfigError
from motionshards.trainers.checkpoint import load_networks
from motionshards.transforms.weight_file import MAX_BEYOND_BYTES, read


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


class Unknown:
    """An object that checkpoints must not contain."""


def prefixed(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in state.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"g": state},
        lambda state: {"g": prefixed(state, "module.")},
        lambda state: {"g": prefixed(state, "_orig_mod.")},
        lambda state: {"g": prefixed(state, "module._orig_mod.")},
        lambda state: {"g": {"state_dict": state}},
        lambda state: {"state_dict": prefixed(state, "g."), "epoch": 3},
        lambda state: {"state_dict": prefixed(state, "module.g."), "epoch": 3},
        lambda state: {"g": {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}},
        lambda state: {"g": state, "loss": np.float64(0.5), "step": np.int64(7), "best": np.bool_(True), "lr": np.float32(0.25)},
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_states_of_other_code_load(tmp_path: Path, wrap: Any, zipped: bool) -> None:
    path, saved, loaded = tmp_path / "a.pt", network(), network()
    torch.save(wrap(saved.state_dict()), path, _use_new_zipfile_serialization=zipped)
    content = read(path)
    load_networks(content, {"g": loaded}, path)
    for name, value in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert (content.get("loss", 0.5), content.get("step", 7), content.get("best", True), content.get("lr", 0.25)) == (
        0.5,
        7,
        True,
        0.25,
    )


class Versioned(nn.Linear):
    """A layer that is loaded according to the version in its state."""

    _version = 7

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *others: Any) -> None:
        self.loaded = local_metadata.get("version")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *others)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("lightning", [False, True])
def test_networks_receive_the_versions_in_a_state(tmp_path: Path, wrapped: bool, lightning: bool) -> None:
    saved, loaded, path = (
        nn.Sequential(Versioned(2, 2), nn.BatchNorm1d(2)),
        nn.Sequential(Versioned(2, 2), nn.BatchNorm1d(2)),
        tmp_path / "a.pt",
    )
    inner: nn.Module = nn.ModuleDict({"module": saved}) if wrapped else saved
    state = nn.ModuleDict({"g": inner}).state_dict() if lightning else inner.state_dict()
    del state[next(name for name in state if name.endswith("num_batches_tracked"))]
    torch.save({"state_dict": state} if lightning else {"g": state}, path)
    load_networks(read(path), {"g": loaded}, path)
    assert loaded[0].loaded == 7


def test_missing_networks_are_named(tmp_path: Path) -> None:
    state = network().state_dict()
    del state["1.running_mean"]
    with pytest.raises(ConfigError, match=r"missing: 1\.running_mean"):
        load_networks({"g": state}, {"g": network()}, tmp_path)
    with pytest.raises(ConfigError, match="has no g"):
        load_networks({"h": state}, {"g": network()}, tmp_path)
    with pytest.raises(ConfigError, match="shapes"):
        load_networks({"g": {**network().state_dict(), "0.bias": 5}}, {"g": network()}, tmp_path)


def refused(path: Path) -> str:
    with pytest.raises(ConfigError, match="cannot be read as a checkpoint") as raised:
        read(path)
    assert str(raised.value).isprintable()
    return str(raised.value)


def test_the_reason_is_one_printable_line(tmp_path: Path) -> None:
    torch.save({"g": Unknown(), "o": np.array([{}], object)}, tmp_path / "a.pt")
    assert "Unknown was not an allowed global" in refused(tmp_path / "a.pt")


def test_no_reason_advises_to_load_files_without_protection(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_text("import torch")
    assert "weights_only" not in refused(tmp_path / "a.pt") and "Unsupported operand" in refused(tmp_path / "a.pt")


@pytest.mark.parametrize("content", [b"", b"(" * 300_000, b"\x80\x02" + b"(" * 300_000 + b".", b"\x80\x02].", b"PK\x03\x04" * 9])
def test_files_that_are_not_checkpoints_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(ConfigError, match=r"a\.pt"):
        read(tmp_path / "a.pt")


def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a/data/0", "w") as entry:
        for _ in range(MAX_BEYOND_BYTES // (1 << 22) + 1):
            entry.write(bytes(1 << 22))
    assert "unpacks to" in refused(tmp_path / "a.pt")


@pytest.mark.parametrize("trials", [50, pytest.param(5000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("zipped", [True, False])
def test_mutated_checkpoints_are_read_or_refused_in_one_line(
    tmp_path: Path, trials: int, zipped: bool, peak_kb: Callable[[], int]
) -> None:
    random, stored, path = np.random.default_rng(0), io.BytesIO(), tmp_path / "a.pt"
    slowest = 0.0
    torch.save({"g": {"a": torch.arange(99.0)}, "n": np.float64(1)}, stored, _use_new_zipfile_serialization=zipped)
    for _ in range(trials):
        content = bytearray(stored.getvalue())
        for place in random.integers(0, len(content), random.integers(1, 6)):
            content[place] = random.integers(256)
        path.write_bytes(content[: random.integers(1, len(content)) if random.random() < 0.1 else None])
        start = time.process_time()
        try:
            load_networks({"n": 1, **read(path)}, {"g": nn.Identity()}, path)
        except ConfigError as error:
            message = str(error)
            assert message.isprintable()
        slowest = max(slowest, time.process_time() - start)
    assert peak_kb() < 300_000 and slowest < 5
