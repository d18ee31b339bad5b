"""The frames of a video and their times, counted, because headers can be wrong.

They are first listed from the packets, which is cheap; if the decoder then outputs other frames, the file is decoded completely.
Frame numbers count decodable frames in presentation order; times are those of the container, exact for variable rates too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.decoder.client import ordered
from motionshards.transforms.extract.frame_facts import SQUARE, FrameFacts, aspect, is_hdr, is_untagged, stream_seconds
from motionshards.transforms.extract.media import Media

_HEADER_IS_OFF = 0.005


@dataclass(frozen=True, slots=True)
class Timeline:
    """The decodable frames of a file.

    raw_s: float64 [n], seconds in the container's time, ascending
    size_px: width and height of the upright frame according to the header; checked when frames are decoded
    rate_hz: frame rate according to the header, rounded to two digits; None if unknown
    pixel_aspect: width over height of a pixel of the upright frame
    hdr: whether the frames are HDR according to the header; checked when frames are decoded
    untagged: whether the header lacks the color matrix or primaries
    one_size: False if frames are known to change their size; `size_px` is then the first one
    """

    raw_s: NDArray[np.float64]
    size_px: tuple[int, int]
    rate_hz: float | None = None
    pixel_aspect: Fraction = SQUARE
    hdr: bool = False
    untagged: bool = False
    one_size: bool = True

    @property
    def pts_s(self) -> NDArray[np.float64]:
        """float64 [n], seconds from the first frame."""
        return self.raw_s - self.raw_s[0] if len(self.raw_s) else self.raw_s

    @property
    def nominal_s(self) -> NDArray[np.float64]:
        """float64 [n], frame number over header rate, as used by tools that ignore timestamps; the true times if those are
        not evenly spaced or the header is far off."""
        pts_s, steps = self.pts_s, max(1, len(self.raw_s) - 1)
        frame_s = float(pts_s[-1]) / steps if len(pts_s) else 0.0
        even = np.abs(pts_s - np.arange(len(pts_s)) * frame_s).max(initial=0) < frame_s / 2
        if self.rate_hz is None or not even or abs(self.rate_hz * frame_s - 1) > _HEADER_IS_OFF:
            return pts_s
        return np.arange(len(pts_s)) / self.rate_hz

    @property
    def display_px(self) -> tuple[int, int]:
        """Width and height of the frame scaled to square pixels; no side becomes shorter."""
        return square_pixels(self.size_px, self.pixel_aspect)

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame to the end of the last, which is assumed to have the mean frame duration."""
        if len(self.raw_s) < 2:
            return 0.0
        return float((self.raw_s[-1] - self.raw_s[0]) * len(self.raw_s) / (len(self.raw_s) - 1))


ReadTimeline = Callable[[Media, float], Timeline]


def square_pixels(size_px: tuple[int, int], pixel_aspect: Fraction) -> tuple[int, int]:
    """Convert a size in pixels of this aspect to square pixels; no side becomes shorter."""
    width, height = size_px
    return (round(width * pixel_aspect), height) if pixel_aspect >= 1 else (width, round(height / pixel_aspect))


def timeline_from_packets(media: Media, timeout_s: float) -> Timeline:
    """The frames according to the container's packets, without decoding them.

    Raises:
        ClipRejected: corrupt, frame_mismatch, too_many_packets, and as `ordered`
    """
    with ordered(media, timeout_s, do="packets") as answers:
        header, (count, turned) = answers.expect("stream"), answers.expect("packets")
        pts = np.empty(count, np.int64)
        answers.fill(pts.data.cast("B"))
        answers.finish()
    if not len(pts):
        raise ClipRejected("corrupt", "no frames")
    (width, height), pixel_aspect = header["size"], aspect(*header["aspect"])
    if min(width, height) < 1:
        raise ClipRejected("corrupt", "the stream has no frame size")
    if turned:
        width, height, pixel_aspect = height, width, 1 / pixel_aspect
    transfer, primaries, matrix = header["colors"]
    return Timeline(
        raw_s=stream_seconds(np.sort(pts), header),
        size_px=(width, height),
        rate_hz=_rate(header),
        pixel_aspect=pixel_aspect,
        hdr=is_hdr(transfer),
        untagged=is_untagged(primaries, matrix),
    )


def timeline_by_decoding(media: Media, timeout_s: float) -> Timeline:
    """The frames that the decoder outputs: slower, for files whose packets do not correspond to frames.

    Raises:
        ClipRejected: corrupt, frame_mismatch, too_many_packets, and as `ordered`
    """
    frames = FrameFacts()
    with ordered(media, timeout_s, do="frames", start_s=0, images=[]) as answers:
        frames.header = answers.expect("stream")
        while message := answers.next():
            frames.add(message["frames"])
    if not len(frames):
        raise ClipRejected("corrupt", "no frames")
    width, height = frames.sizes_px[0].tolist()
    _, primaries, matrix = frames.header["colors"]
    return Timeline(
        raw_s=np.sort(frames.times_s),
        size_px=(width, height),
        rate_hz=_rate(frames.header),
        pixel_aspect=frames.pixel_aspects[0],
        hdr=frames.is_hdr,
        untagged=is_untagged(primaries, matrix),
        one_size=bool((frames.sizes_px == (width, height)).all()) and len(frames.pixel_aspects) == 1,
    )


def _rate(header: Mapping[str, Any]) -> float | None:
    return round(header["rate"], 2) or None
