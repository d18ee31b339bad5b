"""Inputs of benchmarks that need no videos: frames, average faces, a small dataset, and random weights of VGG19.

They are rendered without ffmpeg or a decoder: a GPU machine may have only torch.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.report import WorkOptions
from motionshards.dataset.commandline import DeviceOption
from motionshards.pipeline.inputs.tree import DirectoryTree
from motionshards.pipeline.shards.tar import ShardWriter, size_and_hash
from motionshards.pipeline.sources.demo_render import demo_image, demo_motion, render_frame
from motionshards.pipeline.sources.listing import Listing
from motionshards.pipeline.sources.voxceleb2 import list_clips
from motionshards.schemas.action_units import INTENSITIES, MOST, PRESENCES, ActionUnits
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.frames import Placement
from motionshards.schemas.layout import INDEX, marker_path, tar_path, uri_to_path
from motionshards.schemas.manifest import Manifest, ShardEntry
from motionshards.schemas.marker import write_marker
from motionshards.schemas.records import Clip, ClipSpec, Landmarks, Quality, Span
from motionshards.schemas.samples.encode import encode_sample
from motionshards.schemas.tables import INDEX as INDEX_SCHEMA
from motionshards.schemas.tables import MARKER, clip_row, table
from motionshards.trainers.vgg import VGG19, Vgg
from motionshards.transforms.extract.encode import encode_jpegs
from motionshards.transforms.extract.quality.face_model import FACE_68_MM

_EVERY = 5
_DECODE_S = 60
_PEOPLE = 8
_FRONTAL = 4
_PER_SHARD = 50

Images = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class FramesOptions(WorkOptions, DeviceOption):
    """Options of a benchmark that computes on frames."""

    input: Path | None = None
    """Directory of videos in VoxCeleb2's layout from which frames are read; by default frames are rendered."""

    def take(self, count: int, size_px: int) -> Images:
        """Frames uint8 [count,S,S,3], repeated if the input has fewer."""
        found = rendered(0, min(count, 64), size_px) if self.input is None else _decoded(self.input, count, size_px)
        return np.ascontiguousarray(np.tile(found, (-(-count // len(found)), 1, 1, 1))[:count])


def _decoded(source: Path, count: int, size_px: int) -> Images:
    """Read every fifth frame, clip by clip."""
    from motionshards.transforms.extract.decode import decode
    from motionshards.transforms.extract.media import Media
    from motionshards.transforms.extract.timeline import timeline_from_packets

    found: list[Images] = []
    for clip in list_clips(Listing(DirectoryTree(source))):
        media = Media.at(source / uri_to_path(clip.spans[0].uri))
        line = timeline_from_packets(media, _DECODE_S)
        found.append(decode(media, line, np.arange(0, len(line.raw_s), _EVERY), size_px, "pad", _DECODE_S).rgb)
        if sum(map(len, found)) >= count:
            break
    return np.concatenate(found)


def rendered(person: int, count: int, size_px: int) -> Images:
    """Frames of one person of the demo corpus, without a video."""
    image, motion = demo_image(person, 0, 0), demo_motion(person, 0, 0, 0)
    render = partial(render_frame, image, motion, size=size_px)
    with ThreadPoolExecutor() as pool:
        return np.stack(list(pool.map(render, range(min(count, len(motion))))))


def average_faces(count: int, size_px: int) -> NDArray[np.float32]:
    """Landmarks float32 [count,68,2] of an average face that fills two thirds of the image, slightly different in each."""
    noise = np.random.default_rng(0).normal(0, size_px / 256, (count, 68, 2))
    return ((0.5 + FACE_68_MM[:, :2] / 200) * size_px + noise).astype(np.float32)


def make_dataset(out: Path, clips: int, stills: int, size_px: int) -> Path:
    """Write a dataset of rendered clips, each of a different person, with average landmarks, random poses and action units.

    The first frames of each clip are frontal, as the face rotator requires. Images repeat from clip to clip but are stored
    separately, so a loader reads and decodes all of them.
    """
    people = [encode_jpegs(rendered(person, stills, size_px), 95) for person in range(min(_PEOPLE, clips))]
    samples = [_clip(number, people[number % len(people)], size_px) for number in range(clips)]
    parts = range(0, clips, _PER_SHARD)
    written = [write_shard(out, samples[start : start + _PER_SHARD], "train", f"made-{start:06d}") for start in parts]
    pq.write_table(pa.concat_tables([rows for _, rows in written]).select(INDEX_SCHEMA.names), out / INDEX)
    config = BuildConfig(source="demo", size=size_px, frames=stills, aus="csv", landmarks="dlib")
    Manifest(config=config, provenance={}, input="", complete=True, shards=tuple(entry for entry, _ in written)).write(out)
    return out


def write_shard(out: Path, clips: Sequence[Clip], split: str, name: str) -> tuple[ShardEntry, pa.Table]:
    """Write a tar and its marker; returns the shard's entry in dataset.json, and its rows."""
    path = tar_path(out, split, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with ShardWriter(path) as writer:
        rows = table([clip_row(clip, name, writer.add(clip.spec.key, encode_sample(clip))) for clip in clips], MARKER)
    entry = ShardEntry(name, split, len(clips), 0, *size_and_hash(path))
    write_marker(marker_path(out, split, name), entry, rows)
    return entry, rows


def _clip(number: int, jpegs: tuple[bytes, ...], size_px: int) -> Clip:
    random, count = np.random.default_rng(number), len(jpegs)
    identity, one = f"id{number:05d}", np.ones(count, np.float32)
    yaw, pitch, roll = random.uniform(-45, 45, (3, count)).astype(np.float32) * (np.arange(count) >= _FRONTAL)
    box = np.tile(np.array([0, 0, size_px, size_px], np.int32), (count, 1))
    index = np.arange(count, dtype=np.int32)
    affine = np.tile(np.eye(2, 3), (count, 1, 1))
    intensity = random.uniform(0, MOST, (count, len(INTENSITIES))).astype(np.float32)
    presence = random.integers(0, 2, (count, len(PRESENCES))).astype(np.float32)
    return Clip(
        spec=ClipSpec(f"{identity}/video/00001", "demo", "train", identity, "video", (Span("a.mp4"),), 1.0),
        source_frames=count,
        duration_s=count / 25,
        past_end_s=0.0,
        placement=Placement(np.zeros(count, np.int32), index, index / 25, box[:, 2:], box, affine),
        track=None,
        landmarks=Landmarks(average_faces(count, size_px), np.ones((count, 68), np.float32)),
        quality=Quality(one, one, one, one, yaw, pitch, roll, landmark_residual=0 * one),
        jpegs=jpegs,
        aus=ActionUnits(intensity, presence, np.ones(count, bool), one, ()),
    )


def write_random_vgg19(path: Path) -> Path:
    """Write random weights of VGG19 that keep the scale of features through all layers; times do not depend on them."""
    torch.manual_seed(0)
    network = Vgg(VGG19, (29,))
    for layer in network.features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    torch.save(network.state_dict(), path)
    return path
