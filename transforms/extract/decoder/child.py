"""The forked decoder: executes the orders for one video in sequence, until one fails or the client closes its socket.

An order is a dict:
    do: `packets`, `frames` or `sound` of a video; `cut`, `join`, `flac` or `samples` of decoded data; `check` of a stored video
    memory_bytes, cpu_s: limits; CPU time counts from the start of the order
and the arguments documented in the modules of these names.

Answers: for a video, first the header of the stream, `{"stream": ...}`. Then, depending on `do`: `{"packets": [n, turned]}`
followed by n int64; or `{"frames": [...], "shapes": [...]}` followed by images of the last of these frames, and for each video
`{"mp4": n, "count": ..., "crf": ...}` followed by n bytes; or `{"cut": n}` followed by an image; or the answers documented in
the modules of `stored` and `audio`. Finally `{"done": true}`, or the reason of the failure.
"""

import math
import os
import resource
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress
from typing import Any

from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.decoder import wire
from motionshards.transforms.extract.decoder.audio.flac import send_flac, send_samples
from motionshards.transforms.extract.decoder.audio.stretch import send_sound
from motionshards.transforms.extract.decoder.cut import send_cut
from motionshards.transforms.extract.decoder.frames import send_frames
from motionshards.transforms.extract.decoder.packets import send_packets
from motionshards.transforms.extract.decoder.stored.check import CONTAINER, send_checked
from motionshards.transforms.extract.decoder.stored.join import send_joined
from motionshards.transforms.extract.decoder.video import Video


def serve(connection: int, video: int) -> int:
    """Execute orders; returns the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        with socket.socket(fileno=connection) as reply:
            while True:
                last = _answer(wire.received(reply), video, reply)
                reply.sendall(wire.packed(last))
                if "done" not in last:
                    return 0
    except (BrokenPipeError, ConnectionResetError, EOFError):
        return 0  # the client has closed its socket
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        return 1


def _answer(order: dict[str, Any], descriptor: int, reply: socket.socket) -> dict[str, Any]:
    """Send the answers to an order except the last message, which is returned."""
    try:
        _limit(order)
        with suppress(OSError):  # a pipe cannot be rewound
            os.lseek(descriptor, 0, os.SEEK_SET)
        if order["do"] == "cut":
            send_cut(descriptor, order["size"], order["filters"], reply)
        elif order["do"] == "check":
            send_checked(Video(descriptor, CONTAINER), order, reply)
        elif order["do"] == "flac":
            send_flac(descriptor, order, reply)
        elif order["do"] == "samples":
            send_samples(descriptor, order, reply)
        elif order["do"] == "join":
            send_joined(descriptor, order["lengths"], reply)
        else:
            _answer_video(order, Video(descriptor), reply)
    except ClipRejected as rejection:
        return {"reason": rejection.reason, "detail": rejection.detail}
    except MemoryError:
        return {"reason": "too_much_memory", "detail": f"more than {order['memory_bytes'] >> 20} MB"}
    return {"done": True}


def _answer_video(order: dict[str, Any], video: Video, reply: socket.socket) -> None:
    reply.sendall(wire.packed({"stream": video.header()}))
    if order["do"] == "packets":
        send_packets(video, reply)
    elif order["do"] == "sound":
        send_sound(video, order, reply)
    else:
        send_frames(video, order, reply)


def _limit(order: dict[str, Any]) -> None:
    limits = {resource.RLIMIT_DATA: order["memory_bytes"], resource.RLIMIT_CPU: math.ceil(time.process_time()) + order["cpu_s"]}
    for resource_id, value in limits.items():
        _, hard = resource.getrlimit(resource_id)
        resource.setrlimit(resource_id, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
