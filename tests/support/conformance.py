"""Weights and images that are pure functions of their names, and values that the published networks computed from them.

Numbers come from PCG64 seeded with the CRC-32 of a text. This needs no weight files, and detects wrong keys, shapes and orders.
"""

import json
import math
import zlib
from typing import Any

import numpy as np
import torch
from checkout import STORED
from numpy.typing import NDArray
from torch import Tensor, nn

_DRAWN = ("num_batches_tracked", "down.weight", "weight_v")  # not filled: counters, fixed kernels, derived values


def figures(name: str) -> dict[str, Any]:
    """The published networks' values of one model."""
    stored: dict[str, Any] = json.loads((STORED / f"{name}.json").read_text())[name]
    return stored


def rng(tag: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(zlib.crc32(tag.encode())))


def image(tag: str, count: int, channels: int, size: int, cells: int) -> Tensor:
    """float64 [count,channels,size,size] in [0, 1): squares of random colors."""
    colors = rng(f"img/{tag}").random((count, channels, cells, cells))
    return torch.from_numpy(np.kron(colors, np.ones((size // cells, size // cells))))


def fill(network: nn.Module, model: str) -> nn.Module:
    """Set the weights of `model` in a float32 network; cast it afterwards, as for the stored values."""
    for key, tensor in network.state_dict().items():
        if not key.endswith(_DRAWN) and ".downs." not in key:
            tensor.copy_(torch.from_numpy(_values(key, tuple(tensor.shape), rng(f"{model}/{key}"))))
    for module in network.modules():
        if hasattr(module, "weight_v"):
            matrix = module.weight_orig.detach().flatten(1)
            module.weight_v.copy_(nn.functional.normalize(matrix.T @ module.weight_u, dim=0, eps=1e-12))
    return network


def _values(key: str, shape: tuple[int, ...], r: np.random.Generator) -> NDArray[np.float64]:
    if key.endswith("running_var"):
        return r.uniform(0.5, 1.5, shape)
    if key.endswith("running_mean"):
        return 0.1 * r.standard_normal(shape)
    if key.endswith("weight_u"):
        drawn = r.standard_normal(shape)
        return drawn / np.linalg.norm(drawn)
    if key.endswith("weight") and len(shape) == 1:
        return r.uniform(0.7, 1.3, shape)
    if len(shape) <= 1:
        return 0.1 * np.asarray(r.standard_normal(shape))
    return r.standard_normal(shape) * math.sqrt(2 / math.prod(shape[1:]))


def gradient_norm(network: nn.Module) -> float:
    """L2 norm over all parameters with gradients."""
    return math.sqrt(sum(p.grad.double().square().sum().item() for p in network.parameters() if p.grad is not None))


def assert_like(tensor: Tensor, stored: dict[str, Any], tolerance: float = 1e-8) -> None:
    """Assert that `tensor` has the stored shape, mean, unbiased deviation, maximum magnitude and five entries."""
    flat = tensor.detach().double().flatten()
    assert list(tensor.shape) == stored["shape"]
    found = [flat.mean(), flat.std(), flat.abs().max(), *flat[np.linspace(0, len(flat) - 1, 5).astype(int)]]
    expected = [stored["mean"], stored["std"], stored["absmax"], *stored["probe"]]
    np.testing.assert_allclose(torch.stack(found).numpy(), expected, rtol=tolerance, atol=tolerance)
