"""The recipe `track` at 720p, with and without the shot model, compared with a reimplementation of FOMM's crop script.

    python -m benchmarks.track [--videos 4] [--rounds 3]

Videos are clips of the corpus, enlarged and padded to 1280x720, each of one shot, and all of them joined by hard cuts. The script
decodes every frame to RGB at full size, searches it at 640 px, tracks faces by the overlap with their first box, and lets ffmpeg
cut and scale each tube; here it detects faces with dlib, as `track` does. The sides alternate. CPU time is that of all processes.
"""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dlib
import numpy as np
from cyclopts.types import PositiveInt
from numpy.typing import NDArray
from PIL import Image

from benchmarks.report import CorpusOptions, Report, benchmark, corpus
from benchmarks.watch import decoders_s
from motionshards.pipeline.clips.clip import read_clip
from motionshards.pipeline.inputs.tree import DirectoryTree
from motionshards.pipeline.sources.listing import Listing
from motionshards.pipeline.sources.voxceleb2 import list_clips
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.layout import uri_to_path
from motionshards.schemas.records import ClipSpec, Span
from motionshards.transforms.extract.detect import iou
from motionshards.transforms.extract.ffmpeg import ffmpeg_path
from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.shots import finder
from motionshards.transforms.extract.timeline import timeline_from_packets
from motionshards.transforms.extract.tubes import FOMM_SAME_PLACE

_FRAME_PX = (1280, 720)
_HEADS_PX = (720, 560, 440)  # sides of the enlarged clips, in turn
_CONFIG = BuildConfig(source="folder", recipe="track")
# Parameters of the script: `increase`, and the longer side of the searched image.
_MARGIN, _SEARCHED_PX = 0.1, 640
_FASTER_THAN_SCRIPT = 2.5

Box = NDArray[np.float64]
Side = Callable[[Path], None]


@dataclass(frozen=True, kw_only=True)
class TrackOptions(CorpusOptions):
    """Options of the benchmark."""

    videos: PositiveInt = 4
    """Number of single-shot videos."""
    rounds: PositiveInt = 3
    """Number of runs of each side."""


@benchmark("track")
def main(options: TrackOptions) -> None:
    """Compare the recipe track with the crop script of FOMM's authors at 720p."""
    report = Report("benchmarks/track.py: tubes of 720p videos", options)
    with options.work_dir() as work:
        source, name = corpus(options.input, work)
        single = list(_enlarged(source, work, options.videos))
        joined = _joined(single, work)
        report.note(
            f"{len(single)} videos of one shot and one of {len(single)} shots, from {name}. Medians of {options.rounds} runs."
        )
        sides: dict[str, Side] = {
            "track": _track,
            "track without the shot model": _without_shots,
            "authors' script, with dlib": lambda path: plain_script(path, work / "tubes"),
        }
        _track(single[0])  # loads the models
        figures = _compare(report, sides, {"one shot": single, "joined": [joined]}, options.rounds)
    report.finish(figures)


def _compare(report: Report, sides: dict[str, Side], videos: dict[str, list[Path]], rounds: int) -> dict[str, Any]:
    rows, figures = list[list[Any]](), dict[str, Any]()
    for kind, paths in videos.items():
        frames = sum(len(timeline_from_packets(Media.at(path), 60).raw_s) for path in paths)
        runs = {side: list[tuple[float, float]]() for side in sides}
        for _ in range(rounds):
            for side, run in sides.items():
                runs[side].append(_timed(run, paths))
        medians = {side: np.median(times, axis=0) for side, times in runs.items()}
        last_wall, last_cpu = list(medians.values())[-1]
        for side, (wall_s, cpu_s) in medians.items():
            rows.append([f"{kind}: {side}", frames / wall_s, 1e3 * cpu_s / frames, last_wall / wall_s, last_cpu / cpu_s])
        for short, (wall_s, cpu_s) in zip(("", "_without_shots", "_script"), medians.values(), strict=True):
            figures[f"{kind.replace(' ', '_')}_fps{short}"] = frames / wall_s
            figures[f"{kind.replace(' ', '_')}_cpu_ms{short}"] = 1e3 * cpu_s / frames
    columns = ["side", "frames/s", "CPU ms per frame", "speedup over the script", "by CPU time"]
    report.table(f"Goal: {_FASTER_THAN_SCRIPT:g} times the script", columns, rows)
    return {**figures, "goal": _FASTER_THAN_SCRIPT}


def _timed(run: Side, paths: Sequence[Path]) -> tuple[float, float]:
    """Wall and CPU seconds of a run over all paths."""
    start, before = time.perf_counter(), _cpu_s()
    for path in paths:
        run(path)
    return time.perf_counter() - start, _cpu_s() - before


def _cpu_s() -> float:
    waited = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + waited.ru_utime + waited.ru_stime + decoders_s(os.getpid())


def _track(path: Path) -> None:
    spec = ClipSpec("a/b/c", "folder", "train", "a", "b", (Span(path.name),), 1.0)
    read_clip(spec, path.parent, models.load("dlib"), _CONFIG)


def _without_shots(path: Path) -> None:
    with patch.object(finder, "may_change", return_value=False):
        _track(path)


def plain_script(path: Path, out: Path) -> None:
    """The authors' script, reimplemented from its description: tubes of all faces as MP4 of 256 px."""
    out.mkdir(exist_ok=True)
    open_tubes, ended, number = list[_Tube](), list[_Tube](), 0
    detector = dlib.get_frontal_face_detector()
    for number, frame in enumerate(_rgb(path)):
        boxes = _searched(frame, detector)
        still = [tube for tube in open_tubes if any(_overlap(tube.first, box) > FOMM_SAME_PLACE for box in boxes)]
        ended += [tube for tube in open_tubes if tube not in still]
        for box in boxes:
            best = max(still, key=lambda tube, box=box: _overlap(tube.first, box), default=None)  # type: ignore[misc]
            if best is None or _overlap(best.first, box) <= FOMM_SAME_PLACE:
                still.append(_Tube(box, box, number, number))
            else:
                best.last = number
                best.union = np.concatenate([np.minimum(best.union[:2], box[:2]), np.maximum(best.union[2:], box[2:])])
        open_tubes = still
    for number, tube in enumerate(ended + open_tubes):
        side = float((tube.union[2:] - tube.union[:2]).max())
        if tube.last - tube.start + 1 >= _CONFIG.tube_min_frames and side >= _CONFIG.required_tube_px:
            _cut(path, tube, side * (1 + 2 * _MARGIN), out / f"{number}.mp4")


@dataclass(eq=False)
class _Tube:
    first: Box
    union: Box
    start: int
    last: int


def _rgb(path: Path) -> Iterator[NDArray[np.uint8]]:
    width, height = _FRAME_PX
    command = [ffmpeg_path(), "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        while content := running.stdout.read(width * height * 3):
            yield np.frombuffer(content, np.uint8).reshape(height, width, 3)


def _searched(frame: NDArray[np.uint8], detector: Any) -> list[Box]:
    scale = _SEARCHED_PX / max(frame.shape)
    size = round(frame.shape[1] * scale), round(frame.shape[0] * scale)
    small = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR))
    return [np.array([box.left(), box.top(), box.right(), box.bottom()]) / scale for box in detector(small, 0)]


def _overlap(a: Box, b: Box) -> float:
    return float(iou(a[None], b[None])[0, 0])


def _cut(path: Path, tube: _Tube, side: float, out: Path) -> None:
    (x, y), side = ((tube.union[:2] + tube.union[2:] - side) / 2).clip(0).round().astype(int), min(int(side), *_FRAME_PX)
    filters = f"trim=start_frame={tube.start}:end_frame={tube.last + 1},crop={side}:{side}:{x}:{y},scale=256:256"
    subprocess.run([ffmpeg_path(), "-v", "error", "-y", "-i", path, "-vf", filters, "-an", out], check=True)


def _enlarged(source: Path, work: Path, count: int) -> Iterator[Path]:
    """Clips of different people in the center of 720p frames."""
    people = {spec.identity: spec for spec in list_clips(Listing(DirectoryTree(source)))}
    for number in range(count):
        spec, side = list(people.values())[number % len(people)], _HEADS_PX[number % len(_HEADS_PX)]
        path, (width, height) = work / f"{number}.mp4", _FRAME_PX
        filters = f"scale={side}:{side}:flags=lanczos,pad={width}:{height}:(ow-iw)/2:(oh-ih)/2,setsar=1,noise=alls=3:allf=t"
        _ffmpeg("-i", source / uri_to_path(spec.spans[0].uri), "-vf", filters, path)
        yield path


def _joined(videos: Sequence[Path], work: Path) -> Path:
    inputs = [word for path in videos for word in ("-i", path)]
    _ffmpeg(*inputs, "-filter_complex", f"concat=n={len(videos)}", work / "joined.mp4")
    return work / "joined.mp4"


def _ffmpeg(*arguments: str | Path) -> None:
    options = ["-c:v", "libx264", "-crf", "20", "-pix_fmt", "yuv420p", "-an"]
    subprocess.run([ffmpeg_path(), "-v", "error", "-y", *arguments[:-1], *options, arguments[-1]], check=True)


if __name__ == "__main__":
    sys.exit(main())
