"""A build from archives read in place, compared with the same build from the extracted tree.

    python -m benchmarks.archive [--input DIR] [--copies 20] [--rounds 2] [--entries 1100000]

The corpus is replicated as in `benchmarks.build` and stored uncompressed in a zip of five parts, like VoxCeleb2's. The sides
alternate. Disk writes are the kernel's counts for a run and all its child processes.
"""

import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from cyclopts.types import PositiveInt

from benchmarks.build import replicate
from benchmarks.report import ROOT, CorpusOptions, Report, benchmark, cores, corpus
from benchmarks.watch import Watch
from motionshards.pipeline.inputs.input import Input, open_input
from motionshards.pipeline.inputs.unpack import content
from motionshards.pipeline.sources import SOURCES, voxceleb2
from motionshards.pipeline.sources.listing import Listing
from motionshards.schemas.records import Span

_PARTS = 5
_GOAL = 0.95
_WATCH_S = 0.05


@dataclass(frozen=True, kw_only=True)
class ArchiveOptions(CorpusOptions):
    """Options of the benchmark."""

    copies: PositiveInt = 20
    """Copies of the input."""
    rounds: PositiveInt = 2
    """Builds of each side."""
    workers: PositiveInt = field(default_factory=cores)
    """Processes; by default one per core."""
    entries: PositiveInt = 1_100_000
    """Files in the zip of the listing measurement."""


@benchmark("archive")
def main(options: ArchiveOptions) -> None:
    """Compare a build from archives read in place with one from the extracted tree."""
    report = Report("benchmarks/archive.py: archives read in place, compared with the extracted tree", options)
    with options.work_dir() as work:
        source, name = corpus(options.input, work)
        tree = replicate(source, work / "extracted", options.copies)
        first = make_parts(tree, work)
        size = sum(path.stat().st_size for path in work.glob("vox2_dev_mp4_part*"))
        runs: dict[str, list[dict[str, Any]]] = {"extracted": [], "archive": []}
        for number in range(options.rounds):
            for side, path in (
                (("extracted", tree), ("archive", first)) if number % 2 else (("archive", first), ("extracted", tree))
            ):
                runs[side].append(run_build(path, work / f"{side}-{number}", options.workers))
        report.note(f"Input: {name}, {options.copies} copies: {runs['archive'][0]['planned']} clips, {size / 1e6:.0f} MB; dlib.")
        figures = _compare_builds(report, runs, size)
        figures |= _reading(report, tree, first) | _listing(report, work, options.entries)
    report.finish(figures)


def make_parts(tree: Path, work: Path) -> Path:
    """Write the tree as an uncompressed zip in parts; returns the first part."""
    whole = work / "whole.zip"
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(tree.rglob("*.mp4")):
            archive.write(path, path.relative_to(tree))
    step = whole.stat().st_size // _PARTS + 1
    with whole.open("rb") as stream:
        for number in range(_PARTS):
            (work / f"vox2_dev_mp4_parta{'abcde'[number]}").write_bytes(stream.read(step))
    whole.unlink()
    return work / "vox2_dev_mp4_partaa"


def run_build(path: Path, out: Path, workers: int) -> dict[str, Any]:
    """Run `dataset.build` on one input; returns its ledger, and the CPU seconds and written bytes of all its processes."""
    command = [sys.executable, "-m", "dataset.build", "--source", "voxceleb2", "--landmarks", "dlib", "--json", "--quiet"]
    command += ["--input", str(path), "--output", str(out), "--workers", str(workers)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    with Watch(process.pid, _WATCH_S) as watch:
        last_line = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"the build ended with status {process.returncode}: {' '.join(command)}")
    return {**json.loads(last_line), "cpu_s": watch.cpu_s, "written": watch.written_bytes}


def _compare_builds(report: Report, runs: dict[str, list[dict[str, Any]]], size: int) -> dict[str, Any]:
    best = {side: {name: min(run[name] for run in found) for name in ("seconds", "cpu_s")} for side, found in runs.items()}
    written = {side: found[0]["written"] for side, found in runs.items()}
    rows = [
        [side, best[side]["seconds"], best[side]["cpu_s"], runs[side][0]["planned"] / best[side]["seconds"], written[side] / 1e6]
        for side in runs
    ]
    columns = ["read from", "seconds", "CPU seconds", "clips/s", "MB written"]
    report.table(f"Whole builds, best of {len(runs['archive'])}", columns, rows)
    same = len({(run["kept"], run["bytes"]) for found in runs.values() for run in found}) == 1
    extracted = max(0, written["archive"] - written["extracted"])
    report.note(
        f"The build from the archive of {size / 1e6:.0f} MB wrote {extracted / 1e6:.2f} MB more than the other. "
        f"Both sides keep {runs['archive'][0]['kept']} clips in {runs['archive'][0]['bytes'] / 1e6:.1f} MB of shards."
    )
    share = best["extracted"]["seconds"] / best["archive"]["seconds"]
    return {
        "throughput_of_extracted": share,
        "cpu_of_extracted": best["archive"]["cpu_s"] / best["extracted"]["cpu_s"],
        "extracted_share_of_archive": extracted / size,
        "same_shards": same,
        "goal_met": share >= _GOAL and same and extracted < size / 100,
    }


def _read_all(opened: Input, spans: Sequence[Span]) -> None:
    for span in spans:
        content(span.uri, span.packed, opened.root)


def _reading(report: Report, tree: Path, first: Path) -> dict[str, Any]:
    """Measure reading the bytes of every clip, without decoding."""
    rows, rates = [], {}
    for side, path in (("extracted", tree), ("archive", first)):
        opened = open_input([path], SOURCES["voxceleb2"].splits)
        spans = [clip.spans[0] for clip in voxceleb2.list_clips(Listing(opened.tree))]
        seconds = min(_timed(partial(_read_all, opened, spans)) for _ in range(3))
        rates[side] = len(spans) / seconds
        rows.append([side, rates[side]])
    report.table("Reading only, one thread, warm cache (the archive with CRC check)", ["read from", "clips/s"], rows)
    return {"reading_of_extracted": rates["archive"] / rates["extracted"]}


def _timed(action: Callable[[], Any]) -> float:
    start = time.monotonic()
    action()
    return time.monotonic() - start


def _listing(report: Report, work: Path, entries: int) -> dict[str, Any]:
    """Measure listing a zip with as many files as the whole corpus, in a separate process."""
    path = work / "vox2_many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(entries):
            archive.writestr(f"dev/mp4/id{number // 180:05d}/video-{number // 8:06d}/{number % 8:05d}.mp4", b"")
    code = (
        "import resource, sys, time; from pathlib import Path; from motionshards.pipeline.inputs.input import open_input\n"
        "start = time.monotonic(); opened = open_input([Path(sys.argv[1])], ('dev', 'test'))\n"
        "print(time.monotonic() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True)
    seconds, peak_mib = map(float, done.stdout.split())
    report.table("Listing a zip", ["files", "seconds", "peak MiB"], [[entries, seconds, peak_mib]])
    return {"listing_files": entries, "listing_s": seconds, "listing_peak_mib": peak_mib}


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
