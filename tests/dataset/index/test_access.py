"""Access to clips by number and key, the index as a DataFrame, and the repr of datasets, streams, loaders and batches."""

import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from moving import make_moving_dataset

from motionshards.dataset.index import Dataset
from motionshards.dataset.loader import make_loader
from motionshards.dataset.sequential import TarStream
from motionshards.dataset.stream import ClipStream, Pairs, World
from motionshards.schemas.errors import ConfigError, DatasetError
from motionshards.schemas.layout import INDEX, tar_path


def test_clips_by_number_key_and_slice_match_the_index(data: Path, tmp_path: Path) -> None:
    table = pq.read_table(data / INDEX)
    small = tmp_path / "small-groups"
    small.mkdir()
    for path in data.iterdir():
        (small / path.name).symlink_to(path)
    (small / INDEX).unlink()
    pq.write_table(table, small / INDEX, row_group_size=7)
    keys = table["key"].to_pylist()
    for opened in (Dataset.open(data), Dataset.open(small)):
        assert [opened[number].key for number in (0, 6, 7, np.int64(59), -1, -60)] == [
            keys[number] for number in (0, 6, 7, 59, -1, -60)
        ]
        assert [sample.key for sample in opened[5:20:7]] == keys[5:20:7]
        assert opened[keys[33]].key == keys[33]
        np.testing.assert_array_equal(opened[33].frames, opened.read(table.slice(33, 1).to_pylist()[0]).frames)
        assert [sample.key for sample in opened] == keys


def test_missing_clips_raise_index_error_and_key_error(data: Path) -> None:
    opened = Dataset.open(data)
    for number in (60, -61):
        with pytest.raises(IndexError, match=f"clip {number} of 60"):
            opened[number]
    with pytest.raises(KeyError, match="nobody"):
        opened["nobody"]
    with pytest.raises(TypeError):
        opened[1.5]  # type: ignore[call-overload]
    assert "nobody" not in opened and 0 not in opened and opened[0].key in opened


def test_frames_are_decoded_on_access_and_damage_is_raised_then(built: Path, copy: Path) -> None:
    row = Dataset.open(built).index().to_pylist()[0]
    path = tar_path(copy, row["split"], row["shard"])
    sample = Dataset.open(copy)[0]
    assert "frames" not in vars(sample)
    path.unlink()  # the members were read and verified
    assert sample.frames is sample.frames and len(sample.frames) == 9
    with pytest.raises(DatasetError, match="No such file"):
        Dataset.open(copy)[0]


def test_rows_of_the_data_frame_match_the_clips(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Dataset.open(data)
    table = opened.to_pandas()
    assert len(table) == 60 and table.key[17] == opened[17].key and table.blur.notna().all()
    assert "members" not in table and "au12" not in table  # nested, and empty
    assert list(opened.to_pandas(["key", "au12", "frame_yaw_deg"])) == ["key", "au12", "frame_yaw_deg"]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match=r"pip install 'motionshards\[notebook\]'"):
        opened.to_pandas()


class Cells(HTMLParser):
    """The texts of an HTML page, and in `tags` the elements that contain them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_repr_of_a_dataset_does_not_read_the_index(built: Path, copy: Path) -> None:
    (copy / INDEX).unlink()
    opened = Dataset.open(copy)
    shown = repr(opened)
    assert len(shown) < 250 and "\n" not in shown
    for fact in (str(copy), "clips 8", "identities 2", "stills 9 per clip", "landmarks dlib"):
        assert fact in shown
    cells = Cells(Dataset(Path("<script>x"), opened.manifest)._repr_html_())
    assert "Dataset <script>x" in cells.texts and "9 per clip" in cells.texts
    assert cells.tags == {"table", "caption", "b", "tr", "td"}


def test_video_sound_and_samples_have_a_repr(tmp_path: Path) -> None:
    opened = Dataset.open(make_moving_dataset(tmp_path / "data", 1))
    assert "video 25 fps with sound" in repr(opened) and "stills" not in repr(opened)
    sample = opened[0]
    assert repr(sample) == (
        "Sample(id000/video0/clip00000: 8 frames, landmarks, video: 40 frames at 25 fps, audio: 1.6 s at 16000 Hz)"
    )
    assert "frames" not in vars(sample)


def test_streams_loaders_and_batches_have_a_one_line_repr(data: Path) -> None:
    stream = ClipStream(data, Pairs(2), global_batch_size=6, world=World(0, 2))
    shown = repr(stream)
    assert shown.startswith(f"ClipStream({data}, Pairs(n=2, per='clip'), split train: 60 clips of 7 identities, stills of 32 px")
    assert "10 batches of 6" in shown
    with make_loader(stream, processes=1) as loader:
        assert repr(loader) == f"Loader({shown}: device cpu, 1 processes, augment None)"
        batch = next(iter(loader))
    assert "3 clips on cpu: frames uint8 [3, 2, 32, 32, 3], landmarks float32 [3, 2, 68, 2]" in repr(batch)
    assert len(repr(batch)) < 300
    assert {"uint8", "[3, 2, 32, 32, 3]"} <= set(Cells(batch._repr_html_()).texts)
    tars = sorted(data.glob("*/*.tar"))
    assert repr(TarStream(tars, Pairs(2), batch_size=3)).startswith(
        f"TarStream({len(tars)} tars, Pairs(n=2, per='clip'): batches"
    )


def test_a_url_is_shown_without_its_password(data: Path) -> None:
    stream = ClipStream(data, Pairs(2), global_batch_size=6)
    object.__setattr__(stream.shard_source, "root", "https://me:secret@host/data?token=secret")
    assert "https://host/data" in repr(stream) and "secret" not in repr(stream)
