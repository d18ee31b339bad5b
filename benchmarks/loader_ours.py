"""This project's sides of `benchmarks.loader`, and the limit: decoding only."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import simplejpeg
import torch

from benchmarks.loader_forms import jpegs
from benchmarks.loader_run import Order
from motionshards.dataset.loader import make_loader
from motionshards.dataset.reading.batch import Batch
from motionshards.dataset.stream import ClipStream, KPlusOne, Pairs
from motionshards.transforms.augment.drawing import COLORS, landmark_images

_REPEATS = 1000  # an epoch longer than the measurement: a DataLoader idles between epochs


def limit(order: Order) -> Iterator[Any]:
    """Processes that decode random frames from memory into the same batch: no reading, no checks."""
    return forked(order, _decode, [frames for _, frames in jpegs(order.data)])


def forked(order: Order, decode: Callable[..., None], clips: list[Any]) -> Iterator[Any]:
    """Run `decode(clips, order, seed, done)` in a process per core; yields a batch for each item put into `done`."""
    context = multiprocessing.get_context("fork")
    done = context.Queue(maxsize=2 * order.cores)
    for seed in range(order.cores):
        context.Process(target=decode, args=(clips, order, seed, done), daemon=True).start()
    batch = np.random.default_rng(0).integers(255, size=(order.batch, order.frames, 8, 8, 3))
    while done.get():
        yield batch


def _decode(clips: list[list[bytes]], order: Order, seed: int, done: Any) -> None:
    draw = np.random.default_rng(seed)
    height, width, *_ = simplejpeg.decode_jpeg_header(clips[0][0])
    batch = np.empty((order.batch, order.frames, height, width, 3), np.uint8)
    while True:
        for row in batch:
            frames = clips[draw.integers(len(clips))]
            for place, number in zip(row, draw.permutation(len(frames))[: order.frames], strict=True):
                simplejpeg.decode_jpeg(frames[number], "RGB", buffer=place)
        done.put(True)


def as_it_is(order: Order) -> Iterator[Any]:
    """make_loader with default settings: one process per core."""
    return (batch.frames for batch in _batches(order))


def one_process(order: Order) -> Iterator[Any]:
    """make_loader with one multithreaded process."""
    return (batch.frames for batch in _batches(order, processes=1, threads=8))


def data_loader(order: Order) -> Iterator[Any]:
    """An ordinary DataLoader over the stream."""
    loader = torch.utils.data.DataLoader(_stream(order, _REPEATS), batch_size=None, num_workers=order.cores)
    return (batch.frames for batch in loader)


def to_device(order: Order) -> Iterator[Any]:
    """make_loader with a device: page-locked shared memory, copied one batch ahead on a separate CUDA stream."""
    for batch in _batches(order, device=order.device):
        _settle(order.device)
        yield batch.frames


def data_loader_to_device(order: Order) -> Iterator[Any]:
    """An ordinary DataLoader with pinned batches, and asynchronous copies."""
    pinned = order.device != "cpu"
    stream = _stream(order, _REPEATS)
    loader = torch.utils.data.DataLoader(stream, batch_size=None, num_workers=order.cores, pin_memory=pinned)
    for batch in loader:
        frames = batch.frames.to(order.device, non_blocking=True)
        _settle(order.device)
        yield frames


def _settle(device: str) -> None:
    """Wait until the current batch is on the device; copies of later ones on other streams continue."""
    if device != "cpu":
        torch.cuda.current_stream(device).synchronize()


def k_plus_one(order: Order) -> Iterator[Any]:
    """Frames and landmarks, nothing drawn: the input of a GPU that draws."""
    return (batch.frames for batch in _batches(order))


def k_plus_one_drawn(order: Order) -> Iterator[Any]:
    """Frames with landmark images drawn by `transforms.augment` on the CPU, in the training process."""
    for batch in _batches(order):
        assert batch.landmarks is not None
        landmark_images(batch.landmarks.flatten(0, 1), batch.frames.shape[2])
        yield batch.frames


def k_plus_one_opencv(order: Order) -> Iterator[Any]:
    """Frames with landmark images drawn by OpenCV, as one would without a GPU."""
    size = ClipStream(order.data, KPlusOne(), global_batch_size=1, split=None).size_px
    images = np.empty((order.batch * order.frames, size, size, 3), np.uint8)  # reused: new memory costs more than the lines
    with ThreadPoolExecutor(order.cores) as pool:
        for batch in _batches(order):
            assert batch.landmarks is not None
            list(pool.map(_draw, images, batch.landmarks.flatten(0, 1).numpy()))
            yield batch.frames


def _draw(image: Any, points: Any) -> None:
    image.fill(255)
    if not np.isfinite(points).all():
        return
    sixteenths = np.round(points * 16).astype(np.int32)
    for color, lines in COLORS:
        parts = [sixteenths[list(line)] for line in lines]
        cv2.polylines(image, parts, False, color, thickness=3, lineType=cv2.LINE_AA, shift=4)


def _stream(order: Order, repeats: int = 1) -> ClipStream:
    view = Pairs(order.frames) if order.frames == 2 else KPlusOne(order.frames - 1)
    return ClipStream(order.data, view, global_batch_size=order.batch, split=None, repeats=repeats, size=order.size)


def _batches(order: Order, **settings: Any) -> Iterator[Batch]:
    loader = make_loader(_stream(order), **settings)
    while True:
        yield from loader
