"""Crops of frames that have been decoded before."""

import mmap
import socket
from collections.abc import Sequence
from fractions import Fraction

import av

from motionshards.transforms.extract.decoder import wire
from motionshards.transforms.extract.decoder.filters import Filter
from motionshards.transforms.extract.decoder.graph import Chain, packed_rows


def send_cut(descriptor: int, size_px: Sequence[int], filters: Sequence[Filter], reply: socket.socket) -> None:
    """Send each frame of a file of raw RGB, filtered."""
    width, height = size_px
    chain, length = Chain(filters), width * height * 3
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as raw:
        for start in range(0, len(raw), length):
            frame = _frame(memoryview(raw)[start : start + length], width, height)
            reply.sendall(wire.packed({"cut": start // length}))
            reply.sendall(packed_rows(chain.of(frame, Fraction(1, 25), Fraction(1))))


def _frame(raw: memoryview, width: int, height: int) -> av.VideoFrame:
    """A frame of raw RGB, with rows aligned as FFmpeg requires."""
    frame, row = av.VideoFrame(width, height, "rgb24"), width * 3
    line, into = frame.planes[0].line_size, memoryview(frame.planes[0])
    for number in range(height):
        into[number * line : number * line + row] = raw[number * row : (number + 1) * row]
    return frame
