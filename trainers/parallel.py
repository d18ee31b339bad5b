"""Several processes, one a GPU, that train one model: started by torchrun, gradients averaged after each backward pass.

Gradients are averaged here and not by DistributedDataParallel: the models run a network several times before one backward
pass, and step two optimisers on graphs that share networks, which its hooks forbid or slow down. What it would win, sending
while the backward pass still runs, is some milliseconds a step.
"""

import os
from collections.abc import Iterable, Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from motionshards.dataset.reading.world import World
from motionshards.schemas.errors import ConfigError

_BUCKET_BYTES = 32 << 20


def start(device: str) -> tuple[World, torch.device]:
    """Join the other processes, as torchrun tells; gives this one's rank and its device.

    device: `cuda`, `cpu`, `cuda:1`, or `auto`, which is CUDA where there is some

    Raises:
        ConfigError: there is no such device
    """
    world = World.detect()
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if kind.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"--device {device}: CUDA is not available here")
    chosen = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if kind == "cuda" else kind)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if world.size > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return world, chosen


def same_everywhere(networks: Iterable[nn.Module]) -> None:
    """Let all processes begin with the weights and statistics of the first."""
    if dist.is_initialized():
        for network in networks:
            for tensor in network.state_dict().values():
                dist.broadcast(tensor, 0)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace the gradients of every process by their mean. All processes must have gradients for the same parameters."""
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
    """Step an optimiser on the gradients' means over all processes, and clear them."""
    for network in networks:
        average_gradients(network.parameters())
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def mean_over_processes(values: Tensor) -> Tensor:
    """The mean of a tensor over all processes."""
    if dist.is_initialized():
        dist.all_reduce(values)
        values /= dist.get_world_size()
    return values


def any_process(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set in any process. All must ask."""
    if not dist.is_initialized():
        return flag
    told = torch.tensor(float(flag), device=device)
    dist.all_reduce(told)
    return bool(told.item())


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
