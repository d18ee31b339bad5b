"""Other streaming libraries, reading the same JPEG bytes: sides of `benchmarks.loader`.

All shuffle, decode only the chosen frames by simplejpeg (the tutorial's: all), and collate uint8 batches in the worker.
"""

import importlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import torch
from torch.utils.data import DataLoader

from benchmarks.loader_forms import mosaicml
from benchmarks.loader_run import Order
from motionshards.schemas.layout import is_main_frame

_ENDLESS = 200_000
_PAIRS_A_READ = 4
_BUFFER = 100


def webdataset_tuned(order: Order) -> Iterator[Any]:
    """Tars read from front to back; only the chosen frames of each sample are decoded."""
    return _webdataset(order, 1)


def webdataset_pairs(order: Order) -> Iterator[Any]:
    """The same, but each sample yields several consecutive pairs."""
    return _webdataset(order, _PAIRS_A_READ)


def webdataset_tutorial(order: Order) -> Iterator[Any]:
    """As in tutorials: decode the sample, then choose."""
    webdataset = importlib.import_module("webdataset")

    samples = webdataset.WebDataset(_tars(order), resampled=True).shuffle(_BUFFER).decode("rgb")
    return _loaded(order, samples.map(_choose(order)).batched(order.batch, collation_fn=_stacked))


def _webdataset(order: Order, pairs: int) -> Iterator[Any]:
    webdataset = importlib.import_module("webdataset")

    def decoded(samples: Iterator[dict[str, Any]]) -> Iterator[Any]:
        for sample in samples:
            jpegs = [sample[name] for name in sorted(sample) if is_main_frame(name)]
            for _ in range(pairs):
                yield _decoded(jpegs, order.frames)

    samples = webdataset.WebDataset(_tars(order), resampled=True).shuffle(_BUFFER)
    return _loaded(order, samples.compose(decoded).batched(order.batch, collation_fn=_stacked))


def _choose(order: Order) -> Any:
    def choose(sample: dict[str, Any]) -> Any:
        names = sorted(name for name in sample if is_main_frame(name))
        return np.stack([sample[names[number]] for number in _numbers(len(names), order.frames)])

    return choose


def _tars(order: Order) -> list[str]:
    return sorted(map(str, Path(order.data).glob("*/*.tar")))


def _loaded(order: Order, dataset: Any) -> Iterator[Any]:
    return iter(DataLoader(dataset, batch_size=None, num_workers=order.cores))


def mosaicml_streaming(order: Order) -> Iterator[Any]:
    """Its own loader and shuffle, one long epoch."""
    streaming = mosaicml()
    base: Any = streaming.StreamingDataset

    class Clips(base):  # type: ignore[misc]
        def __getitem__(self, at: int) -> Any:
            return _of_columns(super().__getitem__(at), order.frames)

    streaming.base.util.clean_stale_shared_memory()
    clips = Clips(local=order.form, shuffle=True, batch_size=order.batch, epoch_size=_ENDLESS)
    return iter(streaming.StreamingDataLoader(clips, batch_size=order.batch, num_workers=order.cores, collate_fn=_stacked))


def litdata(order: Order) -> Iterator[Any]:
    """Its own loader and shuffle, consecutive epochs."""
    package = importlib.import_module("litdata")
    base: Any = package.StreamingDataset

    class Clips(base):  # type: ignore[misc]
        def __getitem__(self, at: Any) -> Any:
            return _of_columns(super().__getitem__(at), order.frames)

    clips = package.ParallelStreamingDataset([Clips(order.form, shuffle=True)], length=_ENDLESS)
    loader = package.StreamingDataLoader(clips, batch_size=order.batch, num_workers=order.cores, collate_fn=_first_stacked)
    return iter(loader)


def energon(order: Order) -> Iterator[Any]:
    """Its own loader and shuffle over indexed shards; a cooker decodes the chosen frames of a crude sample."""
    package = importlib.import_module("megatron.energon")

    sample_type: Any = package.Sample
    encoder: Any = package.DefaultTaskEncoder

    @package.edataclass
    class Clip(sample_type):  # type: ignore[misc]
        frames: Any

    def cook(sample: dict[str, Any]) -> Any:
        jpegs = [sample[name] for name in sorted(sample) if is_main_frame(name)]
        return Clip(**package.basic_sample_keys(sample), frames=_decoded(jpegs, order.frames))

    class Task(encoder):  # type: ignore[misc]
        decoder = None
        cookers = (package.Cooker(package.stateless(cook)),)

        def batch(self, samples: list[Any]) -> Any:
            return _stacked([sample.frames for sample in samples])

    workers = package.WorkerConfig(rank=0, world_size=1, num_workers=order.cores)
    clips = package.get_train_dataset(
        order.form,
        worker_config=workers,
        batch_size=order.batch,
        shuffle_buffer_size=_BUFFER,
        max_samples_per_sequence=None,
        task_encoder=Task(),
        part_filter=is_main_frame,
    )
    return iter(package.get_loader(clips))


def spdl(order: Order) -> Iterator[Any]:
    """A pipeline of threads in this process, as its guide recommends for decoders that release the GIL; one task per batch."""
    package = importlib.import_module("spdl.pipeline")
    clips = [sorted(folder.iterdir()) for folder in sorted(Path(order.form).iterdir())]
    height, width, *_ = simplejpeg.decode_jpeg_header(clips[0][0].read_bytes())

    def chosen() -> Iterator[list[list[Path]]]:
        while True:
            numbers = torch.randperm(len(clips)).tolist()
            for start in range(0, len(clips) - order.batch + 1, order.batch):
                batch = [clips[number] for number in numbers[start : start + order.batch]]
                yield [[clip[frame] for frame in _numbers(len(clip), order.frames)] for clip in batch]

    def decoded(batch: list[list[Path]]) -> Any:
        frames = np.empty((order.batch, order.frames, height, width, 3), np.uint8)
        for row, path in zip(frames.reshape(-1, height, width, 3), chain(*batch), strict=True):
            simplejpeg.decode_jpeg(path.read_bytes(), "RGB", buffer=row)
        return torch.from_numpy(frames)

    pipeline = package.PipelineBuilder().add_source(chosen()).pipe(decoded, concurrency=order.cores).add_sink(2 * order.cores)
    built = pipeline.build(num_threads=order.cores)
    built.start(daemon=True)
    return iter(built)


def _of_columns(sample: dict[str, bytes], frames: int) -> Any:
    return _decoded([sample[name] for name in sorted(sample)], frames)


def _decoded(jpegs: list[bytes], frames: int) -> Any:
    return np.stack([simplejpeg.decode_jpeg(jpegs[number], "RGB") for number in _numbers(len(jpegs), frames)])


def _numbers(count: int, frames: int) -> Any:
    return np.sort(torch.randperm(count)[:frames].numpy())


def _stacked(samples: list[Any]) -> Any:
    return torch.from_numpy(np.stack(samples))


def _first_stacked(samples: list[tuple[Any, ...]]) -> Any:
    return _stacked([sample[0] for sample in samples])
