"""Datasets for loader tests: many small clips, written by the project's own writers without videos."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.inputs import write_shard
from motionshards.schemas.action_units import INTENSITIES, PRESENCES, ActionUnits
from motionshards.schemas.atomic import sha256_of
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.frames import Placement
from motionshards.schemas.layout import IDENTITY_NUMBERS, INDEX
from motionshards.schemas.manifest import Manifest, ShardEntry
from motionshards.schemas.records import Clip, ClipSpec, Landmarks, Quality, Span
from motionshards.schemas.tables import INDEX as INDEX_SCHEMA
from motionshards.transforms.extract.encode import encode_jpegs

SIZE = 32
OfClip = Callable[[int], int]


def make_dataset(
    out: Path,
    clips: int = 60,
    *,
    per_shard: int = 10,
    frames: OfClip = lambda clip: 5 + clip % 4,
    identity: OfClip = lambda clip: clip % 7,
    split: Callable[[int], str] = lambda clip: "train",
    landmarks: bool = True,
    aus: bool = False,
    size: int = SIZE,
    embedding: Callable[[int], np.ndarray | None] | None = None,
) -> Path:
    """A finished dataset of `clips` clips; clip c has frames(c) frames, the identity(c) and the face descriptor embedding(c)."""
    entries: list[ShardEntry] = []
    rows: list[pa.Table] = []
    for name in sorted({split(clip) for clip in range(clips)}):
        mine = [clip for clip in range(clips) if split(clip) == name]
        for number in range(0, len(mine), per_shard):
            clips_of_shard = [
                make_clip(c, frames(c), f"id{identity(c):03d}", name, landmarks, aus, size)
                for c in mine[number : number + per_shard]
            ]
            if embedding is not None:
                clips_of_shard = [with_embedding(clip, embedding) for clip in clips_of_shard]
            entry, marker = write_shard(out, clips_of_shard, name, f"made-{name}-{number // per_shard:06d}")
            entries.append(entry)
            rows.append(marker)
    pq.write_table(pa.concat_tables(rows).select(INDEX_SCHEMA.names), out / INDEX)
    config = BuildConfig(source="demo", size=size, aus="csv" if aus else "none", landmarks="dlib" if landmarks else "none")
    config = replace(config, identity_embedding=embedding is not None)
    files = {INDEX: sha256_of(out / INDEX)} if embedding else {}
    Manifest(config=config, provenance={}, input="", complete=True, shards=tuple(entries), files=files).write(out)
    return out


def with_embedding(clip: Clip, embedding: Callable[[int], np.ndarray | None]) -> Clip:
    """The face descriptor of a clip by its number; NaN if it has none."""
    found = embedding(int(clip.spec.key.rpartition("clip")[2]))
    nothing = np.full(IDENTITY_NUMBERS, np.nan, np.float32)
    return replace(clip, embedding=nothing if found is None else found, identity_spread=None if found is None else 0.25)


def unfinish(out: Path, shards: int) -> None:
    """Make a dataset look like a build that was interrupted with `shards` committed shards."""
    (out / INDEX).unlink()
    for marker in sorted(out.glob("*/*.parquet"))[shards:]:
        marker.unlink()
    replace(Manifest.read(out), complete=False, shards=()).write(out)


def make_clip(number: int, count: int, identity: str, split: str, landmarks: bool, aus: bool, size: int) -> Clip:
    """A clip whose images, landmarks, pose and action units differ from those of all others."""
    random = np.random.default_rng(number)
    spec = ClipSpec(
        f"{identity}/video{number % 3}/clip{number:05d}", "demo", split, identity, f"video{number % 3}", (Span("a.mp4"),), 1.0
    )
    coarse = random.integers(0, 256, (count, size // 8, size // 8, 3), np.uint8)
    points = random.uniform(0, size, (count, 68, 2)).astype(np.float32)
    yaw = random.uniform(-60, 60, count).astype(np.float32)
    return Clip(
        spec=spec,
        source_frames=count * 10,
        duration_s=count * 0.4,
        past_end_s=0.0,
        placement=_placement(count, size),
        track=None,
        landmarks=Landmarks(points, np.ones((count, 68), np.float32)) if landmarks else None,
        quality=_quality(yaw, random),
        jpegs=encode_jpegs(coarse.repeat(8, 1).repeat(8, 2), 90),
        aus=_action_units(count, random) if aus else None,
    )


def _placement(count: int, size: int) -> Placement:
    numbers = np.arange(count, dtype=np.int32)
    box = np.tile(np.array([0, 0, size, size], np.int32), (count, 1))
    affine = np.tile(np.eye(2, 3), (count, 1, 1))
    return Placement(np.zeros(count, np.int32), numbers * 10, numbers * 0.4, box[:, 2:], box, affine)


def _quality(yaw: np.ndarray, random: np.random.Generator) -> Quality:
    count = len(yaw)
    one = np.ones(count, np.float32)
    small = random.uniform(-8, 8, (2, count)).astype(np.float32)
    blur = one * np.float32(random.uniform(0, 200))
    return Quality(blur, 100 * one, 150 * one, one, yaw, small[0], small[1], landmark_residual=np.abs(small[0]) / 100)


def _action_units(count: int, random: np.random.Generator) -> ActionUnits:
    valid = random.random(count) < 0.7
    intensity = np.where(valid[:, None], random.uniform(0, 5, (count, len(INTENSITIES))), np.nan).astype(np.float32)
    presence = np.where(valid[:, None], random.integers(0, 2, (count, len(PRESENCES))), np.nan).astype(np.float32)
    return ActionUnits(intensity, presence, valid, np.full(count, 0.9, np.float32), ())
