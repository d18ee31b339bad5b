"""Write and read WebDataset tars: the bytes depend only on the members, and the offset of each member is recorded."""

import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from motionshards.schemas.atomic import naming_errors, sha256_of
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.regular_file import open_regular
from motionshards.schemas.tables import Member


class ShardWriter:
    """Write samples to a USTAR file with fixed time, owner and mode, members in the given order.

    The file is created with the first sample, so that a shard without samples has no tar.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tar: tarfile.TarFile | None = None

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._tar is not None:
            with naming_errors(self._path):
                self._tar.close()

    def add(self, key: str, files: dict[str, bytes]) -> list[Member]:
        """Append one sample; returns the offset and checksum of each member."""
        return [self._append(key, suffix, content) for suffix, content in files.items()]

    def _append(self, key: str, suffix: str, content: bytes) -> Member:
        if self._tar is None:
            self._tar = tarfile.open(self._path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        info = tarfile.TarInfo(f"{key}.{suffix}")
        info.size, info.mode, info.mtime = len(content), 0o644, 0
        header = info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")
        # TarFile keeps its position in `offset`; the data starts right after the USTAR header.
        place = self._tar.offset + len(header)
        stream = self._tar.fileobj
        assert stream is not None
        with naming_errors(self._path):
            stream.write(header + content + b"\0" * (-len(content) % tarfile.BLOCKSIZE))
        self._tar.offset = place + len(content) + (-len(content) % tarfile.BLOCKSIZE)
        return Member(suffix, place, len(content), zlib.crc32(content))


class ShardReader:
    """Read samples of a shard at the offsets recorded in its marker.

    Raises:
        DatasetError: the tar is missing, or does not match the marker
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._stream = open_regular(path)
        except OSError as error:
            raise DatasetError(f"{path} cannot be read: {error.strerror}") from error

    def __enter__(self) -> "ShardReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def sample(self, key: str, members: Sequence[dict[str, Any]]) -> dict[str, bytes]:
        """Read the members of a sample listed in a marker row, by suffix, and verify their checksums."""
        return {member["suffix"]: self._member(key, member) for member in members}

    def _member(self, key: str, member: dict[str, Any]) -> bytes:
        self._stream.seek(member["offset"])
        content = self._stream.read(member["size"])
        if len(content) != member["size"] or zlib.crc32(content) != member["crc32"]:
            raise DatasetError(f"{self._path}: {key}.{member['suffix']} is damaged; restore the shard, or remove the clip")
        return content


def size_and_hash(path: Path) -> tuple[int, str | None]:
    """Size in bytes and SHA-256 of a tar; 0 and None if it does not exist."""
    return (path.stat().st_size, sha256_of(path)) if path.exists() else (0, None)
