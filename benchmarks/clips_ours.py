"""This project's sides of the reading part of `benchmarks.clips`, the limit, and the mp4 files that the peers read."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from benchmarks.loader_ours import forked
from benchmarks.loader_run import Order
from motionshards.dataset.index import Dataset, read_members
from motionshards.dataset.loader import make_loader
from motionshards.dataset.reading.view import View
from motionshards.dataset.sequence import Sequence
from motionshards.dataset.stream import ClipStream
from motionshards.schemas.layout import VIDEO, tar_path

_REPEATS = 100  # real epochs are longer than those of a few clips


@dataclass(frozen=True, slots=True)
class Packets:
    """A video in memory."""

    header: bytes
    packets: list["av.Packet[Any]"]
    keys: NDArray[np.int64]


def frames(order: Order) -> Iterator[Any]:
    """Sequences of frames."""
    return (batch.frames for batch in _batches(order, Sequence(order.frames)))


def frames_and_sound(order: Order) -> Iterator[Any]:
    """Sequences of frames with their sound."""
    for batch in _batches(order, Sequence(order.frames, audio=True)):
        assert batch.audio is not None
        yield batch.frames


def limit(order: Order) -> Iterator[Any]:
    """Packets in memory, decoded and converted to RGB on one thread per core: no reading, no checks, no transfer of batches."""
    return forked(order, _decode, [in_memory(path) for path in sorted(Path(order.form).iterdir())])


def mp4_files(order: Order) -> None:
    """Write the mp4 members of the dataset as files."""
    for row in Dataset.open(Path(order.data)).index(["key", "split", "shard", "members"]).to_pylist():
        with tar_path(Path(order.data), row["split"], row["shard"]).open("rb") as stream:
            (content,) = read_members(stream, [one for one in row["members"] if one["suffix"] == VIDEO]).values()
        (Path(order.form) / f"{row['key'].replace('/', '-')}.mp4").write_bytes(content)


def _batches(order: Order, view: View) -> Iterator[Any]:
    loader = make_loader(ClipStream(order.data, view, global_batch_size=order.batch, split=None, repeats=_REPEATS))
    while True:
        yield from loader


def in_memory(path: Path) -> Packets:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        assert stream.codec_context.extradata is not None
        keys = np.flatnonzero([packet.is_keyframe for packet in packets])
        return Packets(stream.codec_context.extradata, [av.Packet(bytes(packet)) for packet in packets], keys)


def _decode(clips: list[Packets], order: Order, seed: int, done: Any) -> None:
    draw, to_rgb = np.random.default_rng(seed), VideoReformatter()
    codec = av.VideoCodecContext.create("h264", "r")
    codec.extradata, codec.thread_count = clips[0].header, 1
    convert = partial(to_rgb.reformat, format="rgb24", threads=1)
    first = next(iter(decoded(codec, clips[0], 0, 1)))
    batch = np.empty((order.batch, order.frames, first.height, first.width, 3), np.uint8)
    while True:
        for row in batch:
            clip = clips[draw.integers(len(clips))]
            start = int(draw.integers(len(clip.packets) - order.frames + 1))
            for place, frame in zip(row, decoded(codec, clip, start, order.frames), strict=True):
                np.copyto(place, convert(frame).to_ndarray())
        done.put(True)


def decoded(codec: av.VideoCodecContext, clip: Packets, start: int, count: int) -> Iterator[av.VideoFrame]:
    """`count` frames from number `start`, decoded from the key frame before it; the videos have no B-frames."""
    key = int(clip.keys[clip.keys <= start].max())
    codec.flush_buffers()
    number = key
    for packet in (*clip.packets[key : start + count], None):
        for frame in codec.decode(packet):
            if number >= start:
                yield frame
            number += 1
