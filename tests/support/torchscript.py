"""TorchScript networks with the interface of FID's Inception network."""

from pathlib import Path

import torch
from torch import Tensor, nn


class Colors(nn.Module):
    """Features [N,C] of images: their mean color through a convolution."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.mixed = nn.Conv2d(3, len(weight), 1, bias=False)
        with torch.no_grad():
            self.mixed.weight.copy_(weight[..., None, None])

    def forward(self, images: Tensor, return_features: bool = False) -> Tensor:
        assert images.dtype == torch.uint8 and return_features
        return self.mixed(images.float()).mean(dim=(2, 3))


class Classes(nn.Module):
    """A network without the features argument."""

    def forward(self, images: Tensor) -> Tensor:
        return images.float().mean(dim=(2, 3))


class Maps(nn.Module):
    """A network that does not average its feature maps."""

    def forward(self, images: Tensor, return_features: bool = False) -> Tensor:
        return images.float()


def torchscript(network: nn.Module, path: Path) -> Path:
    torch.jit.save(torch.jit.script(network), path)
    return path
