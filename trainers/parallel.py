"""Data-parallel training with one process per GPU, started by torchrun; gradients are averaged after each backward pass.

DistributedDataParallel is not used: the models run a network several times per backward pass, and step two optimizers on graphs
that share networks, which its hooks forbid or slow down. Its overlap of communication and computation would save a few
milliseconds per step.
"""

import os
import re
from collections.abc import Iterable, Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from motionshards.dataset import arguments
from motionshards.dataset.reading.world import World
from motionshards.schemas.errors import ConfigError

_BUCKET_BYTES = 32 << 20
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


def choose_device(name: str) -> torch.device:
    """Return the device of `cpu`, `cuda`, `cuda:N`, or `auto`, which is CUDA if available.

    Raises:
        ConfigError: the name is none of these, or this machine has no such device
    """
    if not _DEVICE.fullmatch(name):
        raise ConfigError(f"device is {name!r}, must be auto, cpu, cuda or cuda:N")
    return arguments.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def start(device: str) -> tuple[World, torch.device]:
    """Join the process group of torchrun, if any. Returns the world and the device of this process.

    device: see `choose_device`; `cuda` is the GPU of the local rank

    Raises:
        ConfigError: this machine has no such device
    """
    world, chosen = World.detect(), choose_device(device)
    if chosen.type == "cuda":
        chosen = arguments.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}") if chosen.index is None else chosen
        torch.cuda.set_device(chosen)
    if world.size > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return world, chosen


def broadcast_weights(networks: Iterable[nn.Module]) -> None:
    """Broadcast the weights and statistics of rank 0 to all processes."""
    if dist.is_initialized():
        for network in networks:
            for tensor in network.state_dict().values():
                dist.broadcast(tensor, 0)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average gradients over processes, which must have gradients for the same parameters."""
    if not dist.is_initialized():
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    for bucket in _buckets(gradients):
        flat = torch.cat([gradient.flatten() for gradient in bucket])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        parts = torch.split(flat, [gradient.numel() for gradient in bucket])
        for gradient, part in zip(bucket, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def update(networks: Iterable[nn.Module], optimizer: Optimizer) -> None:
    """Average gradients over processes, step the optimizer, and clear the gradients."""
    for network in networks:
        average_gradients(network.parameters())
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def mean_over_processes(values: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes, in place."""
    if dist.is_initialized():
        dist.all_reduce(values)
        values /= dist.get_world_size()
    return values


def any_process(flag: bool, device: torch.device) -> bool:
    """Return whether the flag is set in any process. A collective: all processes must call it."""
    if not dist.is_initialized():
        return flag
    count = torch.tensor(float(flag), device=device)
    dist.all_reduce(count)
    return bool(count.item())


def _buckets(gradients: list[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    size = 0
    for gradient in gradients:
        if bucket and (size + gradient.nbytes > _BUCKET_BYTES or gradient.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(gradient)
        size += gradient.nbytes
    if bucket:
        yield bucket
