"""Stores the packets of a source as a video without encoding, where only their times have to change."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from motionshards.transforms.extract.decoder.stored.mp4 import Mp4
from motionshards.transforms.extract.decoder.turn import upright
from motionshards.transforms.extract.decoder.video import Video

_KEPT = ("h264", "yuv420p")
_HEADERS_OF_MP4 = b"\x01"


class Copied:
    """Collects all packets of a video and gives them a constant frame rate. Same interface as `encode.Encoder`."""

    def __init__(self, video: Video, order: dict[str, Any]) -> None:
        self._video, self._rate, self._count = video, Fraction(*order["rate"]), len(order["shown"])
        self._packets, self._plain = list[Any](), True

    @staticmethod
    def suits(video: Video) -> bool:
        """Whether a video can be stored as it is, according to its header."""
        codec = video.codec
        return (codec.name, codec.pix_fmt) == _KEPT and bytes(codec.extradata or b"")[:1] == _HEADERS_OF_MP4

    def add(self, packet: Any) -> None:
        """Add a packet that is being decoded."""
        if packet.size:
            self._packets.append(packet)

    def shows(self, place: int) -> bool:
        """True: all frames are shown."""
        return True

    def take(self, place: int, frame: Any, base: Fraction, aspect: Fraction, square: Callable[[], Any]) -> None:
        """Check a frame: upright, progressive, and of the size in the header."""
        same_size = (frame.width, frame.height) == (self._video.codec.width, self._video.codec.height)
        self._plain &= same_size and not frame.interlaced_frame and not upright(frame)

    def finished(self) -> tuple[memoryview, dict[str, Any]]:
        """The MP4 and its number of frames; empty and 0 if packets cannot be copied."""
        nothing = memoryview(b""), {"count": 0, "crf": None}
        if not self._plain or len(self._packets) != self._count or not self._usable():
            return nothing
        by_time = sorted(range(self._count), key=lambda place: self._packets[place].pts)
        shown = {place: number for number, place in enumerate(by_time)}
        # Readers start at any key frame: no frame that follows it may be shown before it.
        if any(packet.is_keyframe and shown[place] != place for place, packet in enumerate(self._packets)):
            return nothing
        target = Mp4(self._rate, reordered=True)
        stream: Any = target.container.add_stream_from_template(self._video.stream, opaque=True)
        delay = max(place - number for place, number in shown.items())
        for place, packet in enumerate(self._packets):
            target.add(stream, packet, shown[place], place - delay)
        return target.finished(), {"count": self._count, "crf": None}

    def _usable(self) -> bool:
        plain = all(not (one.is_discard or one.pts is None or one.has_sidedata("new_extradata")) for one in self._packets)
        return plain and self._packets[0].is_keyframe
