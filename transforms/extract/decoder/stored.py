"""A stored video, decoded whole and compared with what is said of it, and pictures of some of its frames.

The order:
    frames, size, rate: how many frames it has, pixels of a side, and frames per second as numerator and denominator
    longest_group: most frames from one key frame to the next; null where packets of the source were copied
    which: numbers of frames to send, ascending

Answers: `{"picture": shape}` for each of these, with the picture behind it.
"""

import socket
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Any

from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.decoder import wire
from motionshards.transforms.extract.decoder.filters import RGB, scaled
from motionshards.transforms.extract.decoder.graph import Chain, packed_rows, shape_of
from motionshards.transforms.extract.decoder.video import Video

CONTAINER = "mov"
"""The only demuxer of FFmpeg that is to read a stored video."""
_FORMATS = ("yuv420p", "yuvj420p")


def send_stored(video: Video, order: dict[str, Any], reply: socket.socket) -> None:
    """Send pictures of a stored video. Raises ClipRejected: corrupt; frame_mismatch where it is not what the order says"""
    if (codecs := video.codecs()) != ["h264"]:
        raise _mismatch(f"its streams are {', '.join(codecs)}, must be one of h264")
    keys = {place for place, entry in enumerate(video.stream.index_entries) if entry.is_keyframe}
    to_rgb, which, sent, count = Chain([scaled("iw", "ih"), RGB]), set(order["which"]), list[int](), 0
    for packet in video.packets():
        sent += [packet.pts or 0] if packet.size else []
        for frame in video.decoded(packet):
            _check_frame(frame, count, count in keys, video.base, order)
            if count in which:
                with video.rejecting():
                    picture = to_rgb.of(frame, video.base, Fraction(1))
                reply.sendall(wire.packed({"picture": shape_of(picture)}))
                reply.sendall(packed_rows(picture))
            count += 1
    if count != order["frames"]:
        raise _mismatch(f"it has {count} frames, must have {order['frames']}")
    _check_keys(sorted(keys), sent, order)


def _check_frame(frame: Any, number: int, is_key: bool, base: Fraction, order: dict[str, Any]) -> None:
    size = order["size"]
    if number == order["frames"]:
        raise _mismatch(f"it has more than {number} frames")
    if (frame.width, frame.height) != (size, size) or frame.format.name not in _FORMATS:
        raise _mismatch(
            f"frame {number} is {frame.width}x{frame.height} px of {frame.format.name}, must be {size}x{size} px of yuv420p"
        )
    late = (frame.pts or 0) * base - number / Fraction(*order["rate"])
    if abs(late) > base / 2:
        raise _mismatch(f"frame {number} is shown {float(late):g} s too late")
    if is_key and not frame.key_frame:
        raise _mismatch(f"frame {number} is listed as a key frame, and is none")


def _check_keys(keys: list[int], sent: list[int], order: dict[str, Any]) -> None:
    """Readers begin at any listed key frame, and take the n-th packet for a part of the group that holds frame n."""
    longest = order["longest_group"]
    if keys[:1] != [0]:
        raise _mismatch("it does not begin with a key frame")
    if longest and any(after - key > longest for key, after in pairwise([*keys, len(sent)])):
        raise _mismatch(f"from one key frame to the next it has more than {longest} frames")
    first_shown = list(accumulate(reversed(sent), min))[::-1]
    if any(sent[key] != first_shown[key] for key in keys):
        raise _mismatch("it shows frames before the key frame that they follow")


def _mismatch(what: str) -> ClipRejected:
    return ClipRejected("frame_mismatch", what)
