"""Which ffmpeg is used, and how it may be run on files nobody has vouched for.

Videos from the internet are hostile input: a playlist named .mp4 can make ffmpeg open other files or the network. So only
plain container formats are allowed (`format_whitelist`), only local files (`protocol_whitelist`), every process has a
time limit and a limit on the size of a frame, and stdin is closed.
"""

import functools
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

# Demuxers that read one file and nothing else. Names as in `ffmpeg -demuxers`; playlists (hls, concat, dash, sdp,
# image2) are left out on purpose.
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,h264,hevc,m4v,ivf,nut,mxf,rm,dv,gif"
MAX_PIXELS = 8192 * 8192


@dataclass(frozen=True, slots=True)
class FfmpegResult:
    """What one finished ffmpeg process left: its exit status, stdout and log lines (`[level] text`)."""

    returncode: int
    stdout: bytes
    log: str

    def errors(self) -> str:
        """The distinct error lines of the log, without the addresses that differ from run to run."""
        lines = [
            re.sub(r"@ 0x[0-9a-f]+", "", line) for line in self.log.splitlines() if re.search(r"\[(error|fatal|panic)\]", line)
        ]
        return "; ".join(dict.fromkeys(line.strip() for line in lines))[:500]


@functools.cache
def ffmpeg_path() -> str:
    """The ffmpeg on PATH, else the static one of the imageio-ffmpeg wheel."""
    found = shutil.which("ffmpeg")
    if found:
        return found
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


@functools.cache
def ffmpeg_version() -> str:
    """The version word of the first line of `ffmpeg -version`, which decides what decoded bytes are."""
    done = subprocess.run([ffmpeg_path(), "-version"], capture_output=True, text=True, check=True)
    return done.stdout.split()[2]


def safe_input_options() -> dict[str, str | int]:
    """Options of an untrusted input, as keyword arguments of `ffmpeg.input`."""
    return {
        "protocol_whitelist": "file",
        "format_whitelist": CONTAINERS,
        "max_pixels": MAX_PIXELS,
        "threads": 1,
        "err_detect": "explode",
    }


def command(arguments: Sequence[str]) -> list[str]:
    """ffmpeg with arguments: it logs levels, stops at errors and waits for no key."""
    return [ffmpeg_path(), "-nostdin", "-hide_banner", "-nostats", "-v", "level+info", "-xerror", *arguments]


def run_ffmpeg(arguments: Sequence[str], timeout_s: float, descriptor: int | None = None) -> FfmpegResult:
    """Run one ffmpeg to its end; it inherits `descriptor`.

    Raises:
        subprocess.TimeoutExpired: it ran longer than `timeout_s`; it has been killed.
    """
    done = subprocess.run(
        command(arguments),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        pass_fds=() if descriptor is None else (descriptor,),
        timeout=timeout_s,
        check=False,
    )
    return FfmpegResult(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"))
