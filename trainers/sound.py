"""The sound tracks of a video, and the time of its first frame on the clock that ffmpeg uses when it writes both."""

import subprocess
from array import array
from fractions import Fraction
from pathlib import Path

import ffmpeg

from motionshards.schemas.errors import ConfigError
from motionshards.transforms.extract.ffmpeg import run_ffmpeg, safe_input_options

# Placeholder of the file in ffmpeg-python's graphs, which do not support names that are not UTF-8.
INPUT = "file:INPUT"
# Decoding times of a container may decrease or be guessed wrongly by ffmpeg, which then refuses to list the packets. They are not
# needed here, so they are replaced by increasing ones, all earlier than any presentation time.
_PRESENTATION_ONLY = "pts=PTS:dts=N-1000000000000"
_NO_TIME = -(2**63)  # as framecrc writes AV_NOPTS_VALUE


class PacketList:
    """Incremental parser of ffmpeg's packet listing (format `framecrc`). Keeps the times of the first stream.

    codecs: ffmpeg's codec name by number of the stream
    """

    def __init__(self) -> None:
        self._rest = b""
        self._base = Fraction(0)
        self._pts = array("q")
        self.codecs: dict[int, str] = {}

    def put(self, piece: bytes) -> None:
        """Parse the next piece of ffmpeg's output."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"#"):
                self._describe(line.decode("utf-8", "replace"))
            elif line.startswith(b"0,"):
                self._add(line.split(b","))

    def _describe(self, line: str) -> None:
        name, _, value = line[1:].partition(": ")
        name, _, stream = name.partition(" ")
        if name == "codec_id":
            self.codecs[int(stream)] = value
        elif stream == "0" and name == "tb":
            self._base = Fraction(value)

    def _add(self, fields: list[bytes]) -> None:
        # Packets removed by an edit list are flagged as discarded (0x4) and never become frames.
        if not any(b"F=0x" in field and int(field.split(b"F=0x")[1], 16) & 4 for field in fields[6:]):
            self._pts.append(int(fields[2]))

    def first_s(self) -> float | None:
        """Return the earliest presentation time, seconds; None if none is known."""
        known = [pts for pts in self._pts if pts != _NO_TIME]
        return float(min(known) * self._base) if known else None


def arguments_for(path: Path, output: ffmpeg.nodes.OutputStream) -> list[str]:
    """Return the arguments of ffmpeg for a graph whose input is `INPUT`."""
    return [f"file:{path}" if argument == INPUT else argument for argument in output.get_args()]


def packets(path: Path, timeout_s: float, *, sound: bool) -> PacketList:
    """List the packets of the first video stream and, with `sound`, of all sound tracks, on one clock. Raises ConfigError."""
    listed, source = PacketList(), ffmpeg.input(INPUT, **safe_input_options())
    streams = [source["V:0"], source["a?"]] if sound else [source["V:0"]]
    output = ffmpeg.output(*streams, "pipe:1", format="framecrc", c="copy", bsf=f"setts={_PRESENTATION_ONLY}")
    try:
        result = run_ffmpeg(arguments_for(path, output), timeout_s, put=listed.put)
    except subprocess.TimeoutExpired:
        raise ConfigError(f"{path}: listing its packets took more than {timeout_s:g} s") from None
    if result.returncode:
        raise ConfigError(f"{path}: {result.errors() or f'ffmpeg exited with status {result.returncode}'}")
    return listed
