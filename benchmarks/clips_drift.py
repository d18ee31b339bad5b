"""When a flash is shown and a click is heard in stored video and sound, beside when the source shows and plays them."""

import json
import subprocess
import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import ROOT, Report
from motionshards.dataset.index import Dataset, read_members
from motionshards.schemas.layout import SOUND, VIDEO, tar_path
from motionshards.transforms.extract.stored_video import FrameReader, SoundReader
from tests.support.impulses import FPS, HZ, KINDS, can_write, clicks_by_ffmpeg, clicks_near, write_impulses

_PX = 32
_FLASH_GOAL_MS, _SOUND_GOAL_MS = 500 / FPS, 1.0


@dataclass(frozen=True, slots=True)
class Made:
    """A video with impulses. once_s: when they happen; ffmpeg_s: how much later than the flash ffmpeg hears the click."""

    path: Path
    once_s: NDArray[np.float64]
    ffmpeg_s: NDArray[np.float64]


def measure_drift(report: Report, work: Path, containers: int) -> dict[str, Any]:
    """(d) The largest distance of stored flashes and clicks from the source's, by container."""
    made = dict(islice(_made(work / "impulses"), containers))
    data = _built(work / "impulses", work / "stored")
    rows = [(name, *_drift_ms(made[name], members)) for name, members in _stored(data, made)]
    report.table(
        "(d) Drift of stored video and sound, the largest of each file in ms",
        ("container", "flash from when it was made", "click from when it was made", "click from ffmpeg's"),
        sorted(rows),
    )
    report.note(
        "Flash and click happen together every two seconds. ffmpeg places sound by its timestamps (aresample). Some containers "
        "cannot hold the delay of their sound's encoder, so the last column counts. "
        f"Goals: {_FLASH_GOAL_MS:g} ms for flashes, {_SOUND_GOAL_MS:g} ms for clicks."
    )
    flash_ms, sound_ms = (max(abs(row[column]) for row in rows) for column in (1, 3))
    return {
        "containers": len(rows),
        "flash_drift_ms": flash_ms,
        "sound_drift_ms": sound_ms,
        "drift_goal_met": len(rows) == len(made) and flash_ms <= _FLASH_GOAL_MS and sound_ms <= _SOUND_GOAL_MS,
    }


def _made(folder: Path) -> Any:
    for number, (name, kind) in enumerate(KINDS.items()):
        if can_write(kind):
            path = folder / f"{number:02d}" / f"impulses.{kind.suffix}"
            path.parent.mkdir(parents=True)
            once_s = write_impulses(path, kind)
            yield name, Made(path, once_s, clicks_by_ffmpeg(path, len(once_s)))


def _built(root: Path, out: Path) -> Path:
    command = [*(sys.executable, "-m", "dataset.build", "--source", "folder", "--input", str(root), "--output", str(out))]
    command += ["--store", "video", "--size", str(_PX), "--recipe", "resize", "--landmarks", "none", "--quiet", "--json"]
    ledger = json.loads(subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
    assert ledger["kept"] == ledger["planned"], ledger
    return out


def _stored(data: Path, made: dict[str, Made]) -> Any:
    names = {one.path.parent.name: name for name, one in made.items()}
    for row in Dataset.open(data).index(["key", "identity", "split", "shard", "members", "video_frames"]).to_pylist():
        with tar_path(data, row["split"], row["shard"]).open("rb") as stream:
            yield names[row["identity"]], (row["video_frames"], read_members(stream, row["members"]))


def _drift_ms(made: Made, stored: tuple[int, dict[str, bytes]]) -> tuple[float, float, float]:
    """The largest distances of flashes, and of clicks from when they were made and from ffmpeg's."""
    count, members = stored
    frames, samples = np.empty((count, _PX, _PX, 3), np.uint8), np.empty(count * HZ // FPS, np.float32)
    FrameReader().into(members[VIDEO], np.arange(count), frames)
    SoundReader().into(members[SOUND], 0, samples)
    flashes_s = np.flatnonzero(frames[:, _PX // 4 : -_PX // 4].mean(axis=(1, 2, 3)) > 128) / FPS
    clicks_s = clicks_near((samples * 32768).astype(np.int16), made.once_s) - made.once_s
    return _most_ms(flashes_s - made.once_s), _most_ms(clicks_s), _most_ms(clicks_s - made.ffmpeg_s)


def _most_ms(off_s: NDArray[np.float64]) -> float:
    return float(np.abs(off_s).max() * 1e3)
