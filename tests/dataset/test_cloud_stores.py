"""S3, gs and abfs emulators on this machine: the operations that builds need, and builds into them."""

import filecmp
import hashlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from checkout import ROOT
from cloud_here import CloudStore, abfs_here, careless_gs_here, gs_here
from s3_here import Store, s3_here
from store_proxy import proxy

import motionshards.dataset.build
import motionshards.dataset.stats
import motionshards.dataset.verify
from motionshards.dataset.loader import make_loader
from motionshards.dataset.storage.remote import Remote, Retry
from motionshards.dataset.storage.unreadable import Unreadable
from motionshards.dataset.stream import ClipStream, KPlusOne
from motionshards.schemas.bucket import open_bucket
from motionshards.schemas.errors import StoreFailed
from motionshards.schemas.layout import LOCK

pytestmark = pytest.mark.usefixtures("quick")

AnyStore = Store | CloudStore


@pytest.fixture(scope="module")
def s3() -> Iterator[Store]:
    with s3_here() as started:
        yield started


@pytest.fixture(scope="module")
def gs() -> Iterator[CloudStore]:
    with gs_here() as started:
        yield started


@pytest.fixture(scope="module")
def abfs() -> Iterator[CloudStore]:
    with abfs_here() as started:
        yield started


@pytest.fixture(params=["s3", "gs", "abfs"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[AnyStore]:
    started: AnyStore = request.getfixturevalue(request.param)
    use(started.environment, monkeypatch)
    yield started
    use(started.environment, monkeypatch)
    started.empty()


def use(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "GOOGLE_", "STORAGE_"))]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def url(store: AnyStore) -> str:
    return f"{store.scheme}://data/faces"


def test_stores_behave_alike(store: AnyStore, tmp_path: Path) -> None:
    alike(url(store), tmp_path)


@pytest.mark.parametrize("where", ["memory://data/faces", "local://{}/data/faces"])
def test_stores_with_and_without_directories_are_alike(where: str, tmp_path: Path) -> None:
    alike(where.format(tmp_path), tmp_path)


def alike(where: str, tmp_path: Path) -> None:
    bucket = open_bucket(where)
    (tmp_path / "a").write_bytes(b"first")
    (tmp_path / "b").write_bytes(b"second")
    assert bucket.names() == {} and not bucket.exists("train/x")
    bucket.put(tmp_path / "a", "train/x")
    assert bucket.create(tmp_path / "a", "train/y") and not bucket.create(tmp_path / "b", "train/y")
    assert bucket.create(tmp_path / "a", "train/y"), "a retry after a lost success"
    bucket.put(tmp_path / "b", "training/z")
    assert bucket.exists("train/y") and not bucket.exists("train/z")
    assert bucket.names() == {"train/x": 5, "train/y": 5, "training/z": 6} and bucket.names("train") == {
        "train/x": 5,
        "train/y": 5,
    }
    bucket.put(tmp_path / "b", "train/x")
    bucket.get("train/x", tmp_path / "c")
    bucket.get("train/y", tmp_path / "d")
    assert ((tmp_path / "c").read_bytes(), (tmp_path / "d").read_bytes()) == (b"second", b"first")
    with pytest.raises(FileNotFoundError):
        bucket.get("nothing", tmp_path / "e")
    for name in ("train/x", "train/y", "training/z", "nothing"):
        bucket.delete(name)
    assert bucket.names() == {}


def test_names_with_special_characters(store: AnyStore, tmp_path: Path) -> None:
    bucket = open_bucket(url(store))
    names = ["a b", "a%2Fb", "a#1", "a?b=c&d", "a+b", "é/ü 人", "~[x]*.tar"]
    for name in names:
        (tmp_path / "file").write_text(name)
        bucket.put(tmp_path / "file", name)
        bucket.get(name, tmp_path / "copy")
        assert bucket.exists(name) and (tmp_path / "copy").read_text() == name
    assert bucket.names() == {name: len(name.encode()) for name in names}


@pytest.mark.parametrize("size", [9 << 20, pytest.param(101 << 20, marks=pytest.mark.slow)])
def test_large_files_are_uploaded_in_parts(store: AnyStore, tmp_path: Path, size: int) -> None:
    """boto3 uploads in parts above 8 MiB, gcsfs in parts of 50 MiB, adlfs above 64 MiB."""
    bucket = open_bucket(url(store))
    (tmp_path / "large").write_bytes(os.urandom(size))
    bucket.put(tmp_path / "large", "large")
    bucket.get("large", tmp_path / "copy")
    assert bucket.names() == {"large": size} and filecmp.cmp(tmp_path / "large", tmp_path / "copy", shallow=False)


def test_one_of_several_that_create_at_once_succeeds(store: AnyStore, tmp_path: Path) -> None:
    bucket = open_bucket(url(store))
    files = [tmp_path / str(number) for number in range(4)]
    for file in files:
        file.write_text(file.name)
    with ThreadPoolExecutor(len(files)) as pool:
        for turn in range(3):
            created = list(pool.map(lambda file, name=f"{turn}": bucket.create(file, name), files))
            assert sum(created) == 1 and store.read(f"faces/{turn}") == files[created.index(True)].read_bytes()


def test_creating_an_object_succeeds_if_the_response_is_lost(
    store: AnyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"first")
    (tmp_path / "b").write_bytes(b"second")
    with proxy(store.endpoint) as (before, failures):
        use(store.through(before), monkeypatch)
        bucket = open_bucket(url(store))
        failures.lost = 1
        assert bucket.create(tmp_path / "a", "x") and failures.met == ["lost"]
        failures.lost = 1
        assert not bucket.create(tmp_path / "b", "x")
        bucket.get("x", tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == b"first"


def test_a_bucket_that_does_not_exist_is_reported(store: AnyStore, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"first")
    bucket = open_bucket(f"{store.scheme}://missing/faces")
    for act in (bucket.put, bucket.create):
        with pytest.raises(StoreFailed, match="://missing/faces: cannot "):
            act(tmp_path / "a", "x")


@pytest.mark.parametrize("store", ["gs", "abfs"], indirect=True)
def test_ranges_are_read(store: AnyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motionshards.dataset.storage.remote_fsspec._BLOCK_BYTES", 1000)
    content = os.urandom(2500)
    (tmp_path / "a").write_bytes(content + b".")
    open_bucket(url(store)).put(tmp_path / "a", "a b%#.tar")
    remote = Remote(url(store), Retry(attempts=1))
    assert remote.read("a b%#.tar", 990, 2010) == content[990:2010]
    remote.fetch("a b%#.tar", copy := io.BytesIO(), 2501)
    assert copy.getvalue() == remote.read_all("a b%#.tar") == content + b"."
    for name, start, reason in [("a b%#.tar", 2490, "truncated"), ("a b%#.tar", 3000, "truncated"), ("none", 0, "missing")]:
        with pytest.raises(Unreadable) as caught:
            remote.read(name, start, 3001)
        assert caught.value.reason == reason


def arguments(videos: Path, out: Path | str) -> list[str]:
    options = ["--size", "64", "--clips-per-shard", "1", "--split", "test", "--limit", "3", "--quiet"]
    return ["--source", "voxceleb2", "--input", str(videos), "--output", str(out), *options]


@pytest.mark.parametrize("store", ["gs", pytest.param("abfs", marks=pytest.mark.slow)], indirect=True)
def test_a_build_can_be_verified_counted_and_read(
    store: CloudStore, demo_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.put(killed_probe := f"faces/{LOCK}-0123", b"first")
    assert motionshards.dataset.build.main(arguments(demo_videos, url(store))) == 0
    assert [name for name in store.names() if LOCK in name] == [killed_probe], "the build deletes its own lock and probe"
    assert motionshards.dataset.verify.main([url(store), "--quiet"]) == 0
    assert "3 clips" in capsys.readouterr().out
    assert motionshards.dataset.stats.main([url(store), "--json"]) == 0
    assert '"clips": 3' in capsys.readouterr().out
    stream = ClipStream(url(store), KPlusOne(4), split=None, global_batch_size=1, cache=tmp_path)
    with make_loader(stream, processes=1) as loader:
        assert sum(len(batch) for batch in loader) == 3


def test_a_store_that_ignores_the_condition_is_refused(
    demo_videos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with careless_gs_here() as endpoint:
        store = CloudStore("gs", endpoint)
        use(store.environment, monkeypatch)
        assert motionshards.dataset.build.main(arguments(demo_videos, url(store))) == 2
        output = capsys.readouterr().err
        assert "the store ignores the condition 'create only if absent'" in output and output.count("\n") == 1
        assert store.names() == {}, "the probe is deleted"


@pytest.fixture(scope="module")
def on_disk(demo_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """SHA-256 of every shard and marker of a local build."""
    out = tmp_path_factory.mktemp("disk") / "out"
    assert motionshards.dataset.build.main(arguments(demo_videos, out)) == 0
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in out.glob("t*/*")}


def shards(store: AnyStore) -> dict[str, str]:
    below = [name.removeprefix("faces/") for name in store.names()]
    return {name: hashlib.sha256(store.read(f"faces/{name}")).hexdigest() for name in below if name.startswith("t")}


@pytest.mark.slow
def test_a_build_that_was_killed_is_resumed_by_workers(store: AnyStore, demo_videos: Path, on_disk: dict[str, str]) -> None:
    command = [*arguments(demo_videos, url(store)), "--workers", "1"]
    driver = subprocess.Popen([sys.executable, "-m", "dataset.build", *command], cwd=ROOT, start_new_session=True)
    end = time.monotonic() + 120
    while not any(name.startswith("faces/t") and name.endswith(".parquet") for name in store.names()):
        assert time.monotonic() < end and driver.poll() is None
        time.sleep(0.05)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    before = set(store.names())
    assert f"faces/{LOCK}" in before and "faces/index.parquet" not in before
    assert motionshards.dataset.build.main(command) == 0
    assert shards(store) == on_disk and len(on_disk) == 6
    assert f"faces/{LOCK}" not in store.names()
