"""Zip and tar archives, whole or in parts, as trees of files that are never extracted.

An archive is listed once, when a build is planned; where each file lies in it goes into the plan. Parts that are missing or
short are named here, before any work begins.
"""

import io
import re
import tarfile
import zipfile
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.foreign import leads_out
from pipeline.parts import Parts, PartsStream
from pipeline.sources.tree import Entry, check_small, children, is_directory
from pipeline.unpack import LOCAL_HEADER, unpacked
from schemas.errors import ClipRejected, ConfigError
from schemas.records import Packed

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
}
_METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}
_BUFFER = 1 << 20
_ENCRYPTED = 1
_TAR_BLOCK = 512


@dataclass(slots=True)
class _Columns:
    """The files of an archive as plain columns: a million records as Python objects would take gigabytes."""

    names: list[str] = field(default_factory=list)
    offset: "array[int]" = field(default_factory=lambda: array("q"))
    stored: "array[int]" = field(default_factory=lambda: array("q"))
    size: "array[int]" = field(default_factory=lambda: array("q"))
    crc32: "array[int]" = field(default_factory=lambda: array("Q"))
    method: list[str] = field(default_factory=list)

    def add(self, name: str, offset: int, stored: int, size: int, crc32: int, method: str) -> None:
        self.names.append(name)
        self.method.append(method)
        for column, value in ((self.offset, offset), (self.stored, stored), (self.size, size), (self.crc32, crc32)):
            column.append(value)


class ArchiveTree:
    """The files of one archive.

    archive: its uri, as `Packed` has it
    mount: a directory, `dev/` say, that is put before all paths
    refused: a line for each file whose name leads out of the archive; it is left out

    Raises:
        ConfigError: it is no zip or plain tar, or parts of it are missing, short or of another archive
    """

    def __init__(self, archive: str, parts: Parts, splits: tuple[str, ...] = ()) -> None:
        self._archive = archive
        columns = _list(parts)
        self.refused = [f"{archive}: the name {name!r} leads out of it" for name in columns.names if leads_out(name)]
        # Of files with one name the last counts, as it does for programs that extract.
        rows = {_plain(name): row for row, name in enumerate(columns.names) if not leads_out(name)}
        columns.names.clear()
        mount = _mount(archive, rows, splits)
        paths = sorted(rows)
        self._rows = array("q", (rows[path] for path in paths))
        self._paths = [mount + path for path in paths] if mount else paths
        self._columns = columns
        self._parts = parts

    @property
    def name(self) -> str:
        """See Tree."""
        return self._archive.rpartition("/")[2]

    def entries(self, path: str = "") -> list[Entry]:
        """See Tree."""
        before = f"{path}/" if path else ""
        return [
            Entry(name, before + name, is_directory=at is None, packed=None if at is None else self._packed(at))
            for name, at in children(self._paths, path)
        ]

    def is_directory(self, path: str) -> bool:
        """See Tree."""
        return is_directory(self._paths, path)

    def read(self, path: str) -> bytes | None:
        """See Tree."""
        at = bisect_left(self._paths, path)
        if at == len(self._paths) or self._paths[at] != path:
            return None
        check_small(path, self._packed(at).bytes)
        try:
            return b"".join(unpacked(self._packed(at), self._parts))
        except ClipRejected as error:
            raise ConfigError(f"cannot read {path} of {self._archive}: {error.detail}") from error

    def _packed(self, at: int) -> Packed:
        row, columns = self._rows[at], self._columns
        method = columns.method[row]
        crc32 = None if method == "tar" else columns.crc32[row]
        return Packed(self._archive, columns.offset[row], columns.stored[row], columns.size[row], method, crc32)


def _plain(name: str) -> str:
    if "//" not in name and "./" not in name:
        return name  # the same string: a million copies are a hundred megabytes
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _mount(archive: str, paths: Iterable[str], splits: tuple[str, ...]) -> str:
    """`test/` for vox2_test_mp4.zip whose paths begin with mp4/: the split stands in its name only."""
    if any(path.partition("/")[0] in splits for path in paths):
        return ""
    words = re.split("[^a-z]+", archive.rpartition("/")[2].lower())
    return next((f"{split}/" for split in splits if split in words), "")


def _list(parts: Parts) -> _Columns:
    start = parts.pread(0, _TAR_BLOCK)
    compressed = next((name for magic, name in _COMPRESSED.items() if start.startswith(magic)), None)
    if compressed:
        raise ConfigError(f"{parts.paths[0]} is compressed as a whole ({compressed}), so nothing in it can be read by its place")
    if start[257:262] == b"ustar":
        return _list_tar(parts)
    return _list_zip(parts)


def _list_zip(parts: Parts) -> _Columns:
    columns = _Columns()
    try:
        with zipfile.ZipFile(io.BufferedReader(PartsStream(parts), _BUFFER)) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    columns.add(info.filename, info.header_offset, info.compress_size, info.file_size, info.CRC, _method(info))
    except zipfile.BadZipFile as error:
        raise ConfigError(f"{_name(parts)}: {_why_no_zip(parts, error)}{_uneven(parts)}") from error
    _check_offsets(parts, columns)
    return columns


def _method(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & _ENCRYPTED:
        return "encrypted"
    return _METHODS.get(info.compress_type, f"compression {info.compress_type}")


def _why_no_zip(parts: Parts, error: Exception) -> str:
    """A zip's directory is its end, so without its end it is not recognised at all."""
    tail = parts.pread(max(0, parts.size - _END_WITHIN), _END_WITHIN)
    if 0 <= tail.rfind(_END) <= len(tail) - _END_BYTES:
        return "the zip's directory is not where its end says: bytes are missing or damaged"
    if parts.pread(0, 4) == LOCAL_HEADER:
        return f"the end of the zip is not in {parts.paths[-1].name}: it is cut short, or parts after it are missing"
    return f"no zip and no tar ({error})"


def _check_offsets(parts: Parts, columns: _Columns) -> None:
    """Look at the first file of each part: where bytes are missing before it, nothing begins there."""
    offsets = sorted(columns.offset)
    if offsets and offsets[0] < 0:  # zipfile counts from the end, and has found less than there should be
        raise ConfigError(f"{_name(parts)}: {-offsets[0]} bytes are missing{_uneven(parts)}")
    for path, start, size in zip(parts.paths, parts.starts, parts.sizes, strict=True):
        at = bisect_left(offsets, start)
        if at < len(offsets) and offsets[at] < start + size and parts.pread(offsets[at], 4) != LOCAL_HEADER:
            raise ConfigError(
                f"{path}: no file begins at byte {offsets[at] - start}, where the zip's directory says so: "
                f"it is damaged or of another archive{_uneven(parts)}"
            )


def _list_tar(parts: Parts) -> _Columns:
    columns = _Columns()
    try:
        with tarfile.open(fileobj=io.BufferedReader(PartsStream(parts), _TAR_BLOCK), mode="r:") as archive:
            while (info := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # it would keep them all
                if info.isreg():
                    columns.add(info.name, info.offset_data, info.size, info.size, 0, "sparse" if info.issparse() else "tar")
            end = archive.offset
    except tarfile.TarError as error:
        raise ConfigError(f"{_name(parts)}: no whole tar ({error}){_uneven(parts)}") from error
    block = parts.pread(end, _TAR_BLOCK)
    if len(block) < _TAR_BLOCK:
        raise ConfigError(
            f"{_name(parts)}: the tar is cut short, or parts after {parts.paths[-1].name} are missing{_uneven(parts)}"
        )
    if block.strip(b"\0"):
        raise ConfigError(f"{_name(parts)}: the tar is damaged at byte {end}{_uneven(parts)}")
    return columns


def _name(parts: Parts) -> str:
    return str(parts.paths[0]) + (f" and {len(parts.paths) - 1} more parts" if len(parts.paths) > 1 else "")


def _uneven(parts: Parts) -> str:
    """Which parts differ in size from the others; the last one may be smaller."""
    usual, _ = Counter(parts.sizes[:-1] or parts.sizes).most_common(1)[0]
    odd = [(p, n) for p, n in zip(parts.paths[:-1], parts.sizes, strict=False) if n != usual]
    if parts.sizes[-1] > usual:
        odd.append((parts.paths[-1], parts.sizes[-1]))
    return "".join(f"; {path.name} has {size} bytes, most parts have {usual}" for path, size in odd)
