"""Checkpoints that claim to be far larger than they are raise ConfigError before memory is allocated."""

import io
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from motionshards.schemas.errors import ConfigError
from motionshards.trainers import settings
from motionshards.trainers.checkpoint import METADATA_KEY
from motionshards.trainers.face_rotator import config as rotator
from motionshards.trainers.face_rotator.restore import restore as restore_rotator
from motionshards.trainers.fomm import config as fomm
from motionshards.trainers.fomm.restore import restore as restore_fomm
from motionshards.trainers.ganimation import config as ganimation
from motionshards.trainers.ganimation.restore import restore as restore_ganimation
from motionshards.trainers.talking_heads import config as heads
from motionshards.trainers.talking_heads.finetune import restore as restore_heads
from motionshards.trainers.talking_heads.person import load_person
from motionshards.transforms.weight_file import read

MODELS: dict[str, tuple[Any, tuple[str, ...], Callable[[Path], Any]]] = {
    "fomm": (fomm.CONFIGS, ("kp_detector", "generator"), restore_fomm),
    "face_rotator": (rotator.CONFIGS, ("morpher", "rotator", "combiner"), lambda path: restore_rotator([path])),
    "ganimation": (ganimation.CONFIGS, ("G", "D"), restore_ganimation),
    "talking_heads": (
        heads.CONFIGS,
        ("E_state_dict", "G_state_dict", "D_state_dict"),
        lambda path: restore_heads(path, None, torch.device("cpu")),
    ),
}
# Numbers of an architecture that pass its own rules and need terabytes, and numbers that no rule may compute with.
LARGE = {
    "fomm": [{"generator": {"block_expansion": 16_384, "max_features": 16_384}}, {"detector": {"blocks": 10**12}}],
    "face_rotator": [{"width": 16_384}, {"halvings": 10**12}, {"blocks": 10**12}],
    "ganimation": [{"width": 16_384}, {"residuals": 10**12}, {"size": 2**40}],
    "talking_heads": [{"width": 16_384}, {"halvings": 10**12}, {"residuals": 10**12}],
}


@pytest.fixture(autouse=True)
def little_memory(peak_kb: Callable[[], int]) -> Iterator[None]:
    yield
    assert peak_kb() < 300_000


def merged(settings_: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    nested = {name: merged(settings_[name], value) if isinstance(value, dict) else value for name, value in changes.items()}
    return {**settings_, **nested}


@pytest.mark.parametrize(("model", "number"), [(model, number) for model in LARGE for number in range(len(LARGE[model]))])
def test_gigantic_architectures_are_refused(tmp_path: Path, model: str, number: int) -> None:
    configs, names, restore = MODELS[model]
    stored = settings.to_json(next(iter(configs.values())))
    stored = merged(stored, {"architecture": LARGE[model][number]})
    content = {name: {"a": torch.zeros(1)} for name in names}
    torch.save({**content, METADATA_KEY: {"version": 1, "model": model, "config": stored}}, tmp_path / "a.pt")
    with pytest.raises(ConfigError, match=r"another (architecture|version)"):
        restore(tmp_path / "a.pt")


def test_gigantic_persons_are_refused(tmp_path: Path) -> None:
    stored = merged(settings.to_json(next(iter(heads.CONFIGS.values()))), {"architecture": {"width": 16_384}})
    metadata = {"version": 1, "model": "talking_heads", "config": stored}
    torch.save(
        {"person": {"style": torch.zeros(1)}, "landmarks": torch.zeros(1, 68, 2), METADATA_KEY: metadata}, tmp_path / "a.pt"
    )
    with pytest.raises(ConfigError, match="another architecture"):
        load_person(tmp_path / "a.pt")


def test_weights_that_are_views_of_one_value_are_refused(tmp_path: Path) -> None:
    """Shapes are right, but the file has only a few kilobytes."""
    config = ganimation.CONFIGS[next(iter(ganimation.CONFIGS))]
    stored = merged(settings.to_json(config), {"architecture": {"width": 2048}})
    architecture = settings.from_json(type(config), stored).architecture
    with torch.device("meta"):
        state = ganimation_generator(architecture).state_dict()
    views = {name: torch.zeros(1).expand(value.shape) for name, value in state.items()}
    torch.save({"G": views, METADATA_KEY: {"version": 1, "model": "ganimation", "config": stored}}, tmp_path / "a.pt")
    assert (tmp_path / "a.pt").stat().st_size < 1 << 20
    with pytest.raises(ConfigError, match="views of"):
        restore_ganimation(tmp_path / "a.pt")


def ganimation_generator(architecture: Any) -> torch.nn.Module:
    from motionshards.trainers.ganimation.networks import Generator

    return Generator(architecture)


COUNT = b"M\xe8\x03"  # 1000, as a pickle has it
TERABYTE = b"\x8a\x06" + (2**38).to_bytes(6, "little")


def claiming(place: int, zipped: bool) -> bytes:
    """A file with a tensor of 1000 values, whose storage (0) or view (1) claims a terabyte."""
    stored = io.BytesIO()
    torch.save({"a": torch.arange(1000.0)}, stored, _use_new_zipfile_serialization=zipped)
    if not zipped:
        return replaced(stored.getvalue(), place)
    content = io.BytesIO()
    with zipfile.ZipFile(stored) as archive, zipfile.ZipFile(content, "w") as new:
        for name in archive.namelist():
            part = archive.read(name)
            new.writestr(name, replaced(part, place) if name.endswith("data.pkl") else part)
    return content.getvalue()


def replaced(content: bytes, place: int) -> bytes:
    parts = content.split(COUNT)
    return COUNT.join(parts[: place + 1]) + TERABYTE + COUNT.join(parts[place + 1 :])


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_tensor_that_claims_a_terabyte_is_refused(tmp_path: Path, place: int, zipped: bool) -> None:
    (tmp_path / "a.pt").write_bytes(claiming(place, zipped))
    with pytest.raises(ConfigError, match="cannot be read as a checkpoint"):
        read(tmp_path / "a.pt")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("module", ["builtins", "__builtin__"])
def test_a_bytearray_of_any_length_is_refused(tmp_path: Path, zipped: bool, module: str) -> None:
    """torch's unpickler calls `bytearray(number)`, which writes to that much memory."""
    program = b"\x80\x02}X\x01\x00\x00\x00ac" + module.encode() + b"\nbytearray\nJ" + struct.pack("<i", 2**30) + b"\x85Rs."
    stored = io.BytesIO()
    torch.save({}, stored, _use_new_zipfile_serialization=zipped)
    content = stored.getvalue()
    if zipped:
        changed = io.BytesIO()
        with zipfile.ZipFile(stored) as archive, zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as new:
            for name in archive.namelist():
                new.writestr(name, program if name.endswith("data.pkl") else archive.read(name))
        content = changed.getvalue()
    else:
        empty = pickle.dumps({}, 2)
        assert empty in content
        place = content.rindex(empty)
        content = content[:place] + program + content[place + len(empty) :]
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(ConfigError, match="bytearray"):
        read(tmp_path / "a.pt")
