"""Bytes from a web server: the right ones, whatever the server does, or Unreadable with the right reason."""

import gzip
import io
import multiprocessing
import pickle
import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import pytest
from file_server import FileServer, Step, serving

from motionshards.dataset.storage.remote import Remote, Retry, is_url, shown
from motionshards.dataset.storage.unreadable import Unreadable
from motionshards.schemas.errors import ConfigError

FILE = random.Random(5).randbytes(3_000_000)
SMALL = FILE[:5000]
QUICK = Retry(attempts=4, first_wait_s=0.002, most_wait_s=0.2, stall_s=0.3)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as served:
        served.files |= {"/data/train/a.tar": FILE, "/data/dataset.json": SMALL}
        yield served


@pytest.fixture
def remote(server: FileServer) -> Remote:
    return Remote(f"{server.url}/data", QUICK)


def fetched(remote: Remote, size: int = len(FILE)) -> bytes:
    into = io.BytesIO()
    remote.fetch("train/a.tar", into, size)
    return into.getvalue()


@pytest.mark.parametrize(("where", "expected"), [
    ("http://h/x", True), ("HTTPS://h/x", True), ("s3://bucket/x", True), ("gs://bucket", True), ("hf://datasets/a/b", True),
    ("/data/x", False), ("data", False), ("file:///data", False), ("FILE:///data", False), ("a:b", False), ("./http://x", False),
])  # fmt: skip
def test_a_url_is_told_from_a_path(where: str, expected: bool) -> None:
    assert is_url(where) is expected


def test_ranges_and_whole_files_are_those_of_the_server(server: FileServer, remote: Remote) -> None:
    for start, stop in [(0, 1), (0, 0), (77, 77), (1000, 91_000), (len(FILE) - 1, len(FILE)), (0, len(FILE))]:
        assert remote.read("train/a.tar", start, stop) == FILE[start:stop]
    assert remote.read_all("dataset.json") == SMALL
    assert fetched(remote) == FILE
    assert len({asked.port for asked in server.asked}) == 1, "each request opened a connection"
    assert len(server.asked) == 6, "empty ranges need no request"


@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_shard_goes_on_at_the_byte_where_its_connection_broke(server: FileServer, remote: Remote, end: str) -> None:
    server.script = [Step(cut=1_000_000, end=end), Step(cut=700_001, end=end)]
    assert fetched(remote) == FILE
    assert server.ranges() == [f"bytes={at}-{len(FILE) - 1}" for at in (0, 1_000_000, 1_700_001)]


def test_a_small_file_and_a_range_go_on_too(server: FileServer, remote: Remote) -> None:
    server.script = [Step(cut=1234)]
    assert remote.read_all("dataset.json") == SMALL
    server.script = [Step(cut=40)]
    assert remote.read("train/a.tar", 100, 200) == FILE[100:200]
    assert server.ranges() == [None, "bytes=1234-", "bytes=100-199", "bytes=140-199"]


def test_a_stall_is_a_failure_and_a_slow_line_is_none(server: FileServer, remote: Remote) -> None:
    server.script = [Step(cut=500_000, end="stall")]
    started = time.monotonic()
    assert fetched(remote) == FILE
    assert 0.3 <= time.monotonic() - started < 15
    assert server.ranges()[1] == f"bytes=500000-{len(FILE) - 1}"


def test_a_transfer_may_take_longer_than_any_time_out() -> None:
    """A body that comes in drops, each well before the stall, and take thrice as long as the stall."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection = listener.accept()[0]
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 206 Part\r\nContent-Range: bytes 0-19/20\r\nContent-Length: 20\r\n\r\n")
            for byte in FILE[:20]:
                time.sleep(0.1)
                connection.sendall(bytes([byte]))
            connection.close()

        thread = threading.Thread(target=drip)
        thread.start()
        retry = Retry(attempts=1, stall_s=0.7)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert Remote(url, retry).read("x", 0, 20) == FILE[:20]
        thread.join()


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 408])
def test_passing_failures_are_tried_again(server: FileServer, remote: Remote, status: int) -> None:
    server.script = [Step(status=status), Step(status=status)]
    assert remote.read("train/a.tar", 10, 20) == FILE[10:20]
    assert len(server.asked) == 3


@pytest.mark.parametrize("status", [404, 410, 403, 401])
def test_what_is_not_there_is_not_asked_for_again(server: FileServer, remote: Remote, status: int) -> None:
    server.always = Step(status=status)
    with pytest.raises(Unreadable, match=f"train/a.tar: {status} ") as caught:
        remote.read("train/a.tar", 0, 10)
    assert (caught.value.reason, len(server.asked)) == ("missing", 1)


def test_retry_after_is_honoured_and_bounded(server: FileServer) -> None:
    remote = Remote(f"{server.url}/data", Retry(attempts=3, first_wait_s=0.001, most_wait_s=1.2))
    server.script = [Step(status=429, headers={"Retry-After": "1"})]
    started = time.monotonic()
    remote.read_all("dataset.json")
    assert 1 <= time.monotonic() - started < 20
    server.script = [Step(status=503, headers={"Retry-After": "3600"}), Step(status=503, headers={"Retry-After": "nonsense"})]
    started = time.monotonic()
    remote.read_all("dataset.json")
    assert 1.2 <= time.monotonic() - started < 20


@pytest.mark.parametrize(("step", "reason"), [
    (Step(status=500), "unreachable"), (Step(status=429), "unreachable"), (Step(cut=0, end="reset"), "unreachable"),
    (Step(cut=0, end="stall"), "unreachable"), (Step(cut=0), "truncated"), (Step(shift=7), "damaged"),
    (Step(cut=100, end="stall"), "unreachable"), (Step(cut=100), "truncated"),
])  # fmt: skip
def test_a_failure_that_stays_is_told_after_so_many_tries(server: FileServer, step: Step, reason: str) -> None:
    server.always = step
    remote = Remote(f"{server.url}/data", Retry(attempts=3, first_wait_s=0.001, stall_s=0.15))
    with pytest.raises(Unreadable, match="tried 3 times") as caught:
        remote.read("train/a.tar", 0, 10_000)
    assert caught.value.reason == reason
    assert len(server.asked) == 3


def test_a_server_that_is_gone_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unreadable, match="no connection") as caught:
        Remote(f"http://127.0.0.1:{port}", QUICK).read("x", 0, 1)
    assert caught.value.reason == "unreachable"


def test_tries_are_counted_anew_after_progress(server: FileServer, remote: Remote) -> None:
    """Ten breaks with a megabyte of progress for each few are no reason to give up after four; without progress they are."""
    server.script = [Step(cut=300_000) for _ in range(10)]
    with pytest.raises(Unreadable):
        Remote(f"{server.url}/data", Retry(attempts=3, first_wait_s=0.001)).fetch("train/a.tar", io.BytesIO(), len(FILE))
    server.script = [Step(cut=600_000) for _ in range(4)]
    server.asked.clear()
    assert fetched(Remote(f"{server.url}/data", Retry(attempts=3, first_wait_s=0.001))) == FILE
    assert len(server.asked) == 5


def test_a_file_that_is_shorter_than_promised_is_truncated(server: FileServer, remote: Remote) -> None:
    for start, stop in [(len(FILE) - 10, len(FILE) + 10), (len(FILE), len(FILE) + 1), (len(FILE) + 5, len(FILE) + 6)]:
        with pytest.raises(Unreadable, match=f"{len(FILE)} bytes, expected {stop}") as caught:
            remote.read("train/a.tar", start, stop)
        assert caught.value.reason == "truncated"


def test_a_length_that_is_too_small_does_not_cut_the_file(server: FileServer, remote: Remote) -> None:
    server.script = [Step(length=1_000_000, cut=1_000_000)]
    assert fetched(remote) == FILE


def test_a_body_without_length_is_read_to_its_end(server: FileServer, remote: Remote) -> None:
    server.always = Step(length=None)
    assert remote.read_all("dataset.json") == SMALL
    server.script = [Step(length=None, cut=1_100_000)]
    assert fetched(remote) == FILE


def test_a_server_that_ignores_ranges_gives_the_right_bytes(
    server: FileServer, remote: Remote, caplog: pytest.LogCaptureFixture
) -> None:
    server.always = Step(whole=True)
    assert remote.read("train/a.tar", 1_000_000, 1_040_000) == FILE[1_000_000:1_040_000]
    assert remote.read("train/a.tar", 5, 6) == FILE[5:6]
    server.script = [Step(whole=True, cut=2_000_000)]
    assert fetched(remote) == FILE
    assert len([record for record in caplog.records if "ignores ranges" in record.message]) == 1
    with pytest.raises(Unreadable) as caught:
        remote.read("train/a.tar", len(FILE) + 1, len(FILE) + 2)
    assert caught.value.reason == "truncated"


def test_a_range_that_is_longer_than_asked_for_is_cut(server: FileServer, remote: Remote) -> None:
    server.always = Step(more=500)
    assert remote.read("train/a.tar", 100, 200) == FILE[100:200]


def test_a_content_encoding_does_not_change_the_bytes(server: FileServer, remote: Remote) -> None:
    """Nobody asked for it, but objects that were uploaded compressed are sent so."""
    server.always = Step(body=gzip.compress(FILE, 1), headers={"Content-Encoding": "gzip"})
    assert remote.read("train/a.tar", 1_000_000, 1_040_000) == FILE[1_000_000:1_040_000]
    assert remote.read_all("train/a.tar") == FILE
    assert fetched(remote) == FILE
    server.always = Step(headers={"Content-Encoding": "aws-chunked"})  # a label that some stores keep from an upload
    assert fetched(remote) == FILE
    assert {asked.headers["Accept-Encoding"] for asked in server.asked} == {"identity"}


def test_redirections_are_followed_and_keep_the_range(server: FileServer, remote: Remote) -> None:
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
    (asked,) = server.asked
    assert (asked.target, asked.headers["X-Token"]) == ("/data/dataset.json?sig=hidden", "covert")
    assert asked.headers["Authorization"] == "Basic YW5uOnBhIHNz"
    server.always = Step(status=500)
    with pytest.raises(Unreadable) as caught:
        remote.read_all("dataset.json")
    told = f"{caught.value} {caught.value!r} {remote!r} {remote.where} {caplog.text}"
    assert f"{server.url}/data/dataset.json" in told
    assert not [
        secret for secret in ("ann", "pa%20ss", "pa ss", "hidden", "covert", "part") if secret in told.replace("partial", "")
    ]


def test_an_address_is_shown_without_secrets() -> None:
    assert shown("https://me:pw@host:8443/a/b@c?x=1#y") == "https://host:8443/a/b@c"
    assert shown("s3://key:secret@bucket/a") == "s3://bucket/a"


@pytest.mark.parametrize(("root", "options"), [
    ("http://user:secret@host:port/x", {}), ("http://host/", {"key": "secret"}), ("nonsense://secret", {}),
    ("s3://bucket/", {"secret": 1}),
])  # fmt: skip
def test_what_cannot_be_used_is_told_without_secrets(root: str, options: dict[str, object]) -> None:
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
    """Also when it is forked while threads of the parent read with it."""
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


def test_a_fork_does_not_speak_on_connections_of_its_parent(server: FileServer, remote: Remote) -> None:
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    remote.read("train/a.tar", 0, 5)
    child = context.Process(target=_reads, args=(remote, answers))
    child.start()
    assert answers.get(timeout=20)
    child.join()
    remote.read("train/a.tar", 0, 5)
    ports = [asked.port for asked in server.asked]
    assert ports[0] == ports[2] != ports[1]


def test_a_remote_survives_pickle(remote: Remote) -> None:
    assert pickle.loads(pickle.dumps(remote)).read("train/a.tar", 5, 9) == FILE[5:9]
    error = pickle.loads(pickle.dumps(Unreadable("missing", "x")))
    assert (error.reason, error.detail, str(error)) == ("missing", "x", "missing: x")


def test_waiting_leaves_the_global_random_state_alone(server: FileServer, remote: Remote) -> None:
    state = random.getstate()
    server.script = [Step(status=500)]
    remote.read("train/a.tar", 0, 5)
    assert random.getstate() == state


def test_pauses_double_up_to_a_bound_and_are_partly_chance() -> None:
    retry = Retry(first_wait_s=1, most_wait_s=6)
    for failures, most in [(1, 1), (2, 2), (3, 4), (9, 6)]:
        pauses = {retry.wait_s(failures) for _ in range(50)}
        assert len(pauses) > 1 or failures == 9
        assert most / 2 <= min(pauses) <= max(pauses) <= most
    assert retry.wait_s(1, asked_s=5) == 5
    assert retry.wait_s(1, asked_s=500) == 6
    for wrong in ({"attempts": 0}, {"stall_s": 0.0}, {"first_wait_s": -1.0}):
        with pytest.raises(ConfigError):
            Retry(**wrong)


def test_an_error_of_the_file_written_to_is_no_failure_of_the_network(server: FileServer, remote: Remote) -> None:
    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        remote.fetch("train/a.tar", Full(), len(FILE))
    assert len(server.asked) == 1
