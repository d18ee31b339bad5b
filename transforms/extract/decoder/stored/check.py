"""Checks a stored video by decoding it completely, and sends some of its frames.

The order:
    frames, size, rate: expected number of frames, side in pixels, and frames per second as numerator and denominator
    longest_group: maximum number of frames from one key frame to the next; null if packets of the source were copied
    which: numbers of frames to send, ascending

Answers: `{"image": shape}` for each of these, followed by the image.
"""

import socket
from fractions import Fraction
from itertools import pairwise
from typing import Any

from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.decoder import wire
from motionshards.transforms.extract.decoder.filters import RGB, scaled
from motionshards.transforms.extract.decoder.graph import Chain, packed_rows, shape_of
from motionshards.transforms.extract.decoder.video import Video

CONTAINER = "mov"
"""The only demuxer of FFmpeg that may read a stored video."""
_FORMATS = ("yuv420p", "yuvj420p")


def send_checked(video: Video, order: dict[str, Any], reply: socket.socket) -> None:
    """Send images of a stored video. Raises ClipRejected: corrupt; frame_mismatch if it does not match the order"""
    if (codecs := video.codecs()) != ["h264"]:
        raise _mismatch(f"its streams are {', '.join(codecs)}, must be a single h264 stream")
    # Readers start at any of them, and rely on the n-th packet being in the group of frame n.
    keys = dict.fromkeys(place for place, entry in enumerate(video.stream.index_entries) if entry.is_keyframe)
    to_rgb, which, number = Chain([scaled("iw", "ih"), RGB]), set(order["which"]), 0
    for packet in video.packets():
        for frame in video.decoded(packet):
            _check_frame(frame, number, order)
            if frame.pts * video.base != number / Fraction(*order["rate"]):
                raise _mismatch(f"frame {number} is shown at {float(frame.pts * video.base):g} s")
            if number in keys and not frame.key_frame:
                raise _mismatch(f"frame {number} is listed as a key frame but is not one")
            if number in which:
                with video.rejecting():
                    image = to_rgb.of(frame, video.base, Fraction(1))
                reply.sendall(wire.packed({"image": shape_of(image)}))
                reply.sendall(packed_rows(image))
            number += 1
    if number != order["frames"]:
        raise _mismatch(f"it has {number} frames, must have {order['frames']}")
    if 0 not in keys:
        raise _mismatch("it does not start with a key frame")
    longest = max(after - key for key, after in pairwise([*keys, number]))
    if order["longest_group"] and longest > order["longest_group"]:
        raise _mismatch(f"it has {longest} frames from one key frame to the next")


def _check_frame(frame: Any, number: int, order: dict[str, Any]) -> None:
    if number == order["frames"]:
        raise _mismatch(f"it has more than {number} frames")
    side, name = order["size"], frame.format.name
    if (frame.width, frame.height) != (side, side) or name not in _FORMATS:
        raise _mismatch(f"frame {number} is {frame.width}x{frame.height} px of {name}, must be {side}x{side} px of yuv420p")


def _mismatch(detail: str) -> ClipRejected:
    return ClipRejected("frame_mismatch", detail)
