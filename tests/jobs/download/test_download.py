"""yt-dlp against a misbehaving local server: fetched files, numbers of requests, and the report."""

import errno
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from downloads import Fetch, counts
from video_server import Reply, VideoServer, files

from motionshards.jobs.download_report import REPORT, read_report
from motionshards.schemas.errors import ConfigError

pytest.importorskip("yt_dlp", reason="yt-dlp is not installed")

from motionshards.jobs import download_ytdlp


def test_listed_videos_are_fetched_once_and_reported(server: VideoServer, video: bytes, fetch: Fetch, out: Path) -> None:
    names = ["-a_B2345678", "test_000001"]
    server.files = {f"/{name}.mp4": video for name in names}
    before = datetime.now(UTC) - timedelta(seconds=1)
    result = fetch(*names)
    assert files(out) == {f"videos/{name}.mp4": video for name in names}
    assert not (out / ".work").exists()
    assert server.counts() == dict.fromkeys(names, 2), "yt-dlp requests the type first, then the video"
    row = result.rows["-a_B2345678"]
    assert before <= row.pop("checked_at") <= datetime.now(UTC)
    assert row == {
        "video": "-a_B2345678",
        "url": f"{server.url}/-a_B2345678.mp4",
        "status": "available",
        "detail": "format mp4",
        "path": "videos/-a_B2345678.mp4",
        "bytes": len(video),
        "width": 96,
        "height": 64,
        "fps": 25.0,
        "duration_s": pytest.approx(2.0),
        "has_audio": False,
        "attempts": 1,
    }
    assert list(result.rows) == names
    assert (result.totals.counts, result.totals.requested, result.totals.bytes) == (counts(available=2), 2, 2 * len(video))


def test_a_rerun_fetches_only_deleted_videos(server: VideoServer, video: bytes, fetch: Fetch, out: Path) -> None:
    server.files = {"/one.mp4": video, "/two.mp4": video}
    first = fetch("one", "two")
    server.requests.clear()
    second = fetch("one", "two")
    assert not server.requests
    assert (second.rows, second.totals.requested) == (first.rows, 0)
    (out / "videos" / "two.mp4").unlink()
    third = fetch("one", "two")
    assert set(server.counts()) == {"two"}
    assert third.rows["two"]["status"] == "available"
    assert third.rows["one"] == first.rows["one"]


def test_existing_files_are_used_unless_empty(server: VideoServer, fetch: Fetch, out: Path) -> None:
    (out / "videos").mkdir(parents=True)
    (out / "videos" / "mine.webm").write_bytes(b"mine")
    (out / "videos" / "empty.mp4").write_bytes(b"")
    rows = fetch("mine", "empty").rows
    assert set(server.counts()) == {"empty"}
    mine = {name: rows["mine"][name] for name in ("status", "path", "bytes", "attempts", "width")}
    assert mine == {"status": "available", "path": "videos/mine.webm", "bytes": 4, "attempts": 0, "width": None}
    assert rows["empty"]["status"] == "dead"


def test_rows_of_earlier_runs_are_kept(server: VideoServer, video: bytes, fetch: Fetch) -> None:
    server.files = {"/one.mp4": video, "/two.mp4": video}
    first, second = fetch("one"), fetch("two")
    assert second.rows["one"] == first.rows["one"]
    assert second.totals.counts == counts(available=1), "only currently listed videos are counted"


@pytest.mark.parametrize("status", [404, 410])
def test_a_dead_video_is_requested_again_only_with_retry(server: VideoServer, video: bytes, fetch: Fetch, status: int) -> None:
    server.files["/gone.mp4"] = video
    server.script["/gone.mp4"] = [Reply(status)]
    row = fetch("gone").rows["gone"]
    assert (row["status"], row["path"], row["attempts"]) == ("dead", None, 1)
    assert f"HTTP Error {status}" in row["detail"]
    fetch("gone")
    assert server.counts() == {"gone": 1}
    server.script.clear()
    assert fetch("gone", retry=frozenset({"dead"})).rows["gone"]["status"] == "available"


def test_unknown_suffixes_become_mp4(server: VideoServer, video: bytes, fetch: Fetch, out: Path) -> None:
    server.files["/odd.mp4"] = video
    server.script["/odd.mp4"] = [Reply(302, {"Location": "/odd", "Content-Length": "0"}, b"")]
    server.script["/odd"] = [Reply(headers={"Content-Type": "application/octet-stream"}, body=video)]
    fetch("odd")
    assert files(out) == {"videos/odd.mp4": video}


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "..", ".", ".hidden", "a/b", "a\\b", "a b", "a\x01b", "a%b", "é"])
def test_hostile_names_are_skipped_and_reported(
    server: VideoServer, video: bytes, fetch: Fetch, out: Path, tmp_path: Path, name: str
) -> None:
    server.files["/good.mp4"] = video
    result = fetch(name, "good")
    assert set(server.counts()) == {"good"}
    assert set(files(tmp_path)) == {"metadata.csv", "out/videos/good.mp4"}
    assert set(result.rows) == {"good"}
    outside = name.startswith("/") or ".." in name
    message = (
        f"video_id is {name!r}, which is outside the input"
        if outside
        else f"metadata.csv: video {name!r} is not a safe file name"
    )
    assert any(message in line for line in result.messages)
    assert result.totals.left_out == sum(message in line for line in result.messages)


def test_malformed_lines_are_skipped_and_reported_by_number(server: VideoServer, video: bytes, fetch: Fetch) -> None:
    server.files["/good.mp4"] = video
    result = fetch("good", lines="bad,zero,20,1-1-9-9,25,96,64,train\n,0,20,1-1-9-9,25,96,64,train\nshort,0\n")
    assert set(server.counts()) == {"good"}
    output = "\n".join(result.messages)
    assert "metadata.csv line 4: start is 'zero'" in output and "line 5: video_id is empty" in output and "line 6" in output
    assert result.totals.left_out == 3


def test_split_and_limit_select_videos(server: VideoServer, fetch: Fetch) -> None:
    names = ["test0", "test1", *(f"video{n}" for n in range(8))]
    assert fetch(*names, splits=frozenset({"test"})).totals.counts == counts(dead=2)
    assert set(server.counts()) == {"test0", "test1"}
    server.requests.clear()
    result = fetch(*names, splits=frozenset({"train"}), limit=3)
    assert result.totals.counts == counts(dead=3, pending=5)
    first = set(server.counts())
    fetch(*names, splits=frozenset({"train"}), limit=5)
    assert len(first) == 3 and len(server.counts()) == 5 and first < set(server.counts())
    assert sum(server.counts().values()) == 5


def test_jittered_pauses_between_videos(fetch: Fetch) -> None:
    slept = fetch("a", "b", "c", "d", pause_s=10.0).slept
    assert len(slept) == len(set(slept)) == 3
    assert all(5 <= one <= 15 for one in slept)


def test_the_rate_is_limited(server: VideoServer, video: bytes, fetch: Fetch) -> None:
    server.files["/slow.mp4"] = video
    start = time.monotonic()
    fetch("slow", rate_limit_bytes_s=len(video))
    assert 0.5 < time.monotonic() - start < 3


def test_output_paths_may_have_special_characters(server: VideoServer, video: bytes, fetch: Fetch, tmp_path: Path) -> None:
    server.files["/one.mp4"] = video
    odd = tmp_path / "100% of ~ $5 (x)s"
    fetch("one", out=odd)
    assert files(odd) == {"videos/one.mp4": video}


def test_invalid_outputs_are_refused_and_unchanged(fetch: Fetch, out: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lists no videos"):
        fetch()
    assert not out.exists()
    out.mkdir()
    (out / "old.mp4").write_bytes(b"x")
    with pytest.raises(ConfigError, match="move them into"):
        fetch("one")
    assert set(files(out)) == {"old.mp4"} and not (out / "videos").exists()
    (tmp_path / "broken" / "videos").mkdir(parents=True)
    (tmp_path / "broken" / REPORT).write_bytes(b"PAR1 not")
    with pytest.raises(ConfigError, match="move it away"):
        fetch("one", out=tmp_path / "broken")


def test_a_full_disk_stops_the_run_and_keeps_the_report(
    server: VideoServer, video: bytes, fetch: Fetch, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files = {"/one.mp4": video, "/two.mp4": video}

    def full(ydl: Any, url: str) -> None:
        if "two" in url:
            try:
                raise OSError(errno.ENOSPC, "No space left on device")
            except OSError as error:
                ydl.report_error(f"unable to write data: {error}")
        return original(ydl, url)

    original = download_ytdlp.YoutubeDL.extract_info
    monkeypatch.setattr(download_ytdlp.YoutubeDL, "extract_info", full)
    with pytest.raises(OSError, match="No space left"):
        fetch("one", "two", "three")
    assert {name: row["status"] for name, row in read_report(out).items()} == {
        "one": "available",
        "two": "pending",
        "three": "pending",
    }


def test_warnings_are_printed_once(server: VideoServer, fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(ydl: Any, url: str) -> None:
        ydl.report_warning(f"[youtube] {url[-8:-4]}: No supported JavaScript runtime could be found")
        return original(ydl, url)

    original = download_ytdlp.YoutubeDL.extract_info
    monkeypatch.setattr(download_ytdlp.YoutubeDL, "extract_info", warn)
    lines = fetch("aaaa", "bbbb", "cccc").messages
    assert [line for line in lines if "yt-dlp" in line] == [
        "yt-dlp: [youtube] VIDEO: No supported JavaScript runtime could be found"
    ]
