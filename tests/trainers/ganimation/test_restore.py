"""Own checkpoints and those of the published code, including old ones and single networks."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from motionshards.schemas.errors import ConfigError
from motionshards.trainers.ganimation.architecture import Architecture
from motionshards.trainers.ganimation.config import Config
from motionshards.trainers.ganimation.networks import Critic, Generator
from motionshards.trainers.ganimation.restore import load_available, restore
from motionshards.transforms.weight_file import read

SHAPE = Architecture(size=16, width=2, residuals=1)


def networks(seed: int) -> dict[str, nn.Module]:
    torch.manual_seed(seed)
    return {"G": Generator(SHAPE), "D": Critic(SHAPE)}


def states(trained: dict[str, nn.Module]) -> dict[str, dict[str, Tensor]]:
    return {name: {key: value.clone() for key, value in network.state_dict().items()} for name, network in trained.items()}


def loaded(path: Path) -> dict[str, dict[str, Tensor]]:
    """Return the states of networks after loading a file."""
    trained = networks(1)
    load_available(read(path), path, trained)
    return states(trained)


def save(path: Path, content: dict[str, Any]) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return path


def aged(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As written by torch 0.3 and 0.4, with statistics of instance norms."""
    old = dict(state)
    for key in state:
        if key.startswith("main.") and state[key].ndim == 1 and key.endswith("bias"):
            stem = key.removesuffix("bias")
            old |= {f"{stem}running_mean": state[key] + 1, f"{stem}running_var": state[key] + 2}
            old[f"{stem}num_batches_tracked"] = torch.tensor(5)
    return old


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(found[key].equal(expected[key]) for key in expected)


def test_both_networks_of_one_file(tmp_path: Path) -> None:
    published = states(networks(0))
    found = loaded(save(tmp_path / "last.pt", {**published, "optimizer_G": {}, "epoch": 3}))
    assert_same(found["G"], published["G"])
    assert_same(found["D"], published["D"])


@pytest.mark.parametrize("given", ["G", "D"])
def test_the_second_published_file_is_loaded_with_the_first(tmp_path: Path, given: str) -> None:
    published = states(networks(0))
    files = {name: save(tmp_path / f"net_epoch_30_id_{name}.pth", state) for name, state in published.items()}
    save(tmp_path / "net_epoch_20_id_D.pth", states(networks(2))["D"])
    found = loaded(files[given])
    assert_same(found["G"], published["G"])
    assert_same(found["D"], published["D"])


@pytest.mark.parametrize("given", ["G", "D"])
def test_a_single_state_keeps_the_initialization_of_the_other_network(tmp_path: Path, given: str) -> None:
    published, own = states(networks(0)), states(networks(1))
    found = loaded(save(tmp_path / "weights.pth", published[given]))
    assert_same(found[given], published[given])
    other = "D" if given == "G" else "G"
    assert_same(found[other], own[other])


@pytest.mark.parametrize("wrapped", [False, True], ids=["alone", "in a dict"])
def test_old_files_with_statistics_and_files_of_several_gpus(tmp_path: Path, wrapped: bool) -> None:
    published = states(networks(0))["G"]
    old = {f"module.{key}": value for key, value in aged(published).items()}
    assert len(old) > len(published)
    path = save(tmp_path / "old.pth", {"G": old} if wrapped else old)
    assert_same(loaded(path)["G"], published)
    (tmp_path / "small.yaml").write_text("architecture: {size: 16, width: 2, residuals: 1}\n")
    config, generator = restore(path, str(tmp_path / "small.yaml"))
    assert config.architecture == SHAPE and not generator.training
    assert_same(dict(generator.state_dict()), published)


def test_own_checkpoints_contain_their_settings(tmp_path: Path) -> None:
    published = states(networks(0))
    metadata = {"model": "ganimation", "config": Config(architecture=SHAPE).to_json()}
    config, generator = restore(save(tmp_path / "last.pt", {**published, "motionshards": metadata}))
    assert config == Config(architecture=SHAPE)
    assert_same(dict(generator.state_dict()), published["G"])


def test_unusable_checkpoints_are_refused(tmp_path: Path) -> None:
    published = states(networks(0))
    wide = {"G": Generator(Architecture(size=16, width=3, residuals=1)).state_dict()}
    for content, message in (
        ({"generator": {}}, "has neither G nor D and is not the state of one; it has generator"),
        (wide, "G has another architecture: shapes: "),
    ):
        with pytest.raises(ConfigError, match=message):
            loaded(save(tmp_path / "a.pt", content))
    with pytest.raises(ConfigError, match="does not contain its settings; pass --config"):
        restore(save(tmp_path / "theirs.pth", published["G"]))
    (tmp_path / "small.yaml").write_text("architecture: {size: 16, width: 2, residuals: 1}\n")
    with pytest.raises(ConfigError, match="has no G; it has D"):
        restore(save(tmp_path / "critic.pth", published["D"]), str(tmp_path / "small.yaml"))
