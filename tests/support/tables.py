"""Datasets that consist of tables only, with occasional missing measures."""

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from motionshards.schemas.config import BuildConfig
from motionshards.schemas.layout import INDEX, REJECTIONS
from motionshards.schemas.manifest import Manifest, ShardEntry
from motionshards.schemas.tables import INDEX as INDEX_SCHEMA
from motionshards.schemas.tables import REJECTIONS as REJECTIONS_SCHEMA

Row = dict[str, Any]


def kept(count: int, seed: int = 0) -> list[Row]:
    """Rows of an index; videos of different identities have the same names."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        identity, video = f"id{draw.randrange(6)}", f"video{draw.randrange(4)}"
        row: Row = {"key": f"{identity}/{video}/{number:05d}", "identity": identity, "video": video, "source": "demo"}
        row |= {"split": draw.choice(["train", "train", "test"]), "shard": f"demo-{number // 20:06d}"}
        row |= {"n_frames": draw.randrange(3, 10), "source_frames": draw.randrange(0, 300)}
        row |= {"duration_s": draw.choice([0.0, 2.0, 7.5, 12.25]), "past_end_s": 0.0, "width_px": 224, "height_px": 224}
        row |= {"blur": draw.choice([None, draw.uniform(0, 100)]), "yaw_deg": draw.choice([None, 45.0, draw.gauss(0, 40)])}
        found.append(row)
    return found


def lost(count: int) -> list[Row]:
    """Rows of rejected clips."""
    reasons = [("no_face", "landmarks", False), ("unreadable", "read", True), ("corrupt", "decode", False)]
    found = []
    for number in range(count):
        reason, stage, retryable = reasons[number % 7 % 3]
        identity = f"id{number % 3}"
        who = {"key": f"{identity}/v/{number}", "identity": identity, "video": "v", "split": "train", "source": "demo"}
        found.append({**who, "reason": reason, "stage": stage, "retryable": retryable, "detail": "", "shard": "demo-0"})
    return found


def write_tables(out: Path, index: list[Row], rejections: list[Row] = [], shards: tuple[ShardEntry, ...] = ()) -> Path:  # noqa: B006
    """A finished dataset that consists of tables only."""
    out.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(index, schema=INDEX_SCHEMA), out / INDEX)
    pq.write_table(pa.Table.from_pylist(rejections, schema=REJECTIONS_SCHEMA), out / REJECTIONS)
    Manifest(config=BuildConfig(source="demo"), provenance={}, input="", complete=True, shards=shards).write(out)
    return out
