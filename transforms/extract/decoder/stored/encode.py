"""Encodes selected frames as video at a constant rate: H.264 in an MP4, the same bytes on every processor.

The order, one of those under `videos`:
    shown: indices of the frames to show among the requested ones, ascending, with repeats
    size, rate: side in pixels, and frames per second as numerator and denominator
    image: index of the square to show among the images of a frame
    whole: how the whole frame fills the square, `pad` or `squash`; null if the square shows a window
    crf: x264's constant rate factor. psnr_db: raise it while the first frames keep this quality; null for no search
    copy: copy the packets of the source if possible, see `copied`
"""

import bisect
import struct
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from motionshards.transforms.extract.decoder.filters import ENCODER
from motionshards.transforms.extract.decoder.limits import GROUP_FRAMES
from motionshards.transforms.extract.decoder.stored.mp4 import Mp4
from motionshards.transforms.extract.decoder.stored.yuv import BT601, LIMITED_RANGE, ToYuv

# Measured, see docs/decisions.md. No B-frames: every packet is a frame, without delay. `stitchable`: headers do not depend on
# crf, so spans can be joined.
_X264 = (
    f"keyint={GROUP_FRAMES}:min-keyint={GROUP_FRAMES}:scenecut=0:bframes=0:open-gop=0:rc-lookahead=12:mbtree=1:subme=2:cabac=0:weightp=0"
    ":stitchable=1:cpu-independent=1"
)
X264_OPTIONS = {"preset": "superfast", "profile": "high", "a53cc": "0", "x264-params": _X264}
_PSNR_FLAG = 1 << 15
_JUDGED_FRAMES, _WORST_CRF, _CRF_STEP = 48, 32, 2


class Encoder:
    """Encodes frames of one video as they are decoded."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._order, self._rate = order, Fraction(*order["rate"])
        self._times_shown, self._held = Counter[int](order["shown"]), list[Any]()
        self._target = _Target(order["size"], self._rate, order["crf"]) if order["psnr_db"] is None else None
        self._to_yuv = ToYuv(order["size"])

    def shows(self, place: int) -> bool:
        """Whether the video shows the frame with index `place` among the requested ones."""
        return place in self._times_shown

    def take(self, place: int, frame: Any, base: Fraction, aspect: Fraction, square: Callable[[], Any]) -> None:
        """Encode an upright frame as often as it is shown; `square` returns its stored square in RGB."""
        whole = self._fills(frame, aspect) and self._to_yuv.converts(frame)
        yuv = self._to_yuv.of(frame, base, aspect) if whole else self._to_yuv.of_rgb(square(), base)
        yuv.pict_type = 0  # the encoder would copy key frames from the source's type
        for _ in range(self._times_shown[place]):
            self._push(yuv)

    def finished(self) -> tuple[memoryview, dict[str, Any]]:
        """The MP4, its number of frames and its crf."""
        target = self._target or self._chosen()
        return target.finished(), {"count": target.count, "crf": target.crf}

    def _fills(self, frame: Any, aspect: Fraction) -> bool:
        """Whether the square is the scaled frame without padding."""
        whole = self._order["whole"]
        return bool(whole == "squash" or (whole == "pad" and frame.width * aspect == frame.height))

    def _push(self, yuv: Any) -> None:
        if self._target is not None:
            self._target.encode(yuv)
            return
        self._held.append(yuv)
        if len(self._held) == _JUDGED_FRAMES:
            self._target = self._chosen()

    def _chosen(self) -> "_Target":
        """A target with the largest crf, in steps, at which the held frames keep the quality; it has encoded them."""
        levels = range(self._order["crf"], max(_WORST_CRF, self._order["crf"]) + 1, _CRF_STEP)
        enough = bisect.bisect_left(levels, True, key=lambda crf: self._squared_error(crf) > self._most_error())
        target = self._encoded(levels[max(0, enough - 1)])
        self._held = []
        return target

    def _most_error(self) -> float:
        return float(255**2 / 10 ** (self._order["psnr_db"] / 10) * len(self._held) * self._order["size"] ** 2 * 1.5)

    def _squared_error(self, crf: int) -> int:
        target = self._encoded(crf, measured=True)
        target.finished()
        return target.squared_error

    def _encoded(self, crf: int, *, measured: bool = False) -> "_Target":
        target = _Target(self._order["size"], self._rate, crf, measured=measured)
        for yuv in self._held:
            target.encode(yuv)
        return target


class _Target:
    """An encoder and the MP4 that its packets are written to.

    measured: whether to sum the squared errors of all samples
    """

    def __init__(self, size: int, rate: Fraction, crf: int, *, measured: bool = False) -> None:
        self.count, self.crf, self.squared_error = 0, crf, 0
        self._mp4, self._base, self._measured, self._written = Mp4(rate), 1 / rate, measured, 0
        options = {**X264_OPTIONS, "crf": str(crf)}
        self._stream: Any = self._mp4.container.add_stream(ENCODER, rate, options, width=size, height=size, pix_fmt="yuv420p")
        codec: Any = self._stream.codec_context
        codec.time_base, codec.thread_count, codec.sample_aspect_ratio = self._base, 1, Fraction(1)
        codec.color_range, codec.colorspace, codec.color_primaries, codec.color_trc = LIMITED_RANGE, BT601, BT601, BT601
        if measured:
            codec.flags |= _PSNR_FLAG

    def encode(self, yuv: Any | None) -> None:
        """Encode the next frame; None after the last."""
        if yuv is not None:
            yuv.time_base, yuv.pts = self._base, self.count
            self.count += 1
        for packet in self._stream.encode(yuv):
            if self._measured:
                self.squared_error += _squared_error(packet)
            self._mp4.add(self._stream, packet, self._written, self._written)
            self._written += 1

    def finished(self) -> memoryview:
        """Flush the encoder; returns the MP4."""
        self.encode(None)
        return self._mp4.finished()


def _squared_error(packet: Any) -> int:
    """Squared error of the samples of all planes: x264 reports quality, type, number of planes, and the error of each."""
    stats = bytes(packet.get_sidedata("quality_stats"))
    return sum(struct.unpack_from(f"<{stats[5]}Q", stats, 8))
