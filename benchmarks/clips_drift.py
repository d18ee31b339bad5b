"""Drift of flashes and clicks in stored video and sound from the times at which ffmpeg shows and plays them in the source."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import ROOT, Report
from motionshards.dataset.index import Dataset, read_members
from motionshards.schemas.layout import SOUND, VIDEO, tar_path
from motionshards.transforms.extract.sound import flac_samples
from motionshards.transforms.extract.stored_video import FrameReader
from tests.support.impulses import FPS, KINDS, by_ffmpeg, can_write, clicks_near, write_impulses

_PX, _TIMEOUT_S = 32, 60.0
_FLASH_GOAL_MS, _SOUND_GOAL_MS = 500 / FPS, 1.0


@dataclass(frozen=True, slots=True)
class ImpulseVideo:
    """A video with impulses. flashes_s, clicks_s: when ffmpeg shows and plays them, in seconds after the first frame."""

    path: Path
    flashes_s: NDArray[np.float64]
    clicks_s: NDArray[np.float64]


def measure_drift(report: Report, work: Path, containers: int) -> dict[str, Any]:
    """(d) Measure the largest distance of stored flashes and clicks from the source's, by container."""
    sources = dict(islice(_impulse_videos(work / "impulses"), containers))
    data = _built(work / "impulses", work / "stored")
    found = {name: _drift_ms(sources[name], members) for name, members in _stored(data, sources)}
    report.table(
        "(d) Largest drift of stored video and sound in each file, ms",
        ("container", "flash relative to ffmpeg's", "click relative to ffmpeg's", "ffmpeg's click relative to its flash"),
        [(name, *drifts) for name, drifts in sorted(found.items())],
    )
    report.note(
        "Flash and click are simultaneous, every two seconds. The ffmpeg program decodes the source and places sound by its "
        "timestamps (aresample); the last column is the error of the container or of the encoder of its sound. "
        f"Goals: {_FLASH_GOAL_MS:g} ms for flashes, {_SOUND_GOAL_MS:g} ms for clicks."
    )
    flash_ms, sound_ms, _ = map(max, zip(*found.values(), strict=True))
    return {
        "containers": len(found),
        "flash_drift_ms": flash_ms,
        "sound_drift_ms": sound_ms,
        "drift_goal_met": len(found) == len(sources) and flash_ms <= _FLASH_GOAL_MS and sound_ms <= _SOUND_GOAL_MS,
    }


def _impulse_videos(folder: Path) -> Iterator[tuple[str, ImpulseVideo]]:
    for number, (name, kind) in enumerate(KINDS.items()):
        if can_write(kind):
            path = folder / f"{number:02d}" / f"impulses.{kind.suffix}"
            path.parent.mkdir(parents=True)
            flashes_s, later_s = by_ffmpeg(path, len(write_impulses(path, kind)))
            yield name, ImpulseVideo(path, flashes_s, flashes_s + later_s)


def _built(root: Path, out: Path) -> Path:
    command = [*(sys.executable, "-m", "dataset.build", "--source", "folder", "--input", str(root), "--output", str(out))]
    command += ["--store", "video", "--size", str(_PX), "--recipe", "resize", "--landmarks", "none", "--quiet", "--json"]
    ledger = json.loads(subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
    assert ledger["kept"] == ledger["planned"], ledger
    return out


def _stored(data: Path, sources: dict[str, ImpulseVideo]) -> Iterator[tuple[str, dict[str, bytes]]]:
    names = {one.path.parent.name: name for name, one in sources.items()}
    for row in Dataset.open(data).index(["identity", "split", "shard", "members"]).to_pylist():
        with tar_path(data, row["split"], row["shard"]).open("rb") as stream:
            yield names[row["identity"]], read_members(stream, row["members"])


def _drift_ms(video: ImpulseVideo, members: dict[str, bytes]) -> tuple[float, float, float]:
    """The largest distances of stored flashes and clicks from ffmpeg's, and of its clicks from its flashes, in ms."""
    sound = flac_samples(members[SOUND], _TIMEOUT_S)
    frames = np.empty((round(len(sound.samples) / sound.hz * FPS), _PX, _PX, 3), np.uint8)
    FrameReader().into(members[VIDEO], np.arange(len(frames)), frames)
    bright = frames[:, _PX // 4 : -_PX // 4].mean(axis=(1, 2, 3)) > 128
    flashes = np.count_nonzero(bright[1:] & ~bright[:-1])  # at a variable frame rate, several frames may show one flash
    assert flashes == len(video.flashes_s), f"{video.path.name}: {flashes} flashes, not {len(video.flashes_s)}"
    off_s = np.abs(np.flatnonzero(bright)[:, None] / FPS - video.flashes_s).min(axis=0)
    clicks_s = clicks_near(sound.samples[:, 0], video.clicks_s)
    return _most_ms(off_s), _most_ms(clicks_s - video.clicks_s), _most_ms(video.clicks_s - video.flashes_s)


def _most_ms(off_s: NDArray[np.float64]) -> float:
    return round(float(np.abs(off_s).max() * 1e3), 4)
