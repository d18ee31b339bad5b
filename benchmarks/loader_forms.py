"""Converts the frames of a dataset to the formats that the other sides of `benchmarks.loader` read: the same JPEG bytes if the
format stores JPEG, otherwise the same pixels. Each function writes into `order.form` and is run by `loader_run.py`.
"""

import importlib
import os
import pickle
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.loader_run import Order
from motionshards.dataset.index import Dataset, Sample, read_members
from motionshards.schemas.layout import is_main_frame, tar_path
from motionshards.transforms.extract.ffmpeg import ffmpeg_path

# PNG folders, videos and pickles are large or slow to write, and slow to read: more clips would only exceed the page cache.
SLOW_CLIPS = 60
_COLUMNS = ("key", "split", "shard", "members")
_CHUNK = "64MB"


def jpegs(data: str) -> Iterator[tuple[str, list[bytes]]]:
    """Key and frames of each clip."""
    for path, row in _places(data):
        yield row["key"], _read(path, row)


def mds(order: Order) -> None:
    """Shards of mosaicml-streaming with frames as bytes: its `jpeg` columns re-encode images."""
    streaming = mosaicml()
    columns = {f"{number:03d}": "bytes" for number in range(len(next(jpegs(order.data))[1]))}
    with streaming.MDSWriter(out=order.form, columns=columns, size_limit=64 << 20) as writer:
        for _, frames in jpegs(order.data):
            writer.write({f"{number:03d}": jpeg for number, jpeg in enumerate(frames)})


def litdata(order: Order) -> None:
    """Chunks of litdata with frames as bytes: it also re-encodes images."""
    package = importlib.import_module("litdata")
    package.optimize(_litdata_sample, list(_places(order.data)), output_dir=order.form, chunk_bytes=_CHUNK, num_workers=1)


def _litdata_sample(place: tuple[str, dict[str, Any]]) -> dict[str, bytes]:
    return {f"{number:03d}": jpeg for number, jpeg in enumerate(_read(*place))}


def energon(order: Order) -> None:
    """The shards themselves with Energon's index, as crude samples, whose members stay bytes."""
    flavors = importlib.import_module("megatron.energon.flavors")
    shards = sorted(Path(order.data).glob("*/*.tar"))
    for shard in shards:
        (Path(order.form) / shard.name).symlink_to(shard)
    names, split = [shard.name for shard in shards], [("train", 1.0)]
    flavors.BaseWebdatasetFactory.prepare_dataset(order.form, names, split_parts_ratio=split, workers=order.cores)
    (Path(order.form) / ".nv-meta/dataset.yaml").write_text("__module__: megatron.energon\n__class__: CrudeWebdataset\n")


def folders(order: Order) -> None:
    """A folder of JPEG files per clip: SPDL has no format of its own."""
    for number, (_, frames) in enumerate(jpegs(order.data)):
        folder = Path(order.form) / f"{number:06d}"
        folder.mkdir()
        for frame, jpeg in enumerate(frames):
            (folder / f"{frame:03d}.jpg").write_bytes(jpeg)


def png(order: Order) -> None:
    """A folder of PNG files per clip, as FOMM's loader reads them."""
    import skimage.io

    for number, sample in _samples(order):
        folder = Path(order.form) / f"{number:06d}"
        folder.mkdir()
        for frame, image in enumerate(sample.frames):
            skimage.io.imsave(folder / f"{frame:07d}.png", image, check_contrast=False)


def mp4(order: Order) -> None:
    """A video of the stored frames per clip; the real one would be ten times as long."""
    for number, sample in _samples(order):
        height, width = sample.frames.shape[1:3]
        command = [
            ffmpeg_path(),
            "-v",
            "error",
            "-f",
            "rawvideo",
            "-pix_fmt",
            "rgb24",
            "-s",
            f"{width}x{height}",
            "-r",
            "25",
            "-i",
            "-",
        ]
        command += ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "18", os.path.join(order.form, f"{number:06d}.mp4")]
        subprocess.run(command, input=sample.frames.tobytes(), check=True)


def pickles(order: Order) -> None:
    """A pickle of K + 1 frames with their landmarks per clip, as in the preprocessing of the published talking-heads code."""
    for number, sample in _samples(order):
        assert sample.landmarks is not None
        points = np.nan_to_num(sample.landmarks[: order.frames])
        content = [{"frame": frame, "landmarks": one} for frame, one in zip(sample.frames, points, strict=False)]
        (Path(order.form) / f"{number:06d}.pkl").write_bytes(pickle.dumps(content))


def mosaicml() -> Any:
    """Import mosaicml-streaming without its image classes, which need torchvision and are not used here."""
    for name in ("vision", "multimodal"):
        sys.modules[f"streaming.{name}"] = types.ModuleType(f"streaming.{name}")
    return importlib.import_module("streaming")


def _samples(order: Order) -> Iterator[tuple[int, Sample]]:
    data = Dataset.open(Path(order.data))
    for number, row in enumerate(data.index(_COLUMNS).slice(0, SLOW_CLIPS).to_pylist()):
        yield number, data.read(row)


def _places(data: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for row in Dataset.open(Path(data)).index(_COLUMNS).to_pylist():
        yield str(tar_path(Path(data), row["split"], row["shard"])), row


def _read(path: str, row: dict[str, Any]) -> list[bytes]:
    requested = [member for member in row["members"] if is_main_frame(member["suffix"])]
    with open(path, "rb") as stream:
        return list(read_members(stream, requested).values())
