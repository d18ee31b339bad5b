"""Concatenates videos of the same size, rate and encoding.

Answers: `{"mp4": n}` followed by n bytes; or `{"differs": number}` for a video that cannot be joined to the first.
"""

import io
import os
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import av

from motionshards.transforms.extract.decoder import wire
from motionshards.transforms.extract.decoder.stored.mp4 import Mp4


def send_joined(descriptor: int, lengths: Sequence[int], reply: socket.socket) -> None:
    """Send one MP4 made of those concatenated in a file, with these lengths in bytes."""
    first, target, stream, count = None, None, None, 0
    for number, part in enumerate(_parts(descriptor, lengths)):
        source: Any = part.streams.video[0]
        kind = (source.average_rate, source.codec_context.extradata, source.width, source.height)
        packets = [one for one in part.demux(source) if one.size]
        whole = len(packets) == source.frames and all(one.pts == one.dts for one in packets)
        if kind != (first := first or kind) or not whole:
            reply.sendall(wire.packed({"differs": number}))
            return
        target = target or Mp4(source.average_rate)
        stream = stream or target.container.add_stream_from_template(source, opaque=True)
        for packet in packets:
            target.add(stream, packet, count, count)
            count += 1
    assert target is not None, "nothing to join"
    content = target.finished()
    reply.sendall(wire.packed({"mp4": len(content)}))
    reply.sendall(content)


def _parts(descriptor: int, lengths: Sequence[int]) -> Iterator[Any]:
    start = 0
    for length in lengths:
        with av.open(io.BytesIO(os.pread(descriptor, length, start)), format="mov") as part:
            yield part
        start += length
