"""Windows of frames read from the mp4 files in `order.form` by other libraries: sides of `benchmarks.clips`.

Each reader takes a path, the number of the first frame and the number of frames; returns RGB uint8 [n,H,W,3]. An ordinary
DataLoader with one worker per core draws files and windows, decodes on one thread and collates batches.
"""

import importlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from benchmarks.loader_run import Order

_SOUND_HZ = 16_000
_Reader = Callable[[str, int, int], Any]


def pyav(order: Order) -> Iterator[Any]:
    """PyAV from a file: seek to the key frame, decode, convert."""
    return _loaded(order, read_pyav)


def decord(order: Order) -> Iterator[Any]:
    """decord, which indexes each file on opening."""
    importlib.import_module("decord")
    return _loaded(order, read_decord)


def torchcodec(order: Order) -> Iterator[Any]:
    """torchcodec, with key frame positions from the header."""
    importlib.import_module("torchcodec.decoders")
    return _loaded(order, read_torchcodec)


def torchcodec_with_sound(order: Order) -> Iterator[Any]:
    """torchcodec, and the sound of the window as 16 kHz mono."""
    importlib.import_module("torchcodec.decoders")
    return _loaded(order, _torchcodec_with_sound)


def opencv(order: Order) -> Iterator[Any]:
    """OpenCV's VideoCapture."""
    return _loaded(order, read_opencv)


def read_pyav(path: str, start: int, count: int) -> Any:
    """Seek by the timestamp of the first frame; earlier frames are decoded and dropped."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        assert stream.average_rate and stream.time_base
        ticks = 1 / (stream.average_rate * stream.time_base)
        first = round(start * ticks) + (stream.start_time or 0)
        container.seek(first, stream=stream)
        frames: list[Any] = []
        for frame in container.decode(stream):
            if frame.pts is not None and frame.pts > first - ticks / 2:
                frames.append(frame.to_ndarray(format="rgb24"))
            if len(frames) == count:
                break
        return np.stack(frames)


def read_decord(path: str, start: int, count: int) -> Any:
    """Read a batch by frame numbers."""
    package = importlib.import_module("decord")
    return package.VideoReader(path, num_threads=1).get_batch(range(start, start + count)).asnumpy()


def read_torchcodec(path: str, start: int, count: int) -> Any:
    """Read a range, without scanning the file."""
    decoders = importlib.import_module("torchcodec.decoders")
    decoder = decoders.VideoDecoder(path, dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="approximate")
    return decoder.get_frames_in_range(start, start + count).data.numpy()


def _torchcodec_with_sound(path: str, start: int, count: int) -> Any:
    decoders = importlib.import_module("torchcodec.decoders")
    video = decoders.VideoDecoder(path, dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="approximate")
    window = video.get_frames_in_range(start, start + count)
    sound = decoders.AudioDecoder(path, sample_rate=_SOUND_HZ, num_channels=1)
    begin_s, end_s = float(window.pts_seconds[0]), float(window.pts_seconds[-1] + window.duration_seconds[-1])
    assert sound.get_samples_played_in_range(begin_s, end_s).data.any()
    return window.data.numpy()


def read_opencv(path: str, start: int, count: int) -> Any:
    """Seek by frame number."""
    video = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    video.set(cv2.CAP_PROP_POS_FRAMES, start)
    return np.stack([cv2.cvtColor(video.read()[1], cv2.COLOR_BGR2RGB) for _ in range(count)])


def _loaded(order: Order, read: _Reader) -> Iterator[Any]:
    return iter(DataLoader(_Batches(order, read), batch_size=None, num_workers=order.cores))


class _Batches(IterableDataset[Any]):
    """Endless batches of random windows."""

    def __init__(self, order: Order, read: _Reader) -> None:
        self._order, self._read = order, read

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        draw = np.random.default_rng(worker.id if worker else 0)
        files, order = _files(self._order.form), self._order
        while True:
            windows = []
            for path, frames in draw.choice(np.array(files, object), order.batch):
                windows.append(self._read(path, int(draw.integers(frames - order.frames + 1)), order.frames))
            yield torch.from_numpy(np.stack(windows))


@cache
def _files(folder: str) -> tuple[tuple[str, int], ...]:
    """Path and number of frames of each video below a folder."""
    found = []
    for path in sorted(map(str, Path(folder).rglob("*.mp4"))):
        with av.open(path) as container:
            found.append((path, container.streams.video[0].frames))
    return tuple(found)
