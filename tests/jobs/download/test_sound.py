"""Sound: fetched and merged, omitted on request, and fetched later for silent videos."""

import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from checkout import ROOT
from downloads import Fetch
from video_server import Reply, VideoServer, csv_of, files
from videos import ffmpeg

pytest.importorskip("yt_dlp", reason="yt-dlp is not installed")

from motionshards.jobs.download_order import DownloadOrder, FetchSettings
from motionshards.jobs.download_report import REPORT, read_report
from motionshards.schemas.errors import ConfigError
from motionshards.transforms.extract.ffmpeg import ffmpeg_path
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.sound import read_sound

CLICK_S = 1.25
MPD = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT2S"><Period>
<AdaptationSet mimeType="video/mp4"><Representation id="v" codecs="avc1.64001f" width="96" height="64" bandwidth="90000">
<BaseURL>{url}/image.mp4</BaseURL></Representation></AdaptationSet>
<AdaptationSet mimeType="audio/mp4"><Representation id="a" codecs="mp4a.40.2" bandwidth="64000" audioSamplingRate="48000">
<BaseURL>{url}/sound.m4a</BaseURL></Representation></AdaptationSet></Period></MPD>"""


@dataclass
class Streams:
    """A video without sound, and its sound, a single click."""

    image: bytes
    sound: bytes


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Streams:
    where = tmp_path_factory.mktemp("streams")
    click = f"aevalsrc=if(between(t\\,{CLICK_S}\\,{CLICK_S}+0.002)\\,0.9\\,0):s=48000:d=2"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=25:duration=2", "-c:v", "libx264", where / "v.mp4")
    ffmpeg("-f", "lavfi", "-i", click, "-c:a", "aac", where / "a.m4a")
    return Streams((where / "v.mp4").read_bytes(), (where / "a.m4a").read_bytes())


@pytest.fixture
def dash(server: VideoServer, streams: Streams) -> VideoServer:
    """The server; its video `one` is a manifest of two streams."""
    body = MPD.format(url=server.url).encode()
    server.script["/one.mp4"] = [Reply(headers={"Content-Type": "application/dash+xml"}, body=body)]
    server.files = {"/image.mp4": streams.image, "/sound.m4a": streams.sound}
    return server


def click_s(video: Path) -> float:
    pcm = read_sound(Media.at(video), 0.0, 50, Fraction(25), 16_000, True, 60.0)
    assert pcm is not None
    return float(np.abs(pcm.samples.astype(np.int64)).argmax()) / pcm.hz


def test_video_and_sound_are_merged_in_sync(dash: VideoServer, fetch: Fetch, out: Path) -> None:
    row = fetch("one").rows["one"]
    assert (row["status"], row["detail"], row["path"], row["has_audio"]) == ("available", "format v+a", "videos/one.mp4", True)
    assert list(files(out)) == ["videos/one.mp4"] and not (out / ".work").exists()
    assert click_s(out / "videos/one.mp4") == pytest.approx(CLICK_S, abs=0.005)
    dash.requests.clear()
    fetch("one", retry=frozenset({"silent"}))
    assert not dash.requests


def test_without_sound_the_file_is_the_video_stream(dash: VideoServer, streams: Streams, fetch: Fetch, out: Path) -> None:
    assert fetch("one", audio=False).rows["one"]["has_audio"] is False
    assert files(out) == {"videos/one.mp4": streams.image}
    assert "/sound.m4a" not in {path for path, _ in dash.requests}


def test_silent_videos_are_fetched_again_with_retry(dash: VideoServer, streams: Streams, fetch: Fetch, out: Path) -> None:
    (out / "videos").mkdir(parents=True)
    (out / "videos/one.mkv").write_bytes(streams.image)
    assert fetch("one").rows["one"]["has_audio"] is None and not dash.requests
    row = fetch("one", retry=frozenset({"silent"})).rows["one"]
    assert (row["path"], row["has_audio"]) == ("videos/one.mp4", True)
    assert list(files(out)) == ["videos/one.mp4"]


def test_a_silent_video_is_kept_if_no_replacement_is_available(
    dash: VideoServer, streams: Streams, fetch: Fetch, out: Path
) -> None:
    fetch("one", audio=False)
    dash.script = {"/one.mp4": [Reply(404)]}
    result = fetch("one", retry=frozenset({"silent"}))
    assert result.rows["one"]["status"] == "available" and any("dead" in line for line in result.messages)
    assert files(out) == {"videos/one.mp4": streams.image}


def test_reports_of_0_1_are_read(dash: VideoServer, fetch: Fetch, out: Path) -> None:
    fetch("one", audio=False)
    pq.write_table(pq.read_table(out / REPORT).drop_columns(["has_audio"]), out / REPORT)
    assert read_report(out)["one"]["has_audio"] is None
    assert fetch("one", retry=frozenset({"silent"})).rows["one"]["has_audio"] is True


def test_retry_silent_is_refused_with_no_audio(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--retry silent cannot be combined with --no-audio"):
        DownloadOrder(
            source="taichi", metadata=tmp_path, out=tmp_path, settings=FetchSettings(audio=False), retry=frozenset({"silent"})
        )


def test_a_run_that_is_killed_while_merging_resumes(dash: VideoServer, tmp_path: Path, out: Path) -> None:
    """ffmpeg is replaced by a program that writes half of the result and kills the run; the next run downloads nothing again."""
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *-map*) for last; do :; done; printf half > "${{last#file:}}"; kill -9 $PPID; exit 1;; esac\n'
        f'exec {shutil.which("ffmpeg") or ffmpeg_path()} "$@"\n'
    )
    program.chmod(0o755)
    command = [sys.executable, "-m", "jobs.download", "--source", "taichi", "--metadata", str(csv_of(tmp_path, "one"))]
    command += ["--output", str(out), "--url-template", dash.template, "--pause", "0", "--quiet"]
    killed = subprocess.run(command, cwd=ROOT, env={"PATH": f"{program.parent}:/usr/bin:/bin"}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (out / "videos/one.mp4").exists() and any(content == b"half" for content in files(out).values())
    dash.requests.clear()
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    assert {path for path, _ in dash.requests} <= {"/one.mp4"}
    assert click_s(out / "videos/one.mp4") == pytest.approx(CLICK_S, abs=0.005)
    assert not (out / ".work").exists()
