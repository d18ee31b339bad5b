"""Downloads from a server that fails, refuses, disconnects or sends other content: retries, partial files and reports."""

from pathlib import Path

import pytest
from downloads import Fetch, counts
from video_server import Reply, VideoServer, files

pytest.importorskip("yt_dlp", reason="yt-dlp is not installed")


def test_temporary_errors_are_retried_with_backoff(server: VideoServer, video: bytes, fetch: Fetch, out: Path) -> None:
    server.files["/busy.mp4"] = video
    server.script["/busy.mp4"] = [Reply(503), Reply(503), Reply()]
    result = fetch("busy", backoff_s=5.0)
    assert (result.rows["busy"]["status"], result.rows["busy"]["attempts"]) == ("available", 3)
    assert files(out) == {"videos/busy.mp4": video}
    assert len(result.slept) == 2 and 2.5 <= result.slept[0] <= 7.5 and 5 <= result.slept[1] <= 15
    assert result.slept != [5.0, 10.0], "pauses are jittered"


def test_requests_for_data_are_retried(server: VideoServer, video: bytes, fetch: Fetch) -> None:
    server.files["/busy.mp4"] = video
    server.script["/busy.mp4"] = [Reply(), Reply(503), Reply()]
    row = fetch("busy").rows["busy"]
    assert (row["status"], row["attempts"]) == ("available", 2)


def test_retries_are_limited_and_the_next_run_retries(server: VideoServer, video: bytes, fetch: Fetch, out: Path) -> None:
    server.script["/busy.mp4"] = [Reply(503)]
    result = fetch("busy", retries=2)
    assert (result.rows["busy"]["status"], result.rows["busy"]["attempts"]) == ("failed", 3)
    assert "503" in result.rows["busy"]["detail"]
    assert (server.counts()["busy"], len(result.slept), result.totals.counts) == (3, 2, counts(failed=1))
    assert not files(out)
    server.files["/busy.mp4"] = video
    server.script.clear()
    assert fetch("busy", retries=2).rows["busy"]["status"] == "available"


def test_retry_after_is_respected(server: VideoServer, video: bytes, fetch: Fetch) -> None:
    server.files["/calm.mp4"] = video
    server.script["/calm.mp4"] = [Reply(429, {"Retry-After": "137"}), Reply(), Reply(429, {"Retry-After": "138"}), Reply()]
    result = fetch("calm", backoff_s=1.0)
    assert result.rows["calm"]["status"] == "available"
    assert result.slept == [137, 138]


def test_consecutive_refusals_stop_the_run(server: VideoServer, video: bytes, fetch: Fetch) -> None:
    names = [f"video{n}" for n in range(6)]
    server.files["/video0.mp4"] = video
    server.script = {f"/{name}.mp4": [Reply(429)] for name in names[1:]}
    result = fetch(*names, retries=1, give_up=3)
    assert server.counts() == {"video0": 2, "video1": 2, "video2": 1}
    assert result.totals.counts == counts(available=1, blocked=2, pending=3)
    assert "3 consecutive refusals" in result.totals.stopped and "429" in result.totals.stopped
    assert result.rows["video5"]["checked_at"] is None


def test_nonconsecutive_refusals_do_not_stop_the_run(server: VideoServer, fetch: Fetch) -> None:
    server.script = {f"/busy{n}.mp4": [Reply(429)] for n in range(4)}
    result = fetch("busy0", "gone0", "busy1", "gone1", "busy2", "gone2", "busy3", retries=0, give_up=2)
    assert (result.totals.stopped, result.totals.counts) == ("", counts(blocked=4, dead=3))


def test_an_unreachable_server_stops_the_run(fetch: Fetch, server: VideoServer) -> None:
    server.script = {f"/video{n}.mp4": [Reply(503)] for n in range(5)}
    result = fetch(*(f"video{n}" for n in range(5)), retries=1, give_up=2)
    assert result.totals.counts == counts(failed=2, pending=3)
    assert sum(server.counts().values()) == 4


def test_a_requested_pause_of_hours_stops_the_run(server: VideoServer, fetch: Fetch) -> None:
    server.script["/calm.mp4"] = [Reply(429, {"Retry-After": "7200"})]
    result = fetch("calm", "other")
    assert "7200 s" in result.totals.stopped
    assert (result.slept, server.counts()) == ([], {"calm": 1})


def test_interrupted_transfers_are_resumed(server: VideoServer, video: bytes, fetch: Fetch, out: Path) -> None:
    server.files["/cut.mp4"] = video
    server.script["/cut.mp4"] = [Reply(), Reply(cut=100_000), Reply()]
    result = fetch("cut")
    assert 0 < server.only_start() <= 100_000
    assert files(out) == {"videos/cut.mp4": video}
    assert result.rows["cut"]["attempts"] == 2


def test_partial_files_are_resumed_from_the_same_mirror_only(server: VideoServer, video: bytes, fetch: Fetch, out: Path) -> None:
    server.files["/cut.mp4"] = video
    server.script["/cut.mp4"] = [Reply(), Reply(cut=100_000)]
    assert fetch("cut", retries=0).rows["cut"]["status"] == "failed"
    assert [name for name in files(out) if name.endswith(".part")] and not (out / "videos").exists()
    server.script.clear()
    other, server.url = server.url, server.url.replace("127.0.0.1", "localhost")
    assert fetch("cut", retries=0).rows["cut"]["url"].startswith("http://localhost")
    assert not server.ranges()
    (out / "videos" / "cut.mp4").unlink()
    server.url = other
    fetch("cut", retries=0)
    assert 0 < server.only_start() <= 100_000
    assert files(out) == {"videos/cut.mp4": video}


def test_partial_files_of_dead_videos_are_removed(server: VideoServer, video: bytes, fetch: Fetch, out: Path) -> None:
    server.files["/cut.mp4"] = video
    server.script["/cut.mp4"] = [Reply(), Reply(cut=100_000), Reply(410)]
    assert fetch("cut").rows["cut"]["status"] == "dead"
    assert not files(out) and not (out / ".work").exists()


@pytest.mark.parametrize("kind", ["text/html", "video/mp4", "application/octet-stream"])
def test_a_page_instead_of_a_video_fails(server: VideoServer, fetch: Fetch, out: Path, kind: str) -> None:
    page = b"<!DOCTYPE html><html><body>Our site has moved</body></html>"
    server.script["/page.mp4"] = [Reply(headers={"Content-Type": kind}, body=page)]
    result = fetch("page")
    assert result.rows["page"]["status"] == "failed"
    assert ("not_a_video" if kind == "video/mp4" else "Unsupported URL") in result.rows["page"]["detail"]
    assert (not files(out), result.slept) == (True, [])


def test_a_page_of_several_videos_fails(server: VideoServer, video: bytes, fetch: Fetch, out: Path) -> None:
    page = b"<html><body><video src='/a.mp4'></video><video src='/b.mp4'></video></body></html>"
    server.files = {"/a.mp4": video, "/b.mp4": video}
    server.script["/page.mp4"] = [Reply(headers={"Content-Type": "text/html"}, body=page)]
    result = fetch("page")
    assert (result.rows["page"]["status"], result.rows["page"]["detail"]) == ("failed", "the page contains several videos")
    assert not files(out)


def test_a_truncated_file_fails(server: VideoServer, video: bytes, fetch: Fetch, out: Path) -> None:
    server.files["/short.mp4"] = video[: len(video) // 2]
    assert "incomplete or damaged video" in fetch("short").rows["short"]["detail"]
    assert not files(out)
