"""The command in a process: killed, started twice, refused by the server, and without yt-dlp."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from checkout import ROOT
from video_server import Reply, VideoServer, csv_of, files

from motionshards.jobs.download_report import read_report

pytest.importorskip("yt_dlp", reason="yt-dlp is not installed")


def start(server: VideoServer, metadata: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    """The command as a user starts it."""
    command = [sys.executable, "-m", "jobs.download", "--source", "taichi", "--metadata", metadata, "--output", out]
    shared = ["--url-template", server.template, "--pause", "0", "--json", *options]
    return subprocess.Popen([*command, *shared], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for_part(out: Path, video: str, least: int) -> None:
    end = time.monotonic() + 20
    while not any(path.stat().st_size >= least for path in out.glob(f".work/videos/{video}.*.part")):
        assert time.monotonic() < end, "timeout"
        time.sleep(0.02)


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 130)])
def test_a_killed_run_resumes(server: VideoServer, video: bytes, tmp_path: Path, out: Path, sent: int, status: int) -> None:
    server.files = {f"/{name}.mp4": video for name in ("one", "two", "three")}
    server.script["/two.mp4"] = [Reply(), Reply(bytes_per_s=200_000)]
    metadata = csv_of(tmp_path, "one", "two", "three")
    process = start(server, metadata, out)
    wait_for_part(out, "two", 50_000)
    process.send_signal(sent)
    assert process.wait(timeout=5) == status
    if sent != signal.SIGKILL:
        assert "the same command resumes" in process.communicate()[1]
        assert {name: row["status"] for name, row in read_report(out).items()} == {
            "one": "available",
            "two": "pending",
            "three": "pending",
        }
    assert set(server.counts()) == {"one", "two"} and not server.ranges()
    assert {name for name in files(out) if name.startswith("videos/")} == {"videos/one.mp4"}
    server.script.clear()
    requests_for_one = server.counts()["one"]
    again = start(server, metadata, out)
    report = json.loads(again.communicate()[0])
    assert (again.returncode, report["available"], report["asked"]) == (0, 3, 2)
    assert files(out) == {f"videos/{name}.mp4": video for name in ("one", "two", "three")}
    assert server.counts()["one"] == requests_for_one
    assert server.only_start() >= 50_000
    assert not (out / ".work").exists()


def test_a_second_run_on_the_same_output_is_refused(server: VideoServer, video: bytes, tmp_path: Path, out: Path) -> None:
    server.files["/one.mp4"] = video
    server.script["/one.mp4"] = [Reply(), Reply(bytes_per_s=200_000)]
    first = start(server, csv_of(tmp_path, "one"), out)
    wait_for_part(out, "one", 10_000)
    second = start(server, csv_of(tmp_path, "one"), out)
    assert "is writing to" in second.communicate()[1]
    assert second.returncode == 2
    assert first.wait(timeout=20) == 0


def test_the_command_reports_why_it_stopped(server: VideoServer, tmp_path: Path, out: Path) -> None:
    server.script["/one.mp4"] = [Reply(429)]
    refused = start(server, csv_of(tmp_path, "one", "two"), out, "--retries", "0", "--give-up", "1")
    stdout, stderr = refused.communicate()
    assert refused.returncode == 1
    assert "stopped after 1 consecutive refusals" in stderr and "the same command resumes" in stderr
    assert (json.loads(stdout)["blocked"], json.loads(stdout)["pending"]) == (1, 1)


def test_without_yt_dlp_the_error_names_the_package(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['yt_dlp'] = None; from motionshards.jobs.download import main; sys.exit(main(sys.argv[1:]))"
    )
    options = ["--source", "taichi", "--metadata", str(csv_of(tmp_path, "one")), "--output", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", program, *options], cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and "motionshards[download]" in done.stderr
    assert os.listdir(tmp_path) == ["metadata.csv"]
