"""Reads from a web server: the correct bytes, or Unreadable with the right reason."""

import io
import multiprocessing
import pickle
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import pytest
from file_server import FileServer, Step
from remote_files import FILE, QUICK, SMALL, fetched

from motionshards.dataset.storage.remote import Remote, Retry, is_url, shown
from motionshards.dataset.storage.unreadable import Unreadable
from motionshards.schemas.errors import ConfigError


@pytest.mark.parametrize(("where", "expected"), [
    ("http://h/x", True), ("HTTPS://h/x", True), ("s3://bucket/x", True), ("gs://bucket", True), ("hf://datasets/a/b", True),
    ("/data/x", False), ("data", False), ("file:///data", False), ("FILE:///data", False), ("a:b", False), ("./http://x", False),
])  # fmt: skip
def test_urls_are_distinguished_from_paths(where: str, expected: bool) -> None:
    assert is_url(where) is expected


def test_ranges_and_whole_files_are_those_of_the_server(server: FileServer, remote: Remote) -> None:
    for start, stop in [(0, 1), (0, 0), (77, 77), (1000, 91_000), (len(FILE) - 1, len(FILE)), (0, len(FILE))]:
        assert remote.read("train/a.tar", start, stop) == FILE[start:stop]
    assert remote.read_all("dataset.json") == SMALL
    assert fetched(remote) == FILE
    assert len({request.port for request in server.requests}) == 1, "each request opened a connection"
    assert len(server.requests) == 6, "empty ranges need no request"


def test_redirects_are_followed_and_keep_the_range(server: FileServer, remote: Remote) -> None:
    server.files["/elsewhere"] = FILE
    server.script = [Step(status=302, headers={"Location": f"{server.url}/elsewhere"})]
    assert remote.read("train/a.tar", 5, 50) == FILE[5:50]
    server.always = Step(status=302, headers={"Location": f"{server.url}/loop?token=secret"})
    with pytest.raises(Unreadable) as caught:
        remote.read("train/a.tar", 5, 50)
    assert "secret" not in str(caught.value)


def test_names_are_quoted(server: FileServer, remote: Remote) -> None:
    server.files["/data/a b%2F#?é.tar"] = SMALL
    assert remote.read_all("a b%2F#?é.tar") == SMALL


def test_credentials_are_sent_and_never_shown(server: FileServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    root = server.url.replace("//", "//ann:pa%20ss@") + "/data?sig=hidden#part"
    remote = Remote(root, QUICK, {"headers": {"X-Token": "covert"}})
    assert remote.read_all("dataset.json") == SMALL
    (request,) = server.requests
    assert (request.target, request.headers["X-Token"]) == ("/data/dataset.json?sig=hidden", "covert")
    assert request.headers["Authorization"] == "Basic YW5uOnBhIHNz"
    server.always = Step(status=500)
    with pytest.raises(Unreadable) as caught:
        remote.read_all("dataset.json")
    message = f"{caught.value} {caught.value!r} {remote!r} {remote.where} {caplog.text}"
    assert f"{server.url}/data/dataset.json" in message
    assert not [
        secret for secret in ("ann", "pa%20ss", "pa ss", "hidden", "covert", "part") if secret in message.replace("partial", "")
    ]


def test_urls_are_shown_without_secrets() -> None:
    assert shown("https://me:pw@host:8443/a/b@c?x=1#y") == "https://host:8443/a/b@c"
    assert shown("s3://key:secret@bucket/a") == "s3://bucket/a"


@pytest.mark.parametrize(("root", "options"), [
    ("http://user:secret@host:port/x", {}), ("http://host/", {"key": "secret"}), ("nonsense://secret", {}),
    ("s3://bucket/", {"secret": 1}),
])  # fmt: skip
def test_invalid_urls_and_options_are_reported_without_secrets(root: str, options: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        Remote(root, QUICK, options)
    assert "secret" not in str(caught.value).replace("not secret", "").replace("not key", "")


def test_threads_share_a_remote(server: FileServer) -> None:
    remote = Remote(f"{server.url}/data", Retry(attempts=30, first_wait_s=0.001, most_wait_s=0.01))
    server.script = [Step(status=500) if n % 3 == 0 else Step(cut=10) for n in range(30)]
    places = [(n * 9000, n * 9000 + 30_000) for n in range(200)]
    with ThreadPoolExecutor(8) as pool:
        for (start, stop), content in zip(
            places, pool.map(lambda place: remote.read("train/a.tar", *place), places), strict=True
        ):
            assert content == FILE[start:stop]


def _reads(remote: Remote, into: "multiprocessing.Queue[bool]") -> None:
    into.put(remote.read("train/a.tar", 1000, 90_000) == FILE[1000:90_000])


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_a_remote_works_in_other_processes(server: FileServer, remote: Remote, how: Literal["fork", "spawn"]) -> None:
    """Also after a fork while threads of the parent are reading."""
    context, stop = multiprocessing.get_context(how), threading.Event()

    def read_on() -> None:
        while not stop.is_set():
            assert remote.read("train/a.tar", 0, 90_000) == FILE[:90_000]

    with ThreadPoolExecutor(3) as pool:
        reading = [pool.submit(read_on) for _ in range(3)]
        answers = context.Queue()
        children = [context.Process(target=_reads, args=(remote, answers)) for _ in range(3 if how == "fork" else 1)]
        for child in children:
            child.start()
        try:
            assert all(answers.get(timeout=20) for _ in children)
        finally:
            stop.set()
        for child in children:
            child.join()
    for task in reading:
        task.result()


def test_a_fork_does_not_use_connections_of_its_parent(server: FileServer, remote: Remote) -> None:
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    remote.read("train/a.tar", 0, 5)
    child = context.Process(target=_reads, args=(remote, answers))
    child.start()
    assert answers.get(timeout=20)
    child.join()
    remote.read("train/a.tar", 0, 5)
    ports = [request.port for request in server.requests]
    assert ports[0] == ports[2] != ports[1]


def test_a_remote_survives_pickle(remote: Remote) -> None:
    assert pickle.loads(pickle.dumps(remote)).read("train/a.tar", 5, 9) == FILE[5:9]
    error = pickle.loads(pickle.dumps(Unreadable("missing", "x")))
    assert (error.reason, error.detail, str(error)) == ("missing", "x", "missing: x")


def test_waiting_does_not_change_the_global_random_state(server: FileServer, remote: Remote) -> None:
    state = random.getstate()
    server.script = [Step(status=500)]
    remote.read("train/a.tar", 0, 5)
    assert random.getstate() == state


def test_pauses_double_up_to_a_limit_with_jitter() -> None:
    retry = Retry(first_wait_s=1, most_wait_s=6)
    for failures, most in [(1, 1), (2, 2), (3, 4), (9, 6)]:
        pauses = {retry.wait_s(failures) for _ in range(50)}
        assert len(pauses) > 1 or failures == 9
        assert most / 2 <= min(pauses) <= max(pauses) <= most
    assert retry.wait_s(1, requested_s=5) == 5
    assert retry.wait_s(1, requested_s=500) == 6
    for wrong in ({"attempts": 0}, {"stall_s": 0.0}, {"first_wait_s": -1.0}):
        with pytest.raises(ConfigError):
            Retry(**wrong)


def test_an_error_of_the_target_file_is_not_a_network_failure(server: FileServer, remote: Remote) -> None:
    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        remote.fetch("train/a.tar", Full(), len(FILE))
    assert len(server.requests) == 1
