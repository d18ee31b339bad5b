"""The format fomm, read as FOMM's, MRAA's and Thin-Plate-Spline-Motion-Model's datasets read it."""

import glob
import json
import os
from collections.abc import Callable
from pathlib import Path

import imageio
import numpy as np
import pytest
from in_process import in_this_process
from made import make_dataset
from moving import SIZE, make_moving_dataset, mp4_of, seen_in

import motionshards.dataset.export
from motionshards.dataset.export import fomm
from motionshards.dataset.index import Dataset
from motionshards.transforms.extract.mp4.remux import key_frames


@pytest.fixture(scope="module")
def moving(once: Callable[..., Path]) -> Path:
    """Eight clips of 40, 45 and 50 frames in two shards, the second of which is of the split val; read-only."""
    return once(
        "fomm-moving", lambda out: make_moving_dataset(out, 8, store="both", split=lambda clip: "val" if clip >= 4 else "train")
    )


def export(data: Path, to: Path, *options: str) -> dict[str, object]:
    argv = [str(data), "--format", "fomm", "--output", str(to), "--workers", "1", "--quiet", *options]
    assert in_this_process(motionshards.dataset.export.__main__.main, argv) == 0
    return json.loads((to / "export.json").read_text())


def frames_in(path: str | Path) -> np.ndarray:
    """All frames of what the original loaders call a video: a folder of images, or a file that is read whole."""
    if os.path.isdir(path):
        return np.stack([imageio.imread(f"{path}/{name}") for name in sorted(os.listdir(path))])
    return np.stack(imageio.mimread(path))


def by_identity(folder: Path) -> dict[str, list[str]]:
    """What they choose from for each identity."""
    return {name: glob.glob(f"{folder}/{name}*.mp4") for name in {one.split("#")[0] for one in os.listdir(folder)}}


def test_videos_are_copied_and_read_frame_by_frame(moving: Path, tmp_path: Path) -> None:
    record, samples = export(moving, tmp_path / "to"), {one.key: one for one in Dataset.open(moving).samples()}
    assert sorted(os.listdir(tmp_path / "to")) == ["export.json", "test", "train"]
    assert [len(os.listdir(tmp_path / "to" / name)) for name in ("train", "test")] == [4, 4]
    for clip in record["clips"]:
        (name,), video = clip["files"], samples[clip["key"]].video
        assert (tmp_path / "to" / name).read_bytes() == video.mp4
        identity, rest, *_ = clip["key"].split("/")
        assert Path(name).name.startswith(f"{identity}#{rest}.") and name.endswith(f"#000000#{len(video):06d}.mp4")
        frames = frames_in(tmp_path / "to" / name)
        number = int(clip["key"].rpartition("clip")[2])
        assert [seen_in(frame) for frame in frames] == [(number, frame) for frame in range(len(video))]


def test_image_folders_have_the_frames_of_the_video(moving: Path, tmp_path: Path) -> None:
    record, samples = export(moving, tmp_path / "to", "--frames", "png", "--limit", "5"), Dataset.open(moving).samples()
    for clip, sample in zip(record["clips"], samples, strict=False):
        (name,) = clip["files"]
        assert sorted(os.listdir(tmp_path / "to" / name))[0] == "0000000.png"
        assert (frames_in(tmp_path / "to" / name) == sample.video.read()).all()
    people = by_identity(tmp_path / "to" / "train")
    assert sorted(people) == ["id000", "id001", "id002", "id003"] and all(map(len, people.values()))


def test_another_size_is_encoded_again(moving: Path, tmp_path: Path) -> None:
    record = export(moving, tmp_path / "to", "--size", "128", "--limit", "1", "--crf", "12")
    frames = frames_in(tmp_path / "to" / record["clips"][0]["files"][0])
    assert frames.shape == (40, 128, 128, 3) and [seen_in(one)[1] for one in frames] == list(range(40))


@pytest.mark.parametrize("limit", [41, 25, 12, 11])
def test_long_clips_become_files_that_the_loader_can_read(
    moving: Path, tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit below the distance of key frames is never met in practice; there frames are encoded again, to no avail."""
    monkeypatch.setattr(fomm, "_MOST_DECODED_BYTES", limit * 3 * SIZE**2)
    mp4 = Dataset.open(moving).read(Dataset.open(moving).index().to_pylist()[0]).video.mp4
    parts = fomm._parts(40, limit, mp4)
    if limit < 12:
        assert parts is None
        return
    assert parts is not None and [one[0] for one in parts[1:]] == [one[1] for one in parts[:-1]]
    assert (parts[0][0], parts[-1][1]) == (0, 40) and max(stop - start for start, stop in parts) <= limit
    assert {start for start, _ in parts} <= set(key_frames(mp4).tolist())


@pytest.mark.slow
@pytest.mark.parametrize("frames", [1302, 1303])
def test_the_limit_is_that_of_the_loader(frames: int, tmp_path: Path) -> None:
    rgb = np.zeros((256, 256, 3), np.uint8)
    mp4 = mp4_of([rgb] * frames)
    (tmp_path / "whole.mp4").write_bytes(mp4)
    parts = fomm._parts(frames, fomm._MOST_DECODED_BYTES // (3 * 256**2), mp4)
    if frames == 1302:
        assert parts == [(0, 1302)] and len(imageio.mimread(tmp_path / "whole.mp4")) == 1302
    else:
        assert parts is not None and len(parts) == 2
        with pytest.raises(RuntimeError, match="256000000"):
            imageio.mimread(tmp_path / "whole.mp4")


def test_stills_have_no_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_dataset(tmp_path / "data", 3)
    argv = [str(data), "--format", "fomm", "--output", str(tmp_path / "to")]
    assert in_this_process(motionshards.dataset.export.__main__.main, argv) == 2
    assert "fomm needs stored video: motionshards add OUT video" in capsys.readouterr().err
    record = export(data, tmp_path / "to", "--frames", "png")
    assert [len(os.listdir(tmp_path / "to" / clip["files"][0])) for clip in record["clips"]] == [5, 6, 7]
    assert os.listdir(tmp_path / "to" / "test") == []
