"""Reading single clips, compared with `webdataset` reading the same shards."""

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
import simplejpeg
import webdataset
from nine_clips import SIZE

from motionshards.dataset.index import Dataset
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.layout import DATASET_JSON, INDEX, tar_path


def test_frames_and_arrays_match_those_read_by_webdataset(built: Path) -> None:
    data = Dataset.open(built)
    ours = {sample.key: sample for sample in data.samples()}
    tars = sorted(map(str, built.glob("*/*.tar")))
    theirs = list(webdataset.WebDataset(tars, shardshuffle=False).decode())
    assert sorted(ours) == sorted(sample["__key__"] for sample in theirs)
    assert len(data) == len(ours) == 8
    for sample in theirs:
        mine = ours[sample["__key__"]]
        jpegs = [sample[suffix] for suffix in sorted(sample) if suffix.endswith(".jpg")]
        np.testing.assert_array_equal(mine.frames, [simplejpeg.decode_jpeg(jpeg, "RGB") for jpeg in jpegs])
        np.testing.assert_array_equal(mine.landmarks, sample["landmarks.npy"])
        np.testing.assert_array_equal(mine.landmark_scores, sample["landmark_scores.npy"])
        assert mine.meta == sample["meta.json"]


def test_samples_have_the_documented_shapes(built: Path) -> None:
    sample = next(Dataset.open(built).samples())
    assert (sample.frames.shape, sample.frames.dtype) == ((9, SIZE, SIZE, 3), np.uint8)
    assert sample.landmarks is not None
    assert sample.landmark_scores is not None
    assert (sample.landmarks.shape, sample.landmarks.dtype) == ((9, 68, 2), np.float32)
    assert (sample.landmark_scores.shape, sample.landmark_scores.dtype) == ((9, 68), np.float32)
    assert len(sample.meta["pts_s"]) == 9


def test_where_can_use_columns_that_are_not_read(built: Path) -> None:
    data = Dataset.open(built)
    everything = data.index()
    half = pc.mean(everything["brightness"])
    some = data.index(["key"], where=pc.field("brightness") > half)
    assert some.column_names == ["key"]
    expected = [row["key"] for row in everything.to_pylist() if row["brightness"] > half.as_py()]
    assert some["key"].to_pylist() == expected
    assert 0 < len(expected) < len(everything)
    assert [sample.key for sample in data.samples(pc.field("brightness") > half)] == expected
    assert len(data.index(where=pc.field("split") == "no such split")) == 0


def test_a_flipped_byte_is_detected_when_its_clip_is_read(copy: Path) -> None:
    row = Dataset.open(copy).index().to_pylist()[0]
    path = tar_path(copy, row["split"], row["shard"])
    content = bytearray(path.read_bytes())
    content[row["members"][3]["offset"] + 1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"003\.jpg is damaged"):
        Dataset.open(copy).read(row)


def test_a_truncated_or_missing_shard_raises_dataset_error(copy: Path) -> None:
    row = Dataset.open(copy).index().to_pylist()[0]
    path = tar_path(copy, row["split"], row["shard"])
    path.write_bytes(path.read_bytes()[: row["members"][0]["offset"] + 10])
    with pytest.raises(DatasetError, match="cut short"):
        Dataset.open(copy).read(row)
    path.unlink()
    with pytest.raises(DatasetError, match="No such file"):
        Dataset.open(copy).read(row)


def test_only_finished_datasets_are_opened(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="missing"):
        Dataset.open(tmp_path)
    text = (copy / DATASET_JSON).read_text()
    (copy / DATASET_JSON).write_text(text.replace('"complete": true', '"complete": false'))
    with pytest.raises(DatasetError, match="unfinished"):
        Dataset.open(copy)


@pytest.mark.parametrize("content", [None, b"", b"no parquet at all"])
def test_an_unreadable_index_raises_dataset_error(copy: Path, content: bytes | None) -> None:
    (copy / INDEX).unlink()
    if content is not None:
        (copy / INDEX).write_bytes(content)
    data = Dataset.open(copy)
    for use in (data.index, data.__len__, lambda: next(data.samples())):
        with pytest.raises(DatasetError):
            use()
