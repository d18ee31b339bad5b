"""Random access to an archive that may be split into parts, without joining them on disk."""

import errno
import io
import os
import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from motionshards.schemas.errors import ConfigError

# vox2_dev_mp4_partaa, clips.zip.aa, clips.zip.001, clips_00
_PART = re.compile(r"(.*(?:part|[._-]))([a-z]{2}|\d{2,3})")
_SUFFIXES = (".zip", ".tar")
# Prefixes before the letters or digits of a part that identify even a single file as a part.
_PART_PREFIXES = ("part", ".zip.", ".tar.", ".zip-", ".tar-", ".zip_", ".tar_")
_COMPRESSIONS = ("gz", "xz", "lz", "br")
_NAMED = 10


def is_archive_name(path: Path) -> bool:
    """Whether a file is named like a zip, a tar or a part of one."""
    return path.suffix in _SUFFIXES or len(find_parts(path)) > 1


def find_parts(path: Path) -> list[Path]:
    """All parts of the archive that `path` belongs to, in order; only `path` if it is not split.

    Raises:
        ConfigError: a part before the last existing one is missing
    """
    name = _PART.fullmatch(path.name)
    if name is None or path.suffix in _SUFFIXES or not path.parent.is_dir():
        return [path]
    found = {}
    for sibling in path.parent.iterdir():
        other = _PART.fullmatch(sibling.name)
        if other and other[1] == name[1] and len(other[2]) == len(name[2]) and other[2].isdigit() == name[2].isdigit():
            found[_number(other[2])] = sibling
    # Many other names end like a part: README.md, notes.de, IMG_07, clips.tar.gz.
    is_called_part = name[1].endswith(_PART_PREFIXES) and name[2] not in _COMPRESSIONS
    if not found or not (is_called_part or min(found) <= name[2].isdigit()):
        return [path]
    first = 1 if name[2].isdigit() and 0 not in found else 0
    missing = [f"{name[1]}{_suffix(n, name[2])}" for n in range(first, max(found) + 1) if n not in found]
    if missing:
        others = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise ConfigError(f"{path.parent}: archive {name[1]}…: these parts are missing: {', '.join(missing[:_NAMED])}{others}")
    return [found[number] for number in sorted(found)]


def _number(suffix: str) -> int:
    return int(suffix) if suffix.isdigit() else (ord(suffix[0]) - 97) * 26 + ord(suffix[1]) - 97


def _suffix(number: int, like: str) -> str:
    return str(number).zfill(len(like)) if like.isdigit() else chr(97 + number // 26) + chr(97 + number % 26)


class Parts:
    """Concatenated files, kept open until garbage-collected. Reads are positional and therefore thread-safe.

    Raises:
        OSError: a part cannot be opened
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        self._descriptors: list[int] = []
        try:
            for path in paths:
                self._descriptors.append(os.open(path, os.O_RDONLY))
        except OSError:
            self.close()
            raise
        self.sizes = [os.fstat(descriptor).st_size for descriptor in self._descriptors]
        self.starts = [0, *accumulate(self.sizes)][:-1]
        self.size = sum(self.sizes)

    def pread(self, offset: int, count: int) -> bytes:
        """Read `count` bytes at `offset`; fewer at the end of the last part."""
        pieces = []
        while count > 0 and 0 <= offset < self.size:
            part = self.part_of(offset)
            piece = os.pread(self._descriptors[part], count, offset - self.starts[part])
            if not piece:  # the file was truncated after it was opened
                break
            pieces.append(piece)
            offset, count = offset + len(piece), count - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def part_of(self, offset: int) -> int:
        """Index of the part that contains the byte at `offset`."""
        return bisect_right(self.starts, offset) - 1

    def close(self) -> None:
        """Close the files."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    __del__ = close


class PartsStream(io.RawIOBase):
    """Parts as a seekable file object, for libraries that need one."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Current position in bytes."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position; returns the new one."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._parts.size}[whence]
        if start + offset < 0:
            raise OSError(errno.EINVAL, "negative seek position")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        """Read into a buffer; returns the number of bytes."""
        found = self._parts.pread(self._at, len(buffer))
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)
