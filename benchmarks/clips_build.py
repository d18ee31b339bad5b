"""Bytes and build time of stored video, compared with stills, with a JPEG of every frame, and with video2dataset."""

import io
import json
import os
import shutil
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks.build import Job, run_job, watched
from benchmarks.clips_input import FRAMES, SIZE_PX, build, source_sizes, stored_sizes
from benchmarks.report import Report
from motionshards.dataset.index import Dataset, read_members
from motionshards.pipeline.inputs.tree import DirectoryTree
from motionshards.pipeline.sources.listing import Listing
from motionshards.pipeline.sources.voxceleb2 import list_clips
from motionshards.schemas.layout import VIDEO, VIDEO_FRAMES, tar_path, uri_to_path
from motionshards.transforms.extract.ffmpeg import ffmpeg_path

_WATCH_S = 0.2
_DEFAULT_CRF, _DEFAULT_PX = 18, 256
_QUALITIES = (
    (_DEFAULT_PX, "--crf", str(_DEFAULT_CRF)),
    *((SIZE_PX, "--crf", str(crf)) for crf in (_DEFAULT_CRF, 22, 26)),
    (SIZE_PX, "--video-psnr", "40"),
)
_BYTES_GOAL, _BOTH_GOAL, _PEER_GOAL = 3.5, 2.5, 1.5
_SMALLER_PX = 128
# Name -> --store and --size.
_SIDES = {
    **{store: (store, str(_DEFAULT_PX)) for store in ("stills", "video", "both")},
    "video_in_two_sizes": ("video", f"{_DEFAULT_PX},{_SMALLER_PX}"),
}
_PEER = "video2dataset"
Rows = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Figures:
    """A side's build without startup: clips per second, CPU seconds and bytes per clip."""

    rate: float
    cpu_s: float
    bytes: float


def compare_bytes(report: Report, root: Path, work: Path) -> dict[str, Any]:
    """(a) Compare stored video with its source and with JPEG stills of every frame."""
    source = source_sizes(root)
    jpeg = stored_sizes(build(root, work / "jpeg", "--size", str(SIZE_PX), "--frames", str(FRAMES))).frames
    rows: Rows = [(f"source, {SIZE_PX} px", source.frames / 1e3, 1.0, jpeg / source.frames, "", source.sound / 1e3)]
    rows.append((f"JPEG q95 of every frame, {SIZE_PX} px", jpeg / 1e3, jpeg / source.frames, 1.0, "", ""))
    figures: dict[str, Any] = {}
    for size, *quality in _QUALITIES:
        name = f"{' '.join(quality)}, {size} px"
        data = build(root, work / name.replace(" ", ""), "--store", "video", "--size", str(size), *quality)
        stored = stored_sizes(data)
        psnr_db: float | str = psnr(data, root) if size == SIZE_PX else ""
        rows.append((name, stored.frames / 1e3, stored.frames / source.frames, jpeg / stored.frames, psnr_db, stored.sound / 1e3))
        if quality == ["--crf", str(_DEFAULT_CRF)]:
            figures |= {
                f"video_over_source_{size}_px": stored.frames / source.frames,
                f"jpeg_over_video_{size}_px": jpeg / stored.frames,
            }
    report.table(
        f"(a) Bytes of {FRAMES} frames and their sound",
        ("stored as", "KB per clip", "relative to the source", "JPEG relative to it", "PSNR, dB", "KB of sound"),
        rows,
    )
    report.note(
        f"Frames of {_DEFAULT_PX} px are enlarged. PSNR is over Y, U and V of the source's frames. The sound is generated: "
        "AAC at 48 kHz in the source, stored as FLAC at 16 kHz. "
        f"Goal: {_BYTES_GOAL} times the source at crf {_DEFAULT_CRF} and {SIZE_PX} px."
    )
    met = figures[f"video_over_source_{SIZE_PX}_px"] <= _BYTES_GOAL
    return figures | {"bytes_goal": _BYTES_GOAL, "bytes_goal_met": met}


def psnr(data: Path, root: Path) -> float:
    """Mean PSNR of stored frames relative to the source frames of the same size that they show, over Y, U and V, in dB."""
    found = []
    paths = {spec.key: root / uri_to_path(spec.spans[0].uri) for spec in list_clips(Listing(DirectoryTree(root)))}
    for row in Dataset.open(data).index(["key", "split", "shard", "members"]).to_pylist():
        with tar_path(data, row["split"], row["shard"]).open("rb") as stream:
            members = read_members(stream, row["members"])
        shown = np.load(io.BytesIO(members[VIDEO_FRAMES]))[:, 1].astype(int)
        stored, source = _yuv(io.BytesIO(members[VIDEO])), _yuv(paths[row["key"]])
        found.append(float(10 * np.log10(255**2 / np.mean((stored - source[shown]) ** 2))))
    return statistics.mean(found)


def compare_builds(report: Report, root: Path, peers: Path, rounds: int, work: Path) -> dict[str, Any]:
    """(b) Compare builds of stills, video and both, with landmarks and sound, with video2dataset on the same videos."""
    sides = [*_SIDES, *([_PEER] if os.access(_python(peers), os.X_OK) else [])]
    runs: dict[str, list[Job]] = {side: [] for side in sides}
    starts: dict[str, Job] = {}
    for _ in range(rounds):
        for side in sides:
            start = _run(side, root, peers, work, 1)
            starts[side] = min(
                start, starts.get(side, start), key=lambda job: job.seconds
            )  # the first one reads programs from disk
            runs[side].append(_run(side, root, peers, work))
    _builds_table(report, runs, starts)
    if _PEER not in sides:
        report.note(f"Skipped {_PEER}: {_python(peers)} does not exist; see `make peers`.")
    found = {side: [_figures(job, starts[side]) for job in runs[side]] for side in sides}
    rate = {side: statistics.median(one.rate for one in found[side]) for side in sides}
    cpu_s = {side: statistics.median(one.cpu_s for one in found[side]) for side in sides}
    results: dict[str, Any] = {}
    for side in ("video", "both"):
        results |= {
            f"{side}_over_stills": rate["stills"] / rate[side],
            f"{side}_over_stills_by_cpu": cpu_s[side] / cpu_s["stills"],
        }
        if _PEER in sides:
            results |= {
                f"{side}_times_{_PEER}": rate[side] / rate[_PEER],
                f"{side}_times_{_PEER}_by_cpu": cpu_s[_PEER] / cpu_s[side],
            }
    times, by_cpu = rate["video"] / rate["video_in_two_sizes"], cpu_s["video_in_two_sizes"] / cpu_s["video"]
    results |= {"two_sizes_over_one": times, "two_sizes_over_one_by_cpu": by_cpu}
    results |= {"both_goal": _BOTH_GOAL, "both_goal_met": results["both_over_stills"] <= _BOTH_GOAL}
    if _PEER in sides:
        results |= {f"{_PEER}_goal": _PEER_GOAL, f"{_PEER}_goal_met": results[f"both_times_{_PEER}"] >= _PEER_GOAL}
    return results


def _yuv(video: Path | io.BytesIO) -> NDArray[np.float64]:
    """Decoded Y, U and V planes, float64 [frames,1.5*H,W]."""
    with av.open(video if isinstance(video, io.BytesIO) else str(video), "r") as container:
        return np.stack([frame.to_ndarray(format="yuv420p") for frame in container.decode(video=0)]).astype(np.float64)


def _python(peers: Path) -> Path:
    return peers / _PEER / "bin" / "python"


def _run(side: str, root: Path, peers: Path, work: Path, limit: int | None = None) -> Job:
    """Build up to `limit` clips and remove the output."""
    out, cores = work / "out", len(os.sched_getaffinity(0))
    if side == _PEER:
        videos = sorted(str(path) for path in root.rglob("*.mp4"))[:limit]
        order = {"videos": videos, "size": _DEFAULT_PX, "processes": cores, "output": str(out)}
        script = Path(__file__).with_name("clips_video2dataset.py")
        job = watched(
            [str(_python(peers)), str(script)], _WATCH_S, json.dumps(order), PATH=f"{_ffmpeg(work)}:{os.environ['PATH']}"
        )
    else:
        store, size = _SIDES[side]
        more = () if limit is None else ("--limit", str(limit))
        job = run_job(root, out, size, cores, _WATCH_S, "--store", store, *more)
    if job.ledger["kept"] < job.clips:
        raise SystemExit(f"{side} rejected clips: {job.ledger}")
    shutil.rmtree(out)
    return job


def _ffmpeg(work: Path) -> Path:
    """A folder with our ffmpeg program under the name that video2dataset runs."""
    folder = work / "bin"
    folder.mkdir(exist_ok=True)
    if not (folder / "ffmpeg").exists():
        (folder / "ffmpeg").symlink_to(ffmpeg_path())
    return folder


def _figures(job: Job, start: Job) -> Figures:
    clips = job.clips - start.clips
    return Figures(clips / (job.seconds - start.seconds), (_cpu_s(job) - _cpu_s(start)) / clips, job.ledger["bytes"] / job.clips)


def _cpu_s(job: Job) -> float:
    return float(job.ledger.get("cpu_s", job.watch.cpu_s))


def _builds_table(report: Report, runs: dict[str, list[Job]], starts: dict[str, Job]) -> None:
    found = {side: [_figures(job, starts[side]) for job in jobs] for side, jobs in runs.items()}
    median = {side: statistics.median(one.rate for one in each) for side, each in found.items()}
    report.table(
        f"(b) Builds of {runs['stills'][0].clips} clips, without startup",
        ("side", "clips/s", "min–max", "time relative to stills", "CPU ms per clip", "KB per clip", "startup, s"),
        [
            (
                "--store {}, --size {}".format(*_SIDES[side]) if side in _SIDES else side,
                median[side],
                f"{min(one.rate for one in each):.1f}–{max(one.rate for one in each):.1f}",
                median["stills"] / median[side],
                statistics.median(one.cpu_s for one in each) * 1e3,
                each[0].bytes / 1e3,
                starts[side].seconds,
            )
            for side, each in found.items()
        ],
    )
    report.note(
        f"All but {_PEER} find dlib's landmarks; video has its sound as 16 kHz FLAC. {_PEER} encodes video (x264 medium, crf 23) "
        f"and sound (AAC) and finds none. Startup is the fastest build of one clip. Goals: both takes at most "
        f"{_BOTH_GOAL} times as long as stills, and reaches at least {_PEER_GOAL} times the clips/s of {_PEER}."
    )
