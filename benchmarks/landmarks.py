"""Landmarks by FAN on batches, in fp32 and bf16, compiled or not, compared with the batch call of face-alignment.

    python -m benchmarks.landmarks [--frames 32] [--size 256] [--weights DIR] [--device cuda] [--eager]

All sides run S3FD and then find the landmarks of one face per frame, with the same weights: the published ones from DIR or torch
hub's cache, otherwise random ones with a fixed seed. Random weights detect nonexistent faces, so detection is timed separately
from landmarks, which use a fixed box; the table adds the two. By default the library compiles its network, which takes a minute;
compilation is part of the first call, which is reported but not counted.
"""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cyclopts.types import PositiveInt
from numpy.typing import NDArray

from benchmarks.clock import device_and_name
from benchmarks.inputs import FramesOptions, Images
from benchmarks.report import Report, benchmark
from motionshards.transforms.extract.landmarks.fan import weights
from motionshards.transforms.extract.landmarks.fan.model import Fan
from motionshards.transforms.extract.landmarks.options import ModelOptions

_GOALS = {"cuda": 8.0, "cpu": 1.3}
_FRAMES = {"cuda": 512, "cpu": 16}
_SAMPLE_S = 0.05


@dataclass(frozen=True, kw_only=True)
class LandmarksOptions(FramesOptions):
    """Options of the benchmark."""

    frames: PositiveInt | None = None
    """Frames per batch; by default 512 on a GPU and 16 on a CPU."""
    size: PositiveInt = 256
    """Side of a frame in pixels."""
    weights: Path | None = None
    """Directory with the published weight files; by default torch hub's cache."""
    rounds: PositiveInt = 3
    """Rounds of each side."""
    eager: bool = False
    """Do not compile the networks of either side."""


@benchmark("landmarks")
def main(options: LandmarksOptions) -> None:
    """Compare landmarks by FAN on batches with the batch call of face-alignment."""
    report = Report("benchmarks/landmarks.py: FAN on batches compared with face-alignment's batch call", options)
    device, name = device_and_name(options.device)
    kind = torch.device(device).type
    with options.work_dir() as work:
        home, whose = _weights(options.weights, work)
        rgb = options.take(options.frames or _FRAMES[kind], options.size)
        boxes = np.tile(np.array([[0.22, 0.2, 0.78, 0.85]], np.float32) * options.size, (len(rgb), 1))
        report.note(f"{name}; {len(rgb)} frames of {options.size} px, one face each; {whose}.")
        sides = {f"face-alignment, fp32{'' if options.eager else ', compiled'}": _library(home, device, rgb, boxes, options)}
        for precision, compiled in product(("fp32", "bf16"), (False,) if options.eager else (False, True)):
            side = f"motionshards, {precision}{', compiled' if compiled else ''}"
            run = ModelOptions("sfd", precision, home / "hub" / "checkpoints", device, compiled)
            sides[side] = _motionshards(run, rgb, boxes, options.rounds)
    report.finish({"device": device, **_compare(report, sides, kind, len(rgb), options)})


def _compare(
    report: Report, sides: dict[str, dict[str, Any]], kind: str, count: int, options: LandmarksOptions
) -> dict[str, Any]:
    library, exact = next(iter(sides.values())), sides["motionshards, fp32"]
    inside = (library["points"] > 0).all(axis=2)
    rows, figures = [], dict[str, Any]()
    for side, found in sides.items():
        each_ms = [found[step] * 1e3 / count for step in ("detect", "landmarks")]
        times = (library["detect"] + library["landmarks"]) / (found["detect"] + found["landmarks"])
        off_px = float(np.percentile(np.abs(found["points"] - library["points"])[inside], 99))
        nme = float(np.linalg.norm(found["points"] - exact["points"], axis=2).mean() / options.size)
        rows.append([side, found["first"], *each_ms, 1e3 / sum(each_ms), times, found["busy"], off_px, 100 * nme])
        if found is not library:
            name = side.removeprefix("motionshards, ").replace(", ", "_")
            figures |= {f"times_{name}": times, f"nme_{name}": nme, f"busy_{name}": found["busy"]}
    columns = ["side", "first call, s", "detection ms/frame", "landmarks ms/frame", "frames/s", "speedup", "GPU busy %"]
    columns += ["p99 difference from the library, px", "mean difference from motionshards in fp32, % of the frame"]
    report.table(f"Best of {options.rounds} rounds", columns, rows)
    report.note("The library truncates points to whole pixels, which differs by up to 0.5 px from the fractional points here.")
    fast = "times_bf16" if kind == "cuda" else "times_fp32"
    best = max(value for name, value in figures.items() if name.startswith(fast))
    figures |= {"times": best, "frames_s": best * count / (library["detect"] + library["landmarks"])}
    return {**figures, "busy_library": library["busy"], "goal": _GOALS[kind], "goal_met": best >= _GOALS[kind]}


def _motionshards(run: ModelOptions, rgb: Images, boxes: NDArray[np.float32], rounds: int) -> dict[str, Any]:
    model = Fan(run)
    return _timed(run.device, rounds, lambda: model.detect(rgb), lambda: model.landmarks(rgb, boxes - np.float32(0.5)).points_px)


def _library(home: Path, device: str, rgb: Images, boxes: NDArray[np.float32], options: LandmarksOptions) -> dict[str, Any]:
    import face_alignment

    os.environ["TORCH_HOME"] = str(home)
    library = face_alignment.FaceAlignment(face_alignment.LandmarksType.TWO_D, device=device, compile=not options.eager)
    batch = torch.from_numpy(rgb).permute(0, 3, 1, 2).float()
    faces = [[np.append(box, 1.0)] for box in boxes.astype(np.float64)]
    return _timed(
        device,
        options.rounds,
        lambda: library.face_detector.detect_from_batch(batch),
        lambda: np.array(library.get_landmarks_from_batch(batch, detected_faces=faces)),
    )


def _timed(device: str, rounds: int, detect: Callable[[], Any], landmarks: Callable[[], Any]) -> dict[str, Any]:
    """Seconds of both steps (best of `rounds`) and of the first call of both, the points, and the GPU's utilization.

    Both return arrays in host memory, so wall time includes all GPU work.
    """
    start = time.perf_counter()
    detect()
    found = landmarks()
    first = time.perf_counter() - start
    best = {"detect": float("inf"), "landmarks": float("inf")}
    with _watched(device) as busy:
        for _ in range(rounds):
            for name, run in (("detect", detect), ("landmarks", landmarks)):
                start = time.perf_counter()
                run()
                best[name] = min(best[name], time.perf_counter() - start)
    return {**best, "first": first, "points": found, "busy": float(np.mean(busy)) if busy else None}


@contextmanager
def _watched(device: str) -> Iterator[list[float]]:
    """Sample the GPU's utilization in percent while the block runs; empty without a GPU."""
    samples: list[float] = []
    program, over = shutil.which("nvidia-smi"), threading.Event()
    command = [program or "", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]

    def watch() -> None:
        while not over.wait(_SAMPLE_S):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            samples.extend(float(line) for line in done.stdout.split()[:1] if done.returncode == 0)

    thread = threading.Thread(target=watch)
    if device != "cpu" and program:
        thread.start()
    try:
        yield samples
    finally:
        over.set()
        if thread.is_alive():
            thread.join()


def _weights(directory: Path | None, work: Path) -> tuple[Path, str]:
    """Create a torch hub directory with both weight files in its cache; returns it and a description of the weights."""
    target = work / "home" / "hub" / "checkpoints"
    target.mkdir(parents=True)
    files = [weights.NETWORKS[name].file for name in ("fan", "sfd")]
    for place in (directory, Path(torch.hub.get_dir()) / "checkpoints"):
        if place is not None and all((place / file).is_file() for file in files):
            for file in files:
                (target / file).symlink_to((place / file).resolve())
            return work / "home", f"the weights of {place.name}"
    torch.manual_seed(0)
    for name in ("fan", "sfd"):
        network: Any = weights.NETWORKS[name].make()
        if name == "sfd":  # to have about as many candidates as a real face, not thousands
            network.conv3_3_norm_mbox_conf.bias.data[:-1] += 2.2
            network.conv5_3_norm_mbox_conf.bias.data[:-1] += 0.3
            for level in ("conv4_3_norm_mbox_conf", "fc7_mbox_conf", "conv6_2_mbox_conf", "conv7_2_mbox_conf"):
                getattr(network, level).bias.data[0] += 4.0
        torch.save(network.state_dict(), target / weights.NETWORKS[name].file)
    return work / "home", "random weights (the published ones are not available)"


if __name__ == "__main__":
    sys.exit(main())
