"""A WebDataset tar whose bytes depend on its members alone, written so that each member's place is known; and reading it."""

import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from motionshards.schemas.atomic import naming, sha256_of
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.regular_file import open_regular
from motionshards.schemas.tables import Member


class ShardWriter:
    """Writes samples to a USTAR file: fixed time, owner, mode and order, members in the order given.

    The file is created with the first sample, so a shard without samples leaves no tar.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tar: tarfile.TarFile | None = None

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._tar is not None:
            with naming(self._path):
                self._tar.close()

    def add(self, key: str, files: dict[str, bytes]) -> list[Member]:
        """Append one sample; gives the place and checksum of each of its members."""
        return [self._append(key, suffix, content) for suffix, content in files.items()]

    def _append(self, key: str, suffix: str, content: bytes) -> Member:
        if self._tar is None:
            self._tar = tarfile.open(self._path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        info = tarfile.TarInfo(f"{key}.{suffix}")
        info.size, info.mode, info.mtime = len(content), 0o644, 0
        header = info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")
        # TarFile keeps its position in `offset`; a USTAR header is one block, so the data starts right behind it.
        place = self._tar.offset + len(header)
        stream = self._tar.fileobj
        assert stream is not None
        with naming(self._path):
            stream.write(header + content + b"\0" * (-len(content) % tarfile.BLOCKSIZE))
        self._tar.offset = place + len(content) + (-len(content) % tarfile.BLOCKSIZE)
        return Member(suffix, place, len(content), zlib.crc32(content))


class ShardReader:
    """Reads samples of a shard by the places that its marker tells.

    Raises:
        DatasetError: the tar is not there, or not what the marker tells
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
        """The members of a sample by suffix, as a row of the marker lists them; their bytes are checked."""
        return {member["suffix"]: self._member(key, member) for member in members}

    def _member(self, key: str, member: dict[str, Any]) -> bytes:
        self._stream.seek(member["offset"])
        content = self._stream.read(member["size"])
        if len(content) != member["size"] or zlib.crc32(content) != member["crc32"]:
            raise DatasetError(f"{self._path}: {key}.{member['suffix']} is damaged; restore the shard, or remove the clip")
        return content


def size_and_hash(path: Path) -> tuple[int, str | None]:
    """Bytes and sha256 of a tar; 0 and None where there is none."""
    return (path.stat().st_size, sha256_of(path)) if path.exists() else (0, None)
