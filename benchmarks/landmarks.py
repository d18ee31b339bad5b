"""Landmarks by FAN on batches, in fp32 and bf16, compiled or not, compared with the batch call of face-alignment.

    python -m benchmarks.landmarks [--frames 32] [--size 256] [--weights DIR]

All sides run S3FD and then find the landmarks of one face per frame, with the same weights: the published ones from DIR or torch
hub's cache, else random ones with a fixed seed. Random weights detect faces where there are none, so detection is timed
separately from landmarks, which get a fixed box; the table adds the two.
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
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cyclopts.types import PositiveInt
from numpy.typing import NDArray

from benchmarks.report import CorpusOptions, Report, benchmark, corpus
from motionshards.pipeline.inputs.tree import DirectoryTree
from motionshards.pipeline.sources.listing import Listing
from motionshards.pipeline.sources.voxceleb2 import list_clips
from motionshards.schemas.layout import uri_to_path
from motionshards.transforms.extract.decode import decode
from motionshards.transforms.extract.landmarks.fan import weights
from motionshards.transforms.extract.landmarks.fan.model import Fan
from motionshards.transforms.extract.landmarks.options import ModelOptions
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.timeline import timeline_from_packets

_GOALS = {"cuda": 8.0, "cpu": 1.3}
_ROUNDS = 3
_SAMPLE_S = 0.05


@dataclass(frozen=True, kw_only=True)
class LandmarksOptions(CorpusOptions):
    """Options of the benchmark."""

    frames: PositiveInt = 512 if torch.cuda.is_available() else 16
    """Frames of a batch."""
    size: PositiveInt = 256
    """Side of a frame in pixels."""
    weights: Path | None = None
    """Directory with the published weight files; by default torch hub's cache."""


@benchmark("landmarks")
def main(options: LandmarksOptions) -> None:
    """Compare landmarks by FAN on batches with the batch call of face-alignment."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    report = Report("benchmarks/landmarks.py: FAN on batches beside face-alignment's own batch call", options)
    with options.work_dir() as work:
        home, kind = _weights(options.weights, work)
        rgb = _frames(options, work)
        boxes = np.tile(np.array([[0.22, 0.2, 0.78, 0.85]], np.float32) * options.size, (len(rgb), 1))
        report.note(f"{name}, torch {torch.__version__}; {len(rgb)} frames of {options.size} px, one face each; {kind}.")
        sides = {"face-alignment, fp32, compiled": _theirs(home, device, rgb, boxes)}
        for precision, compiled in (("fp32", False), ("fp32", True), ("bf16", False), ("bf16", True)):
            side = f"ours, {precision}{', compiled' if compiled else ''}"
            sides[side] = _ours(ModelOptions("sfd", precision, home / "hub" / "checkpoints", device, compiled), rgb, boxes)
    report.finish(_compare(report, sides, device, options))


def _compare(report: Report, sides: dict[str, dict[str, Any]], device: str, options: LandmarksOptions) -> dict[str, Any]:
    theirs, exact = next(iter(sides.values())), sides["ours, fp32"]
    inside = (theirs["points"] > 0).all(axis=2)
    rows, figures = [], dict[str, Any]()
    for side, found in sides.items():
        each_ms = [found[step] * 1e3 / options.frames for step in ("detect", "landmarks")]
        times = (theirs["detect"] + theirs["landmarks"]) / (found["detect"] + found["landmarks"])
        off_px = float(np.percentile(np.abs(found["points"] - theirs["points"])[inside], 99))
        nme = float(np.linalg.norm(found["points"] - exact["points"], axis=2).mean() / options.size)
        rows.append([side, *each_ms, 1e3 / sum(each_ms), times, found["busy"], off_px, 100 * nme])
        if found is not theirs:
            name = side.removeprefix("ours, ").replace(", ", "_")
            figures |= {f"times_{name}": times, f"nme_{name}": nme, f"busy_{name}": found["busy"]}
    columns = ["side", "detection ms/frame", "landmarks ms/frame", "frames/s", "times", "GPU busy %", "p99 px to the library"]
    report.table(f"The best of {_ROUNDS} rounds", [*columns, "mean % of the frame to ours in fp32"], rows)
    report.note("The library truncates points to whole pixels, which is up to 0.5 px from ours.")
    best = max(value for name, value in figures.items() if name.startswith("times_bf16" if device == "cuda" else "times_fp32"))
    return {**figures, "busy_library": theirs["busy"], "goal": _GOALS[device], "goal_met": best >= _GOALS[device]}


def _ours(run: ModelOptions, rgb: NDArray[np.uint8], boxes: NDArray[np.float32]) -> dict[str, Any]:
    model = Fan(run)
    return _timed(run.device, lambda: model.detect(rgb), lambda: model.landmarks(rgb, boxes - np.float32(0.5)).points_px)


def _theirs(home: Path, device: str, rgb: NDArray[np.uint8], boxes: NDArray[np.float32]) -> dict[str, Any]:
    import face_alignment

    os.environ["TORCH_HOME"] = str(home)
    library = face_alignment.FaceAlignment(face_alignment.LandmarksType.TWO_D, device=device)
    batch = torch.from_numpy(rgb).permute(0, 3, 1, 2).float()
    faces = [[np.append(box, 1.0)] for box in boxes.astype(np.float64)]
    return _timed(
        device,
        lambda: library.face_detector.detect_from_batch(batch),
        lambda: np.array(library.get_landmarks_from_batch(batch, detected_faces=faces)),
    )


def _timed(device: str, detect: Callable[[], Any], landmarks: Callable[[], Any]) -> dict[str, Any]:
    """Seconds of each, the best of some rounds after one to warm up; the points; and how busy the GPU was."""
    detect()
    found = landmarks()
    best = {"detect": float("inf"), "landmarks": float("inf")}
    with _watched(device) as busy:
        for _ in range(_ROUNDS):
            for name, run in (("detect", detect), ("landmarks", landmarks)):
                start = time.perf_counter()
                run()
                if device == "cuda":
                    torch.cuda.synchronize()
                best[name] = min(best[name], time.perf_counter() - start)
    return {**best, "points": found, "busy": float(np.mean(busy)) if busy else None}


@contextmanager
def _watched(device: str) -> Iterator[list[float]]:
    """The GPU's utilisation in per cent, sampled while the block runs; empty without one."""
    samples: list[float] = []
    program, over = shutil.which("nvidia-smi"), threading.Event()
    command = [program or "", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]

    def watch() -> None:
        while not over.wait(_SAMPLE_S):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            samples.extend(float(line) for line in done.stdout.split()[:1] if done.returncode == 0)

    thread = threading.Thread(target=watch)
    if device == "cuda" and program:
        thread.start()
    try:
        yield samples
    finally:
        over.set()
        if thread.is_alive():
            thread.join()


def _weights(directory: Path | None, work: Path) -> tuple[Path, str]:
    """A home for torch hub with both files in its cache, and what they are."""
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
        if name == "sfd":  # so that there are about as many candidates as a real face has, not thousands
            network.conv3_3_norm_mbox_conf.bias.data[:-1] += 2.2
            network.conv5_3_norm_mbox_conf.bias.data[:-1] += 0.3
            for level in ("conv4_3_norm_mbox_conf", "fc7_mbox_conf", "conv6_2_mbox_conf", "conv7_2_mbox_conf"):
                getattr(network, level).bias.data[0] += 4.0
        torch.save(network.state_dict(), target / weights.NETWORKS[name].file)
    return work / "home", "random weights (none of the published are here)"


def _frames(options: LandmarksOptions, work: Path) -> NDArray[np.uint8]:
    """Frames of the corpus, uint8 [T,H,W,3]."""
    source, _ = corpus(options.input, work)
    found: list[NDArray[np.uint8]] = []
    for clip in list_clips(Listing(DirectoryTree(source))):
        media = Media.at(source / uri_to_path(clip.spans[0].uri))
        line = timeline_from_packets(media, 60)
        found.append(decode(media, line, np.arange(0, len(line.raw_s), 10), options.size, "pad", 60).rgb)
        if sum(map(len, found)) >= options.frames:
            break
    rgb = np.concatenate(found)
    return np.ascontiguousarray(np.tile(rgb, (-(-options.frames // len(rgb)), 1, 1, 1))[: options.frames])


if __name__ == "__main__":
    sys.exit(main())
