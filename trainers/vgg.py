"""VGG networks (Simonyan and Zisserman 2015) for perceptual losses (Johnson et al. 2016).

Keys are those of torchvision's models, so that their weight files load. Layers are numbered as in `features` there: each
convolution is followed by a ReLU and each stage by a pooling. In VGG19 0, 2, 5, 7, 10, ... are convolutions and 4, 9, 18, 27,
36 poolings. Files of VGGFace (Parkhi et al. 2015) name convolutions by stage, conv1_1, conv1_2, conv2_1, ...; both load.
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
    """A VGG network.

    convolutions: number in each of the five stages
    file: name of the weight file in torch hub's cache
    option: command-line option for another file
    whose: origin of the file, for messages
    cost: quality lost without the network, for messages
    mean, std: normalization of its input, RGB in [0, 1]
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
    # Trained on values in [0, 255] minus the mean.
    mean=(129.1863 / 255, 104.7624 / 255, 93.5940 / 255),
    std=(1 / 255, 1 / 255, 1 / 255),
)


class Vgg(nn.Module):
    """A network up to the last tapped layer. Weights are frozen; gradients flow to the images.

    taps: ascending numbers of the layers whose outputs are returned

    Raises:
        ValueError: a tap is not a layer number, or taps are not ascending
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
        """Return the outputs of the tapped layers for RGB images [B,3,H,W] in [0, 1]."""
        x, found = (images - self.mean) / self.std, []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in self.taps:
                found.append(x)
        return found

    def train(self, mode: bool = True) -> "Vgg":
        """Keep evaluation mode, also when a loss that contains the network is set to training mode."""
        del mode
        return super().train(False)


def load(choice: str | None, net: Net = VGG19, taps: Sequence[int] = RELU_N_1) -> Vgg | None:
    """Load a network with the weights of `--vgg choice`: a file, or None for torch hub's cache. `none` returns None.

    Raises:
        ConfigError: the file does not exist or has other contents; the message includes the remedy
    """
    if choice == NONE:
        return None
    model = Vgg(net, taps)
    model.load_state_dict(_weights(find(choice, net), net, model.state_dict()))
    return model


def default_file(net: Net) -> Path:
    """Return the path of the weights in torch hub's cache."""
    return Path(torch.hub.get_dir()) / "checkpoints" / net.file


def find(choice: str | None, net: Net = VGG19) -> Path:
    """Return the weight file `choice`, or for None that in torch hub's cache. Raises ConfigError: it does not exist."""
    path = default_file(net) if choice is None else Path(choice)
    if not path.is_file():
        raise ConfigError(
            f"{path} does not exist: a loss needs {net.whose} weights of {net.name} ({net.file}). Download them to this path, "
            f"pass another with {net.option} PATH, or disable the loss with {net.option} {NONE}, at the cost of {net.cost}"
        )
    return path


def _weights(path: Path, net: Net, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """Read the entries of `expected` from the file, which has more. Raises ConfigError: one is missing."""
    stored = plain_state(read(path))
    if "conv1_1.weight" in stored:
        stored = {**stored, **_renumbered(stored, net)}
    for name, tensor in expected.items():
        if name not in stored or getattr(stored[name], "shape", None) != tensor.shape:
            raise ConfigError(f"{path} is not {net.whose} {net.name}: {name} {[*tensor.shape]} is missing (expected {net.file})")
    return {name: stored[name] for name in expected}


def _renumbered(stored: dict[str, Any], net: Net) -> dict[str, Any]:
    """Rename conv1_1, conv1_2, conv2_1, ... to the numbers of the layers."""
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
    """Build all layers of `features`. ReLUs work in place, unless the convolution before is tapped."""
    layers: list[nn.Module] = []
    inside = 3
    for count, width in zip(net.convolutions, _WIDTHS, strict=True):
        for _ in range(count):
            layers.append(nn.Conv2d(inside, width, 3, padding=1))
            layers.append(nn.ReLU(inplace=len(layers) - 1 not in taps))
            inside = width
        layers.append(nn.MaxPool2d(2))
    return layers
