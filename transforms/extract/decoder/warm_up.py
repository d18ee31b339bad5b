"""Initializes FFmpeg before decoders are forked, which saves each of them about 600 page faults."""

import io
import os
import socket
from typing import Any

import av

from motionshards.transforms.extract.decoder.filters import ENCODER, RGB, scaled
from motionshards.transforms.extract.decoder.frames import send_frames
from motionshards.transforms.extract.decoder.packets import send_packets
from motionshards.transforms.extract.decoder.video import Video

_ORDER = {
    "start_s": 0,
    "numbers": [0, 1],
    "images": [{"filters": [scaled(32, 32), RGB, ("pad", "32:40")], "only": [0]}],
    "videos": [
        {"image": 0, "shown": [0, 1], "size": 32, "rate": [25, 1], "whole": "pad", "crf": 18, "psnr_db": None, "copy": False}
    ],
}


def warm_up() -> None:
    """Encode three black frames in memory, list the packets, decode and encode again; does nothing without an encoder."""
    if ENCODER not in av.codecs_available:
        return
    descriptor, ends = os.memfd_create("black"), socket.socketpair()
    os.write(descriptor, _black())
    send_packets(_video(descriptor), ends[0])
    send_frames(_video(descriptor), _ORDER, ends[0])
    os.close(descriptor)
    for end in ends:
        end.close()


def _video(descriptor: int) -> Video:
    os.lseek(descriptor, 0, os.SEEK_SET)
    video = Video(descriptor)
    video.header()
    return video


def _black() -> bytes:
    content = io.BytesIO()
    with av.open(content, "w", format="mp4") as target:
        options = {"threads": "1", "preset": "ultrafast"}
        stream: Any = target.add_stream(ENCODER, rate=25, options=options, width=64, height=64)
        for _ in range(3):
            target.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        target.mux(stream.encode(None))
    return content.getvalue()
