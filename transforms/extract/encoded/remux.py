"""Cuts stored videos at key frames by copying their packets, without decoding."""

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from motionshards.transforms.extract.decoder.stored.mp4 import Mp4
from motionshards.transforms.extract.stored_video import OPTIONS, as_value_errors, packets_of


def key_frames(mp4: bytes) -> NDArray[np.int64]:
    """The numbers of the frames at which a stored video can be cut, int64, ascending.

    Stored videos have closed GOPs: frames after a key frame in the file are shown after it, so packet and frame numbers agree
    at key frames even if frames are reordered.

    Raises:
        ValueError: not an mp4 with a single H.264 video
    """
    with as_value_errors():
        return np.flatnonzero([is_key for _, _, is_key in packets_of(mp4)[1]])


def cut_mp4(mp4: bytes, start: int, stop: int) -> bytes:
    """Frames [start, stop) of a stored video as an mp4 that shows the first of them at 0 s.

    start, stop: numbers of key frames; `stop` may also be the number of frames

    Raises:
        ValueError: `start` or `stop` is not a key frame, or not an mp4 with a single H.264 video
    """
    keys = key_frames(mp4)
    with as_value_errors(), av.open(io.BytesIO(mp4), "r", format="mov", options=OPTIONS) as container:
        packets = [packet for packet in container.demux() if packet.size]
        if start >= stop or not {start, stop} <= {*keys.tolist(), len(packets)}:
            raise ValueError(f"a video of {len(packets)} frames cannot be cut from frame {start} to {stop}")
        return _copied(container.streams.video[0], packets[start:stop])


def _copied(stream: Any, packets: list[Any]) -> bytes:
    by_time = sorted(range(len(packets)), key=lambda place: packets[place].pts)
    shown = {place: number for number, place in enumerate(by_time)}
    delay = max(place - number for place, number in shown.items())
    target = Mp4(Fraction(stream.average_rate), reordered=delay > 0)
    copied = target.container.add_stream_from_template(stream, opaque=True)
    for place, packet in enumerate(packets):
        target.add(copied, packet, shown[place], place - delay)
    return bytes(target.finished())
