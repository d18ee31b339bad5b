"""Weight files of face-alignment, and the networks that use them.

Files are looked up in a directory of the user, then in the cache of torch hub, and else downloaded to that cache. They are
loaded with `weights_only`, so a file from the internet cannot execute code.
"""

import hashlib
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from motionshards.schemas.errors import ConfigError, one_line
from motionshards.transforms.weight_file import read

_FROM = "https://www.adrianbulat.com/downloads/python-fan/"


@dataclass(frozen=True, slots=True)
class Network:
    """A network of the library: its weight file, and a function that builds it with random weights."""

    file: str
    make: Callable[[], nn.Module]


def _fan() -> nn.Module:
    network: nn.Module = importlib.import_module("face_alignment.models").FAN(4)
    return network


def _s3fd() -> nn.Module:
    network: nn.Module = importlib.import_module("face_alignment.detection.sfd.net_s3fd").s3fd()
    return network


NETWORKS = {
    "fan": Network("2DFAN4-11f355bf06.pth.tar", _fan),
    "fan3d": Network("3DFAN4-7835d9f11d.pth.tar", _fan),
    "sfd": Network("s3fd-619a316812.pth", _s3fd),
}


def find(name: str, directory: Path | None) -> Path:
    """The path of the weight file of the network `name`; downloaded if it is not found.

    Raises:
        ConfigError: the file is missing and cannot be downloaded; the message names the file and the remedies
    """
    file = NETWORKS[name].file
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    for place in (directory, cache):
        if place is not None and (place / file).is_file():
            return place / file
    try:
        cache.mkdir(parents=True, exist_ok=True)
        print(f"landmarks: downloading {_FROM}{file} to {cache}", file=sys.stderr, flush=True)
        torch.hub.download_url_to_file(_FROM + file, str(cache / file), progress=False)
    except OSError as error:
        raise ConfigError(
            f"the weights {file} are not in {cache}{f' or {directory}' if directory else ''} and cannot be downloaded "
            f"({error}). Copy the file there, name its directory with --weights DIR, or use --landmarks dlib."
        ) from error
    return cache / file


def digest(path: Path) -> str:
    """`name sha256:…` of a weight file, for the provenance."""
    with path.open("rb") as stream:
        return f"{path.name} sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def load(name: str, directory: Path | None, device: torch.device) -> nn.Module:
    """The network with its weights, in float32, channels last, for inference. Does not change the global random state.

    Raises:
        ConfigError: see `find`; or the file contains the weights of another network
    """
    path = find(name, directory)
    with torch.random.fork_rng(devices=[]):  # modules draw initial weights, which are then overwritten
        network = NETWORKS[name].make()
    try:
        network.load_state_dict(read(path))
    except RuntimeError as error:
        raise ConfigError(f"{path} does not contain the weights of {name}: {one_line(error)}") from error
    for parameter in network.parameters():
        parameter.requires_grad = False
    return network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload, no-any-return]
