"""The format latentsync, read as by LatentSync's dataset, and compared with a known alignment."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from moving import CLICK_EVERY, SIZE, click_at, make_moving_dataset
from numpy.typing import NDArray
from PIL import Image
from stored_clips import first_clip, with_points

from motionshards.dataset.export import latentsync
from motionshards.dataset.export.__main__ import main
from motionshards.dataset.export.clip import StoredClip
from motionshards.dataset.export.directory import ExportDirectory
from motionshards.dataset.export.format import ClipSkipped, Settings
from motionshards.dataset.index import Dataset
from motionshards.schemas.config import BuildConfig

pytest.importorskip("cv2")
RES = 256
SETTINGS = Settings(RES, "mp4", 10)


@pytest.fixture(scope="module")
def spoken(once: Callable[..., Path]) -> Path:
    """Clips of 48, 47, 50 and 51 frames, the third without sound, and one clip in the split val; read-only."""
    return once(
        "latentsync-moving",
        lambda out: make_moving_dataset(
            out,
            5,
            frames=lambda clip: (48, 47, 50, 51, 60)[clip],
            sound=lambda clip: clip != 2,
            split=lambda clip: "val" if clip == 4 else "train",
        ),
    )


def moving_face(rows: int) -> NDArray[np.float32]:
    """Landmarks of the template, as high as the image, that move 0.5 px to the right from row to row."""
    points = np.zeros((rows, 68, 2), np.float32)
    for numbers, place in (([*range(17, 22)], (17, 20)), ([*range(22, 27)], (58, 20)), ([29, 30, 31, 35], (37.5, 40))):
        points[:, numbers] = (np.array(place) * 2.8 + 0.5) * SIZE / 280 + (8, 0) - 0.5
    points[..., 0] += 0.5 * np.arange(rows)[:, None]
    return points


def write(clip: StoredClip, to: Path) -> Path:
    with latentsync.FORMAT.shard(ExportDirectory(to), clip.row["shard"], "train", SETTINGS) as written:
        exported = written(clip)
    assert exported.frames == len(clip)
    return to / exported.files[0]


def test_faces_are_aligned_to_the_template_also_between_measured_frames(spoken: Path, tmp_path: Path) -> None:
    clip = first_clip(spoken)
    path = write(with_points(clip, moving_face(10)), tmp_path)
    with av.open(str(path)) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert len(frames) == 48 and clip.video is not None
    stored = clip.video.read()
    for number, right_px in ((0, 0.0), (7, 0.7), (45, 4.5), (47, 4.5)):
        window = (8 + right_px, 0, 56 + right_px, 64)
        expected = Image.fromarray(stored[number]).transform(
            (RES, RES), Image.Transform.EXTENT, window, Image.Resampling.BILINEAR
        )
        assert np.abs(frames[number].astype(int) - np.asarray(expected)).mean() < 2
        assert np.abs(frames[number].astype(int) - frames[number - 24]).mean() > 5  # shows another number


def test_padding_is_gray(spoken: Path, tmp_path: Path) -> None:
    path = write(with_points(first_clip(spoken), moving_face(10) + 32), tmp_path)
    with av.open(str(path)) as file:
        frame = next(file.decode(video=0)).to_ndarray(format="rgb24")
    assert np.abs(frame[160:, 150:].astype(int) - 127).max() <= 2


def test_the_command_writes_a_file_per_clip_with_its_own_sound(spoken: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    assert main([str(spoken), "--format", "latentsync", "--size", "256", "--output", str(to), "--workers", "1", "--quiet"]) == 0
    record = json.loads((to / "export.json").read_text())
    assert [clip.get("left_out") for clip in record["clips"]] == [None, "too_short", "no_sound", None]
    assert record["options"]["split"] == ["train"] and "cv2" in record["versions"]
    assert sorted(path.name for path in to.iterdir() if path.suffix == ".mp4") == [
        f"{clip['key'].replace('/', '#')}.mp4" for clip in record["clips"] if "files" in clip
    ]
    samples = {one.key: one for one in Dataset.open(spoken).samples()}
    for clip in (record["clips"][0], record["clips"][3]):
        with av.open(str(to / clip["files"][0])) as file:
            assert file.streams.video[0].average_rate == 25 and file.streams.video[0].frames == clip["frames"]
            decoded = list(file.decode(audio=0))
        samples_in = np.concatenate([frame.to_ndarray()[0] for frame in decoded])
        assert decoded[0].pts == 0 and len(samples_in) == clip["frames"] * 640
        clicks = [click_at(frame) for frame in range(0, clip["frames"], CLICK_EVERY)]
        assert np.flatnonzero(samples_in).tolist() == clicks
        assert np.array_equal(samples_in / np.float32(32768), samples[clip["key"]].audio.read())


def test_clips_that_the_loader_or_the_model_cannot_use_are_skipped(spoken: Path, tmp_path: Path) -> None:
    clip, lost = first_clip(spoken), moving_face(10)
    assert clip.video is not None
    lost[3, 30] = np.nan
    faster = replace(clip, video=replace(clip.video, rate=Fraction(30)))
    for one, reason in ((with_points(clip, lost), "face_lost"), (faster, "other_rate"), (replace(clip, video=None), "no_video")):
        with pytest.raises(ClipSkipped, match=reason):
            write(one, tmp_path)
    assert not list(tmp_path.glob("*.mp4"))


@pytest.mark.parametrize(
    ("lacking", "size_px", "message"),
    [
        ({"store": "stills"}, 256, "needs stored video: motionshards build --output OUT --add video --input DIR"),
        ({"audio": "none"}, 256, "needs stored audio: motionshards build --output OUT --add audio --input DIR"),
        ({"landmarks": "none"}, 256, "needs stored landmarks: motionshards build --output OUT --add landmarks"),
        ({"fps": "30"}, 256, "needs 25 frames per second, but stored video has 30: build with --fps 25"),
        ({}, 224, "no model for 224 px: export with --size 256 or --size 512"),
    ],
)
def test_a_dataset_without_required_data_is_refused_with_the_remedy(lacking: dict[str, str], size_px: int, message: str) -> None:
    refusal = latentsync.FORMAT.refusal(BuildConfig(source="demo", **{"store": "video", **lacking}), Settings(size_px, "mp4", 18))
    assert refusal is not None and message in refusal


def test_datasets_of_25_fps_or_the_source_rate_are_accepted() -> None:
    for fps in ("25", "50/2", "source"):
        assert latentsync.FORMAT.refusal(BuildConfig(source="demo", store="both", fps=fps), SETTINGS) is None


def test_without_opencv_the_error_names_the_package_to_install(
    spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert main([str(spoken), "--format", "latentsync", "--size", "256", "--output", str(tmp_path / "to")]) == 2
    assert "install libgl1, or pip install opencv-python-headless" in capsys.readouterr().err
    assert not (tmp_path / "to").exists()
