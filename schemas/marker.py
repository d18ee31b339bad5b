"""The marker of a shard: a parquet file with the rows of its clips, and its `ShardEntry` in the file's metadata.

The metadata also contain a SHA-256 of the whole file, computed with the 64 characters of the digest itself set to zeros. A
marker therefore detects its own damage, even before dataset.json lists it.
"""

import hashlib
import io
import json
import mmap
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from motionshards.schemas.errors import DatasetError
from motionshards.schemas.manifest import ShardEntry
from motionshards.schemas.tables import MARKER, completed, open_parquet

_ENTRY, _DIGEST = b"motionshards", b"motionshards_sha256"
_ZEROS = b"0" * 64
_NO_MARKER = (pa.ArrowException, OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError, MemoryError)


def write_marker(path: Path, entry: ShardEntry, rows: pa.Table) -> None:
    """Write a marker, not atomically: the caller passes a temporary path."""
    described = {name: value for name, value in asdict(entry).items() if name != "marker_sha256"}
    content = io.BytesIO()
    with pq.ParquetWriter(content, rows.schema.remove_metadata(), compression="zstd") as writer:
        writer.write_table(rows.replace_schema_metadata(None))
        # Added to the file, not the schema: Arrow stores the schema's metadata a second time, as base64.
        writer.add_key_value_metadata({_ENTRY: json.dumps(described).encode(), _DIGEST: _ZEROS})
    whole = content.getvalue()
    place = _place_of_digest(whole)
    assert place is not None and whole[place : place + len(_ZEROS)] == _ZEROS, "pyarrow's metadata layout has changed"
    path.write_bytes(whole[:place] + hashlib.sha256(whole).hexdigest().encode() + whole[place + len(_ZEROS) :])


def read_entry(path: Path) -> ShardEntry:
    """Read the entry of a marker without its rows and without checking its digest. Raises DatasetError."""
    try:
        with open_parquet(path) as file:
            return _entry(file.metadata.metadata)
    except _NO_MARKER as error:
        raise DatasetError(f"{path} is not a readable marker: {error}") from error


def read_marker(path: Path) -> tuple[ShardEntry, pa.Table]:
    """Read the entry and the rows of a marker; columns unknown to the version that wrote it are null.

    The entry's `marker_sha256` is the verified digest of the marker; None in a marker of format version 1.

    Raises:
        DatasetError: it is damaged or not a marker
    """
    try:
        if path.is_file():  # not a FIFO, which would block
            _check_digest(path)  # before parsing: the parser may crash on damaged data
        with open_parquet(path) as file:
            return _entry(file.metadata.metadata), completed(file.read(), MARKER)
    except _NO_MARKER as error:
        raise DatasetError(f"{path} is not a readable marker: {error}") from error


def _entry(metadata: dict[bytes, bytes] | None) -> ShardEntry:
    stored: dict[bytes, bytes] = metadata or {}
    digest = stored.get(_DIGEST)
    described: dict[str, Any] = json.loads(stored[_ENTRY])
    return replace(ShardEntry(**described), marker_sha256=None if digest is None else digest.decode("ascii"))


def _check_digest(path: Path) -> None:
    """Raise ValueError if a marker's digest does not match its content."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if (place := _place_of_digest(content)) is None:
            return
        with memoryview(content) as view:
            found = hashlib.sha256(view[:place])
            found.update(_ZEROS)
            found.update(view[place + len(_ZEROS) :])
            if found.hexdigest().encode() != view[place : place + len(_ZEROS)]:
                raise ValueError("it is damaged: its sha256 does not match the recorded one")


def _place_of_digest(content: bytes | mmap.mmap) -> int | None:
    """Offset of the digest in the footer, two bytes of Thrift after its name; None if there is none."""
    name = content.rfind(_DIGEST)
    return None if name < 0 else name + len(_DIGEST) + 2
