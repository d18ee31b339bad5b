"""A local web server of videos that can be scripted to fail, and the inputs and outputs of a download from it."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from videos import ffmpeg

from motionshards.jobs.download_report import REPORT

HEADER = "video_id,start,end,bbox,fps,width,height,partition\n"


@dataclass
class Reply:
    """The reply to one request.

    cut: number of bytes of the body after which the connection is closed
    bytes_per_s: rate of the body; 0 for unlimited
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    cut: int | None = None
    bytes_per_s: int = 0


@dataclass
class VideoServer:
    """files: path -> content. script: path -> replies to its next requests; the last is repeated. requests: (path, Range)."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    script: dict[str, list[Reply]] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)

    @property
    def template(self) -> str:
        """For --url-template."""
        return f"{self.url}/{{id}}.mp4"

    def counts(self) -> Counter[str]:
        """Requests by name of the video."""
        return Counter(path[1:].removesuffix(".mp4") for path, _ in self.requests)

    def ranges(self) -> list[str]:
        """The received Range headers."""
        return [expected for _, expected in self.requests if expected]

    def only_start(self) -> int:
        """The start of the single request for the remainder of a file."""
        (expected,) = self.ranges()
        return int(expected.removeprefix("bytes=").removesuffix("-"))

    def reply(self, path: str, expected: str | None) -> Reply:
        """Record a request and choose its reply."""
        self.requests.append((path, expected))
        replies = self.script.get(path, [])
        if replies:
            return replies.pop(0) if len(replies) > 1 else replies[0]
        return Reply() if path in self.files else Reply(404)


def _handler(server: VideoServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reply = server.reply(self.path, self.headers.get("Range"))
            body = server.files.get(self.path, b"") if reply.body is None else reply.body
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
            is_part = "Range" in self.headers and reply.status == 200
            self.send_response(206 if is_part else reply.status)
            if is_part:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            headers = {"Content-Type": "video/mp4", "Content-Length": str(len(body) - start), **reply.headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self._send(body[start : reply.cut], reply.bytes_per_s)
            if reply.cut is not None:
                self.connection.shutdown(socket.SHUT_RDWR)

        def _send(self, body: bytes, bytes_per_s: int) -> None:
            step = max(1, bytes_per_s // 20) if bytes_per_s else len(body) or 1
            try:
                for at in range(0, len(body), step):
                    self.wfile.write(body[at : at + step])
                    time.sleep(0.05 if bytes_per_s else 0)
            except OSError:  # yt-dlp closes the connection after the headers
                pass

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def serving() -> Iterator[VideoServer]:
    """A server without files, to which tests add some."""
    served = VideoServer("")
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(served))
    http.daemon_threads = True
    served.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def noise(where: Path) -> bytes:
    """A video of 2 s of noise, 96x64 at 25 fps, about 400 kB."""
    source = ["-f", "lavfi", "-i", "color=gray:size=96x64:rate=25:duration=2", "-vf", "noise=alls=60:allf=t"]
    path = where / "video.mp4"
    ffmpeg(*source, "-c:v", "mpeg4", "-q:v", "1", path)
    return path.read_bytes()


def csv_of(where: Path, *videos: str, lines: str = "") -> Path:
    """A CSV file with two clips per video, in the test split if the video is named test*."""
    rows = [(video, start, "test" if video.startswith("test") else "train") for video in videos for start in (0, 25)]
    path = where / "metadata.csv"
    path.write_text(HEADER + "".join(f"{v},{s},{s + 20},10-10-50-50,25,96,64,{split}\n" for v, s, split in rows) + lines)
    return path


def files(out: Path) -> dict[str, bytes]:
    """All files below the output except the report."""
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file() and p.name != REPORT}
