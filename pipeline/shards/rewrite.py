"""Replace a committed shard by a new tar and a new marker, recoverable after a crash at any point.

Two files cannot be replaced atomically. The new marker is first written next to the old one, as `<marker>.next`; then the tar
is renamed, then the marker. The next command that accesses the shard after a crash settles it: if the tar matches `.next`, that
becomes the marker; otherwise `.next` is deleted and the old shard remains valid.
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
    """Replace the shard of `entry`, which must be settled, by the output of `write`.

    write: adds the samples to a tar and returns the marker rows; if it adds no sample, the tar is deleted
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
    """Finish or undo a `replace_shard` that was interrupted by a crash, if any."""
    following = next_marker_path(out, split, name)
    if not following.exists():
        return
    entry = read_entry(following)
    if size_and_hash(tar_path(out, split, name)) == (entry.bytes, entry.sha256):
        _put_in_place(following, marker_path(out, split, name))
    else:
        following.unlink()


def _put_in_place(following: Path, marker: Path) -> None:
    with suppress(FileNotFoundError):  # a runner may run a unit twice at once; the other run has written the same bytes
        following.replace(marker)
    sync(marker.parent)


def open_shard(out: Path, entry: ShardEntry, rows: pa.Table) -> AbstractContextManager[ShardReader | None]:
    """Open the tar of a shard to read the samples of `rows`; None if no row is of a kept clip. Raises DatasetError."""
    needed = pc.any(rows["kept"], min_count=0).as_py()
    return ShardReader(tar_path(out, entry.split, entry.name)) if needed else nullcontext()
