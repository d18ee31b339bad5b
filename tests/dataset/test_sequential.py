"""Shards without an index, read from pipes and files; truncation is detected; and plain webdataset reads them."""

import io
import os
import re
import subprocess
import tarfile
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import webdataset
from checkout import ROOT
from streams import seen

from motionshards.dataset.index import Sample
from motionshards.dataset.reading.view import View
from motionshards.dataset.sequential import TarStream
from motionshards.dataset.stream import KPlusOne, Pairs, Singles
from motionshards.schemas.errors import ConfigError, DatasetError


@pytest.fixture
def tars(data_with_aus: Path) -> list[Path]:
    return sorted(data_with_aus.glob("train/*.tar"))


@pytest.mark.parametrize("view", [Pairs(2), KPlusOne(4), Singles()])
@pytest.mark.parametrize("window", [1, 16, 256])
def test_samples_match_the_stored_data(tars: list[Path], samples: dict[str, Sample], view: View, window: int) -> None:
    stream = TarStream(tars, view, batch_size=4, window=window)
    keys = []
    for batch in stream:
        for row, key in enumerate(batch.keys):
            frames = batch.number[row].numpy()
            np.testing.assert_array_equal(batch.frames[row], samples[key].frames[frames])
            np.testing.assert_array_equal(batch.landmarks[row], samples[key].landmarks[frames])  # type: ignore[index]
            np.testing.assert_array_equal(batch.aus[row], samples[key].aus[frames])  # type: ignore[index]
        keys += batch.keys
    assert len(keys) == len(set(keys)) == (60 - stream.excluded.total()) // 4 * 4
    assert (keys == sorted(keys, key=list(samples).index)) == (window == 1)


def test_a_pipe_yields_the_clips_of_the_files(tars: list[Path]) -> None:
    with subprocess.Popen(["cat", tars[0]], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        piped = seen(TarStream([program.stdout], Pairs(2), batch_size=2))
    assert piped == seen(TarStream(tars[:1], Pairs(2), batch_size=2))
    assert len(piped) == 10


def test_order_and_frames_depend_on_seed_and_epoch(tars: list[Path]) -> None:
    stream = TarStream(tars, Pairs(2), batch_size=4, seed=1)
    first, second = seen(stream), seen(stream)
    assert first != second
    stream.set_epoch(0)
    assert seen(islice(stream, 2)) == first[:8]
    iter(stream)
    assert seen(stream) == second, "a pass counts as an epoch once it has yielded a batch"
    assert seen(TarStream(tars, Pairs(2), batch_size=4, seed=2)) != first


@pytest.mark.parametrize("cut", ["in a member", "between members", "in the end mark", "empty"])
def test_a_truncated_tar_is_detected(tars: list[Path], tmp_path: Path, cut: str) -> None:
    """Plain webdataset does not report any of these cases."""
    intact = tars[0].read_bytes()
    end = len(intact.rstrip(b"\0")) // 512 * 512 + 512
    places = {"in a member": end // 2 + 100, "between members": end, "in the end mark": end + 100, "empty": 0}
    short = tmp_path / "short.tar"
    short.write_bytes(intact[: places[cut]])
    with pytest.raises(DatasetError, match=r"short\.tar.*truncated"):
        list(TarStream([short, tars[1]], Pairs(2), batch_size=2))
    stream = TarStream([short, tars[1]], Pairs(2), batch_size=1, on_error="skip")
    found = seen(stream)
    assert stream.faults == {"truncated": 1}
    with tarfile.open(tars[0]) as tar:
        complete = [info for info in tar if info.name.endswith("meta.json") and info.offset_data + info.size <= places[cut]]
    assert len(found) == 10 + len(complete)


def test_unreadable_tars_and_invalid_arguments_are_reported(tars: list[Path], tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="missing"):
        list(TarStream([tmp_path / "none.tar"], Pairs(2), batch_size=2))
    with pytest.raises(DatasetError, match="truncated"):
        list(TarStream([io.BytesIO(os.urandom(2048))], Pairs(2), batch_size=2))
    with pytest.raises(ConfigError, match="one clip per identity"):
        TarStream(tars, Pairs(2, per="identity"), batch_size=2)
    with pytest.raises(ConfigError, match="on_error"):
        TarStream(tars, Pairs(2), batch_size=2, on_error="substitute")
    with pytest.raises(ConfigError, match="tars must be a list"):
        TarStream(str(tars[0]), Pairs(2), batch_size=2)
    with pytest.raises(ConfigError, match="view must be an instance, not the class Pairs"):
        TarStream(tars, Pairs, batch_size=2)  # type: ignore[arg-type]


def test_clips_that_do_not_satisfy_the_view_are_counted(tars: list[Path], samples: dict[str, Sample]) -> None:
    stream = TarStream(tars, KPlusOne(6), batch_size=1)
    assert len(seen(stream)) == sum(len(sample.frames) >= 7 for sample in samples.values())
    assert stream.excluded == {"fewer than 7 frames": sum(len(sample.frames) < 7 for sample in samples.values())}


def test_plain_webdataset_reads_pairs_with_the_documented_code(tars: list[Path], samples: dict[str, Sample]) -> None:
    """Runs the code block of docs/frameworks.md."""
    page = (ROOT / "docs" / "frameworks.md").read_text()
    lines = re.search(r"```python\n(import io.*?webdataset.*?)```", page, re.DOTALL)
    assert lines is not None
    names: dict[str, object] = {}
    exec(lines[1].replace("OUT/train/*.tar", f"{tars[0].parent}/*.tar"), names)
    found = list(names["data"])  # type: ignore[call-overload]
    assert len(found) == 60
    for key, frames, landmarks in found:
        stored = samples[key]
        which = [next(n for n, one in enumerate(stored.frames) if np.array_equal(one, frame)) for frame in frames]
        np.testing.assert_array_equal(landmarks, stored.landmarks[which])  # type: ignore[index]
    assert simplejpeg and webdataset
