"""A small GANimation of four real clips, whose action units are measured on their landmarks: it must learn to read them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import motionshards.dataset.build
import motionshards.jobs.train
from motionshards.dataset.index import Dataset
from motionshards.schemas.action_units import INTENSITIES, PRESENCES

CLIPS = ("id90007/liveD18aaaa/00001", "id90007/liveD18aaaa/00002", "id90002/liveD3aaaaa/00003", "id90005/liveD12aaaa/00002")
SMALL = """
architecture: {size: 64, width: 12, residuals: 2}
training: {epochs: 1, repeats: 600, global_batch_size: 8, learning_rate: 0.0005, decay_epochs: 0, generator_every: 2}
"""


def tree(corpus: Path, out: Path) -> Path:
    """VoxCeleb2's layout with CLIPS alone."""
    for clip in CLIPS:
        (found,) = (corpus / "voxceleb2").rglob(f"{clip}.mp4")
        place = out / "dev" / "mp4" / f"{clip}.mp4"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(found, place)
    return out


def build(source: Path, out: Path, *more: str) -> Path:
    arguments = ["--source", "voxceleb2", "--input", str(source), "--output", str(out), "--frames", "25", "--quiet", *more]
    assert motionshards.dataset.build.main(arguments) == 0
    return out


def opening(points_px: NDArray[np.float32]) -> NDArray[np.float32]:
    """[N], how far the lips of landmarks [N,68,2] are apart, as a share of the distance of the eyes' outer corners."""
    lips, eyes = (np.linalg.norm(points_px[:, a] - points_px[:, b], axis=1) for a, b in ((62, 66), (36, 45)))
    share: NDArray[np.float32] = lips / eyes
    return share


def as_csv(pts_s: list[float], intensity: NDArray[np.float32]) -> str:
    """As OpenFace writes it: AU25 (lips part) and AU26 (jaw drops) are as given, others 0. NaN is no success."""
    names = ["frame", "timestamp", "confidence", "success", *(f"{name}_r" for name in INTENSITIES)]
    names += [f"{name}_c" for name in PRESENCES]
    rows = [",".join(names)]
    for number, (time_s, value) in enumerate(zip(pts_s, intensity.tolist(), strict=True), 1):
        told = {"frame": number, "timestamp": round(time_s, 3), "confidence": 0.98, "success": int(np.isfinite(value))}
        told |= {"AU25_r": value, "AU26_r": value}
        rows.append(",".join(str(told.get(name, 0)) for name in names))
    return "\n".join(rows) + "\n"


def write_csvs(measured: Path, folder: Path) -> Path:
    """A csv for each clip, by how far the mouth is open."""
    for sample in Dataset.open(measured).samples():
        assert sample.landmarks is not None
        path = folder / f"{sample.key}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(as_csv(sample.meta["pts_s"], 5 * np.clip(opening(sample.landmarks) / 0.35, 0, 1)))
    return folder


@pytest.mark.slow
def test_a_handful_of_real_clips_is_learned(corpus: Path, tmp_path: Path) -> None:
    """300 steps: the error with which action units are read off real faces falls by half, and so does that of what is made."""
    videos = tree(corpus, tmp_path / "videos")
    measured = build(videos, tmp_path / "measured", "--size", "160", "--landmarks", "dlib")
    csvs = write_csvs(measured, tmp_path / "csv")
    data = build(videos, tmp_path / "data", "--size", "64", "--landmarks", "none", "--aus", f"csv:{csvs}")
    (tmp_path / "small.yaml").write_text(SMALL)
    order = [
        "--model",
        "ganimation",
        "--config",
        str(tmp_path / "small.yaml"),
        "--data",
        str(data),
        "--quiet",
        "--workers",
        "1",
    ]
    assert motionshards.jobs.train.main([*order, "--output", str(tmp_path / "run"), "--device", "cpu", "--log-every", "50"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(50, 301, 50))
    for name in ("d_condition", "g_condition"):
        assert lines[-1][name] < lines[0][name] / 2, (name, [line[name] for line in lines])
    assert all(line["skipped"] == 0 for line in lines)
