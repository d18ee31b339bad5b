"""Augmentation on the device: the random warp compared with copying and with its plain formulation, whole clips, landmark images.

    python -m benchmarks.augment [--images 64] [--size 256] [--rounds 9] [--device cuda]

"plain" is a literal transcription of the published formula: the kernel of 25 control points at every pixel, and a 2x2 product for
every pixel of every image. The published augmentation works frame by frame on the CPU, with Pillow. The sides of a table
alternate. Times are medians of the rounds, measured by CUDA events on a GPU, and as CPU time of one thread on a CPU.
"""

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from cyclopts import Parameter
from cyclopts.types import PositiveInt
from cyclopts.validators import Number
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from skimage.util import img_as_float32, img_as_ubyte
from torch import Tensor

from benchmarks.clock import device_and_name, medians
from benchmarks.inputs import FramesOptions, Images, average_faces
from benchmarks.report import Report, benchmark
from motionshards.transforms.augment.augment import FOMM, Augment
from motionshards.transforms.augment.clips import Clips
from motionshards.transforms.augment.drawing import COLORS, SEED_WIDTH_PX, landmark_images
from motionshards.transforms.augment.tps import Warp, pixel_grid

_COPY_GOAL, _PLAIN_GOAL = 2.5, 20.0


@dataclass(frozen=True, kw_only=True)
class AugmentOptions(FramesOptions):
    """Options of the benchmark."""

    images: Annotated[int, Parameter(validator=Number(gte=2, modulo=2))] = 64
    """Images of a batch; an even number."""
    size: PositiveInt = 256
    """Side of an image in pixels."""
    rounds: PositiveInt = 9
    """Rounds of each side."""


@benchmark("augment")
def main(options: AugmentOptions) -> None:
    """Compare augmentation with copying, with the plain formula, and with the published code."""
    report = Report("benchmarks/augment.py: the random warp, whole clips and landmark images", options)
    rgb = options.take(options.images, options.size)
    device, name = device_and_name(options.device, threads=1)
    report.note(f"{name}; frames of {options.size} px.")
    figures: dict[str, Any] = {"device": device}
    for part in (_warp, _clips, _drawing):
        figures |= part(report, rgb, device, options.rounds)
    if device == "cpu":
        report.note("The goals of the warp (2.5 copies, 20 times the plain formulation) are for a GPU.")
    else:
        figures["goals_met"] = figures["copies"] <= _COPY_GOAL and figures["times_plain"] >= _PLAIN_GOAL
    report.finish(figures)


def _warp(report: Report, rgb: Images, device: str, rounds: int) -> dict[str, Any]:
    images = (torch.from_numpy(rgb).permute(0, 3, 1, 2).float() / 255).contiguous().to(device)
    warp, target = Warp.draw(len(images), torch.Generator().manual_seed(0)).to(device), torch.empty_like(images)
    grid = warp.grid((rgb.shape[1], rgb.shape[2]))
    off = (warp.warp_frames(images) - _plain(images, warp)).abs().max().item()
    times = medians(
        device,
        rounds,
        {
            "copy into existing memory": lambda: target.copy_(images),
            "copy into new memory": lambda: images.clone(),
            "grid_sample alone": lambda: _sample(images, grid),
            "warp_frames": lambda: warp.warp_frames(images),
            "plain": lambda: _plain(images, warp),
        },
        _calls(device),
    )
    copy, warp_s = times["copy into existing memory"], times["warp_frames"]
    rows = [[side, 1e3 * seconds, seconds / copy, seconds / warp_s] for side, seconds in times.items()]
    heading = f"The random warp of {len(images)} images, float32"
    report.table(heading, ["side", "ms", "relative to a copy", "relative to warp_frames"], rows)
    report.note(f"Largest difference between `warp_frames` and plain: {off:.2g}, on a scale from 0 to 1.")
    return {
        "copies": warp_s / copy,
        "new_copies": warp_s / times["copy into new memory"],
        "samples": warp_s / times["grid_sample alone"],
        "times_plain": times["plain"] / warp_s,
    }


def _calls(device: str) -> int:
    """Consecutive calls that are timed together; on a GPU enough for kernel launches to run ahead of the kernels."""
    return 1 if device == "cpu" else 20


def _plain(frames: Tensor, warp: Warp) -> Tensor:
    """The published formula, term by term: [B,H*W] products of A and z, and [B,H*W,25] terms of the spline."""
    height, width = frames.shape[2:]
    z = pixel_grid((height, width)).to(frames).view(1, -1, 2)
    centers = pixel_grid((5, 5)).to(frames).view(1, 1, 25, 2)
    affine = torch.matmul(warp.theta[:, None, :, :2], z[..., None]) + warp.theta[:, None, :, 2:]
    distance = (z[:, :, None] - centers).abs().sum(-1)
    spline = (warp.control * (distance**2 * torch.log(distance + 1e-6))).sum(2)
    return _sample(frames, (affine[..., 0] + spline[..., None]).view(len(frames), height, width, 2))


def _sample(frames: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(frames, grid, padding_mode="reflection", align_corners=True)


def _clips(report: Report, rgb: Images, device: str, rounds: int) -> dict[str, Any]:
    pairs = rgb.reshape(-1, 2, *rgb.shape[1:])
    count, frames = len(pairs), torch.from_numpy(pairs).to(device)
    clips = Clips(
        frames=frames,
        landmarks=torch.from_numpy(average_faces(2 * count, rgb.shape[1])).view(count, 2, 68, 2).to(device),
        aus=None,
        pose=torch.zeros(count, 2, 3, device=device),
        number=torch.arange(2, device=device).repeat(count, 1),
    )
    draws, plain, cropped = FOMM.draw(count, torch.Generator().manual_seed(0)), Augment(), Augment(crop=0.8)
    rng = random.Random(0)
    whole, window = plain.draw(count, torch.Generator()), cropped.draw(count, torch.Generator())
    times = medians(
        device,
        rounds,
        {
            "published, Pillow": lambda: [_published(pair, rng) for pair in pairs],
            "Augment, FOMM's settings": lambda: FOMM(clips, draws),
            "Augment, only to float": lambda: plain(clips, whole),
            "Augment, only crop": lambda: cropped(clips, window),
        },
    )
    published_s = times["published, Pillow"]
    rows = [[side, 1e3 * seconds / count, published_s / seconds] for side, seconds in times.items()]
    report.table(f"{count} clips of two frames, uint8 to float32", ["side", "ms per clip", "speedup"], rows)
    augment_s = times["Augment, FOMM's settings"]
    return {"times_augment": published_s / augment_s, "augment_ms": 1e3 * augment_s / count}


def _published(pair: NDArray[np.uint8], rng: random.Random) -> NDArray[np.float32]:
    """Flips and color jitter of one pair, [2,3,H,W], as in the authors' loader: to float, flips, to bytes, Pillow, to float."""
    frames = list(img_as_float32(pair))
    if rng.random() < 0.5:
        frames = frames[::-1]
    if rng.random() < 0.5:
        frames = [np.fliplr(frame) for frame in frames]
    factors, turn = [rng.uniform(0.9, 1.1) for _ in range(3)], rng.uniform(-0.1, 0.1)
    steps: list[Callable[[Image.Image], Image.Image]] = [
        lambda image: ImageEnhance.Brightness(image).enhance(factors[0]),
        lambda image: ImageEnhance.Contrast(image).enhance(factors[1]),
        lambda image: ImageEnhance.Color(image).enhance(factors[2]),
        lambda image: _hue_rotated(image, round(255 * turn)),
    ]
    rng.shuffle(steps)
    images = [Image.fromarray(img_as_ubyte(frame)) for frame in frames]
    for step in steps:
        images = [step(image) for image in images]
    return np.stack([img_as_float32(np.asarray(image)).transpose(2, 0, 1) for image in images])


def _hue_rotated(image: Image.Image, turn: int) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    moved = Image.fromarray((np.asarray(hue).astype(np.int16) + turn).astype(np.uint8))
    return Image.merge("HSV", (moved, saturation, value)).convert("RGB")


def _drawing(report: Report, rgb: Images, device: str, rounds: int) -> dict[str, Any]:
    count, size = rgb.shape[:2]
    points = torch.from_numpy(average_faces(count, size)).to(device)
    times = medians(
        device,
        rounds,
        {
            f"{count} images": lambda: landmark_images(points, size),
            "one image": lambda: landmark_images(points[:1], size),
            "one image, all distances": lambda: _dense(points[0], size),
        },
        _calls(device),
    )
    each = [1e3 * seconds / (1 if side.startswith("one") else count) for side, seconds in times.items()]
    off = (_dense(points[0], size) - landmark_images(points[:1], size)[0]).abs().max().item()
    report.table(f"Landmark images of {size} px", ["side", "ms per image"], list(zip(times, each, strict=True)))
    report.note(f"Largest difference between `landmark_images` and all distances: {off:.2g}, on a scale from 0 to 1.")
    return {"draw_ms": each[0], "draw_one_ms": each[1], "times_dense": each[2] / each[1]}


def _dense(points: Tensor, size: int) -> Tensor:
    """The same image, [3,size,size], from the distance of every pixel to every segment, color by color."""
    y, x = torch.meshgrid(*[torch.arange(float(size), device=points.device)] * 2, indexing="ij")
    image = points.new_ones(3, size, size)
    for rgb, lines in COLORS:
        (start, end) = (
            torch.cat([points[line][ends] for line in lines])[:, :, None, None] for ends in (slice(-1), slice(1, None))
        )
        (dx, dy), (px, py) = (end - start).unbind(1), (torch.stack([x, y]) - start).unbind(1)
        share = ((px * dx + py * dy) / (dx**2 + dy**2)).clamp(0, 1)
        distance = torch.hypot(px - share * dx, py - share * dy).amin(0)
        image += (SEED_WIDTH_PX / 2 + 0.5 - distance).clamp(0, 1) * (points.new_tensor(rgb).view(3, 1, 1) / 255 - image)
    return image


if __name__ == "__main__":
    sys.exit(main())
