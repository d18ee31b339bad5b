"""VGG19 (Simonyan and Zisserman 2015), whose inner layers compare pictures: the perceptual loss of Johnson et al. 2016.

Keys are those of torchvision's model, so that its weight file fits. Layers are counted as in `features` there: 0, 2, 5, 7,
10, ... are convolutions, a ReLU follows each, and 4, 9, 18, 27, 36 are poolings.
"""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from schemas.errors import ConfigError

FILE = "vgg19-dcbb9e9d.pth"
NONE = "none"
RELU_N_1 = (1, 6, 11, 20, 29)
"""relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1."""

_CONVOLUTIONS = (2, 2, 4, 4, 4)  # of each of five stages, which end with a pooling
_WIDTHS = (64, 128, 256, 512, 512)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet


class Vgg19(nn.Module):
    """The layers of VGG19 up to the last that is asked for: frozen, but gradients pass through to the pictures.

    taps: numbers of the layers whose results are given, ascending

    Raises:
        ValueError: a tap is no layer, or they do not ascend
    """

    mean: Tensor
    std: Tensor

    def __init__(self, taps: Sequence[int] = RELU_N_1) -> None:
        super().__init__()
        layers = _layers(taps)
        if not taps or list(taps) != sorted({*taps}) or not 0 <= taps[0] <= taps[-1] < len(layers):
            raise ValueError(f"taps are {[*taps]}, must be ascending numbers of layers, 0 to {len(layers) - 1}")
        self.taps = tuple(taps)
        self.features = nn.Sequential(*layers[: taps[-1] + 1])
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(3, 1, 1), persistent=False)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Results of the tapped layers for RGB pictures [B,3,H,W] in [0, 1]."""
        x, found = (images - self.mean) / self.std, []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in self.taps:
                found.append(x)
        return found

    def train(self, mode: bool = True) -> "Vgg19":
        """Stays as it is: a loss that holds it may be switched to training."""
        del mode
        return super().train(False)


def load(choice: str | None, taps: Sequence[int] = RELU_N_1) -> Vgg19 | None:
    """VGG19 with the weights that `--vgg choice` means: a file, None for torch hub's cache, `none` for no VGG19 at all.

    Raises:
        ConfigError: there is no such file, or it holds something else; the message says what to do
    """
    if choice == NONE:
        return None
    model = Vgg19(taps)
    path = find(choice)
    model.load_state_dict(_weights(path, model.state_dict()))
    return model


def find(choice: str | None) -> Path:
    """The weight file at `choice`, or for None in torch hub's cache. Raises ConfigError."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / FILE if choice is None else Path(choice)
    if not path.is_file():
        raise ConfigError(
            f"{path} is not there: the perceptual loss needs torchvision's weights of VGG19, {FILE}. Put them there, name "
            f"another place with --vgg PATH, or train without that loss with --vgg {NONE}, which costs sharpness and likeness"
        )
    return path


def _weights(path: Path, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The entries of `wanted` from the file, which holds more."""
    try:
        stored: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        raise ConfigError(
            f"{path} cannot be read as weights: {(str(error).splitlines() or [type(error).__name__])[0]}"
        ) from error
    for name, tensor in wanted.items():
        if not isinstance(stored, dict) or name not in stored or getattr(stored[name], "shape", None) != tensor.shape:
            raise ConfigError(
                f"{path} does not hold torchvision's VGG19: {name} {[*tensor.shape]} is not in it ({FILE} is meant)"
            )
    return {name: stored[name] for name in wanted}


def _layers(taps: Sequence[int]) -> list[nn.Module]:
    """All of `features`. A ReLU overwrites the convolution's result, unless that is asked for."""
    layers: list[nn.Module] = []
    inside = 3
    for count, width in zip(_CONVOLUTIONS, _WIDTHS, strict=True):
        for _ in range(count):
            layers.append(nn.Conv2d(inside, width, 3, padding=1))
            layers.append(nn.ReLU(inplace=len(layers) - 1 not in taps))
            inside = width
        layers.append(nn.MaxPool2d(2))
    return layers
