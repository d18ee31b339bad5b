"""The format fomm, read as by the datasets of FOMM, MRAA and Thin-Plate-Spline-Motion-Model."""

import glob
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np
import pytest
from made import make_dataset
from moving import SIZE, image, make_moving_dataset, mp4_of, seen_in
from stored_clips import first_clip

from motionshards.dataset.export import fomm
from motionshards.dataset.export.__main__ import main
from motionshards.dataset.export.directory import ExportDirectory
from motionshards.dataset.export.format import ClipSkipped, Settings
from motionshards.dataset.export.worker import Setup, Task, export_task
from motionshards.dataset.index import Dataset
from motionshards.schemas.config import BuildConfig
from motionshards.transforms.extract.encoded.remux import key_frames
from motionshards.transforms.extract.stored_video import FrameReader

PEOPLE = ("id000", "id001", "id002", "id003")


@pytest.fixture(scope="module")
def two_splits(once: Callable[..., Path]) -> Path:
    """Eight clips of 40, 45 and 50 frames in two shards, the second in the split val; read-only."""
    return once(
        "fomm-moving", lambda out: make_moving_dataset(out, 8, store="both", split=lambda clip: "val" if clip >= 4 else "train")
    )


def export(data: Path, to: Path, *options: str) -> list[dict[str, Any]]:
    """Export; returns the outcome of each clip."""
    assert main([str(data), "--format", "fomm", "--output", str(to), "--workers", "1", "--quiet", *options]) == 0
    return json.loads((to / "export.json").read_text())["clips"]


def export_here(data: Path, to: Path, settings: Settings, clips: int = 4) -> list[dict[str, Any]]:
    """Export the first clips of the first shard in this process; returns their outcomes."""
    rows = tuple(Dataset.open(data).index().to_pylist()[:clips])
    task = Task(rows[0]["split"], rows[0]["shard"], rows)
    export_task(Setup(data, ExportDirectory(to), "fomm", settings), task, FrameReader(), lambda reading: None)
    return [json.loads(line) for line in ExportDirectory(to).lines(task.split, task.shard).read_text().splitlines()]


def frames_in(path: str | Path) -> np.ndarray:
    """All frames of a video as the original loaders define it: a folder of images, or a file."""
    if Path(path).is_dir():
        return np.stack([imageio.imread(f"{path}/{name}") for name in sorted(os.listdir(path))])
    return np.stack(imageio.mimread(path))


def by_identity(folder: Path) -> dict[str, list[str]]:
    """The videos from which the original loaders choose for each identity."""
    return {name: glob.glob(f"{folder}/{name}*.mp4") for name in {one.split("#")[0] for one in os.listdir(folder)}}  # noqa: PTH207 - as they do


def test_videos_are_copied_and_read_frame_by_frame(two_splits: Path, tmp_path: Path) -> None:
    clips, samples = export(two_splits, tmp_path / "to"), {one.key: one for one in Dataset.open(two_splits).samples()}
    assert sorted(os.listdir(tmp_path / "to")) == ["export.json", "test", "train"]
    assert [len(os.listdir(tmp_path / "to" / name)) for name in ("train", "test")] == [4, 4]
    for clip in clips:
        (name,), video = clip["files"], samples[clip["key"]].video
        assert (tmp_path / "to" / name).read_bytes() == video.mp4
        identity, rest, *_ = clip["key"].split("/")
        assert Path(name).name.startswith(f"{identity}#{rest}.") and name.endswith(f"#000000#{len(video):06d}.mp4")
        frames = frames_in(tmp_path / "to" / name)
        number = int(clip["key"].rpartition("clip")[2])
        assert [seen_in(frame) for frame in frames] == [(number, frame) for frame in range(len(video))]


def test_image_folders_have_the_frames_of_the_video(two_splits: Path, tmp_path: Path) -> None:
    clips = export_here(two_splits, tmp_path, Settings(SIZE, "png", 18))
    for clip, sample in zip(clips, Dataset.open(two_splits).samples(), strict=False):
        (name,) = clip["files"]
        assert sorted(os.listdir(tmp_path / name))[0] == "0000000.png"
        assert (frames_in(tmp_path / name) == sample.video.read()).all()
    assert {name: len(found) for name, found in by_identity(tmp_path / "train").items()} == dict.fromkeys(PEOPLE, 1)


def test_other_sizes_are_re_encoded(two_splits: Path, tmp_path: Path) -> None:
    (clip,) = export_here(two_splits, tmp_path, Settings(128, "mp4", 12), clips=1)
    frames = frames_in(tmp_path / clip["files"][0])
    assert frames.shape == (40, 128, 128, 3) and [seen_in(one)[1] for one in frames] == list(range(40))


def test_long_clips_become_several_files(two_splits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fomm, "_MOST_DECODED_BYTES", 25 * 3 * SIZE**2)
    for clip in export_here(two_splits, tmp_path, Settings(SIZE, "mp4", 18)):
        read = [frames_in(tmp_path / name) for name in clip["files"]]
        assert [seen_in(frame)[1] for frame in np.concatenate(read)] == list(range(clip["frames"]))
        assert len(read) == 2 and max(map(len, read)) <= 25 if clip["frames"] <= 48 else len(read) == 3
        assert clip["files"][0].endswith("#000000#000024.mp4") and clip["files"][1].split("#")[-2] == "000024"


@pytest.mark.parametrize(
    ("most", "parts"),
    [
        (40, [(0, 40)]),
        (39, [(0, 24), (24, 40)]),
        (20, [(0, 12), (12, 24), (24, 40)]),
        (12, [(0, 12), (12, 24), (24, 36), (36, 40)]),
        (11, []),
    ],
)
def test_parts_are_few_and_of_similar_length(most: int, parts: list[tuple[int, int]]) -> None:
    assert fomm._parts(40, most, mp4_of([image(0, frame) for frame in range(40)])) == parts


@pytest.mark.slow
@pytest.mark.parametrize("frames", [1302, 1303])
def test_the_limit_is_that_of_the_loader(frames: int, tmp_path: Path) -> None:
    rgb = np.zeros((256, 256, 3), np.uint8)
    mp4 = mp4_of([rgb] * frames)
    (tmp_path / "whole.mp4").write_bytes(mp4)
    parts = fomm._parts(frames, fomm._most_frames(256), mp4)
    if frames == 1302:
        assert parts == [(0, 1302)] and len(imageio.mimread(tmp_path / "whole.mp4")) == 1302
    else:
        assert len(parts) == 2
        with pytest.raises(RuntimeError, match="256000000"):
            imageio.mimread(tmp_path / "whole.mp4")


def test_stills_have_no_frame_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_dataset(tmp_path / "data", 3)
    assert main([str(data), "--format", "fomm", "--output", str(tmp_path / "to")]) == 2
    assert "fomm needs stored video: motionshards build --output OUT --add video" in capsys.readouterr().err
    clips = export_here(data, tmp_path / "to", Settings(32, "png", 18))
    assert [len(os.listdir(tmp_path / "to" / clip["files"][0])) for clip in clips] == [5, 6, 7]
    assert os.listdir(tmp_path / "to" / "test") == []


def test_names_depend_on_all_identities_of_the_export(tmp_path: Path) -> None:
    """`id100` is a prefix of `id1000`, which is in another shard."""
    data = make_moving_dataset(tmp_path / "data", 2, frames=lambda clip: 12, per_shard=1, identity=lambda clip: 10 ** (clip + 2))
    export(data, tmp_path / "to")
    assert {name: len(found) for name, found in by_identity(tmp_path / "to" / "train").items()} == {"id100=": 1, "id1000": 1}


def test_frames_too_large_for_the_loaders_are_refused() -> None:
    message = fomm.FORMAT.refusal(BuildConfig(source="demo", store="video"), Settings(4096, "mp4", 18))
    assert message is not None and "export with --frames png" in message
    assert fomm.FORMAT.refusal(BuildConfig(source="demo", store="video"), Settings(4096, "png", 18)) is None


def test_videos_that_cannot_be_cut_are_re_encoded_and_missing_ones_skipped(
    two_splits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such videos result from `--video-copy` of a source with a single keyframe; missing ones from a failed `--add video`."""
    monkeypatch.setattr(fomm, "_MOST_DECODED_BYTES", 25 * 3 * SIZE**2)
    clip = first_clip(two_splits)
    assert clip.video is not None
    mp4 = mp4_of([image(0, frame) for frame in range(40)], options={"crf": "12", "x264-params": "keyint=100:bframes=0"})
    assert len(key_frames(mp4)) == 1
    with fomm.FORMAT.shard(ExportDirectory(tmp_path), clip.row["shard"], "val", Settings(SIZE, "mp4", 18)) as write:
        exported = write(replace(clip, video=replace(clip.video, mp4=mp4)))
        with pytest.raises(ClipSkipped, match="no_video"):
            write(replace(clip, video=None))
    read = np.concatenate([frames_in(tmp_path / name) for name in exported.files])
    assert exported.files[0].startswith("test/") and len(exported.files) == 2
    assert [seen_in(frame)[1] for frame in read] == list(range(40))
