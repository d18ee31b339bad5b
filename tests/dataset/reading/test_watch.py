"""An open stream detects changes of the dataset at the next epoch, and yields no removed clips."""

import os
import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from file_server import Step, serving
from in_process import in_this_process
from made import make_dataset, unfinish
from streams import seen

from motionshards.dataset import build, remove
from motionshards.dataset.loader import make_loader
from motionshards.dataset.storage.remote import Retry
from motionshards.dataset.stream import ClipStream, Pairs
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.layout import DATASET_JSON


@pytest.fixture(scope="module")
def built(demo_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight clips of two people in four shards; read-only."""
    out = tmp_path_factory.mktemp("watch") / "data"
    fast = ["--size", "64", "--landmarks", "none", "--frames", "3", "--workers", "1", "--quiet", "--clips-per-shard", "2"]
    with in_this_process():
        assert build.main(["--source", "voxceleb2", "--input", str(demo_videos), "--output", str(out), *fast]) == 0
    return out


def stream_of(data: Path | str) -> ClipStream:
    return ClipStream(data, Pairs(2), global_batch_size=2, split=None, retry=Retry(attempts=1))


@pytest.mark.parametrize("reader", ["loader", "stream", "workers"])
def test_a_stream_raises_at_the_next_epoch_after_a_removal(built: Path, tmp_path: Path, reader: str) -> None:
    data = Path(shutil.copytree(built, tmp_path / "data"))
    stream = stream_of(data)
    key = str(stream.catalog.keys[0].as_py())
    with make_loader(stream, processes=1) as loader:
        workers = torch.utils.data.DataLoader(stream, batch_size=None, num_workers=1, persistent_workers=True)
        batches = {"loader": loader, "stream": stream, "workers": workers}[reader]
        iterator = iter(batches)  # type: ignore[call-overload]
        first = seen(islice(iterator, 1))
        assert remove.main([str(data), "--key", key]) == 0
        assert len(first + seen(iterator)) == 8, "the running epoch is finished with the files that it has open"
        for _ in range(2):
            with pytest.raises(
                DatasetError, match=rf"{data} has changed since this stream was opened: 1 of its \d shards were rewritten"
            ):
                next(iter(batches))  # type: ignore[call-overload]
    assert key not in {found for found, _, _ in seen(stream_of(data))}


def test_a_running_removal_is_detected(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Path(shutil.copytree(built, tmp_path / "data"))
    stream = stream_of(data)

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("motionshards.pipeline.remove.remove_from_shard", fail)
    remove.main([str(data), "--key", str(stream.catalog.keys[0].as_py())])
    with pytest.raises(DatasetError, match=r"has changed since this stream was opened: .*interrupted"):
        next(iter(stream))


def test_unrelated_changes_are_ignored(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", 20)
    unfinished = Path(shutil.copytree(data, tmp_path / "unfinished"))
    unfinish(unfinished, 1)
    stream = ClipStream(unfinished, Pairs(2), global_batch_size=5)
    first = seen(stream)
    shutil.copytree(data, unfinished, dirs_exist_ok=True)  # the build is resumed and finished
    assert len(seen(stream)) == len(first) == 10
    os.utime(unfinished / DATASET_JSON)
    assert len(seen(stream)) == 10
    shutil.rmtree(unfinished)
    with pytest.raises(DatasetError, match=r"has changed since this stream was opened: .*does not exist"):
        next(iter(stream))


def test_a_stream_from_a_url_detects_changes_and_tolerates_an_unavailable_server(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = make_dataset(tmp_path / "first", 20)
    second = make_dataset(tmp_path / "second", 20, frames=lambda clip: 4)

    def files(data: Path) -> dict[str, bytes]:
        return {f"/data/{path.relative_to(data)}": path.read_bytes() for path in data.rglob("*") if path.is_file()}

    with serving() as server:
        server.files.update(files(first))
        options: dict[str, Any] = {"cache": tmp_path / "cache", "retry": Retry(attempts=1)}
        stream = ClipStream(f"{server.url}/data", Pairs(2), global_batch_size=5, **options)
        assert len(seen(stream)) == 20
        server.script.append(Step(status=503))
        assert len(seen(stream)) == 20
        assert "cannot check whether" in caplog.text
        server.files.update(files(second))
        with pytest.raises(DatasetError, match="2 of its 2 shards were rewritten"):
            next(iter(stream))
