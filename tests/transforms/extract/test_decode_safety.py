"""Media files cannot make ffmpeg open other files or the network, and file names are never parsed as options."""

import ctypes
import os
import select
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from videos import MakeVideo, ffmpeg

from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.frames import Frames
from motionshards.transforms.extract.decode import decode
from motionshards.transforms.extract.ffmpeg import ffmpeg_path
from motionshards.transforms.extract.media import Media, check_file
from motionshards.transforms.extract.timeline import Timeline, timeline_by_decoding, timeline_from_packets

X264 = ("-c:v", "libx264", "-preset", "ultrafast")
HLS = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10.0,\n{url}\n#EXT-X-ENDLIST\n"
DASH = """<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S"
profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1"
bandwidth="1000"><BaseURL>{url}</BaseURL><SegmentBase indexRange="0-100"/></Representation></AdaptationSet></Period></MPD>"""


SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n"
CRAFTED = {
    "hls, a file beside it": HLS.replace("{url}", "victim.ts"),
    "hls, a file by its path": HLS.replace("{url}", "{folder}/victim.ts"),
    "hls, a file url": HLS.replace("{url}", "file://{folder}/victim.ts"),
    "hls, passwd": HLS.replace("{url}", "file:///etc/passwd"),
    "hls, concat": HLS.replace("{url}", "concat:{folder}/victim.ts|{folder}/victim.ts"),
    "hls, http": HLS.replace("{url}", "http://127.0.0.1:{port}/a.ts"),
    "hls, key over http": HLS.replace("#EXTINF", '#EXT-X-KEY:METHOD=AES-128,URI="http://127.0.0.1:{port}/k"\n#EXTINF', 1).replace(
        "{url}", "victim.ts"
    ),
    "hls, tcp": HLS.replace("{url}", "tcp://127.0.0.1:{port}"),
    "hls, variants": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://127.0.0.1:{port}/a.m3u8\n",
    "ffconcat": "ffconcat version 1.0\nfile victim.ts\n",
    "ffconcat, http": "ffconcat version 1.0\nfile http://127.0.0.1:{port}/a.mp4\n",
    "dash, a file": DASH.replace("{url}", "victim.ts"),
    "dash, http": DASH.replace("{url}", "http://127.0.0.1:{port}/a.mp4"),
    "sdp": SDP,
    "asx": '<asx version="3.0"><entry><ref href="http://127.0.0.1:{port}/a.asf"/></entry></asx>',
    "wms reference": "[Reference]\nRef1=http://127.0.0.1:{port}/a.asf\n",
    "rtsp text": "rtsptext\nrtsp://127.0.0.1:{port}/a\n",
}


INOTIFY_ACCESS_OR_OPEN = 0x21


@contextmanager
def watch_opening(victim: Path) -> Iterator[Callable[[], bool]]:
    """A function that reports whether the file has been opened since."""
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(os.O_NONBLOCK)
    assert watch >= 0 and libc.inotify_add_watch(watch, os.fsencode(victim), INOTIFY_ACCESS_OR_OPEN) >= 0
    try:
        yield lambda: bool(select.select([watch], [], [], 0)[0])
    finally:
        os.close(watch)


@pytest.fixture
def port() -> Iterator[Callable[[], bool]]:
    """Whether anything has connected to a server on localhost since the last call."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)

        def connected() -> bool:
            return bool(select.select([server], [], [], 0)[0])

        connected.number = server.getsockname()[1]  # type: ignore[attr-defined]
        yield connected


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An mp4 of ten frames."""
    path = tmp_path_factory.mktemp("safety") / "a.mp4"
    source = ("-f", "lavfi", "-i", "testsrc2=size=32x32:rate=25:duration=0.4")
    ffmpeg(*source, *X264, path)
    return path.read_bytes()


def crafted(kind: str, folder: Path, name: str, port: int) -> Path:
    path = folder / name
    path.write_text(CRAFTED[kind].replace("{folder}", str(folder)).replace("{port}", str(port)))
    return path


def decode_two(path: Media, timeout_s: float) -> Frames:
    return decode(path, Timeline(np.arange(10) / 25, (96, 64)), np.array([0, 1]), 32, "pad", timeout_s)


@pytest.mark.parametrize("kind", CRAFTED)
def test_a_playlist_named_as_a_video_opens_neither_file_nor_network(
    video: bytes, tmp_path: Path, port: Callable[[], bool], kind: str
) -> None:
    victim = tmp_path / "victim.ts"
    victim.write_bytes(video)
    for name in ("a.mp4", "a.m3u8") if kind.startswith("hls") else ("a.mp4",):
        path = Media.at(crafted(kind, tmp_path, name, port.number))  # type: ignore[attr-defined]
        with watch_opening(victim) as opened:
            for attempt in (timeline_from_packets, timeline_by_decoding, decode_two):
                with pytest.raises(ClipRejected) as rejection:
                    attempt(path, 20)
                assert rejection.value.reason in {"not_a_video", "corrupt"}
                assert "root:" not in rejection.value.detail
            assert not opened() and not port()


@pytest.mark.parametrize("kind", ["hls, a file beside it", "hls, http", "ffconcat"])
def test_the_traps_of_these_tests_catch_an_unrestricted_ffmpeg(
    make_video: MakeVideo, tmp_path: Path, port: Callable[[], bool], kind: str
) -> None:
    victim = make_video("victim.ts", *X264, source="testsrc2=size=32x32:rate=25:duration=0.4")
    path = crafted(kind, tmp_path, "a.m3u8", port.number)  # type: ignore[attr-defined]
    options = ["-f", "concat", "-safe", "0"] if kind == "ffconcat" else ["-allowed_extensions", "ALL", "-rw_timeout", "300000"]
    allowed = ["-protocol_whitelist", "file,http,tcp"]
    with watch_opening(victim) as opened:
        command = [ffmpeg_path(), "-nostdin", "-v", "error", *allowed, *options, "-i", str(path), "-f", "null", "-"]
        try:
            subprocess.run(command, check=False, capture_output=True, timeout=1)
        except subprocess.TimeoutExpired:
            assert kind == "hls, http"
        assert port() if kind == "hls, http" else opened()


NAMES = [
    "-i.mp4",
    "-dash",
    "%03d.mp4",
    "a%20b.mp4",
    'it\'s "quoted".mp4',
    "with space .mp4",
    " leading.mp4",
    "new\nline.mp4",
    "[error] matches no streams\n[info] Input #0.mp4",
    "\n[showinfo@source @ 0x1] [info] n: 0 pts: 0 s:1x1 \n.mp4",
    "ünï😀中.mp4",
    "http:x.mp4",
    "pipe:0",
    "concat:a.mp4|b.mp4",
    "data:,x.mp4",
    "file:a.mp4",
    "a#b?c=d&e.mp4",
    "[0:v]",
    "a,b;c=d\\,e.mp4",
    "back\\slash.mp4",
    "$HOME`id`.mp4",
    "no extension",
    "wrong.m3u8",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_are_not_parsed(video: bytes, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(video)
    check_file(str(path))
    timeline = timeline_from_packets(Media.at(path), 20)
    assert len(timeline.raw_s) == 10
    assert len(decode(Media.at(path), timeline, np.array([2, 9]), 32, "pad", 20)) == 2
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_a_name_that_is_not_utf8_can_be_opened(video: bytes, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    path.write_bytes(video)
    timeline = timeline_from_packets(Media.at(path), 20)
    assert len(decode(Media.at(path), timeline, np.array([2, 9]), 32, "pad", 20)) == 2


def test_names_relative_to_the_working_directory_can_be_opened(
    video: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "-version").write_bytes(video)
    monkeypatch.chdir(tmp_path)
    assert len(timeline_from_packets(Media.at("-version"), 20).raw_s) == 10
