"""Checks a shard against dataset.json, the plan, the index and the ledger. Errors start with the name of the file."""

import hashlib
import os
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from motionshards.dataset.checks.sample import DOUBT_COLUMNS, check_row, check_sample
from motionshards.dataset.checks.sound import LEVELS
from motionshards.dataset.checks.tables import UNREADABLE, cause_of, compare_keys, compare_rows
from motionshards.dataset.index import read_members
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.layout import INDEX, REJECTIONS, marker_path, tar_path
from motionshards.schemas.manifest import ShardEntry
from motionshards.schemas.marker import read_marker
from motionshards.schemas.regular_file import open_regular
from motionshards.schemas.tables import INDEX as INDEX_SCHEMA
from motionshards.schemas.tables import NEVER_NULL, NEVER_NULL_KEPT, planned_keys_of
from motionshards.schemas.tables import REJECTIONS as REJECTIONS_SCHEMA

# The columns that the ledger counts, one row per clip; `reason` is null for kept clips.
OUTCOMES = pa.schema(
    [
        ("key", pa.string()),
        ("split", pa.string()),
        ("identity", pa.string()),
        ("kept", pa.bool_()),
        ("reason", pa.string()),
        ("n_frames", pa.int32()),
        ("duration_s", pa.float64()),
        ("video_frames", pa.int32()),
        ("fps", pa.float64()),
        ("has_audio", pa.bool_()),
    ]
)
_SINCE_VERSION_2 = ("made_by", "marker_sha256")
_CHUNK = 1 << 20
_READ = (
    *("key", "source", "split", "identity", "video", "source_frames", "n_frames", "pixel_aspect", "members"),
    *("au_valid", "frame_au_valid", "identity_spread", *DOUBT_COLUMNS),
    *("frame_pts_s", "video_frames", "fps", "video_crf", "has_audio", "audio_hz", "audio_lost", "audio_speech", *LEVELS),
)


@dataclass(frozen=True, slots=True)
class ShardClaim:
    """What the other files of the dataset record about a shard.

    entry: its entry in dataset.json
    planned: keys of the unit in order; None if the plan cannot be read
    superseded: keys whose rejection in this shard no longer counts, because a later plan contains them again
    index, rejections: its rows of these files; None if they cannot be read
    """

    entry: ShardEntry
    planned: pa.Array | None
    superseded: pa.Array
    index: pa.Table | None
    rejections: pa.Table | None


@dataclass(slots=True)
class ShardFindings:
    """Errors in a shard, and the outcomes that count (schema OUTCOMES); None if the marker cannot be read."""

    faults: list[str] = field(default_factory=list)
    outcomes: pa.Table | None = None


def check_shard(claim: ShardClaim, out: Path, config: BuildConfig, *, fast: bool, tar: bool = True) -> ShardFindings:
    """Check the marker and, with `tar`, the tar. Unless `fast`, every frame and array is decoded."""
    findings = ShardFindings()
    marker = marker_path(out, claim.entry.split, claim.entry.name)
    try:
        entry, rows = _read_marker(marker)
    except DatasetError as error:
        findings.faults.append(f"{marker.relative_to(out)}: {error}")
        kept = claim.index
    else:
        kept, lost = rows.filter(rows["kept"]), _current_rejections(rows, claim)
        findings.outcomes = _outcomes(kept, lost)
        findings.faults += [f"{marker.relative_to(out)}: {fault}" for fault in _check_marker(entry, rows, claim)]
        findings.faults += _check_copies(kept, lost, claim)
    if tar:
        findings.faults += _check_tar(claim.entry, kept, out, config, fast=fast)
    return findings


def _read_marker(path: Path) -> tuple[ShardEntry, pa.Table]:
    if not path.exists():
        raise DatasetError("the marker is missing")
    try:
        entry, rows = read_marker(path)
        rows.validate(full=True)
    except (DatasetError, *UNREADABLE) as error:
        raise DatasetError(f"is not a readable marker: {cause_of(error.__cause__ or error)}") from error
    if any(rows[name].null_count for name in (*NEVER_NULL, "kept")) or any(
        rows.filter(rows["kept"])[name].null_count for name in NEVER_NULL_KEPT
    ):
        raise DatasetError("is not a readable marker: columns that are never null contain nulls")
    return entry, rows


def _current_rejections(rows: pa.Table, claim: ShardClaim) -> pa.Table:
    lost = rows.filter(pc.invert(rows["kept"]))
    return lost.filter(pc.invert(pc.is_in(planned_keys_of(lost["key"]), claim.superseded)))


def _outcomes(kept: pa.Table, lost: pa.Table) -> pa.Table:
    return pa.concat_tables([kept, lost]).select(OUTCOMES.names).cast(OUTCOMES)


def _check_marker(entry: ShardEntry, rows: pa.Table, claim: ShardClaim) -> Iterator[str]:
    for name in ShardEntry.__dataclass_fields__:
        here, there = getattr(entry, name), getattr(claim.entry, name)
        if name in _SINCE_VERSION_2 and there is None:
            continue  # reported once for all shards, if dataset.json should have it
        if here != there:
            yield f"{name} is {here!r}, dataset.json records {there!r}"
    kept = pc.sum(rows["kept"]).as_py() or 0
    if (kept, len(rows) - kept) != (claim.entry.clips, claim.entry.rejected):
        yield (
            f"has {kept} kept and {len(rows) - kept} rejected clips, dataset.json records "
            f"{claim.entry.clips} and {claim.entry.rejected}"
        )
    for name, value in (("shard", claim.entry.name), ("split", claim.entry.split)):
        if not pc.all(pc.equal(rows[name], value), min_count=0).as_py():
            yield f"has rows whose {name} is not {value}"
    if claim.planned is not None:
        yield from compare_keys(_planned(rows["key"]), claim.planned, "in the plan")


def _planned(keys: pa.ChunkedArray) -> pa.ChunkedArray:
    """The planned clips of the rows of a marker, in order; the tubes of a clip are adjacent."""
    planned = planned_keys_of(keys).combine_chunks()
    tubes = pc.not_equal(planned, keys.combine_chunks())
    again = pc.and_(pc.equal(planned[1:], planned[:-1]), pc.and_(tubes[1:], tubes[:-1])) if len(planned) > 1 else pa.array([])
    first = pa.concat_arrays([pa.array([True] * min(1, len(planned))), pc.invert(again.cast(pa.bool_()))])
    return pa.chunked_array([planned.filter(first)])


def _check_copies(kept: pa.Table, lost: pa.Table, claim: ShardClaim) -> Iterator[str]:
    """Compare the rows of a marker with those of index.parquet and rejections.parquet."""
    for name, copy, rows, schema in (
        (INDEX, claim.index, kept, INDEX_SCHEMA),
        (REJECTIONS, claim.rejections, lost, REJECTIONS_SCHEMA),
    ):
        if copy is not None:
            faults = compare_rows(copy, rows.select(schema.names), f"in the marker of {claim.entry.name}")
            yield from (f"{name}: {fault}" for fault in faults)


def _check_tar(entry: ShardEntry, kept: pa.Table | None, out: Path, config: BuildConfig, *, fast: bool) -> list[str]:
    path = tar_path(out, entry.split, entry.name)
    if entry.sha256 is None:
        return [f"{path.relative_to(out)}: exists, although no clip of this shard was kept"] if path.exists() else []
    try:
        with open_regular(path) as stream:
            faults = _check_hash(stream, entry)
            if kept is not None:
                faults += _check_content(stream, kept.select(_READ).to_pylist(), config, fast=fast, added=bool(entry.added))
    except OSError as error:
        faults = ["is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {cause_of(error)}"]
    return [f"{path.relative_to(out)}: {fault}" for fault in faults]


def _check_hash(stream: BinaryIO, entry: ShardEntry) -> list[str]:
    size = os.fstat(stream.fileno()).st_size
    if size != entry.bytes:
        return [f"has {size} bytes, dataset.json records {entry.bytes}"]
    found = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]  # a BinaryIO of open() has readinto
    return [] if found == entry.sha256 else [f"sha256 is {found}, dataset.json records {entry.sha256}"]


def _check_content(stream: BinaryIO, rows: list[dict[str, Any]], config: BuildConfig, *, fast: bool, added: bool) -> list[str]:
    faults, damaged = _walk(stream, rows)
    for row in rows:
        wrong = list(check_row(row, config, added=added))
        if not wrong and not fast and row["key"] not in damaged:
            content = read_members(stream, row["members"])
            faults += [f"{row['key']}.{fault}" for fault in check_sample(content, row, config)]
        faults += [f"{row['key']}: {fault}" for fault in wrong]
    return faults


def _walk(stream: BinaryIO, rows: list[dict[str, Any]]) -> tuple[list[str], set[str]]:
    """Compare each member of the tar with the index; returns the errors, and the keys of clips that cannot be checked further."""
    left = {f"{row['key']}.{member['suffix']}": (row["key"], member) for row in rows for member in row["members"]}
    offsets = [member["offset"] for _, member in left.values()]
    faults, damaged, strange = [], set(), []
    if sorted(offsets) != offsets:
        faults.append("the order of members differs from the index")
    try:
        for info in _headers(stream):
            key, member = left.pop(info.name, (None, None))
            if member is None:
                strange.append(info.name)
            elif fault := _member_fault(stream, info, member):
                faults.append(f"{info.name}: {fault}")
                damaged.add(key)
    except (tarfile.TarError, ValueError, EOFError) as error:
        faults.append(f"is not completely readable as a tar: {cause_of(error)}")
    faults += _summarized(strange, "not in the index") + _summarized(list(left), "missing from the tar")
    return faults, damaged | {key for key, _ in left.values()}


def _headers(stream: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """The headers of a tar written by a build. Not by `TarFile`, which would read tar extensions of any size.

    Raises:
        tarfile.TarError: a header is missing
    """
    offset = 0
    while True:
        stream.seek(offset)
        try:
            info = tarfile.TarInfo.frombuf(stream.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            return
        if info.size < 0:
            raise tarfile.HeaderError("a negative size")
        info.offset_data = offset + tarfile.BLOCKSIZE
        yield info
        offset = info.offset_data + info.size + -info.size % tarfile.BLOCKSIZE


def _member_fault(stream: BinaryIO, info: tarfile.TarInfo, member: dict[str, Any]) -> str | None:
    """The error in a member, if any; its content is only read if offset and size are correct."""
    if not info.isreg() or (info.offset_data, info.size) != (member["offset"], member["size"]):
        return f"has {info.size} bytes at offset {info.offset_data}, the index has {member['size']} at {member['offset']}"
    return None if _crc32(stream, info) == member["crc32"] else "is damaged: its crc32 differs from the index"


def _crc32(stream: BinaryIO, info: tarfile.TarInfo) -> int:
    """CRC-32 of a member's content, read in chunks because it can be of any size."""
    stream.seek(info.offset_data)
    found, left = 0, info.size
    while left and (piece := stream.read(min(left, _CHUNK))):
        found, left = zlib.crc32(piece, found), left - len(piece)
    return found


def _summarized(names: list[str], what: str) -> list[str]:
    """At most two lines for all missing or unexpected members, because damage in one place can affect thousands."""
    if not names:
        return []
    return [f"{names[0]}: is {what}"] + ([f"{len(names) - 1} more members are {what}"] if len(names) > 1 else [])
