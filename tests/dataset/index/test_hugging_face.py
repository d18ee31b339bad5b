"""Hugging Face `datasets` reads shards, and finds splits and fields in the data card."""

import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
from nine_clips import SIZE

from motionshards.dataset.index import Dataset
from motionshards.schemas.layout import CARD


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The `datasets` package, configured to use neither the network nor the home directory."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
            patch.setenv(name, "1")
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf-home")))
        import datasets

        yield datasets


def test_hugging_face_datasets_reads_a_shard(built: Path, tmp_path: Path, hugging_face: Any) -> None:
    files = {"train": str(built / "train" / "*.tar")}
    read = hugging_face.load_dataset("webdataset", data_files=files, split="train", cache_dir=str(tmp_path))
    rows = Dataset.open(built).index(["key"], where=pc.field("split") == "train")
    assert sorted(read["__key__"]) == sorted(rows["key"].to_pylist())
    assert read[0]["000.jpg"].size == (SIZE, SIZE)
    assert read[0]["meta.json"]["key"] == read[0]["__key__"]
    assert np.shape(read[0]["landmarks.npy"]) == (9, 68, 2)


def test_hugging_face_datasets_finds_the_splits_by_the_data_card(built: Path, tmp_path: Path, hugging_face: Any) -> None:
    read = hugging_face.load_dataset(str(built), cache_dir=str(tmp_path))
    assert {split: len(rows) for split, rows in read.items()} == Dataset.open(built).manifest.counts["kept_by_split"]


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "prepared"])
def test_video_and_sound_are_read_with_the_fields_of_the_card(spoken_both: Path, hugging_face: Any, streaming: bool) -> None:
    """Without torchcodec, and with a clip without sound among the first."""
    declared = hugging_face.load_dataset_builder(str(spoken_both)).info.features
    assert (type(declared["mp4"]), type(declared["flac"])) == (hugging_face.Video, hugging_face.Audio)
    (code,) = [
        code for code in re.findall(r"```python\n(.*?)```", (spoken_both / CARD).read_text(), re.DOTALL) if "Value" in code
    ]
    names: dict[str, Any] = {}
    exec(code.replace('"OUT"', repr(str(spoken_both))).replace("streaming=True", f"streaming={streaming}"), names)
    read = list(names["data"]["train"])
    assert [sample["flac"] is None for sample in read] == [False, True, False]
    for sample, ours in zip(read, Dataset.open(spoken_both).samples(), strict=True):
        assert sample["__key__"] == ours.key == sample["meta.json"]["key"]
        assert np.shape(sample["frames.npy"]) == (sample["meta.json"]["mp4"]["frames"], 3)
        assert b"ftyp" in sample["mp4"]["bytes"][:12] and (sample["flac"] or b"fLaC").startswith(b"fLaC")
        assert sample["002.jpg"].size == ours.frames[0].shape[:2]


def test_datasets_without_declared_fields_cannot_be_read(spoken_both: Path, tmp_path: Path, hugging_face: Any) -> None:
    """The card declares them for this reason."""
    files = sorted(str(path) for path in (spoken_both / "train").glob("*.tar"))
    with tarfile.open(tmp_path / "all.tar", "w") as joined:
        for path in files:
            with tarfile.open(path) as tar:
                for member in tar:
                    joined.addfile(member, tar.extractfile(member))
    with pytest.raises(ValueError, match="don't share the same prefix or the same types"):
        hugging_face.load_dataset("webdataset", data_files=str(tmp_path / "all.tar"), streaming=True)
