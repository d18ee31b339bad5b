"""Decodes frames and sound of the mp4 and FLAC members of samples in this process.

The demuxer is forced, and probing does not decode, so opening an mp4 takes 0.15 ms instead of 1 ms. A FrameReader is not
thread-safe.
"""

import io
import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice, pairwise, takewhile
from operator import itemgetter
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

# No decoder is named "none", so probing cannot decode. Edit lists could multiply frames, which are counted here, not timed.
OPTIONS = {"codec_whitelist": "none", "ignore_editlist": "1"}
# The sample counts declared in the header of an mp4, also in places that demuxers ignore.
_DECLARED = re.compile(rb"st(?:sz|z2)(?=.{8}(.{4}))", re.DOTALL)
# PyAV raises the latter two for values that it cannot convert.
_OF_FFMPEG = (av.FFmpegError, ValueError, ArithmeticError)
_ALIGNED_PX = 64
_UNIT = np.float32(1 / 32768)


class FrameReader:
    """Decodes selected frames of H.264 videos.

    Each video gets a new decoder (0.05 ms), because parameter sets inside a stream survive flushing and would corrupt the next
    video.

    Timestamps are ignored: from a key frame on, which starts a closed GOP, the decoder outputs frames in the order of their
    numbers, even if the stream stores them in another order.
    """

    def __init__(self) -> None:
        self._to_rgb = VideoReformatter()

    def into(self, content: bytes, numbers: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """Decode the frames `numbers`, int64 [n] in any order, of an mp4 into `out`, uint8 [n,H,W,3], RGB.

        Raises:
            ValueError: the mp4 is not a stored video, is damaged, has another size, or lacks a frame
        """
        with as_value_errors():
            self._into(content, numbers, out)

    def frames(self, content: bytes, side_px: int) -> Iterator[av.VideoFrame]:
        """All frames of an mp4 of `side_px` x `side_px`, in their stored pixel format.

        Raises:
            ValueError: the mp4 is not a stored video, is damaged, or has another size
        """
        with as_value_errors():
            header, packets = packets_of(content)
            codec = _decoder(header, _aligned(side_px) ** 2)
            for frame in _decoded(codec, content, packets, [*range(len(packets))]):
                _check_size(frame, side_px, side_px)
                yield frame

    def _into(self, content: bytes, numbers: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        header, packets = packets_of(content)
        places = defaultdict[int, list[int]](list)
        for place, number in enumerate(numbers.tolist()):
            places[number].append(place)
        requested = sorted(places)
        if requested and not 0 <= requested[0] <= requested[-1] < len(packets):
            raise ValueError(f"the video has {len(packets)} frames, but frames {requested[0]} to {requested[-1]} were requested")
        height, width = out.shape[1:3]
        codec = _decoder(header, _aligned(width) * _aligned(height))
        for number, frame in zip(requested, _decoded(codec, content, packets, requested), strict=True):
            _check_size(frame, width, height)
            rgb = self._rgb(frame)
            for place in places[number]:
                out[place] = rgb

    def _rgb(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """The frame in RGB, uint8 [H,W,3], a view of FFmpeg's memory."""
        plane = self._to_rgb.reformat(frame, format="rgb24", threads=1).planes[0]
        rows: NDArray[np.uint8] = np.frombuffer(memoryview(plane), np.uint8).reshape(frame.height, plane.line_size)
        return rows[:, : frame.width * 3].reshape(frame.height, frame.width, 3)


def _check_size(frame: av.VideoFrame, width: int, height: int) -> None:
    if (frame.width, frame.height) != (width, height):
        raise ValueError(f"the video is {frame.width}x{frame.height} px, not {width}x{height}")


def read_stored_sound(content: bytes, start: int, out: NDArray[np.float32]) -> None:
    """Decode samples [start, start + S) of a 16-bit FLAC file into `out`, float32 [S], -1 to 1, mean of the channels.

    Raises:
        ValueError: the file is not 16-bit FLAC, is damaged, or too short
    """
    with as_value_errors(), av.open(io.BytesIO(content), "r", format="flac", options=OPTIONS) as container:
        (stream,) = container.streams.audio
        stream.codec_context.thread_count = 1
        # No seek, which fails near the end; skipping a packet takes a quarter of the time of decoding it.
        timed = ((packet.pts, packet) for packet in container.demux(stream) if packet.pts is not None)
        packets = list(takewhile(lambda one: one[0] < start + len(out), timed))
        first = bisect_right(packets, start, key=itemgetter(0)) - 1
        if first < 0:
            raise ValueError(f"the sound has no sample {start}")
        at = packets[first][0] - start
        for _, packet in packets[first:]:
            for frame in packet.decode():
                block = _mono(frame)[max(0, -at) : len(out) - at]
                out[max(0, at) :][: len(block)] = block
                at += frame.samples
            if at >= len(out):
                return
    raise ValueError(f"the sound ends {len(out) - at} samples too early")


# Position and size of a packet in bytes, and whether decoding can start at it. A tuple, because a file has hundreds.
_Packet = tuple[int, int, bool]


def packets_of(content: bytes) -> tuple[bytes, list[_Packet]]:
    """Decoder header and packets of the video of an mp4, in decoding order. Raises ValueError, FFmpegError."""
    with av.open(io.BytesIO(_header(content)), format="mov", options=OPTIONS) as container:
        codecs = [stream.codec_context for stream in container.streams]
        packets = [(one.pos, one.size, one.is_keyframe) for stream in container.streams for one in stream.index_entries]
        header = codecs[0].extradata if len(codecs) == 1 and codecs[0] is not None and codecs[0].name == "h264" else None
    if header is None or not packets or not packets[0][2]:
        raise ValueError("the mp4 is not a single H.264 stream that starts with a key frame")
    if sum(size for _, size, _ in packets) > len(content):
        raise ValueError("the mp4 declares more bytes than it contains")
    return header, packets


def _header(content: bytes) -> bytes:
    """The part of an mp4 before its media data. Checked, because demuxers allocate memory for each sample that it declares."""
    header = content[: content.find(b"mdat") + 4]
    if b"moov" not in header or b"cmov" in header:
        raise ValueError("not an mp4 that starts with an uncompressed header")
    if any(int.from_bytes(found[1]) * 4 > len(header) for found in _DECLARED.finditer(header)):
        raise ValueError("the mp4 declares more frames than it lists")
    return header


def _decoder(header: bytes, max_pixels: int) -> av.VideoCodecContext:
    codec = av.VideoCodecContext.create("h264", "r")
    codec.extradata, codec.options = header, {"err_detect": "explode", "max_pixels": str(max_pixels)}
    codec.thread_count = 1  # samples are read by several threads already
    return codec


def _decoded(codec: av.VideoCodecContext, content: bytes, packets: list[_Packet], numbers: list[int]) -> Iterator[av.VideoFrame]:
    """The frames with these ascending numbers."""
    keys = [number for number, (_, _, key) in enumerate(packets) if key]
    for first, end in pairwise([*keys, len(packets)]):
        if here := numbers[bisect_left(numbers, first) : bisect_left(numbers, end)]:
            codec.flush_buffers()
            # The empty packet at the end flushes frames delayed by reordering.
            sent = chain((_copied(content, packet) for packet in packets[first:end]), [None])
            frames = chain.from_iterable(map(codec.decode, sent))
            for number, before in zip(here, [first - 1, *here], strict=False):
                frame = next(islice(frames, number - before - 1, None), None)
                if frame is None or frame.is_corrupt:
                    raise ValueError(f"frame {number} cannot be decoded")
                yield frame


def _copied(content: bytes, packet: _Packet) -> "av.Packet[Any]":
    """A packet copied to padded memory, because decoders read some bytes beyond the end."""
    start, size, _ = packet
    copied = av.Packet(size)
    copied.update(content[start : start + size])
    return copied


def _mono(frame: av.AudioFrame) -> NDArray[np.float32]:
    """The mean of the channels, float32 [samples]."""
    samples = frame.to_ndarray()
    if samples.dtype != np.int16:
        raise ValueError(f"the sound is {frame.format.name}, not 16-bit")
    channels = samples if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels).T
    mean: NDArray[np.float32] = channels[0] if len(channels) == 1 else channels.mean(axis=0, dtype=np.float32)
    return mean * _UNIT


def _aligned(side_px: int) -> int:
    """The side of FFmpeg's decoding buffers, which `max_pixels` applies to."""
    return -(-side_px // _ALIGNED_PX) * _ALIGNED_PX


@contextmanager
def as_value_errors() -> Iterator[None]:
    try:
        yield
    except _OF_FFMPEG as error:
        raise ValueError(str(error)) from error
