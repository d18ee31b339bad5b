"""FLAC encoding of 16-bit samples, and decoding.

Both orders have `hz` and `channels`, in addition to `do` and limits:
    flac: encodes a file of raw samples; the answer is `{"flac": n}` followed by n bytes of FLAC
    samples: decodes a FLAC file; the answers are `{"samples": n}`, each followed by n samples of every channel
"""

import io
import mmap
import socket
from collections.abc import Iterator
from typing import Any

import av

from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.decoder import wire
from motionshards.transforms.extract.decoder.audio.processor import baseline_processor

_AT_ONCE = 1 << 14
_MUXER = {"fflags": "+bitexact", "metadata_header_padding": "0"}
_ENCODER = {"flags": "+bitexact", "compression_level": "5"}


def send_flac(descriptor: int, order: dict[str, Any], reply: socket.socket) -> None:
    """Encode the samples in a file."""
    channels, content = order["channels"], io.BytesIO()  # seekable: the muxer completes the header at the end
    layout = av.AudioLayout({1: "mono", 2: "stereo"}.get(channels, f"{channels} channels"))
    with baseline_processor(), av.open(content, "w", format="flac", options=_MUXER) as target:
        stream: Any = target.add_stream("flac", rate=order["hz"], layout=layout, format="s16", options=_ENCODER)
        for frame in _frames(descriptor, order["hz"], layout):
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    flac = content.getvalue()
    reply.sendall(wire.packed({"flac": len(flac)}) + flac)


def _frames(descriptor: int, hz: int, layout: Any) -> Iterator[Any]:
    width = 2 * layout.nb_channels
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as raw:
        for start in range(0, len(raw), _AT_ONCE * width):
            block = raw[start : start + _AT_ONCE * width]
            frame = av.AudioFrame("s16", layout, len(block) // width)
            frame.sample_rate = hz
            frame.planes[0].update(block)
            yield frame


def send_samples(descriptor: int, order: dict[str, Any], reply: socket.socket) -> None:
    """Decode the FLAC in a file. Raises ClipRejected: corrupt"""
    kind, width = (order["hz"], order["channels"], "s16"), 2 * order["channels"]
    options = {"protocol_whitelist": "fd", "fd": str(descriptor)}
    try:
        with av.open("fd:", format="flac", options=options) as source:
            stream = source.streams.audio[0]
            stream.codec_context.options = {"err_detect": "explode+crccheck", "threads": "1"}
            for packet in source.demux(stream):
                for frame in packet.decode():
                    if (frame.sample_rate, frame.layout.nb_channels, frame.format.name) != kind:
                        raise ClipRejected("corrupt", "the format of the samples differs from the header")
                    content = memoryview(frame.planes[0])[: frame.samples * width]
                    reply.sendall(wire.packed({"samples": frame.samples}) + content)
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise ClipRejected("corrupt", f"FLAC: {error}") from error
