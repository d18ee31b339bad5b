"""What ffmpeg logs of the frames that pass: times, sizes, pixel aspect and colour, by its filter `showinfo`.

Each instance of the filter has a random name, so that no text in a file (a title, a language, a file name) can imitate its lines.
"""

import re
import secrets
from array import array
from fractions import Fraction

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.records import Display

MAX_FRAMES = 2_000_000
DENSEST_HZ = 1000.0
_FEW_FRAMES = 10_000

SQUARE = Fraction(1)
HDR_TRANSFERS = ("arib-std-b67", "smpte2084")
_UNKNOWN = ("unknown", "unspecified", "reserved", "(null)")

_BASE = re.compile(r"config in time_base: (\d+)/0*([1-9]\d*), frame_rate: \d+/\d+$", re.M)
_FRAME = re.compile(r"\] n: *\d+ pts: *(-?\d+|NOPTS) pts_time:(\S+) .*? sar:(\d+)/(\d+) s:(\d+)x(\d+) ")
_PRINTED_TO = 1e-5  # six digits
_COLOUR = re.compile(r"color_primaries:(\S+) color_trc:(\S+)")


def check_count(frames: int, covered_s: float) -> None:
    """Raise ClipRejected (too_many_packets) for more frames than a video of `covered_s` seconds has."""
    if frames > MAX_FRAMES or frames > _FEW_FRAMES + DENSEST_HZ * covered_s:
        raise ClipRejected("too_many_packets", f"at least {frames} in {covered_s:g} s")


class FrameLog:
    """The frames that passed `source`, as they come from the decoder, upright; and the sizes of those that passed `content`.

    source_name, content_name: of the filters, random
    configurations: how often ffmpeg built its filters: more than once where frames change their size or format
    """

    def __init__(self) -> None:
        token = secrets.token_hex(8)
        self.source_name, self.content_name = f"showinfo@source{token}", f"showinfo@content{token}"
        self._token = token
        self._base = self._guess = Fraction(0)
        self._last_s = 0.0
        self._pts, self._source = array("q"), array("i")
        self._content = array("i")
        self._untimed = False
        self.configurations = 0
        # (transfer, primaries) of the frames, each once.
        self._colours: dict[tuple[str, str], None] = {}

    def source(self, stream: "ffmpeg.nodes.FilterableStream") -> "ffmpeg.nodes.FilterableStream":
        """Log the frames of a stream as they come from the decoder."""
        return stream.filter(self.source_name, checksum=0)

    def content(self, stream: "ffmpeg.nodes.FilterableStream") -> "ffmpeg.nodes.FilterableStream":
        """Log the sizes to which frames have been scaled."""
        return stream.filter(self.content_name, checksum=0)

    def take(self, line: str) -> bool:
        """Read a line of the log; False where it is another's. Raises ClipRejected: too_many_packets."""
        if self._token not in line:
            # ffmpeg warns of odd rotations without ending the line, so that the next line loses its name.
            if not self._base and (base := _BASE.search(line)):
                self._guess = Fraction(int(base[1]), int(base[2]))
            return False
        frame = _FRAME.search(line)
        if self.content_name in line:
            if frame is not None:
                self._content.extend((int(frame[5]), int(frame[6])))
        elif frame is not None:
            self._add(frame)
        elif base := _BASE.search(line):
            self._base = Fraction(int(base[1]), int(base[2]))
            self.configurations += 1
        elif colour := _COLOUR.search(line):
            self._colours[colour[2], colour[1]] = None
        return "[error]" not in line

    def _add(self, frame: re.Match[str]) -> None:
        self._base = self._base or self._guess
        if frame[1] == "NOPTS":
            self._untimed = True
            self._pts.append(0)
        else:
            self._pts.append(int(frame[1]))
            self._last_s = float(frame[2])
        self._source.extend(int(frame[group]) for group in (5, 6, 3, 4))
        if len(self._pts) % _FEW_FRAMES == 0:
            check_count(len(self._pts), float((self._pts[-1] - self._pts[0]) * self._base))

    def __len__(self) -> int:
        return len(self._pts)

    @property
    def is_hdr(self) -> bool:
        """Whether frames have to be tone-mapped to be seen as SDR."""
        return any(transfer in HDR_TRANSFERS for transfer, _ in self._colours)

    @property
    def times_s(self) -> NDArray[np.float64]:
        """float64 [n], when the frames are to be shown. Raises ClipRejected: frame_mismatch, some have no time."""
        if self._untimed:
            raise ClipRejected("frame_mismatch", "frames without timestamps")
        times = in_seconds(np.array(self._pts, np.int64), self._base)
        if len(times) and not np.isclose(times[-1], self._last_s, rtol=_PRINTED_TO, atol=_PRINTED_TO):
            raise ClipRejected("frame_mismatch", "no time base is known")
        return times

    @property
    def sizes_px(self) -> NDArray[np.int32]:
        """int32 [n,2], width and height."""
        return np.array(self._source, np.int32).reshape(-1, 4)[:, :2]

    @property
    def content_px(self) -> NDArray[np.int32]:
        """int32 [n,2], width and height after scaling."""
        return np.array(self._content, np.int32).reshape(-1, 2)

    @property
    def pixel_aspects(self) -> list[Fraction]:
        """Width over height of a pixel, each value once; 1 where the file does not say."""
        return [aspect(*pair) for pair in dict.fromkeys(zip(self._source[2::4], self._source[3::4], strict=True))]

    @property
    def display(self) -> Display:
        """How the first frame is meant to be shown; there must be one."""
        colour = next(iter(self._colours), ("unknown", "unknown"))
        return Display(float(self.pixel_aspects[0]), *(None if word in _UNKNOWN else word for word in colour))


def aspect(numerator: int, denominator: int) -> Fraction:
    """A pixel's width over its height; square where a file says nothing, or nonsense."""
    told = Fraction(numerator, denominator) if numerator > 0 and denominator > 0 else SQUARE
    return told if Fraction(1, 16) <= told <= 16 else SQUARE


def in_seconds(pts: NDArray[np.int64], base: Fraction) -> NDArray[np.float64]:
    """Ticks of a time base as seconds, rounded once as long as their product with the numerator is below 2^53."""
    return pts.astype(np.float64) * base.numerator / base.denominator
