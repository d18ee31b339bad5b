"""Reads from S3 (a local implementation of its API, and a misbehaving server), and from other stores through fsspec."""

import importlib
import io
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
from file_server import FileServer, Step, serving
from moto.server import ThreadedMotoServer

from motionshards.dataset.storage.remote import Remote, Retry
from motionshards.dataset.storage.remote_fsspec import FsspecStore
from motionshards.dataset.storage.unreadable import Unreadable
from motionshards.schemas.errors import ConfigError

FILE = random.Random(6).randbytes(3_000_000)
QUICK = Retry(attempts=3, first_wait_s=0.002, most_wait_s=0.2, stall_s=0.3)
KEYS = {"aws_access_key_id": "testing", "aws_secret_access_key": "covert", "region_name": "us-east-1"}


@pytest.fixture(autouse=True)
def no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove credentials, profiles and endpoints of the user who runs the tests."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """The endpoint of a local S3 with one bucket."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    client = importlib.import_module("boto3").client("s3", endpoint_url=url, **KEYS)
    client.create_bucket(Bucket="shards")
    for key, content in (("voices/train/a b%2F#?.tar", FILE), ("voices/dataset.json", b"{}"), ("top.json", b"[]")):
        client.put_object(Bucket="shards", Key=key, Body=content)
    try:
        yield url
    finally:
        server.stop()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as served:
        served.files["/shards/voices/train/a.tar"] = FILE
        yield served


def s3(endpoint: str, root: str = "s3://shards/voices", **more: Any) -> Remote:
    return Remote(root, QUICK, {**KEYS, "endpoint_url": endpoint, **more})


def fetched(remote: Remote, path: str = "train/a.tar") -> bytes:
    into = io.BytesIO()
    remote.fetch(path, into, len(FILE))
    return into.getvalue()


def test_objects_of_a_bucket_are_read(moto: str) -> None:
    remote = s3(moto, "s3://shards/voices/")
    path = "train/a b%2F#?.tar"
    for start, stop in [(0, 1), (7, 7), (1000, 91_000), (len(FILE) - 1, len(FILE)), (0, len(FILE))]:
        assert remote.read(path, start, stop) == FILE[start:stop]
    assert fetched(remote, path) == FILE
    assert remote.read_all("dataset.json") == b"{}"
    assert s3(moto, "s3://shards").read_all("top.json") == b"[]"


def test_missing_or_short_objects_are_reported(moto: str) -> None:
    for root in ("s3://shards/voices", "s3://no-such-bucket/voices"):
        with pytest.raises(Unreadable, match=r"train/none\.tar: 404 Not Found \(NoSuch") as caught:
            s3(moto, root).read("train/none.tar", 0, 5)
        assert caught.value.reason == "missing"
    for start in (len(FILE) - 5, len(FILE) + 5):
        with pytest.raises(Unreadable) as caught:
            s3(moto).read("train/a b%2F#?.tar", start, len(FILE) + 10)
        assert caught.value.reason == "truncated"


def test_a_public_bucket_is_read_without_credentials(server: FileServer) -> None:
    remote = Remote("s3://shards/voices", QUICK, {"endpoint_url": server.url, "anon": True, "region_name": "us-east-1"})
    assert remote.read("train/a.tar", 5, 9) == FILE[5:9]
    assert "Authorization" not in server.requests[0].headers
    with pytest.raises(ConfigError, match="credentials"):
        Remote("s3://shards", QUICK, {"endpoint_url": server.url}).read("train/a.tar", 5, 9)
    with pytest.raises(ConfigError):
        Remote("s3://shards", QUICK, {"profile_name": "nobody"})


def test_one_call_is_one_request(server: FileServer) -> None:
    """botocore does not retry."""
    server.always = Step(status=503)
    with pytest.raises(Unreadable, match=r"503.*gave up after 3 attempts") as caught:
        s3(server.url).read("train/a.tar", 0, 10)
    assert (caught.value.reason, len(server.requests)) == ("unreachable", 3)
    assert "covert" not in str(caught.value)


def test_retry_after_of_a_store_is_honored(server: FileServer) -> None:
    server.script = [Step(status=503, headers={"Retry-After": "3600"})]
    started = time.monotonic()
    assert s3(server.url).read("train/a.tar", 0, 10) == FILE[:10]
    assert 0.2 <= time.monotonic() - started < 20, "bounded by most_wait_s"


@pytest.mark.parametrize("end", ["close", "reset", "stall"])
def test_a_broken_read_of_an_object_resumes_near_its_last_byte(server: FileServer, end: str) -> None:
    server.script = [Step(cut=1_000_000, end=end), Step(status=500)]
    started = time.monotonic()
    assert fetched(s3(server.url)) == FILE
    assert time.monotonic() - started < 15
    starts = [int((expected or "").removeprefix("bytes=").partition("-")[0]) for expected in server.ranges()]
    assert starts[0] == 0
    assert starts[1] == starts[2]
    assert 1_000_000 - 65_536 <= starts[1] <= 1_000_000


@pytest.mark.parametrize(("step", "reason"), [
    (Step(cut=0, end="reset"), "unreachable"), (Step(cut=0, end="stall"), "unreachable"), (Step(cut=100), "truncated"),
    (Step(shift=3), "damaged"), (Step(more=3), "damaged"), (Step(whole=True), "damaged"), (Step(status=403), "missing"),
])  # fmt: skip
def test_failures_of_a_store_have_reasons(server: FileServer, step: Step, reason: str) -> None:
    server.always = step
    with pytest.raises(Unreadable) as caught:
        s3(server.url).read("train/a.tar", 10, 10_000)
    assert caught.value.reason == reason


@pytest.fixture
def memory() -> Iterator[Any]:
    """fsspec's in-memory file system, with the same file."""
    files = importlib.import_module("fsspec").filesystem("memory")
    files.pipe("/voices/train/a.tar", FILE)
    yield files
    files.rm("/voices", recursive=True)


def test_other_stores_are_read_through_fsspec(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motionshards.dataset.storage.remote_fsspec._BLOCK_BYTES", 1_000_000)
    remote = Remote("memory://voices", QUICK)
    assert remote.read("train/a.tar", 999_990, 1_000_010) == FILE[999_990:1_000_010]
    assert remote.read_all("train/a.tar") == FILE
    assert fetched(remote) == FILE
    assert len(list(FsspecStore("memory://voices", {}).pieces("train/a.tar", 0, len(FILE)))) == 3
    with pytest.raises(Unreadable) as caught:
        remote.read("train/none.tar", 0, 5)
    assert caught.value.reason == "missing"
    with pytest.raises(Unreadable) as caught:
        remote.read("train/a.tar", len(FILE) - 5, len(FILE) + 5)
    assert caught.value.reason == "truncated"


def test_an_unknown_failure_of_another_store_is_retried(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, right = [], type(memory).cat_file

    def fails_twice(self: Any, *args: Any, **more: Any) -> Any:
        calls.append(args)
        if len(calls) < 3:
            raise RuntimeError("token=covert")
        return right(self, *args, **more)

    monkeypatch.setattr(type(memory), "cat_file", fails_twice)
    assert Remote("memory://voices", QUICK).read("train/a.tar", 5, 9) == FILE[5:9]
    assert len(calls) == 3
    calls[:] = []
    with pytest.raises(Unreadable, match="RuntimeError") as caught:
        Remote("memory://voices", Retry(attempts=2, first_wait_s=0.001)).read("train/a.tar", 5, 9)
    assert "covert" not in str(caught.value)


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(ConfigError, match="oci:// needs the package"):
        Remote("oci://store/x", QUICK)
    with pytest.raises(ConfigError, match="adl:// cannot be opened"):  # adlfs has dropped it
        Remote("adl://store/x", QUICK)
