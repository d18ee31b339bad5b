"""Replacing a committed shard by a new tar and a new marker, such that a crash at any moment can be mended.

Two files cannot change in one step. The new marker is laid beside the old one first, as `<marker>.next`; then the tar is
renamed, then the marker. Whoever comes to a shard after a crash settles it: where the tar is the one of which `.next` tells,
that becomes the marker, else it goes and the old shard stands as it was.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from motionshards.pipeline.shards.tar import ShardReader, ShardWriter, size_and_hash
from motionshards.schemas.atomic import replacing, sync
from motionshards.schemas.layout import marker_path, next_marker_path, tar_path
from motionshards.schemas.manifest import ShardEntry
from motionshards.schemas.marker import read_entry, write_marker
from motionshards.schemas.tables import MARKER, table

Write = Callable[[ShardWriter], list[dict[str, Any]]]


def replace_shard(out: Path, entry: ShardEntry, write: Write) -> None:
    """Put what `write` writes in the place of the shard of `entry`, which has been settled.

    write: adds the samples to a tar and gives the rows of the marker; with no sample added, no tar remains
    """
    tar, following = tar_path(out, entry.split, entry.name), next_marker_path(out, entry.split, entry.name)
    with replacing(out, tar) as new_tar:
        with ShardWriter(new_tar) as writer:
            rows = write(writer)
        kept = sum(row["kept"] for row in rows)
        size, sha256 = size_and_hash(new_tar)
        entry = replace(entry, clips=kept, rejected=len(rows) - kept, bytes=size, sha256=sha256)
        with replacing(out, following) as temporary:
            write_marker(temporary, entry, table(rows, MARKER))
        if sha256 is None:
            tar.unlink(missing_ok=True)
    _put_in_place(following, marker_path(out, entry.split, entry.name))


def settle(out: Path, split: str, name: str) -> None:
    """Mend what a crash in `replace_shard` left of a shard; nothing where there was none."""
    following = next_marker_path(out, split, name)
    if not following.exists():
        return
    entry = read_entry(following)
    if size_and_hash(tar_path(out, split, name)) == (entry.bytes, entry.sha256):
        _put_in_place(following, marker_path(out, split, name))
    else:
        following.unlink()


def _put_in_place(following: Path, marker: Path) -> None:
    with suppress(FileNotFoundError):  # a runner may run a unit twice at once, and the other was first with the same bytes
        following.replace(marker)
    sync(marker.parent)


def open_shard(out: Path, entry: ShardEntry, rows: pa.Table) -> AbstractContextManager[ShardReader | None]:
    """The tar of a shard, to read the samples of `rows`; None where no row is of a kept clip. Raises DatasetError."""
    needed = pc.any(rows["kept"], min_count=0).as_py()
    return ShardReader(tar_path(out, entry.split, entry.name)) if needed else nullcontext()
