"""Servers that disconnect, stall, refuse or send other data: the right bytes, or Unreadable with the right reason."""

import gzip
import io
import socket
import threading
import time

import pytest
from file_server import FileServer, Step
from remote_files import FILE, QUICK, SMALL, fetched

from motionshards.dataset.storage.remote import Remote, Retry
from motionshards.dataset.storage.unreadable import Unreadable


@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_broken_download_of_a_shard_resumes_at_the_last_byte(server: FileServer, remote: Remote, end: str) -> None:
    server.script = [Step(cut=1_000_000, end=end), Step(cut=700_001, end=end)]
    assert fetched(remote) == FILE
    assert server.ranges() == [f"bytes={at}-{len(FILE) - 1}" for at in (0, 1_000_000, 1_700_001)]


def test_broken_reads_of_small_files_and_ranges_resume(server: FileServer, remote: Remote) -> None:
    server.script = [Step(cut=1234)]
    assert remote.read_all("dataset.json") == SMALL
    server.script = [Step(cut=40)]
    assert remote.read("train/a.tar", 100, 200) == FILE[100:200]
    assert server.ranges() == [None, "bytes=1234-", "bytes=100-199", "bytes=140-199"]


def test_a_stalled_connection_fails_and_a_slow_one_does_not(server: FileServer, remote: Remote) -> None:
    server.script = [Step(cut=500_000, end="stall")]
    started = time.monotonic()
    assert fetched(remote) == FILE
    assert 0.3 <= time.monotonic() - started < 15
    assert server.ranges()[1] == f"bytes=500000-{len(FILE) - 1}"


def test_a_transfer_may_take_longer_than_the_stall_timeout() -> None:
    """A body sent in small pieces, with pauses shorter than the stall timeout and three times as long in total."""
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
def test_temporary_failures_are_retried(server: FileServer, remote: Remote, status: int) -> None:
    server.script = [Step(status=status), Step(status=status)]
    assert remote.read("train/a.tar", 10, 20) == FILE[10:20]
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [404, 410, 403, 401])
def test_missing_files_are_not_retried(server: FileServer, remote: Remote, status: int) -> None:
    server.always = Step(status=status)
    with pytest.raises(Unreadable, match=f"train/a.tar: {status} ") as caught:
        remote.read("train/a.tar", 0, 10)
    assert (caught.value.reason, len(server.requests)) == ("missing", 1)


def test_retry_after_is_honored_and_bounded(server: FileServer) -> None:
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
def test_a_permanent_failure_is_raised_after_all_attempts(server: FileServer, step: Step, reason: str) -> None:
    server.always = step
    remote = Remote(f"{server.url}/data", Retry(attempts=3, first_wait_s=0.001, stall_s=0.4))
    with pytest.raises(Unreadable, match="gave up after 3 attempts") as caught:
        remote.read("train/a.tar", 0, 10_000)
    assert caught.value.reason == reason
    assert len(server.requests) == 3


def test_a_stopped_server_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unreadable, match="no connection") as caught:
        Remote(f"http://127.0.0.1:{port}", QUICK).read("x", 0, 1)
    assert caught.value.reason == "unreachable"


def test_progress_resets_the_count_of_attempts(server: FileServer, remote: Remote) -> None:
    """With four attempts, ten disconnections are tolerated only if there is a megabyte of progress between them."""
    server.script = [Step(cut=300_000) for _ in range(10)]
    with pytest.raises(Unreadable):
        Remote(f"{server.url}/data", Retry(attempts=3, first_wait_s=0.001)).fetch("train/a.tar", io.BytesIO(), len(FILE))
    server.script = [Step(cut=600_000) for _ in range(4)]
    server.requests.clear()
    assert fetched(Remote(f"{server.url}/data", Retry(attempts=3, first_wait_s=0.001))) == FILE
    assert len(server.requests) == 5


def test_a_file_shorter_than_expected_is_truncated(server: FileServer, remote: Remote) -> None:
    for start, stop in [(len(FILE) - 10, len(FILE) + 10), (len(FILE), len(FILE) + 1), (len(FILE) + 5, len(FILE) + 6)]:
        with pytest.raises(Unreadable, match=f"{len(FILE)} bytes, expected {stop}") as caught:
            remote.read("train/a.tar", start, stop)
        assert caught.value.reason == "truncated"


def test_a_too_small_content_length_does_not_truncate_the_file(server: FileServer, remote: Remote) -> None:
    server.script = [Step(length=1_000_000, cut=1_000_000)]
    assert fetched(remote) == FILE


def test_a_body_without_length_is_read_to_its_end(server: FileServer, remote: Remote) -> None:
    server.always = Step(length=None)
    assert remote.read_all("dataset.json") == SMALL
    server.script = [Step(length=None, cut=1_100_000)]
    assert fetched(remote) == FILE


def test_servers_that_ignore_ranges_return_the_right_bytes(
    server: FileServer, remote: Remote, caplog: pytest.LogCaptureFixture
) -> None:
    server.always = Step(whole=True)
    assert remote.read("train/a.tar", 1_000_000, 1_040_000) == FILE[1_000_000:1_040_000]
    assert remote.read("train/a.tar", 5, 6) == FILE[5:6]
    server.script = [Step(whole=True, cut=2_000_000)]
    assert fetched(remote) == FILE
    assert len([record for record in caplog.records if "does not support range requests" in record.message]) == 1
    with pytest.raises(Unreadable) as caught:
        remote.read("train/a.tar", len(FILE) + 1, len(FILE) + 2)
    assert caught.value.reason == "truncated"


def test_a_response_longer_than_the_range_is_truncated(server: FileServer, remote: Remote) -> None:
    server.always = Step(more=500)
    assert remote.read("train/a.tar", 100, 200) == FILE[100:200]


def test_a_content_encoding_does_not_change_the_bytes(server: FileServer, remote: Remote) -> None:
    """Objects that were uploaded compressed are sent compressed, even if not requested."""
    server.always = Step(body=gzip.compress(FILE, 1), headers={"Content-Encoding": "gzip"})
    assert remote.read("train/a.tar", 1_000_000, 1_040_000) == FILE[1_000_000:1_040_000]
    assert remote.read_all("train/a.tar") == FILE
    assert fetched(remote) == FILE
    server.always = Step(headers={"Content-Encoding": "aws-chunked"})  # a label that some stores keep from the upload
    assert fetched(remote) == FILE
    assert {request.headers["Accept-Encoding"] for request in server.requests} == {"identity"}
