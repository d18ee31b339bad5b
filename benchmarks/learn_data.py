"""The dataset of `benchmarks.learn`: held-out clips, landmarks, and substitutes for action units."""

import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import motionshards.dataset.build
from motionshards.dataset.index import Dataset, Sample
from motionshards.pipeline.inputs.tree import DirectoryTree
from motionshards.pipeline.sources.listing import Listing
from motionshards.pipeline.sources.voxceleb2 import SPLITS, list_clips
from motionshards.schemas.action_units import INTENSITIES, MOST, PRESENCES
from motionshards.schemas.layout import uri_to_path
from motionshards.trainers.face_rotator.pose import expression

FRAMES = 16
_STORED_PX = 256  # landmarks have whole pixels, and at 64 px an eye is only two pixels high


def build_dataset(videos: Path, work: Path, size_px: int) -> Path:
    """Build a dataset of videos in VoxCeleb2's layout, with held-out clips, landmarks, and substitutes for action units.

    Frames are stored at 256 px and at `size_px`.
    """
    data, csvs = work / "data", work / "csv"
    hold_out(videos, work / "videos")
    sizes = ["--size", f"{_STORED_PX},{size_px}", "--frames", str(FRAMES), "--landmarks", "dlib"]
    _build(["--source", "voxceleb2", "--input", str(work / "videos"), "--output", str(data), *sizes])
    write_csvs(data, csvs)
    _build(["--output", str(data), "--add", "aus", "--aus", f"csv:{csvs}"])
    return data


def _build(arguments: list[str]) -> None:
    """Run `motionshards build`. Raises RuntimeError: it failed."""
    if motionshards.dataset.build.main([*arguments, "--quiet"]) != 0:
        raise RuntimeError(f"motionshards build {' '.join(arguments)} failed")


def write_csvs(data: Path, folder: Path) -> None:
    """Write a CSV file per clip, in OpenFace's format: AU25 (lips part), AU26 (jaw drops) and AU45 (blink) from the landmarks.

    Values of frames that are not stored are interpolated.
    """
    for sample in Dataset.open(data).samples():
        path = folder / f"{sample.key}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_as_csv(_intensities(sample)))


def hold_out(videos: Path, out: Path) -> None:
    """Copy clips: the last one of each person with several clips to the test split, all others to the training split.

    VoxCeleb2's own test set has only new people, which would test the size of the corpus: networks trained on nine people cannot
    generate a tenth.
    """
    people = defaultdict(list)
    for clip in list_clips(Listing(DirectoryTree(videos))):
        people[clip.identity].append(clip)
    halves = {split: half for half, split in SPLITS.items()}
    for clips in people.values():
        for number, clip in enumerate(clips):
            half = halves["test" if 0 < number == len(clips) - 1 else "train"]
            place = out / half / "mp4" / f"{clip.key}.mp4"
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(videos / uri_to_path(clip.spans[0].uri), place)


def _intensities(sample: Sample) -> NDArray[np.float64]:
    """[F,3] of AU25, AU26 and AU45 in all frames of the clip's file; NaN where the nearest stored frames have no landmarks."""
    assert sample.landmarks is not None
    left, right, mouth = expression(torch.from_numpy(sample.landmarks.copy())).numpy().T
    stored, requested = sample.meta["frame_index"], np.arange(sample.meta["file_frames"][0])
    return MOST * np.stack([np.interp(requested, stored, values) for values in (mouth, mouth, (left + right) / 2)], axis=1)


def _as_csv(intensities: NDArray[np.float64]) -> str:
    names = ["frame", "confidence", "success", *(f"{name}_r" for name in INTENSITIES), *(f"{name}_c" for name in PRESENCES)]
    rows = [",".join(names)]
    for number, values in enumerate(intensities.tolist(), 1):
        cells = {"frame": number, "confidence": 0.98, "success": int(np.isfinite(values).all())}
        cells |= dict(zip(("AU25_r", "AU26_r", "AU45_r"), values, strict=True))
        rows.append(",".join(str(cells.get(name, 0)) for name in names))
    return "\n".join(rows) + "\n"
