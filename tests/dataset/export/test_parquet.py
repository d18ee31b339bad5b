"""The format parquet, read by Hugging Face `datasets` and by pandas."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow.parquet as pq
import pytest
from made import make_dataset
from moving import SIZE, make_moving_dataset

from motionshards.dataset.export import parquet
from motionshards.dataset.export.__main__ import main
from motionshards.dataset.export.clip import StoredClip
from motionshards.dataset.export.directory import ExportDirectory
from motionshards.dataset.export.format import Settings
from motionshards.dataset.export.worker import Setup, Task, export_task
from motionshards.dataset.index import Dataset, Sample, read_members
from motionshards.schemas.layout import tar_path
from motionshards.transforms.extract.stored_video import FrameReader

SETTINGS = Settings(SIZE, "stored files", 18)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The package, configured to use neither the network nor the home directory."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
            patch.setenv(name, "1")
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf-home")))
        import datasets

        yield datasets


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight clips with video and stills, six of them with sound, in one shard each of train and val."""
    path = tmp_path_factory.mktemp("parquet") / "data"
    split = {"split": lambda clip: "val" if clip >= 4 else "train", "sound": lambda clip: clip % 3}
    return make_moving_dataset(path, 8, store="both", **split)


@pytest.fixture(scope="module")
def exported(both: Path) -> Path:
    """Their export by the command, in a worker."""
    output = both.with_name("exported")
    assert main([str(both), "--format", "parquet", "--output", str(output), "--workers", "1", "--quiet"]) == 0
    return output


def members(out: Path, row: dict[str, Any]) -> dict[str, bytes]:
    with tar_path(out, row["split"], row["shard"]).open("rb") as tar:
        return read_members(tar, row["members"])


def export_here(data: Path, to: Path, settings: Settings = SETTINGS) -> Path:
    """Export the first shard in this process; returns its file."""
    rows = tuple(row for row in Dataset.open(data).index().to_pylist() if row["shard"].endswith("-000000"))
    task = Task(rows[0]["split"], rows[0]["shard"], rows)
    export_task(Setup(data, ExportDirectory(to), "parquet", settings), task, FrameReader(), lambda reading: None)
    return to / "data" / f"{rows[0]['split']}-000000.parquet"


def check(found: dict[str, Any], row: dict[str, Any], stored: dict[str, bytes], sample: Sample) -> None:
    """Check that a row read by `datasets`, without decoding, equals the stored data."""
    assert [found[name] for name in ("key", "source", "split", "identity")] == [
        row[name] for name in ("key", "source", "split", "identity")
    ]
    assert found["video_name"] == row["video"] and found["duration_s"] == row["duration_s"]
    for column, suffix in (("video", "mp4"), ("audio", "flac")):
        file = {"bytes": stored[suffix], "path": f"{row['key']}.{suffix}"} if suffix in stored else None
        assert found[column] == file
    jpegs = [content for suffix, content in stored.items() if suffix.endswith(".jpg")]
    assert [file["bytes"] for file in found["frames"] or []] == jpegs
    if sample.video is not None:
        assert found["fps"] == 25 and np.array_equal(found["video_pts_s"], sample.video.pts_s)
        assert found["landmark_frames"] == list(range(0, len(sample.video), 5))
    else:
        assert found["fps"] is found["video_pts_s"] is None and found["landmark_frames"] == list(range(len(jpegs)))
    assert found["frame_pts_s"] == (row["frame_pts_s"] if jpegs else None)
    measurements = StoredClip.of(row, stored, FrameReader()).measurements()
    assert measurements.points_px is not None and measurements.points_px.shape == (len(found["landmark_frames"]), 68, 2)
    assert np.array_equal(np.array(found["landmarks"], np.float32), measurements.points_px)
    assert np.array_equal(np.array(found["pose_deg"], np.float32), measurements.pose_deg)


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "prepared"])
def test_datasets_reads_video_sound_and_stills(
    both: Path, exported: Path, datasets: Any, streaming: bool, tmp_path: Path
) -> None:
    read = datasets.load_dataset(str(exported), streaming=streaming, cache_dir=str(tmp_path))
    assert set(read) == {"train", "validation"}
    features = read["train"].features
    assert (type(features["video"]), type(features["audio"])) == (datasets.Video, datasets.Audio)
    assert type(features["frames"].feature) is datasets.Image
    undecoded = {"video": datasets.Video(decode=False), "audio": datasets.Audio(decode=False)}
    undecoded["frames"] = datasets.List(datasets.Image(decode=False))
    data = Dataset.open(both)
    for split, name in (("train", "train"), ("val", "validation")):
        rows = [row for row in data.index().to_pylist() if row["split"] == split]
        part = read[name]
        for column, feature in undecoded.items():
            part = part.cast_column(column, feature)
        for found, row in zip(list(part), rows, strict=True):
            check(found, row, members(both, row), data.read(row))
        assert any(row["has_audio"] for row in rows) and not all(row["has_audio"] for row in rows)


def test_images_are_decoded(exported: Path, datasets: Any, tmp_path: Path) -> None:
    read = datasets.load_dataset("parquet", data_dir=str(exported / "data"), split="train", cache_dir=str(tmp_path))
    assert [image.size for image in read.select_columns("frames")[0]["frames"]] == [(SIZE, SIZE)] * 5


def test_the_record_counts_a_shard_as_one_file(exported: Path) -> None:
    record = json.loads((exported / "export.json").read_text())
    assert record["counts"] == {"clips": 8, "written": 8, "files": 2, "frames": 355, "left_out": {}}
    assert {clip["files"][0] for clip in record["clips"]} == {"data/train-000000.parquet", "data/val-000001.parquet"}
    assert set(record["versions"]) == {"motionshards", "datasets", "pyarrow"}
    assert sorted(path.name for path in exported.iterdir()) == ["data", "export.json"]


def test_pandas_reads_the_same_bytes(both: Path, exported: Path) -> None:
    rows = Dataset.open(both).index().to_pylist()
    read = pandas.concat(pandas.read_parquet(path) for path in sorted((exported / "data").iterdir()))
    assert list(read["key"]) == [row["key"] for row in rows]
    for row, video, audio in zip(rows, read["video"], read["audio"], strict=True):
        stored = members(both, row)
        assert video["bytes"] == stored["mp4"] and (audio or {}).get("bytes") == stored.get("flac")


@pytest.mark.parametrize("landmarks", [True, False])
def test_datasets_of_stills_have_null_video_and_sound(landmarks: bool, tmp_path: Path, datasets: Any) -> None:
    data = make_dataset(tmp_path / "data", 3, landmarks=landmarks)
    path = export_here(data, tmp_path / "to", Settings(Dataset.open(data).manifest.config.size, "stored files", 18))
    read = datasets.load_dataset("parquet", data_files=str(path), split="train", streaming=True)
    found = list(read.cast_column("frames", datasets.List(datasets.Image(decode=False))))
    for clip, row in zip(found, Dataset.open(data).index().to_pylist(), strict=True):
        if landmarks:
            check(clip, row, members(data, row), Dataset.open(data).read(row))
        else:
            assert clip["landmarks"] is clip["landmark_frames"] is clip["pose_deg"] is None and clip["frames"]


def test_a_smaller_stored_size_is_copied_with_its_own_landmarks(tmp_path: Path) -> None:
    data = make_moving_dataset(tmp_path / "data", 2, store="both", smaller=(32,))
    path = export_here(data, tmp_path / "to", replace(SETTINGS, size_px=32))
    for row, clip in zip(Dataset.open(data).index().to_pylist(), pq.read_table(path).to_pylist(), strict=True):
        stored = members(data, row)
        assert clip["video"]["bytes"] == stored["32.mp4"]
        assert [image["bytes"] for image in clip["frames"]] == [
            stored[f"32.{number:03d}.jpg"] for number in range(row["n_frames"])
        ]
        measured = StoredClip.of(row, stored, FrameReader()).measurements().points_px
        assert measured is not None
        assert np.allclose(np.array(clip["landmarks"]), (measured + 0.5) * 32 / SIZE - 0.5, atol=1e-4)


def test_landmarks_of_lost_faces_are_nan_and_others_are_exact(both: Path, tmp_path: Path) -> None:
    row = Dataset.open(both).index().to_pylist()[0]
    clip = StoredClip.of(row, members(both, row), FrameReader())
    points_px = clip.measurements().points_px
    assert points_px is not None
    lost = points_px.copy()
    lost[1] = np.nan
    with parquet.FORMAT.shard(ExportDirectory(tmp_path), row["shard"], "train", SETTINGS) as write:
        write(clip)
        write(replace(clip, _arrays={name: array for name, array in clip._arrays.items() if name != "points"}))
        write(replace(clip, _arrays={**clip._arrays, "points": lost}))
    found = pq.read_table(tmp_path / "data" / "train-000000.parquet")["landmarks"].to_pylist()
    assert np.array_equal(np.array(found[0], np.float32), points_px)
    assert np.array_equal(np.array(found[2], np.float32), lost, equal_nan=True)
    assert found[1] is None


def test_repeated_exports_write_the_same_bytes(both: Path, exported: Path, tmp_path: Path) -> None:
    assert export_here(both, tmp_path).read_bytes() == (exported / "data" / "train-000000.parquet").read_bytes()


def test_row_groups_are_bounded_by_their_media(both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [
        sum(len(content) for suffix, content in members(both, row).items() if suffix.endswith(("jpg", "mp4", "flac")))
        for row in Dataset.open(both).index().to_pylist()[:4]
    ]
    monkeypatch.setattr(parquet, "_MOST_GROUP_BYTES", sizes[0] + sizes[1])
    file = pq.ParquetFile(export_here(both, tmp_path))
    assert [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)] in ([2, 2], [2, 1, 1])
    monkeypatch.setattr(parquet, "_MOST_GROUP_BYTES", 1)
    again = export_here(both, tmp_path)
    assert pq.ParquetFile(again).num_row_groups == 4 and pq.read_table(again).num_rows == 4


def test_a_shard_that_cannot_be_read_has_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_moving_dataset(tmp_path / "data", 2, frames=lambda clip: 12, per_shard=1)
    row = Dataset.open(data).index().to_pylist()[0]
    tar_path(data, row["split"], row["shard"]).unlink()
    assert main([str(data), "--format", "parquet", "--output", str(tmp_path / "to"), "--workers", "1"]) == 1
    assert "1 of 2 clips as parquet, 1 files" in capsys.readouterr().out
    (path,) = (tmp_path / "to" / "data").iterdir()
    (clip,) = pq.read_table(path).to_pylist()
    assert path.name == "train-000001.parquet" and clip["frames"] is clip["frame_pts_s"] is None and clip["video"]["bytes"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "32"], "parquet exports stored files, which have 64 px: omit --size"),
        (["--frames", "mp4"], "--frames mp4 cannot be used with --format parquet, only stored files"),
        (["--crf", "20"], "--crf cannot be used with --format parquet, which encodes no video"),
    ],
)
def test_options_that_require_re_encoding_are_refused(
    both: Path, tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(both), "--format", "parquet", "--output", str(tmp_path / "to"), *options]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "to").exists()


def test_without_the_extra_the_error_names_it(both: Path, tmp_path: Path) -> None:
    """Replaces the package by an empty module of the same name."""
    (tmp_path / "datasets.py").touch()
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from motionshards.dataset.export.__main__ import main; "
    program += f"sys.exit(main([{str(both)!r}, '--format', 'parquet', '--output', {str(tmp_path / 'to')!r}]))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert run.returncode == 2 and "pip install 'motionshards[parquet]'" in run.stderr and run.stderr.count("\n") == 1
