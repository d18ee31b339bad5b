"""Planning a corpus of VoxCeleb2's size: wall time and peak memory.

    python -m benchmarks.plan [--clips 1100000] [--tree 100000]

Each measurement runs in a new process. A synthetic listing has the shape of VoxCeleb2: 6,112 identities, 118 of them in the
test split, and about seven clips per video. With `--tree`, a tree of tiny files is created, listed and planned as well, and its
time is extrapolated linearly to `--clips`; the table labels it as an extrapolation.
"""

import cProfile
import json
import os
import pstats
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter
from cyclopts.types import PositiveInt

from benchmarks.report import ROOT, Report, WorkOptions, benchmark, peak_mib
from motionshards.pipeline.inputs.tree import DirectoryTree
from motionshards.pipeline.planning.hygiene import hygiene
from motionshards.pipeline.planning.plan import Subset, listing_table, plan_new, read_unit, units
from motionshards.pipeline.sources import voxceleb2
from motionshards.pipeline.sources.listing import Listing
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.layout import clip_key, path_to_uri
from motionshards.schemas.records import ClipSpec, Span

_GOAL_S, _GOAL_MIB = 60.0, 2000 * 1e6 / 2**20
_IDENTITIES, _TEST_IDENTITIES, _CLIPS_A_VIDEO = 6112, 118, 7.3
_TINY = b"\0" * 16


@dataclass(frozen=True, kw_only=True)
class PlanOptions(WorkOptions):
    """Options of the benchmark."""

    clips: PositiveInt = 1_100_000
    """Clips of the synthetic listing."""
    tree: PositiveInt | None = None
    """Also create, list and plan this many tiny files, such as 100000; `--work` should be on a real disk then."""
    profile: bool = False
    """Only print a profile of planning the synthetic listing."""
    measure: Annotated[str | None, Parameter(show=False)] = None
    """One measurement as JSON, which the benchmark runs in a new process."""


def synthetic_clips(count: int) -> Iterator[ClipSpec]:
    """`count` clips as `voxceleb2.list_clips` yields them, generated lazily."""
    sizes = np.random.default_rng(0).lognormal(12.3, 0.6, count).astype(np.int64).tolist()
    for size, (half, identity, video, name) in zip(sizes, _names(count), strict=True):
        yield ClipSpec(
            key=clip_key(identity, video, name),
            source="voxceleb2",
            split=voxceleb2.SPLITS[half],
            identity=identity,
            video=video,
            spans=(Span(path_to_uri(f"{half}/mp4/{identity}/{video}/{name}.mp4")),),
            cost=0.15 + 1.0e-6 * size,
        )


def _names(count: int) -> Iterator[tuple[str, str, str, str]]:
    """Half, identity, video and clip of `count` clips, in the order of a listing."""
    identities = min(_IDENTITIES, max(2, round(count / 180)))
    videos = max(identities, round(count / _CLIPS_A_VIDEO))
    first_test = identities - max(1, identities * _TEST_IDENTITIES // _IDENTITIES)
    for number in range(count):
        video = number * videos // count  # multiplied by an odd number below: unordered unique names
        identity = video * identities // videos
        half = "test" if identity >= first_test else "dev"
        yield half, f"id{identity:05d}", f"{video * 2654435761 % 2**32:08x}vid", f"{number % 1000:05d}"


def make_tree(root: Path, count: int) -> None:
    """Create `count` tiny files in VoxCeleb2's layout."""
    created = ""
    for half, identity, video, name in _names(count):
        directory = os.path.join(root, half, "mp4", identity, video)
        if directory != created:
            Path(directory).mkdir(parents=True)
            created = directory
        with open(os.path.join(directory, f"{name}.mp4"), "wb") as stream:
            stream.write(_TINY)


def plan_listing(out: Path, clips: Iterator[ClipSpec], config: BuildConfig) -> int:
    """Plan as `dataset.build` does, with the hygiene report."""
    listed = listing_table(clips, config)
    hygiene(listed, [])
    return plan_new(out, listed, config, Subset())


def measure(order: dict[str, Any]) -> dict[str, float]:
    """Plan by `order`, then again with nothing new; returns seconds of each step and peak memory of this process."""
    out, config = Path(order["out"]), BuildConfig(source="voxceleb2")
    root, clips = order["tree"], order["clips"]
    listing = partial(voxceleb2.list_clips, Listing(DirectoryTree(Path(root)))) if root else partial(synthetic_clips, clips)
    imported_mib = peak_mib()
    steps: dict[str, tuple[float, float]] = {}
    _timed(steps, "listing", lambda: sum(1 for _ in listing()))
    planned = _timed(steps, "plan", lambda: plan_listing(out, listing(), config))
    found = _timed(steps, "units", lambda: units(out))
    specs = _timed(steps, "unit", lambda: read_unit(out, found[len(found) // 2]))
    first_mib = peak_mib()
    new = _timed(steps, "again", lambda: plan_listing(out, listing(), config))
    assert planned == clips == sum(len(unit) for unit in found) and new == 0 and specs, (planned, clips, new)
    steps["total"] = tuple(map(sum, zip(steps["plan"], steps["units"], steps["unit"], strict=True)))  # type: ignore[assignment]
    return {
        **{f"{name}_s": wall_s for name, (wall_s, _) in steps.items()},
        **{f"{name}_cpu_s": cpu_s for name, (_, cpu_s) in steps.items()},
        "units": len(found),
        "imported_mib": imported_mib,
        "peak_mib": first_mib,
        "peak_again_mib": peak_mib(),
        "plan_mb": sum(path.stat().st_size for path in (out / "plan").iterdir()) / 1e6,
    }


def _timed(steps: dict[str, tuple[float, float]], name: str, step: Callable[[], Any]) -> Any:
    """Run a step and record its wall and CPU seconds."""
    start, cpu_start = time.monotonic(), time.process_time()
    result = step()
    steps[name] = time.monotonic() - start, time.process_time() - cpu_start
    return result


def measure_fresh(out: Path, clips: int, tree: Path | None = None) -> dict[str, float]:
    """Run `measure` in a new process."""
    order = json.dumps({"out": str(out), "clips": clips, "tree": tree and str(tree)})
    command = [sys.executable, "-m", "benchmarks.plan", "--measure", order]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


@benchmark("plan")
def main(options: PlanOptions) -> None:
    """Measure wall time and peak memory of planning a corpus of VoxCeleb2's size."""
    if options.measure:
        print(json.dumps(measure(json.loads(options.measure))))
        return
    if options.profile:
        profile(options.clips)
        return
    report = Report("benchmarks/plan.py: planning a corpus of VoxCeleb2's size", options)
    with options.work_dir() as work:
        figures = _report_listing(report, work, options.clips)
        if options.tree:
            figures |= _report_tree(report, work, options.tree, options.clips)
    report.finish(figures)


def _report_listing(report: Report, work: Path, clips: int) -> dict[str, Any]:
    found = measure_fresh(work / "listing", clips)
    rows = [
        ("generating the listing (part of the next row)", "listing"),
        ("plan_new, including the listing", "plan"),
        (f"units() ({found['units']:,} units)", "units"),
        ("read_unit of a unit in the middle", "unit"),
        ("sum", "total"),
        ("plan_new again, nothing new", "again"),
    ]
    report.table(
        f"A synthetic listing of {clips:,} clips",
        ("step", "wall seconds", "CPU seconds"),
        [(name, *_both(found, key)) for name, key in rows],
    )
    report.note(
        f"Peak memory {found['peak_mib']:,.0f} MiB ({found['imported_mib']:.0f} MiB of it after the imports), "
        f"{found['peak_again_mib']:,.0f} MiB after the second plan; {found['plan_mb']:.1f} MB on disk. "
        f"Goals: {_GOAL_S:g} s and 2 GB ({_GOAL_MIB:,.0f} MiB) for 1.1 million clips."
    )
    figures = {key: found[key] for key in ("total_s", "total_cpu_s", "again_s", "peak_mib", "peak_again_mib")}
    met = {"goal_s_met": found["total_s"] < _GOAL_S, "goal_mib_met": found["peak_again_mib"] < _GOAL_MIB}
    return {"clips": clips, **figures, "seconds_of_goal": found["total_s"] / _GOAL_S, **met}


def _report_tree(report: Report, work: Path, files: int, clips: int) -> dict[str, Any]:
    start = time.monotonic()
    make_tree(work / "tree", files)
    made_s = time.monotonic() - start
    found = measure_fresh(work / "tree-out", files, work / "tree")
    factor = clips / files
    rows = [("list_clips only", "listing"), ("plan_new, including list_clips", "plan"), ("again, nothing new", "again")]
    report.table(
        f"A real tree of {files:,} tiny files (created in {made_s:.0f} s, so its directories are in the page cache)",
        ("step", "wall seconds", "CPU seconds", f"wall seconds extrapolated to {clips:,}", "CPU seconds extrapolated"),
        [(name, *both, *(seconds * factor for seconds in both)) for name, key in rows if (both := _both(found, key))],
    )
    return {
        "tree_files": files,
        "tree_plan_s": found["plan_s"],
        "tree_plan_s_extrapolated": found["plan_s"] * factor,
        "tree_plan_cpu_s_extrapolated": found["plan_cpu_s"] * factor,
        "tree_goal_s_met": found["plan_s"] * factor < _GOAL_S,
    }


def _both(found: dict[str, float], key: str) -> tuple[float, float]:
    return found[f"{key}_s"], found[f"{key}_cpu_s"]


def profile(clips: int) -> None:
    """Print a profile of planning by cProfile, which slows down Python code and so distorts the shares."""
    with tempfile.TemporaryDirectory(prefix="motionshards-bench-") as scratch, cProfile.Profile() as profiler:
        plan_listing(Path(scratch), synthetic_clips(clips), BuildConfig(source="voxceleb2"))
    pstats.Stats(profiler).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    sys.exit(main())
