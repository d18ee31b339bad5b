"""Animation with the folded networks, compared with a plain loop over the frames and the unfolded networks.

    python -m benchmarks.animate [--frames 12] [--config vox-256] [--device cuda]

"plain" is the loop of the paper: for each frame, its keypoints, their relative movement, and the generator with the source.
All sides receive the same frames and alternate frame by frame. Times are medians, measured by CUDA events on a GPU, and as CPU
time of one thread on a CPU. The weights are random with a fixed seed: times do not depend on them. The report includes the
contrast of the images, without which small differences would mean nothing.
"""

import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import Parameter
from cyclopts.validators import Number
from torch import Tensor, nn

from benchmarks.clock import device_and_name, timed
from benchmarks.inputs import FramesOptions
from benchmarks.report import Report, benchmark, peak_mib
from motionshards.trainers import settings
from motionshards.trainers.fomm.animate import Animator, Movement
from motionshards.trainers.fomm.config import CONFIGS
from motionshards.trainers.fomm.fold import FoldedNetworks
from motionshards.trainers.fomm.generator import OcclusionAwareGenerator
from motionshards.trainers.fomm.keypoints import KPDetector
from motionshards.trainers.fomm.normalize import normalize_keypoints
from motionshards.trainers.video import Rgb

_GOAL_TIMES, _GOAL_DIFFERENCE = {"cpu": 2.2, "cuda": 1.5}, {"cpu": 1e-4, "cuda": 3e-4}
_WARM = 2

Side = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class AnimateOptions(FramesOptions):
    """Options of the benchmark."""

    config: str = "vox-256"
    """A name or a YAML file."""
    frames: Annotated[int, Parameter(validator=Number(gt=_WARM))] = 12
    """Frames to animate; the first two only warm up."""


@benchmark("animate")
def main(options: AnimateOptions) -> None:
    """Compare animation with the folded networks with a plain loop over the frames."""
    report = Report("benchmarks/animate.py: animation compared with a plain loop over the frames", options)
    device, name = device_and_name(options.device, threads=1)
    architecture = settings.load(options.config, CONFIGS).architecture
    detector, generator = KPDetector(architecture), OcclusionAwareGenerator(architecture)
    for network in (detector, generator):
        _fill(network, torch.Generator().manual_seed(0))
        network.eval().to(device)
    images = list(options.take(options.frames + 2, architecture.size))  # the source and the reference frame of the movement
    report.note(f"{name}; {Path(options.config).name}, {options.frames} frames of {architecture.size} px.")
    figures = _compare(report, detector, generator, images, device)
    if device != "cpu":
        figures |= _batches(report, FoldedNetworks(detector, generator, device), images, device)
    report.finish({**figures, "peak_mib": peak_mib()})


def _compare(
    report: Report, detector: KPDetector, generator: OcclusionAwareGenerator, images: list[Rgb], device: str
) -> dict[str, Any]:
    source, first, *others = (torch.from_numpy(image).permute(2, 0, 1)[None].to(device).float() / 255 for image in images)
    sides = {
        "plain": _plain(detector, generator, source, first, keep=False),
        "plain, source's features kept": _plain(detector, generator, source, first, keep=True),
        "folded": _ours(FoldedNetworks(detector, generator, device), source, first),
    }
    seen: dict[str, list[float]] = {side: [] for side in sides}
    off, contrast = dict.fromkeys(sides, 0.0), 0.0
    for frame in others:
        outputs = {}
        for side, run in sides.items():
            with torch.inference_mode():
                seconds, outputs[side] = timed(device, partial(run, frame))
            seen[side].append(seconds)
        contrast += float(outputs["plain"].std()) / len(others)
        off = {side: max(off[side], float((outputs[side] - outputs["plain"]).abs().max())) for side in sides}
    times = {side: statistics.median(seconds[_WARM:]) for side, seconds in seen.items()}
    rows = [[side, 1e3 * times[side], times["plain"] / times[side], f"{off[side]:.1e}"] for side in sides]
    report.table("Single frames", ["side", "ms per frame", "speedup", "max difference, of 1"], rows)
    report.note(f"Pixels of the compared images have a standard deviation of {contrast:.2f}, on a scale from 0 to 1.")
    ratio = times["plain"] / times["folded"]
    goal = _GOAL_TIMES[device.split(":")[0]]
    met = ratio >= goal and off["folded"] <= _GOAL_DIFFERENCE[device.split(":")[0]]
    figures = {"device": device, "times": ratio, "frames_s": 1 / times["folded"], "difference": off["folded"]}
    return {**figures, "contrast": contrast, "goal": goal, "goal_met": met}


def _plain(detector: KPDetector, generator: OcclusionAwareGenerator, source: Tensor, first: Tensor, *, keep: bool) -> Side:
    """Animate by relative movement with adapted scale. `keep`: compute the source's features once, not for each frame."""
    with torch.inference_mode():
        source_keypoints, first_keypoints, features = detector(source), detector(first), generator.encode(source)

    def run(frame: Tensor) -> Tensor:
        moved = normalize_keypoints(source_keypoints, detector(frame), first_keypoints, adapt_scale=True)
        if not keep:
            return generator(source, source_keypoints=source_keypoints, driving_keypoints=moved).prediction  # type: ignore[no-any-return]
        motion = generator.dense_motion_network(source, source_keypoints=source_keypoints, driving_keypoints=moved)
        return generator.decode(features, motion)

    return run


def _ours(networks: FoldedNetworks, source: Tensor, first: Tensor) -> Side:
    source_keypoints, first_keypoints = networks.kp_detector(source), networks.kp_detector(first)

    def run(frame: Tensor) -> Tensor:
        found = networks.kp_detector(frame)
        moved = networks.process_kp_driving(found, first_keypoints, source_keypoints, adapt_scale=True)
        return networks.generator(source, source_keypoints, moved)

    return run


def _batches(report: Report, networks: FoldedNetworks, images: list[Rgb], device: str) -> dict[str, Any]:
    """Frames per second from uint8 to uint8, by batch size."""
    animator = Animator(networks, images[0], Movement(adapt_scale=True), device)
    rates = {}
    for batch in (1, 4, 16, 64):
        many = (images * (-(-4 * batch // len(images))))[: 4 * batch]
        for _ in range(2):  # the first to warm up
            start = time.perf_counter()
            count = sum(1 for _ in animator.animate(many, batch=batch))
            rates[batch] = count / (time.perf_counter() - start)
    report.table("Batches", ["batch size", "frames/s"], [[str(batch), rate] for batch, rate in rates.items()])
    return {f"frames_s_batch_{batch}": rate for batch, rate in rates.items()}


def _fill(network: nn.Module, rng: torch.Generator) -> None:
    """Fill in random weights that keep the scale of features through all layers, with non-trivial batch norm statistics.

    Jacobians are near the identity, as those of trained networks are: inverting nearly singular ones would amplify rounding.
    """
    for name, tensor in network.state_dict().items():
        if name.endswith(("num_batches_tracked", "down.weight")):
            continue
        drawn = torch.randn(tensor.shape, generator=rng)
        if name.endswith("running_var") or (name.endswith("weight") and tensor.dim() == 1):
            drawn = 1 + 0.2 * drawn.clamp(-2, 2)
        elif tensor.dim() == 1:
            drawn = 0.1 * drawn
        else:
            drawn = drawn * math.sqrt(2 / tensor[0].numel())
        if name.startswith("jacobian."):
            drawn = 0.1 * drawn + (torch.eye(2).flatten().repeat(len(tensor) // 4) if name.endswith("bias") else 0)
        tensor.copy_(drawn)


if __name__ == "__main__":
    sys.exit(main())
