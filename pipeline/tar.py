"""A WebDataset tar whose bytes depend on its members alone, written so that each member's place is known."""

import tarfile
import zlib
from pathlib import Path
from types import TracebackType

from schemas.tables import Member


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
        stream.write(header + content + b"\0" * (-len(content) % tarfile.BLOCKSIZE))
        self._tar.offset = place + len(content) + (-len(content) % tarfile.BLOCKSIZE)
        return Member(suffix, place, len(content), zlib.crc32(content))
