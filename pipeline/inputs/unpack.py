"""Provide planned files to a decoder: by path on disk, through memory from archives, through a temporary file from object stores.

A file in an archive is read by its offset, verified by its CRC-32 and copied to an anonymous in-memory file (memfd), since a
video with its index at the end cannot be read from a pipe. Nothing is written to disk.
"""

import functools
import os
import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from motionshards.pipeline.inputs.parts import Parts, find_parts
from motionshards.schemas.bucket import Bucket
from motionshards.schemas.errors import ClipRejected, ConfigError
from motionshards.schemas.layout import uri_to_path
from motionshards.schemas.records import Packed
from motionshards.transforms.extract.media import Media, check_file

LOCAL_HEADER = b"PK\x03\x04"
_HEADER_BYTES = 30
_CHUNK = 1 << 20
_LARGEST_ANNOTATION_BYTES = 1 << 26
# Compressed video deflates by a few percent; even uncompressed static video stays below this ratio.
_MAX_RATIO = 100
_MIN_RATIO_BYTES = 1 << 24

Root = Path | Bucket
"""The directory or object store that the paths of an input are relative to."""


def file_exists(root: Root, uri: str) -> bool:
    """Whether a file of the input still exists. Raises StoreFailed."""
    path = uri_to_path(uri)
    return (root / path).is_file() if isinstance(root, Path) else root.exists(path)


@contextmanager
def media(uri: str, packed: Packed | None, root: Root) -> Iterator[Media]:
    """Open a video of the input for decoding.

    Raises:
        ClipRejected: unreadable, not_a_file, empty_file, bad_member
        StoreFailed: the download from a bucket failed
    """
    if not isinstance(root, Path):
        with _fetched(uri, root) as file:
            check_file(str(file))
            yield Media.at(file)
        return
    path = root / uri_to_path(uri)
    if packed is None:
        check_file(str(path))
        yield Media.at(path)
        return
    descriptor = os.memfd_create("clip")
    try:
        with open(descriptor, "wb", closefd=False) as stream:
            for piece in unpacked(packed, _archive(root, packed.archive)):
                stream.write(piece)
        if not packed.bytes:
            raise ClipRejected("empty_file")
        yield Media.of_descriptor(descriptor, path.name)
    finally:
        os.close(descriptor)


def check_size(files: Iterable[Packed], most_bytes: int) -> None:
    """Raise ClipRejected (too_large) if the unpacked files of a clip exceed `most_bytes` in total.

    Also if a file claims an implausible compression ratio: archives of kilobytes may claim gigabytes.
    """
    sizes = [(packed.bytes, packed.stored_bytes) for packed in files]
    if (total := sum(unpacked_bytes for unpacked_bytes, _ in sizes)) > most_bytes:
        raise ClipRejected("too_large", f"{total} bytes unpacked, the limit is {most_bytes} (--max-clip-bytes)")
    for unpacked_bytes, stored_bytes in sizes:
        if unpacked_bytes > _MIN_RATIO_BYTES and unpacked_bytes > _MAX_RATIO * stored_bytes:
            raise ClipRejected("too_large", f"{stored_bytes} stored bytes claim to inflate to {unpacked_bytes}")


def content(uri: str, packed: Packed | None, root: Root) -> bytes:
    """Read an annotation file of the input.

    Raises:
        ClipRejected: unreadable, bad_member, bad_annotation (too large)
        StoreFailed: the download from a bucket failed
    """
    if not isinstance(root, Path):
        with _fetched(uri, root) as file:
            return file.read_bytes()
    if packed is not None:
        _check_annotation(packed.bytes)
        return b"".join(unpacked(packed, _archive(root, packed.archive)))
    path = root / uri_to_path(uri)
    try:
        _check_annotation(path.stat().st_size)
        return path.read_bytes()
    except OSError as error:
        raise ClipRejected("unreadable", f"{path.name}: {error.strerror}") from error


def _check_annotation(size_bytes: int) -> None:
    if size_bytes > _LARGEST_ANNOTATION_BYTES:
        raise ClipRejected("bad_annotation", f"{size_bytes} bytes, the limit is {_LARGEST_ANNOTATION_BYTES}")


@contextmanager
def _fetched(uri: str, bucket: Bucket) -> Iterator[Path]:
    """Download an object to a temporary directory, under its own name."""
    name = uri_to_path(uri)
    with tempfile.TemporaryDirectory(prefix="clip-") as place:
        file = Path(place) / Path(name).name
        try:
            bucket.get(name, file)
        except FileNotFoundError:
            raise ClipRejected("unreadable", "no such object") from None
        yield file


def unpacked(packed: Packed, parts: Parts) -> Iterator[bytes]:
    """Yield the content of a file of an archive in chunks, and verify its size and CRC at the end.

    Raises:
        ClipRejected: bad_member
    """
    stored = _stored(packed, parts)
    if packed.method == "deflated":
        stored = _inflated(stored, packed.bytes)
    elif packed.method not in ("stored", "tar"):
        raise ClipRejected("bad_member", f"{packed.method} cannot be unpacked")
    size = crc32 = 0
    for piece in stored:
        size, crc32 = size + len(piece), zlib.crc32(piece, crc32)
        yield piece
    if size != packed.bytes:
        raise ClipRejected("bad_member", f"{size} of {packed.bytes} bytes")
    if packed.crc32 is not None and crc32 != packed.crc32:
        raise ClipRejected("bad_member", "its content does not match the CRC in the archive")


def _stored(packed: Packed, parts: Parts) -> Iterator[bytes]:
    """Yield the bytes as stored in the archive."""
    at = packed.offset if packed.method in ("tar", "sparse") else _behind_header(packed, parts)
    end = at + packed.stored_bytes
    while at < end:
        piece = parts.pread(at, min(_CHUNK, end - at))
        if not piece:
            raise ClipRejected("bad_member", f"the archive ends {end - at} bytes before it")
        at += len(piece)
        yield piece


def _behind_header(packed: Packed, parts: Parts) -> int:
    """Offset of the content, after the local header, whose name and extra field vary in length (APPNOTE 4.3.7)."""
    header = parts.pread(packed.offset, _HEADER_BYTES)
    if len(header) < _HEADER_BYTES or not header.startswith(LOCAL_HEADER):
        raise ClipRejected("bad_member", "there is no file at the offset recorded in the archive")
    name_bytes, extra_bytes = struct.unpack_from("<HH", header, 26)
    return packed.offset + _HEADER_BYTES + int(name_bytes) + int(extra_bytes)


def _inflated(stored: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Inflate a raw deflate stream to at most one byte more than its declared size, as a guard against zip bombs."""
    inflater, left = zlib.decompressobj(-zlib.MAX_WBITS), size + 1
    try:
        for piece in stored:
            while piece and left:
                out = inflater.decompress(piece, min(_CHUNK, left))
                left, piece = left - len(out), inflater.unconsumed_tail
                yield out
        if left:
            yield inflater.flush()
    except zlib.error as error:
        raise ClipRejected("bad_member", f"its deflated data are damaged ({error})") from error


@functools.lru_cache(maxsize=16)
def _open(path: Path) -> Parts:
    """Open an archive; cached per process, since a plan has thousands of clips in few archives."""
    return Parts(find_parts(path))


def _archive(root: Path, uri: str) -> Parts:
    try:
        return _open(root / uri_to_path(uri))
    except (OSError, ConfigError) as error:
        raise ClipRejected("unreadable", f"{uri}: {getattr(error, 'strerror', None) or 'parts are missing'}") from error
