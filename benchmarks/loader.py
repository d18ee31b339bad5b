"""The loader, compared with the limit of JPEG decoding, with other streaming libraries, and with the published training code.

    python -m benchmarks.loader [--clips 300] [--rounds 5] [--peers-python PYTHON] [--data DIR] [--device cuda]

All sides read the same frames on the same cores, each in its own process, in interleaved rounds. `make peers` installs
the peers into a separate environment, whose interpreter is PYTHON. Peers that are not installed are skipped.
Quick look: --clips 40 --rounds 1 --seconds 1 --only motionshards.
"""

import os
import statistics
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cyclopts.types import PositiveFloat, PositiveInt

from benchmarks.build import replicate
from benchmarks.loader_forms import SLOW_CLIPS
from benchmarks.loader_run import Order, run_side
from benchmarks.report import ROOT, CorpusOptions, Report, benchmark, cores, corpus
from motionshards.dataset.commandline import DeviceOption
from motionshards.dataset.index import Dataset
from motionshards.schemas.layout import is_main_frame
from motionshards.trainers.parallel import choose_device

_STEP_MS = 15.0
_SLOW_BATCH = 4


@dataclass(frozen=True, kw_only=True)
class LoaderOptions(CorpusOptions, DeviceOption):
    """Options of the benchmark."""

    data: Path | None = None
    """A finished dataset to read instead of one built from `--input`."""
    clips: PositiveInt = 300
    """Clips to build."""
    size: PositiveInt = 256
    """Side of the stored frames in pixels."""
    batch: PositiveInt = 20
    """Clips per batch."""
    batches: PositiveInt = 1000
    """Maximum number of batches per side and round."""
    seconds: PositiveFloat = 4.0
    """Maximum number of seconds per side and round."""
    rounds: PositiveInt = 5
    """Rounds of each side."""
    cores: PositiveInt = field(default_factory=cores)
    """Number of cores and of workers; by default all cores."""
    only: str = ""
    """Only sides with this text in their name."""
    peers_python: str = sys.executable
    """Interpreter of the environment with the peers; by default this one."""


@dataclass(frozen=True, slots=True)
class Side:
    """A row of the tables.

    form: function of `loader_forms` that writes its data
    group: its table
    smaller: whether it reads the smaller of two stored sizes
    """

    name: str
    run: str
    group: str = "pairs"
    form: str = ""
    slow: bool = False
    step_ms: float = 0.0
    smaller: bool = False

    @property
    def frames(self) -> int:
        """Frames that it reads per clip."""
        return 9 if self.group == "k_plus_one" else 2


LIMIT = Side("limit: frames decoded from memory, nothing else", "loader_ours:limit")
MOTIONSHARDS = Side("motionshards, make_loader", "loader_ours:as_it_is")
MOSAIC = Side("mosaicml-streaming, JPEG bytes, lazy decode", "loader_peers:mosaicml_streaming", form="mds")
LITDATA = Side("litdata, JPEG bytes, lazy decode", "loader_peers:litdata", form="litdata")
SPDL = Side("SPDL, folders of JPEG files, one task per batch", "loader_peers:spdl", form="folders")
ENERGON = Side("Megatron-Energon, crude samples, lazy decode", "loader_peers:energon", form="energon")
WEBDATASET = Side("webdataset, hand-tuned: decode chosen frames only", "loader_peers:webdataset_tuned")
PNG = Side("FOMM's loader: PNG folders, augmented by skimage", "loader_old:png_augmented", form="png", slow=True)
MP4 = Side("FOMM's loader: mp4, augmented by skimage", "loader_old:mp4_augmented", form="mp4", slow=True)
UNDRAWN = Side("motionshards, frames and landmarks, nothing drawn", "loader_ours:k_plus_one", "k_plus_one")
DRAWN = Side("motionshards, drawn by transforms.augment on the CPU", "loader_ours:k_plus_one_drawn", "k_plus_one")
OPENCV = Side("motionshards, drawn by OpenCV", "loader_ours:k_plus_one_opencv", "k_plus_one")
PICKLES = Side("pickles, drawn by matplotlib", "loader_old:pickled", "k_plus_one", form="pickles", slow=True)
STEPS = Side("motionshards, make_loader", "loader_ours:as_it_is", "steps", step_ms=_STEP_MS)
LARGER = Side("motionshards, frames of the dataset's size", "loader_ours:as_it_is", "sizes")
SMALLER = Side("motionshards, frames of half that size", "loader_ours:as_it_is", "sizes", smaller=True)
LIMIT_OF_COPIES = replace(LIMIT, group="device")
TO_DEVICE = Side("motionshards, make_loader to the device", "loader_ours:to_device", "device")
PINNED = Side("motionshards, ordinary DataLoader, pinned and copied", "loader_ours:data_loader_to_device", "device")
SIDES = (
    LIMIT_OF_COPIES,
    TO_DEVICE,
    PINNED,
    LIMIT,
    MOTIONSHARDS,
    Side("motionshards, make_loader, one process of 8 threads", "loader_ours:one_process"),
    Side("motionshards, ordinary DataLoader", "loader_ours:data_loader"),
    Side("webdataset, hand-tuned, 4 pairs per read", "loader_peers:webdataset_pairs"),
    MOSAIC,
    LITDATA,
    SPDL,
    ENERGON,
    WEBDATASET,
    Side('webdataset as in its tutorials: decode("rgb")', "loader_peers:webdataset_tutorial", slow=True),
    Side("FOMM's loader: PNG folders, no augmentation", "loader_old:png", form="png", slow=True),
    PNG,
    MP4,
    UNDRAWN,
    OPENCV,
    DRAWN,
    PICKLES,
    STEPS,
    Side("motionshards, ordinary DataLoader", "loader_ours:data_loader", "steps", step_ms=_STEP_MS),
    Side("webdataset, hand-tuned: decode chosen frames only", "loader_peers:webdataset_tuned", "steps", step_ms=_STEP_MS),
    LARGER,
    SMALLER,
)
GROUPS = {
    "pairs": ("Two frames per clip", MOTIONSHARDS),
    "k_plus_one": ("K + 1 = 9 frames per clip and their landmark images", OPENCV),
    "steps": (f"Two frames per clip, {_STEP_MS:g} ms of pure Python between batches, like a training step", STEPS),
    "device": ("Two frames per clip, on the device", TO_DEVICE),
    "sizes": ("Two frames per clip, from a dataset that stores two sizes", SMALLER),
}
# Name of a ratio, numerator, denominator, goal.
GOALS = (
    ("share_of_limit", MOTIONSHARDS, LIMIT, 0.9),
    ("times_mosaicml_streaming", MOTIONSHARDS, MOSAIC, 3.0),
    ("times_litdata", MOTIONSHARDS, LITDATA, 3.0),
    ("times_webdataset", MOTIONSHARDS, WEBDATASET, 4.0),
    ("times_spdl", MOTIONSHARDS, SPDL, 1.0),
    ("times_energon", MOTIONSHARDS, ENERGON, 3.0),
    ("times_fomm_png", MOTIONSHARDS, PNG, 20.0),
    ("times_fomm_mp4", MOTIONSHARDS, MP4, 50.0),
    ("times_matplotlib_undrawn", UNDRAWN, PICKLES, 40.0),  # the CPU's share of the work if a GPU draws
    ("times_matplotlib_opencv", OPENCV, PICKLES, 40.0),
    ("times_matplotlib_cpu", DRAWN, PICKLES, 40.0),
    ("share_of_limit_on_device", TO_DEVICE, LIMIT_OF_COPIES, 0.85),
    ("times_pinned", TO_DEVICE, PINNED, 1.0),
    ("times_twice_the_size", SMALLER, LARGER, 2.0),
)
Figures = dict[str, float]


@benchmark("loader")
def main(options: LoaderOptions) -> None:
    """Compare the loader with the limit of JPEG decoding, other streaming libraries, and the published training code."""
    report = Report("benchmarks/loader.py: the loader compared with its limit, other loaders and the published code", options)
    with options.work_dir() as work:
        data, name = (options.data.resolve(), options.data.name) if options.data else make_data(options, work, str(options.size))
        report.note(_input(name, data, options))
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
        device = str(choose_device(options.device))
        copied = options.device != "auto" or device != "cpu"
        sides = [side for side in SIDES if options.only in f"{side.name} {side.group}" and (copied or side.group != "device")]
        places = dict.fromkeys(GROUPS, data)
        if options.data:
            sides = [side for side in sides if side.group != "sizes"]
        elif any(side.group == "sizes" for side in sides):
            places["sizes"], _ = make_data(options, work / "sizes", f"{2 * options.size},{options.size}")
        missing = make_forms(sides, data, work, options)
        found: dict[Side, list[Figures]] = {}
        for _ in range(options.rounds):
            for side in sides:
                if side.name not in missing:
                    _measure(side, places[side.group], device, work, options, found, missing)
    report.finish(_report(report, {side: _median(each) for side, each in found.items()}, missing))


def make_data(options: LoaderOptions, work: Path, sizes: str) -> tuple[Path, str]:
    """Build `options.clips` clips of these sizes from copies of the corpus; returns the dataset and the name of the corpus."""
    source, name = corpus(options.input, work)
    clips = sum(1 for path in source.rglob("*.mp4") if path.stat().st_size)
    root, out = replicate(source, work / "input", -(-options.clips // clips)), work / "data"
    command = [
        *(sys.executable, "-m", "dataset.build", "--source", "voxceleb2", "--landmarks", "dlib", "--quiet", "--input", str(root))
    ]
    command += ["--output", str(out), "--size", sizes, "--frames", "16", "--clips-per-shard", "50"]
    subprocess.run([*command, "--limit", str(options.clips)], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return out, name


def make_forms(sides: Iterable[Side], data: Path, work: Path, options: LoaderOptions) -> dict[str, str]:
    """Write the data of sides with their own format; returns the names of sides that cannot run, with the reasons."""
    missing: dict[str, str] = {}
    for side in sides:
        form = work / side.form
        if side.form and not form.exists():
            form.mkdir()
            done = _run(
                Order(side=f"benchmarks.loader_forms:{side.form}", data=str(data), form=str(form), cores=1, frames=9), options
            )
            missing |= {other.name: done["missing"] for other in sides if "missing" in done and other.form == side.form}
    return missing


def _measure(
    side: Side,
    data: Path,
    device: str,
    work: Path,
    options: LoaderOptions,
    found: dict[Side, list[Figures]],
    missing: dict[str, str],
) -> None:
    order = Order(
        side=f"benchmarks.{side.run}",
        data=str(data),
        form=str(work / side.form),
        cores=options.cores,
        batch=_SLOW_BATCH if side.slow else options.batch,
        frames=side.frames,
        batches=options.batches,
        seconds=options.seconds,
        step_ms=side.step_ms,
        size=options.size if side.smaller else None,
        device=device,
    )
    figures = _run(order, options)
    if "missing" in figures:
        missing[side.name] = figures["missing"]
    else:
        found.setdefault(side, []).append(figures)


def _run(order: Order, options: LoaderOptions) -> Any:
    """Run this project's sides in this environment, the others in that of their packages."""
    return run_side(order, sys.executable if "loader_ours" in order.side else options.peers_python)


def _median(rounds: list[Figures]) -> Figures:
    """The median of each figure, and the lowest and highest rate."""
    rates = [figures["clips_per_s"] for figures in rounds]
    return {name: statistics.median(figures[name] for figures in rounds) for name in rounds[0]} | {
        "least": min(rates),
        "most": max(rates),
    }


def _report(report: Report, found: dict[Side, Figures], missing: dict[str, str]) -> dict[str, Any]:
    for side, why in missing.items():
        report.note(f"Skipped {side}: {why}")
    for group, (heading, reference) in GROUPS.items():
        _table(report, heading, {side: figures for side, figures in found.items() if side.group == group}, found.get(reference))
    results: dict[str, Any] = {}
    for name, numerator, other, goal in GOALS:
        if numerator in found and other in found:
            times = found[numerator]["clips_per_s"] / found[other]["clips_per_s"]
            by_cpu = found[other]["cpu_ms"] / found[numerator]["cpu_ms"]
            results |= {name: times, f"{name}_by_cpu": by_cpu, f"{name}_goal": goal, f"{name}_goal_met": times >= goal}
    if TO_DEVICE in found:
        results["clips_s_on_device"] = found[TO_DEVICE]["clips_per_s"]
    if STEPS in found:
        results["waited_ms"] = found[STEPS]["waited_ms"]
    report.table("Goals", ("ratio of clips/s", "measured", "by CPU time", "goal"), _goals(results))
    return results


def _goals(results: dict[str, Any]) -> list[tuple[Any, ...]]:
    names = [name for name, *_ in GOALS if name in results]
    return [(name.replace("_", " "), results[name], results[f"{name}_by_cpu"], results[f"{name}_goal"]) for name in names]


def _table(report: Report, heading: str, sides: dict[Side, Figures], reference: Figures | None) -> None:
    columns = ["side", "clips/s", "min–max", "CPU ms per clip", "ms waited per batch"]
    rows: list[list[Any]] = []
    for side, figures in sides.items():
        spread = f"{figures['least']:,.0f}–{figures['most']:,.0f}"
        rows.append([side.name, figures["clips_per_s"], spread, figures["cpu_ms"], figures["waited_ms"]])
        if reference:
            rows[-1] += [reference["clips_per_s"] / figures["clips_per_s"], figures["cpu_ms"] / reference["cpu_ms"]]
    if rows:
        report.table(heading, [*columns, *(["speedup of motionshards", "by CPU time"] if reference else [])], rows)


def _input(name: str, data: Path, options: LoaderOptions) -> str:
    table = Dataset.open(data).index(["n_frames", "width_px", "members"])
    sizes = [member["size"] for members in table["members"].to_pylist() for member in members if is_main_frame(member["suffix"])]
    return (
        f"Input: {name}, as {len(table)} clips of {max(table['n_frames'].to_pylist())} frames of {options.size} px, "
        f"{statistics.mean(sizes) / 1e3:.1f} KB per JPEG. PNG folders, videos and pickles have at most {SLOW_CLIPS} clips. "
        f"Batches of {options.batch} ({_SLOW_BATCH} for the slow sides, whose rate does not depend on it), {options.cores} cores "
        f"and as many workers. Medians of {options.rounds} interleaved rounds of {options.seconds:g} s. CPU time is that of the "
        "whole process tree, the more reliable figure if the machine is in use."
    )


if __name__ == "__main__":
    sys.exit(main())
