"""Continuous video and sound in shards, compared with other tools: bytes, build time, reading and drift.

    python -m benchmarks.clips [--clips 19] [--copies 6] [--rounds 3] [--peers DIR] [--only bytes|build|read|drift]

Generated sound is added to the videos. Sides alternate, and each runs in its own processes. `make peers` installs decord,
torchcodec and video2dataset into DIR; tools that are not installed are skipped.
"""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cyclopts.types import PositiveFloat, PositiveInt

from benchmarks.build import replicate
from benchmarks.clips_build import compare_builds, compare_bytes
from benchmarks.clips_drift import measure_drift
from benchmarks.clips_input import FRAMES, SIZE_PX, build, with_sound
from benchmarks.clips_read import Inputs, Setting, compare_reading, write_mp4_files
from benchmarks.report import CorpusOptions, Report, benchmark, cores, corpus

Part = Literal["bytes", "build", "read", "drift"]


@dataclass(frozen=True, kw_only=True)
class ClipsOptions(CorpusOptions):
    """Options of the benchmark."""

    clips: PositiveInt = 19
    """Maximum number of different clips."""
    copies: PositiveInt = 6
    """Copies of the clips to build and to read."""
    builds: PositiveInt = 2
    """Builds of each side."""
    rounds: PositiveInt = 3
    """Rounds of each reading side."""
    seconds: PositiveFloat = 2.5
    """Length of a round in seconds."""
    batch: PositiveInt = 8
    """Clips of a batch."""
    containers: PositiveInt = 99
    """Maximum number of containers in which drift is measured."""
    only: tuple[Part, ...] = ("bytes", "build", "read", "drift")
    """Only these parts."""
    peers: Path = field(default_factory=lambda: Path(os.environ.get("PEERS", "~/.cache/motionshards-peers")).expanduser())
    """Environments of the peers; by default $PEERS, else ~/.cache/motionshards-peers."""


@benchmark("clips")
def main(options: ClipsOptions) -> None:
    """Compare stored video with its source, with stills, with video2dataset, and with libraries that read mp4 files."""
    report = Report("benchmarks/clips.py: continuous video and sound in shards", options)
    figures: dict[str, Any] = {}
    with options.work_dir() as work:
        source, name = corpus(options.input, work)
        if {"bytes", "read"} & set(options.only):
            encoded = with_sound(source, work / "encoded", options.clips, encoded=True)
        report.note(
            f"Input: {name} with generated sound, at most {options.clips} clips, {options.copies} copies. "
            "Builds use them unchanged; for bytes and reading they are encoded like VoxCeleb2: "
            f"{FRAMES} frames of {SIZE_PX} px at 25 frames/s and 130 kb/s."
        )
        if "bytes" in options.only:
            figures |= compare_bytes(report, encoded, work)
        if "build" in options.only:
            sound = with_sound(source, work / "sound", options.clips, encoded=False)
            figures |= compare_builds(
                report, replicate(sound, work / "input", options.copies), options.peers, options.builds, work
            )
        if "read" in options.only:
            figures |= compare_reading(report, _inputs(encoded, work, options.copies), _setting(options), work)
        if "drift" in options.only:
            figures |= measure_drift(report, work, options.containers)
    report.finish(figures)


def _inputs(encoded: Path, work: Path, copies: int) -> Inputs:
    originals = replicate(encoded, work / "originals", copies)
    video = build(originals, work / "video", "--store", "video", "--size", str(SIZE_PX))
    stills = build(originals, work / "stills", "--frames", str(FRAMES), "--size", str(SIZE_PX))
    return Inputs(video, stills, originals, write_mp4_files(video, work / "mp4"))


def _setting(options: ClipsOptions) -> Setting:
    python = options.peers / "readers" / "bin" / "python"
    return Setting(options.batch, options.rounds, options.seconds, cores(), python)


if __name__ == "__main__":
    sys.exit(main())
