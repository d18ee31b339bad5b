"""The format liveportrait, read as by LivePortrait-Train's dataset."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import SIZE as SIZE_OF_STILLS
from made import make_dataset
from moving import SIZE, make_moving_dataset
from numpy.typing import NDArray
from PIL import Image
from stored_clips import first_clip, with_points

from motionshards.dataset.export import liveportrait
from motionshards.dataset.export.__main__ import main
from motionshards.dataset.export.directory import ExportDirectory
from motionshards.dataset.export.format import ClipSkipped, Settings
from motionshards.dataset.export.worker import Setup, Task, export_task
from motionshards.dataset.index import Dataset
from motionshards.schemas.config import BuildConfig
from motionshards.transforms.extract.stored_video import FrameReader


@pytest.fixture(scope="module")
def clips_of_video(once: Callable[..., Path]) -> Path:
    """Two clips of 21 and 23 frames; every fifth frame is measured. Read-only."""
    return once("liveportrait-moving", lambda out: make_moving_dataset(out, 2, frames=lambda clip: 21 + 2 * clip))


def export_here(data: Path, to: Path, settings: Settings) -> list[dict[str, Any]]:
    """Export the clips of the first shard in this process; returns their outcomes."""
    rows = tuple(Dataset.open(data).index().to_pylist())
    task = Task(rows[0]["split"], rows[0]["shard"], tuple(row for row in rows if row["shard"] == rows[0]["shard"]))
    export_task(Setup(data, ExportDirectory(to), "liveportrait", settings), task, FrameReader(), lambda reading: None)
    return [json.loads(line) for line in ExportDirectory(to).lines(task.split, task.shard).read_text().splitlines()]


@dataclass
class Loaded:
    files: list[str]
    frames: NDArray[np.uint8]
    points: NDArray[np.float64]  # relative to the image size
    pose: NDArray[np.float32]


def loaded(root: Path) -> dict[str, Loaded]:
    """Clips by name. The original asserts that the three folders exist, ignores other files, and sorts names and lines."""
    (database,) = (path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    assert database.name == "db_name_xxxx1"
    found = {}
    for clip in os.listdir(database / "raw_cropped_frames"):
        lines = sorted((database / "landmarks" / f"{clip}.txt").read_text().splitlines())
        names = sorted(os.listdir(database / "raw_cropped_frames" / clip))
        assert [line.split()[0] for line in lines] == names
        points = [[[int(one) / 512 for one in pair.split("_")] for pair in line.split()[1:]] for line in lines]
        frames = np.stack([np.asarray(Image.open(database / "raw_cropped_frames" / clip / name)) for name in names])
        pose = np.load(database / "face_orientation" / f"{clip}.npy")
        assert len(points) == len(frames) == len(pose) >= 2
        found[clip] = Loaded(names, frames, np.array(points), pose)
    return found


def test_measured_frames_are_exported_with_landmarks_and_pose(clips_of_video: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    options = ["--format", "liveportrait", "--output", str(to), "--workers", "1", "--quiet"]
    assert main([str(clips_of_video), *options]) == 0
    record, found = json.loads((to / "export.json").read_text()), loaded(to)
    assert sorted(path.name for path in to.iterdir()) == ["db_name_xxxx1", "export.json"]
    for clip, sample in zip(record["clips"], Dataset.open(clips_of_video).samples(), strict=True):
        one, name = found[sample.key.replace("/", "#")], sample.key.replace("/", "#")
        assert one.files == ["000001.png", "000002.png", "000003.png", "000004.png", "000005.png"] and clip["frames"] == 5
        assert clip["files"] == [
            f"db_name_xxxx1/raw_cropped_frames/{name}/",
            f"db_name_xxxx1/landmarks/{name}.txt",
            f"db_name_xxxx1/face_orientation/{name}.npy",
        ]
        assert sample.video is not None and sample.landmarks is not None
        assert np.array_equal(one.frames, sample.video.read(range(0, len(sample.video), 5)))
        # The loader scales images to 512 px; convert relative positions to pixels of the stored size.
        assert np.abs((one.points * 512 + 0.5) * SIZE / 512 - 0.5 - sample.landmarks).max() < 0.5 * SIZE / 512 + 1e-3
        signs = np.stack([-np.array(sample.meta[angle]) for angle in ("yaw_deg", "pitch_deg", "roll_deg")], axis=1)
        assert one.pose.dtype == np.float32 and np.allclose(one.pose, signs, atol=1e-3)


@pytest.mark.parametrize("size_px", [32, 128])
def test_landmarks_are_in_pixels_of_512_px_images_at_any_size(clips_of_video: Path, tmp_path: Path, size_px: int) -> None:
    export_here(clips_of_video, tmp_path / "stored", Settings(SIZE, "png", 18))
    export_here(clips_of_video, tmp_path / "other", Settings(size_px, "jpg", 18))
    stored, other = loaded(tmp_path / "stored"), loaded(tmp_path / "other")
    for name, one in other.items():
        assert one.frames.shape == (5, size_px, size_px, 3) and one.files[0] == "000001.jpg"
        assert np.array_equal(one.points, stored[name].points) and np.array_equal(one.pose, stored[name].pose)


def test_stills_of_a_smaller_stored_size_are_copied(tmp_path: Path) -> None:
    clip = first_clip(make_moving_dataset(tmp_path / "data", 1, store="both", smaller=(32,)))
    stills = replace(clip, video=None, smaller=tuple(replace(one, mp4=None) for one in clip.smaller))
    with liveportrait.FORMAT.shard(ExportDirectory(tmp_path), "0", "train", Settings(32, "jpg", 18)) as write:
        folder = tmp_path / write(stills).files[0]
    assert [path.read_bytes() for path in sorted(folder.iterdir())] == list(clip.smaller[0].jpegs)


def test_stills_are_copied_as_jpg_and_decoded_as_png(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", 3)
    clips = export_here(data, tmp_path / "jpg", Settings(SIZE_OF_STILLS, "jpg", 18))
    export_here(data, tmp_path / "png", Settings(SIZE_OF_STILLS, "png", 18))
    files = [sorted((tmp_path / "jpg" / clip["files"][0]).iterdir()) for clip in clips]
    assert [path.read_bytes() for path in files[0]] == list(first_clip(data).jpegs)
    for sample, paths in zip(Dataset.open(data).samples(), files, strict=True):
        assert np.array_equal(loaded(tmp_path / "png")[paths[0].parent.name].frames, sample.frames)


def test_only_frames_with_a_face_are_exported_and_at_least_two(clips_of_video: Path, tmp_path: Path) -> None:
    clip = first_clip(clips_of_video)
    points = clip.measurements().points_px
    assert points is not None and clip.video is not None
    for faces, frames in (([0, 3, 4], 3), ([1, 2], 2), ([2], 0), ([], 0)):
        seen = np.isin(np.arange(len(points)), faces)[:, None, None]
        fewer = with_points(clip, np.where(seen, points, np.float32(np.nan)))
        with liveportrait.FORMAT.shard(ExportDirectory(tmp_path / str(faces)), "0", "train", Settings(SIZE, "png", 18)) as write:
            if frames:
                assert write(fewer).frames == frames
                (one,) = loaded(tmp_path / str(faces)).values()
                assert one.files == [f"{number + 1:06d}.png" for number in range(frames)]
                assert np.array_equal(one.frames, clip.video.read([5 * face for face in faces]))
            else:
                with pytest.raises(ClipSkipped, match="too_short"):
                    write(fewer)


def test_angles_are_clipped_at_90_degrees() -> None:
    assert liveportrait._orientation(np.array([[-100, 91, 5]], np.float32)).tolist() == [[90, -90, -5]]


def test_datasets_without_landmarks_are_refused(tmp_path: Path) -> None:
    message = liveportrait.FORMAT.refusal(BuildConfig(source="demo", landmarks="none"), Settings(256, "png", 18))
    assert message == "liveportrait needs stored landmarks: motionshards build --output OUT --add landmarks"
    assert liveportrait.FORMAT.refusal(BuildConfig(source="demo"), Settings(256, "png", 18)) is None
