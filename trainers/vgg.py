"""VGG networks (Simonyan and Zisserman 2015), whose inner layers compare pictures: the perceptual loss of Johnson et al. 2016.

Keys are those of torchvision's models, so that their weight files fit. Layers are counted as in `features` there: each
convolution is followed by a ReLU and each stage by a pooling. In VGG19 0, 2, 5, 7, 10, ... are convolutions and 4, 9, 18, 27,
36 poolings. Files of VGGFace (Parkhi et al. 2015) name convolutions by stage, conv1_1, conv1_2, conv2_1, ...; both are read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from motionshards.schemas.errors import ConfigError
from motionshards.trainers.weights import plain_state
from motionshards.transforms.weight_file import read

NONE = "none"
RELU_N_1 = (1, 6, 11, 20, 29)
"""relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 of VGG19."""

_WIDTHS = (64, 128, 256, 512, 512)


@dataclass(frozen=True, kw_only=True, slots=True)
class Net:
    """One of the networks.

    convolutions: of each of five stages
    file: of its weights, in torch hub's cache
    option: by which another file is named
    whose: file it is
    cost: of doing without it
    mean, std: of its training pictures, RGB in [0, 1]
    """

    name: str
    convolutions: tuple[int, ...]
    file: str
    option: str
    whose: str = "torchvision's"
    cost: str = "sharpness and likeness"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


VGG19 = Net(name="VGG19", convolutions=(2, 2, 4, 4, 4), file="vgg19-dcbb9e9d.pth", option="--vgg")
VGG16 = Net(name="VGG16", convolutions=(2, 2, 3, 3, 3), file="vgg16-397923af.pth", option="--vgg")
VGGFACE = Net(
    name="VGGFace",
    convolutions=(2, 2, 3, 3, 3),
    file="vgg_face_dag.pth",
    option="--vggface",
    whose="the PyTorch conversion's",
    cost="likeness",
    # It was trained on values from 0 to 255, of which only the mean was taken away.
    mean=(129.1863 / 255, 104.7624 / 255, 93.5940 / 255),
    std=(1 / 255, 1 / 255, 1 / 255),
)


class Vgg(nn.Module):
    """The layers of a network up to the last that is asked for: frozen, but gradients pass through to the pictures.

    taps: numbers of the layers whose results are given, ascending

    Raises:
        ValueError: a tap is no layer, or they do not ascend
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: Net, taps: Sequence[int]) -> None:
        super().__init__()
        layers = _layers(net, taps)
        if not taps or list(taps) != sorted({*taps}) or not 0 <= taps[0] <= taps[-1] < len(layers):
            raise ValueError(f"taps are {[*taps]}, must be ascending numbers of layers, 0 to {len(layers) - 1}")
        self.taps = tuple(taps)
        self.features = nn.Sequential(*layers[: taps[-1] + 1])
        self.register_buffer("mean", torch.tensor(net.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(net.std).view(3, 1, 1), persistent=False)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Results of the tapped layers for RGB pictures [B,3,H,W] in [0, 1]."""
        x, found = (images - self.mean) / self.std, []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in self.taps:
                found.append(x)
        return found

    def train(self, mode: bool = True) -> "Vgg":
        """Stays as it is: a loss that holds it may be switched to training."""
        del mode
        return super().train(False)


def load(choice: str | None, net: Net = VGG19, taps: Sequence[int] = RELU_N_1) -> Vgg | None:
    """A network with the weights that `--vgg choice` means: a file, None for torch hub's cache, `none` for no network at all.

    Raises:
        ConfigError: there is no such file, or it holds something else; the message says what to do
    """
    if choice == NONE:
        return None
    model = Vgg(net, taps)
    model.load_state_dict(_weights(find(choice, net), net, model.state_dict()))
    return model


def default_file(net: Net) -> Path:
    """Where torch hub's cache has the weights of a network."""
    return Path(torch.hub.get_dir()) / "checkpoints" / net.file


def find(choice: str | None, net: Net = VGG19) -> Path:
    """The weight file at `choice`, or for None in torch hub's cache. Raises ConfigError."""
    path = default_file(net) if choice is None else Path(choice)
    if not path.is_file():
        raise ConfigError(
            f"{path} is not there: a loss needs {net.whose} weights of {net.name}, {net.file}. Put them there, name another "
            f"place with {net.option} PATH, or train without that loss with {net.option} {NONE}, which costs {net.cost}"
        )
    return path


def _weights(path: Path, net: Net, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The entries of `wanted` from the file, which holds more."""
    stored = plain_state(read(path))
    if "conv1_1.weight" in stored:
        stored = {**stored, **_renumbered(stored, net)}
    for name, tensor in wanted.items():
        if name not in stored or getattr(stored[name], "shape", None) != tensor.shape:
            raise ConfigError(
                f"{path} does not hold {net.whose} {net.name}: {name} {[*tensor.shape]} is not in it ({net.file} is meant)"
            )
    return {name: stored[name] for name in wanted}


def _renumbered(stored: dict[str, Any], net: Net) -> dict[str, Any]:
    """What conv1_1, conv1_2, conv2_1, ... have, by the numbers of the layers."""
    found, number = {}, 0
    for stage, count in enumerate(net.convolutions, 1):
        for place in range(1, count + 1):
            for part in ("weight", "bias"):
                if (name := f"conv{stage}_{place}.{part}") in stored:
                    found[f"features.{number}.{part}"] = stored[name]
            number += 2
        number += 1
    return found


def _layers(net: Net, taps: Sequence[int]) -> list[nn.Module]:
    """All of `features`. A ReLU overwrites the convolution's result, unless that is asked for."""
    layers: list[nn.Module] = []
    inside = 3
    for count, width in zip(net.convolutions, _WIDTHS, strict=True):
        for _ in range(count):
            layers.append(nn.Conv2d(inside, width, 3, padding=1))
            layers.append(nn.ReLU(inplace=len(layers) - 1 not in taps))
            inside = width
        layers.append(nn.MaxPool2d(2))
    return layers
