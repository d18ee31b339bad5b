"""CPU time of each step of a clip without the build around it: one thread, no Beam, no shard.

    python -m benchmarks.parts  < one line of JSON, then a line to start  > "ready", then CPU seconds by step as JSON

CPU time is user and system time of this process and of its decoders.
"""

import json
import os
import random
import resource
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.report import ROOT
from benchmarks.watch import decoders_s
from motionshards.pipeline.clips.clip import find_tracks, read_clip
from motionshards.pipeline.clips.read import ReadClip
from motionshards.pipeline.inputs.tree import DirectoryTree
from motionshards.pipeline.sources import SOURCES
from motionshards.pipeline.sources.listing import Listing
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.layout import uri_to_path
from motionshards.schemas.records import ClipSpec
from motionshards.transforms.extract.encode import encode_jpegs
from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.quality.measure import measure
from motionshards.transforms.extract.timeline import timeline_from_packets

STEPS = ("timeline", "decode", "detect", "landmarks", "quality", "encode")


def cpu_of_parts(root: Path, config: BuildConfig, clips: int, processes: int) -> dict[str, float]:
    """Mean CPU seconds per clip by step, measured by `processes` concurrent new processes, each on the same clips."""
    order = json.dumps({"root": str(root), "config": config.to_json(), "clips": clips})
    running = [_start() for _ in range(processes)]
    for process in running:
        _send(process, order)
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        _send(process, "start")
    found = [json.loads(process.communicate()[0]) for process in running]
    return {step: sum(one[step] for one in found) / processes for step in STEPS}


def sample(root: Path, config: BuildConfig, clips: int) -> list[ClipSpec]:
    """Up to `clips` random clips below `root`, always the same ones."""
    specs = list(SOURCES[config.source].list_clips(Listing(DirectoryTree(root), config.unit)))
    return specs if len(specs) <= clips else random.Random(0).sample(specs, clips)


def _start() -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.parts"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def _send(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def main() -> None:
    """One measuring process. It first runs one clip to warm up caches and load models."""
    order = json.loads(sys.stdin.readline())
    config, root = BuildConfig.from_json(order["config"]), Path(order["root"])
    specs = sample(root, config, order["clips"])
    _measure(specs[:1], root, config)
    print("ready", flush=True)
    sys.stdin.readline()
    spent = _measure(specs, root, config)
    print(json.dumps({step: spent[step] / len(specs) for step in STEPS}))


def _measure(specs: list[ClipSpec], root: Path, config: BuildConfig) -> dict[str, float]:
    spent: dict[str, float] = defaultdict(float)
    for spec in specs:
        with _timed(spent, "timeline"):
            for span in spec.spans:
                timeline_from_packets(Media.at(root / uri_to_path(span.uri)), config.decode_timeout_s)
        with _timed(spent, "read"):
            (read,) = read_clip(spec, root, models.load(config.landmarks), config)
        if isinstance(read, ReadClip):
            _finish(read, config, spent)
    # Reading a clip includes its timeline and its decoding; the timeline is also read alone to separate the two.
    spent["decode"] = spent["read"] - spent["timeline"]
    return spent


def _finish(read: ReadClip, config: BuildConfig, spent: dict[str, float]) -> None:
    """Run the steps of finish_clips one by one."""
    model, faces, points = models.load(config.landmarks), None, None
    if model is not None:
        with _timed(spent, "detect"):
            (faces,) = find_tracks([read], model)
        with _timed(spent, "landmarks"):
            points = model.landmarks(read.crop.rgb, faces.boxes_px)
    with _timed(spent, "quality"):
        measure(read.crop, faces, points)
    with _timed(spent, "encode"):
        encode_jpegs(read.crop.rgb, config.jpeg_quality)


@contextmanager
def _timed(spent: dict[str, float], step: str) -> Iterator[None]:
    start = _cpu_s()
    yield
    spent[step] += _cpu_s() - start


def _cpu_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages) + decoders_s(os.getpid())


if __name__ == "__main__":
    main()
