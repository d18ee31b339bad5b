"""List the files of a zip or uncompressed tar with their byte offsets. Reports missing and truncated parts."""

import io
import os
import posixpath
import stat
import struct
import tarfile
import zipfile
import zlib
from array import array
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from motionshards.pipeline.inputs.accounting import SPECIAL_FILE
from motionshards.pipeline.inputs.foreign import points_outside
from motionshards.pipeline.inputs.parts import Parts, PartsStream
from motionshards.pipeline.inputs.unpack import LOCAL_HEADER
from motionshards.schemas.errors import ConfigError

# The end record, and how far from the end of the file a comment may push it (APPNOTE 4.3.16).
_END, _END_BYTES = b"PK\x05\x06", 22
_END_WITHIN = _END_BYTES + 65_535
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"(\xb5/\xfd": "zstd",
    b"7z\xbc\xaf": "7z",
    b"Rar!": "rar",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x1f\x9d": "compress",
}
# Exceptions of the libraries for damaged archives, whose headers are parsed as numbers, text and chains of headers.
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    struct.error,
    ValueError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    EOFError,
)
_METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}
_BUFFER = 1 << 20
_ENCRYPTED = 1
_TAR_BLOCK = 512
# A zip's directory has about a hundred bytes per file; a tar header contains a name and a few attributes.
_LARGEST_DIRECTORY_BYTES = 1 << 31
_LARGEST_HEADER_BYTES = 1 << 20
_LONGEST_TARGET = 4096


@dataclass(slots=True)
class Columns:
    """The files of an archive as plain columns: a million records as Python objects would take gigabytes."""

    names: list[str] = field(default_factory=list)
    offset: "array[int]" = field(default_factory=lambda: array("q"))
    stored: "array[int]" = field(default_factory=lambda: array("q"))
    size: "array[int]" = field(default_factory=lambda: array("q"))
    crc32: "array[int]" = field(default_factory=lambda: array("Q"))
    method: list[str] = field(default_factory=list)
    # Link name -> target path within the archive; and reason -> number of entries that are not regular files.
    links: dict[str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, offset: int, stored: int, size: int, crc32: int, method: str) -> None:
        self.names.append(name)
        self.method.append(method)
        for column, value in ((self.offset, offset), (self.stored, stored), (self.size, size), (self.crc32, crc32)):
            column.append(value)


def list_archive(parts: Parts) -> Columns:
    """List the files of an archive in archive order. Raises ConfigError: see `ArchiveTree`."""
    start = parts.pread(0, _TAR_BLOCK)
    compressed = next((name for magic, name in _COMPRESSED.items() if start.startswith(magic)), None)
    if compressed:
        raise ConfigError(
            f"{parts.paths[0]}: compressed archives ({compressed}) cannot be read in place; extract it and pass the directory"
        )
    return _list_tar(parts) if _is_tar(start) else _list_zip(parts)


def _is_tar(start: bytes) -> bool:
    """Detect a tar by its magic or, for pre-POSIX tars without one, by the checksum of the first header."""
    if start[257:262] == b"ustar":
        return True
    try:
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _list_zip(parts: Parts) -> Columns:
    columns = Columns()
    try:
        with zipfile.ZipFile(_Reader(parts, _BUFFER, _LARGEST_DIRECTORY_BYTES)) as archive:
            for info in archive.infolist():
                if stat.S_ISLNK(info.external_attr >> 16):
                    columns.links[info.filename] = _beside(info.filename, _link_target(archive, info))
                elif not info.filename.endswith("/"):  # info.is_dir() fails on an empty name
                    columns.add(info.filename, info.header_offset, info.compress_size, info.file_size, info.CRC, _method(info))
    except _BROKEN as error:
        raise ConfigError(f"{_name(parts)}: {_why_no_zip(parts, error)}{_uneven(parts)}") from error
    _check_offsets(parts, columns)
    return columns


def _link_target(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
    """The target of a symbolic link; empty if it cannot be read."""
    if info.file_size > _LONGEST_TARGET:
        return ""
    try:
        return os.fsdecode(archive.read(info))
    except _BROKEN:
        return ""


def _beside(name: str, target: str) -> str:
    """The path within the archive that the symbolic link `name` points to; empty if it is outside the archive."""
    if target.startswith("/"):
        return ""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    return "" if points_outside(path) else path


def _method(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & _ENCRYPTED:
        return "encrypted"
    return _METHODS.get(info.compress_type, f"compression {info.compress_type}")


def _why_no_zip(parts: Parts, error: Exception) -> str:
    """Explain why a zip cannot be read. Its directory is at the end, so a truncated zip is not recognized at all."""
    tail = parts.pread(max(0, parts.size - _END_WITHIN), _END_WITHIN)
    if 0 <= tail.rfind(_END) <= len(tail) - _END_BYTES:
        return "the zip's directory is not at the offset in its end record: bytes are missing or damaged"
    if parts.pread(0, 4) == LOCAL_HEADER:
        return f"the end of the zip is not in {parts.paths[-1].name}: it is truncated, or parts after it are missing"
    return f"neither a directory nor a zip or tar archive ({error})"


def _check_offsets(parts: Parts, columns: Columns) -> None:
    """Check that the first file of each part has a header at its offset, which fails if preceding bytes are missing."""
    offsets = sorted(columns.offset)
    if offsets and offsets[0] < 0:  # zipfile counts from the end of the file
        raise ConfigError(f"{_name(parts)}: {-offsets[0]} bytes are missing{_uneven(parts)}")
    for path, start, size in zip(parts.paths, parts.starts, parts.sizes, strict=True):
        at = bisect_left(offsets, start)
        if at < len(offsets) and offsets[at] < start + size and parts.pread(offsets[at], 4) != LOCAL_HEADER:
            raise ConfigError(
                f"{path}: no file begins at byte {offsets[at] - start}, contrary to the zip's directory: "
                f"it is damaged or of another archive{_uneven(parts)}"
            )


def _list_tar(parts: Parts) -> Columns:
    columns = Columns()
    try:
        with tarfile.open(fileobj=_Reader(parts, _TAR_BLOCK, _LARGEST_HEADER_BYTES), mode="r:") as archive:
            end = 0
            while (info := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # else it keeps all members in memory
                if archive.offset <= end or info.size < 0:
                    raise tarfile.ReadError(f"a member of {info.size} bytes")
                end = archive.offset
                _add_member(columns, info)
            end = archive.offset
    except _BROKEN as error:
        raise ConfigError(f"{_name(parts)}: the tar is damaged ({error}){_uneven(parts)}") from error
    block = parts.pread(end, _TAR_BLOCK)
    if len(block) < _TAR_BLOCK:
        raise ConfigError(
            f"{_name(parts)}: the tar is truncated, or parts after {parts.paths[-1].name} are missing{_uneven(parts)}"
        )
    if block.strip(b"\0"):
        raise ConfigError(f"{_name(parts)}: the tar is damaged at byte {end}{_uneven(parts)}")
    return columns


def _add_member(columns: Columns, info: tarfile.TarInfo) -> None:
    if info.isreg():
        columns.add(info.name, info.offset_data, info.size, info.size, 0, "sparse" if info.issparse() else "tar")
    elif info.issym():
        columns.links[info.name] = _beside(info.name, info.linkname)
    elif info.islnk():
        columns.links[info.name] = plain(info.linkname)
    elif not info.isdir():
        columns.left_out[SPECIAL_FILE] += 1


class _Reader(io.BufferedReader):
    """A stream that refuses reads larger than any valid header: the libraries allocate whatever size a header claims."""

    def __init__(self, parts: Parts, buffer_bytes: int, most_bytes: int) -> None:
        super().__init__(PartsStream(parts), buffer_bytes)
        self._most_bytes = most_bytes

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes. Raises ValueError: the size exceeds the limit."""
        if size is not None and size > self._most_bytes:
            raise ValueError(f"a header claims {size} bytes")
        return super().read(size)


def _name(parts: Parts) -> str:
    return str(parts.paths[0]) + (f" and {len(parts.paths) - 1} more parts" if len(parts.paths) > 1 else "")


def _uneven(parts: Parts) -> str:
    """Message about parts that differ in size from the others; the last one may be smaller."""
    usual, _ = Counter(parts.sizes[:-1] or parts.sizes).most_common(1)[0]
    odd = [(p, n) for p, n in zip(parts.paths[:-1], parts.sizes, strict=False) if n != usual]
    if parts.sizes[-1] > usual:
        odd.append((parts.paths[-1], parts.sizes[-1]))
    return "".join(f"; {path.name} has {size} bytes, most parts have {usual}" for path, size in odd)


def plain(name: str) -> str:
    """Normalize a path: drop empty components and `.`."""
    if "//" not in name and "./" not in name:
        return name  # the same string: a million copies are a hundred megabytes
    return "/".join(part for part in name.split("/") if part not in ("", "."))
