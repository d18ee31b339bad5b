"""The format `frames`, compared with the dataset's own reader."""

import json
from pathlib import Path
from typing import Any

import made
import numpy as np
import pytest
from moving import make_moving_dataset, seen_in
from numpy.typing import NDArray
from PIL import Image

from motionshards.dataset.drawing.motion import read_clip
from motionshards.dataset.export.directory import ExportDirectory
from motionshards.dataset.export.format import FORMATS, Settings, format_of
from motionshards.dataset.export.worker import Reading, Setup, Task, export_task
from motionshards.dataset.index import Dataset, Sample
from motionshards.transforms.extract.stored_video import FrameReader


def images(folder: Path) -> NDArray[np.uint8]:
    """The images of a clip, sorted by name, uint8 [n,H,W,3]."""
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))])


def description(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "clip.json").read_text())
    return found


def export_here(out: Path, output: Path, size_px: int) -> Path:
    """Export a dataset of one shard in this process."""
    rows = tuple(Dataset.open(out).index().to_pylist())
    setup = Setup(out, ExportDirectory(output), "frames", Settings(size_px, "png", 18))
    sent: list[Reading] = []
    export_task(setup, Task(rows[0]["split"], rows[0]["shard"], rows), FrameReader(), sent.append)
    assert [one.number for one in sent] == [*range(len(rows)), None]
    return output


def samples(out: Path) -> list[Sample]:
    return list(Dataset.open(out).samples())


def test_exported_pixels_times_landmarks_and_sound_equal_those_of_the_dataset(moving: Path, exported: Path) -> None:
    for number, sample in enumerate(samples(moving)):
        folder, video = exported / sample.key, sample.video
        assert video is not None and sample.landmarks is not None
        found, described = images(folder), description(folder)
        assert np.array_equal(found, video.read())
        assert [seen_in(frame) for frame in found[::7]] == [(number, frame) for frame in range(0, len(found), 7)]
        points = np.load(folder / "landmarks.npy")
        assert points.dtype == np.float32 and points.shape == (len(video), 68, 2)
        assert described["measured"] == list(range(0, len(video), 5))
        assert np.array_equal(points[described["measured"]], sample.landmarks)
        assert np.isnan(np.delete(points, described["measured"], axis=0)).all()
        assert (
            np.array_equal(described["pts_s"], video.pts_s) and described["rate"] == [25, 1] and described["frames"] == len(video)
        )
        assert described["boxes_px"] == sample.meta["boxes_px"]
        assert np.allclose(np.array(described["pose_deg"])[:, 0], sample.meta["yaw_deg"], atol=1e-4)
        assert (described["sound"] is None) == (number % 3 == 0) == (sample.audio is None)
        if sample.audio is not None:
            assert (folder / "audio.flac").read_bytes() == sample.audio.flac
            assert described["sound"] == {"hz": 16_000, "channels": 1, "samples": len(sample.audio)}


def test_the_record_lists_every_clip_in_the_order_of_the_index(moving: Path, exported: Path) -> None:
    record = json.loads((exported / "export.json").read_text())
    assert [clip["key"] for clip in record["clips"]] == Dataset.open(moving).index(["key"])["key"].to_pylist()
    assert [clip["files"] for clip in record["clips"]] == [[f"{clip['key']}/"] for clip in record["clips"]]
    frames = sum(20 + clip for clip in range(12))
    assert record["counts"] == {"clips": 12, "written": 12, "files": 12, "frames": frames, "left_out": {}}
    assert len((exported / "export.json").read_text().splitlines()) == 14
    assert sorted(path.name for path in exported.iterdir()) == ["export.json", *(f"id{one:03d}" for one in range(5))]


def test_stills_are_exported_if_no_video_is_stored(tmp_path: Path) -> None:
    out = made.make_dataset(tmp_path / "out", clips=3)
    export_here(out, tmp_path / "frames", made.SIZE)
    for sample in samples(out):
        folder = tmp_path / "frames" / sample.key
        described = description(folder)
        assert np.array_equal(images(folder), sample.frames) and described["pts_s"] == sample.meta["pts_s"]
        assert described["rate"] is described["sound"] is None and described["measured"] == list(range(len(sample.frames)))
        assert sample.landmarks is not None and np.array_equal(np.load(folder / "landmarks.npy"), sample.landmarks)


@pytest.mark.parametrize("size_px", [32, 128])
def test_size_scales_pixels_landmarks_and_boxes(tmp_path: Path, size_px: int) -> None:
    """Positions are relative to the edges of the image, which are at -0.5 at every size."""
    out = make_moving_dataset(tmp_path / "out", 1, frames=lambda clip: 12, store="both")
    (sample,) = samples(out)
    assert sample.video is not None
    folder = export_here(out, tmp_path / "frames", size_px) / sample.key
    described, found = description(folder), images(folder)
    assert found.shape == (12, size_px, size_px, 3) and [seen_in(frame) for frame in found] == [(0, n) for n in range(12)]
    scale, measured = size_px / 64, sample.meta["mp4"]
    assert described["size_px"] == size_px and described["measured"] == [0, 5, 10]
    assert np.allclose((np.array(described["boxes_px"]) + 0.5) / scale - 0.5, measured["boxes_px"], atol=1e-3)
    (row,) = Dataset.open(out).index().to_pylist()
    _, motion = read_clip(Dataset.open(out), row)
    assert motion is not None and motion.points_px is not None
    points = np.load(folder / "landmarks.npy")[described["measured"]]
    assert np.nanmax(np.abs((points + 0.5) / scale - 0.5 - motion.points_px)) < 0.01


def test_every_format_can_be_loaded_by_name() -> None:
    for name in FORMATS:
        assert format_of(name).frames
