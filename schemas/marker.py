"""The marker of a shard: a parquet file with the rows of its clips, and its `ShardEntry` in the file's metadata.

The metadata also hold a SHA-256 over all bytes of the file, with the 64 characters of the digest itself read as zeros. So a
damaged marker is recognised by itself, before dataset.json lists it.
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
    """Write a marker; the caller sees to it that it appears whole."""
    described = {name: value for name, value in asdict(entry).items() if name != "marker_sha256"}
    content = io.BytesIO()
    with pq.ParquetWriter(content, rows.schema.remove_metadata(), compression="zstd") as writer:
        writer.write_table(rows.replace_schema_metadata(None))
        # Added to the file and not to the schema: Arrow stores the schema's metadata twice, once of them as base64.
        writer.add_key_value_metadata({_ENTRY: json.dumps(described).encode(), _DIGEST: _ZEROS})
    whole = content.getvalue()
    place = _place_of_digest(whole)
    assert place is not None and whole[place : place + len(_ZEROS)] == _ZEROS, "pyarrow writes metadata otherwise than it did"
    path.write_bytes(whole[:place] + hashlib.sha256(whole).hexdigest().encode() + whole[place + len(_ZEROS) :])


def read_entry(path: Path) -> ShardEntry:
    """The entry of a marker alone, without a check of its digest. Raises DatasetError."""
    try:
        with open_parquet(path) as file:
            return _entry(file.metadata.metadata)
    except _NO_MARKER as error:
        raise DatasetError(f"{path} is not a readable marker: {error}") from error


def read_marker(path: Path) -> tuple[ShardEntry, pa.Table]:
    """The entry and the rows of a marker; columns that its version did not have are null.

    The entry's `marker_sha256` is the digest of the marker, which was checked; None in a marker of format version 1.

    Raises:
        DatasetError: it is damaged or no marker
    """
    try:
        if path.is_file():  # not a FIFO, which would block
            _check_digest(path)  # first of all: a parser can do worse than fail on damage
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
    """Raise ValueError where a marker has a digest, and another content."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if (place := _place_of_digest(content)) is None:
            return
        with memoryview(content) as view:
            found = hashlib.sha256(view[:place])
            found.update(_ZEROS)
            found.update(view[place + len(_ZEROS) :])
            if found.hexdigest().encode() != view[place : place + len(_ZEROS)]:
                raise ValueError("it is damaged, its sha256 is not the one that it records")


def _place_of_digest(content: bytes | mmap.mmap) -> int | None:
    """Where the digest begins in the footer: behind its name, with two bytes of Thrift between. None: there is none."""
    name = content.rfind(_DIGEST)
    return None if name < 0 else name + len(_DIGEST) + 2
