"""Training from a URL: the same batches as from disk, despite failures of the server."""

import importlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from file_server import FileServer, Step, serving
from made import make_dataset, unfinish
from streams import interleaved, ordinary, seen

from motionshards.dataset.loader import make_loader
from motionshards.dataset.storage.remote import Retry
from motionshards.dataset.stream import ClipStream, Pairs, World
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.layout import DATASET_JSON, INDEX

QUICK = Retry(attempts=3, first_wait_s=0.01, most_wait_s=0.05, stall_s=0.5)
SHARD = "/data/train/made-train-000003.tar"


@pytest.fixture
def server(data: Path) -> Iterator[FileServer]:
    with serving() as served:
        served.files |= {f"/data/{path.relative_to(data)}": path.read_bytes() for path in data.rglob("*") if path.is_file()}
        yield served


def local(data: Path, **options: Any) -> ClipStream:
    return ClipStream(data, Pairs(2), **{"global_batch_size": 6, "shuffle": "shard", "window": 2, **options})


def remote(server: FileServer, cache: Path, **options: Any) -> ClipStream:
    return ClipStream(
        f"{server.url}/data", Pairs(2), **{"global_batch_size": 6, "window": 2, "cache": cache, "retry": QUICK, **options}
    )


def requested_shards(server: FileServer) -> list[str]:
    return [request.target for request in server.requests if request.target.endswith(".tar")]


@pytest.mark.parametrize("fetch", ["shards", "members"])
def test_a_url_yields_the_batches_of_the_disk(data: Path, server: FileServer, tmp_path: Path, fetch: str) -> None:
    with make_loader(remote(server, tmp_path, fetch=fetch), processes=2) as loader, make_loader(local(data)) as other:
        for _ in range(2):
            assert seen(loader) == seen(other)
    requested = requested_shards(server)
    assert len(requested) == 6 if fetch == "shards" else len(requested) >= 60 * 3
    assert bool(list(tmp_path.iterdir())) == (fetch == "shards")


def test_cached_shards_are_not_downloaded_again_by_other_ranks_and_runs(data: Path, server: FileServer, tmp_path: Path) -> None:
    halves = []
    for rank in range(2):
        with make_loader(remote(server, tmp_path, world=World(rank, 2))) as loader:
            halves.append(list(loader))
    assert interleaved(halves) == seen(local(data))
    assert len(requested_shards(server)) == 6
    assert seen(ordinary(remote(server, tmp_path), 2)) == seen(local(data))
    assert len(requested_shards(server)) == 6


def test_a_cache_smaller_than_the_dataset_keeps_the_needed_shards(data: Path, server: FileServer, tmp_path: Path) -> None:
    sizes = [path.stat().st_size for path in data.glob("train/*.tar")]
    limit = 3 * max(sizes)
    stream = remote(server, tmp_path, cache_bytes=limit, window=1)
    with make_loader(stream, ahead=1) as loader:
        for epoch in range(2):
            assert seen(loader) == seen(_at(local(data, window=1), epoch))
            assert sum(path.stat().st_size for path in tmp_path.iterdir() if path.name.endswith(".shard")) <= limit
    assert len(requested_shards(server)) > 6
    assert not stream.faults.counts


def _at(stream: ClipStream, epoch: int) -> ClipStream:
    stream.set_epoch(epoch)
    return stream


@pytest.mark.parametrize(
    "script",
    [
        [Step(cut=1000, end="reset"), Step(cut=70_000, end="close"), Step(status=500)],
        [Step(status=429, headers={"Retry-After": "0"}), Step(status=503)],
        [Step(cut=30_000, end="stall")],
        [Step(cut=30_000, end="reset"), Step(whole=True)],
    ],
    ids=["breaks", "refuses", "stalls", "knows no ranges"],
)
@pytest.mark.parametrize("fetch", ["shards", "members"])
def test_a_server_that_fails_for_a_while_changes_nothing(
    data: Path, server: FileServer, tmp_path: Path, script: list[Step], fetch: str
) -> None:
    stream = remote(server, tmp_path, fetch=fetch)
    server.script += script
    with make_loader(stream) as loader:
        assert seen(loader) == seen(local(data))
    assert not stream.faults.counts and not server.script


def test_clips_of_an_unavailable_shard_are_substituted(
    data: Path, server: FileServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    del server.files[SHARD]
    stream = remote(server, tmp_path / "a")
    with caplog.at_level(logging.WARNING, "motionshards"), make_loader(stream) as loader:
        found = seen(loader)
    expected = seen(local(data))
    changed = [number for number, (old, new) in enumerate(zip(expected, found, strict=True)) if old != new]
    assert len(changed) == 10 and set(stream.faults.counts) == {"missing"}
    assert SHARD in caplog.text
    with make_loader(remote(server, tmp_path / "b"), threads=1, processes=2) as loader:
        assert seen(loader) == found, "the same substitutes each time"
    with make_loader(remote(server, tmp_path / "c", on_error="raise")) as loader, pytest.raises(DatasetError, match="missing"):
        list(loader)


def test_an_unavailable_shard_is_not_retried_for_each_clip(server: FileServer, tmp_path: Path) -> None:
    server.script += [Step()] * 2  # dataset.json and the index
    server.always = Step(status=503)
    stream = remote(server, tmp_path)
    with make_loader(stream, processes=1) as loader, pytest.raises(DatasetError, match="unreachable"):
        next(iter(loader))
    assert 6 <= len(requested_shards(server)) <= 6 * QUICK.attempts


def test_a_shard_with_wrong_bytes_is_rejected(data: Path, server: FileServer, tmp_path: Path) -> None:
    harmed = bytearray(server.files[SHARD])
    harmed[len(harmed) // 2] ^= 1
    server.files[SHARD] = bytes(harmed)
    stream = remote(server, tmp_path)
    with make_loader(stream) as loader:
        seen(loader)
    assert set(stream.faults.counts) == {"damaged"}


@pytest.mark.parametrize(("gone", "message"), [(DATASET_JSON, "missing"), (INDEX, "missing")])
def test_a_url_without_a_dataset_is_reported_in_one_line(server: FileServer, tmp_path: Path, gone: str, message: str) -> None:
    del server.files[f"/data/{gone}"]
    with pytest.raises(DatasetError, match=message) as raised:
        remote(server, tmp_path)
    assert "\n" not in str(raised.value)


def test_an_unfinished_dataset_at_a_url_is_refused(server: FileServer, tmp_path: Path) -> None:
    copy = make_dataset(tmp_path / "copy", 10)
    unfinish(copy, 1)
    server.files["/data/dataset.json"] = (copy / DATASET_JSON).read_bytes()
    with pytest.raises(DatasetError, match="the build is unfinished"):
        remote(server, tmp_path)


def test_a_dataset_in_s3(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = importlib.import_module("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    try:
        options = {**keys, "endpoint_url": "http://{}:{}".format(*server.get_host_and_port())}
        client = importlib.import_module("boto3").client("s3", **options)
        client.create_bucket(Bucket="bucket")
        for path in filter(Path.is_file, data.rglob("*")):
            client.put_object(Bucket="bucket", Key=f"faces/{path.relative_to(data)}", Body=path.read_bytes())
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        stream = ClipStream(
            "s3://bucket/faces/", Pairs(2), global_batch_size=6, window=2, cache=tmp_path, retry=QUICK, storage_options=options
        )
        with make_loader(stream) as loader:
            assert seen(loader) == seen(local(data))
    finally:
        server.stop()
