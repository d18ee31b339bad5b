"""Builds without landmarks, and additions to them."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from motionshards.schemas.layout import INDEX


def build_args(videos: Path, out: Path, *more: str) -> list[str]:
    what = ["--size", "128", "--frames", "3", "--clips-per-shard", "2", "--workers", "1", "--quiet"]
    return ["--source", "voxceleb2", "--input", str(videos), "--output", str(out), *what, *more]


def add_args(out: Path, what: str = "landmarks", *more: str) -> list[str]:
    return ["--output", str(out), "--add", what, "--workers", "1", "--quiet", *more]


def rows(out: Path) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in pq.read_table(out / INDEX).to_pylist()}
