"""Where a source looks for its files: a directory, archives, or both laid over each other. Paths have `/` between names."""

import os
import stat
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import path_to_uri
from motionshards.schemas.records import Packed, Span

# Of a list or csv. A row takes some 80 bytes, and the largest corpora have a million.
_LARGEST_READ_BYTES = 1 << 28


@dataclass(slots=True)
class Entry:
    """A file or directory of a tree.

    path: below the top of the tree
    is_link: whether it is a symbolic link
    packed: where it lies in an archive; None on disk
    stored_bytes: of an object in a store
    shadows: files of the same path in other inputs, which this one hides
    """

    name: str
    path: str
    is_directory: bool
    is_link: bool = False
    packed: Packed | None = None
    on_disk: os.DirEntry[str] | None = None
    stored_bytes: int | None = None
    shadows: int = 0

    @property
    def is_hidden(self) -> bool:
        """Whether the name begins with a dot."""
        return self.name.startswith(".")

    @property
    def bytes(self) -> int:
        """Bytes of the file, asked for when needed, since that takes a system call."""
        if self.packed is not None:
            return self.packed.bytes
        if self.stored_bytes is not None:
            return self.stored_bytes
        try:
            return self.on_disk.stat().st_size if self.on_disk else 0
        except OSError:  # a broken link: building it will tell the reason
            return 0

    @property
    def uri(self) -> str:
        """The path as records hold it."""
        return path_to_uri(self.path)

    def span(self) -> Span:
        """The whole file as a span."""
        return Span(self.uri, packed=self.packed)


class Tree(Protocol):
    """What a source may ask of its input. The top is the empty path.

    name: of the top directory or archive
    """

    @property
    def name(self) -> str: ...

    def entries(self, path: str = "") -> list[Entry]:
        """What a directory holds, by name. Raises ConfigError where it cannot be listed."""

    def is_directory(self, path: str) -> bool:
        """Whether there is a directory of that path."""

    def read(self, path: str) -> bytes | None:
        """The content of a list or csv; None where there is none. Raises ConfigError where it cannot be read or is too large."""


@dataclass(frozen=True, slots=True)
class DirectoryTree:
    """The files below a directory; links that lead nowhere are files, for the build to tell their reason."""

    root: Path

    @property
    def name(self) -> str:
        """See Tree."""
        return self.root.name

    def entries(self, path: str = "") -> list[Entry]:
        """See Tree."""
        where, before = os.path.join(self.root, path), f"{path}/" if path else ""
        try:
            with os.scandir(where) as found:
                ordered = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            raise ConfigError(f"cannot list {where}: {error.strerror}") from error
        return [
            Entry(entry.name, before + entry.name, _leads_to_directory(entry), entry.is_symlink(), on_disk=entry)
            for entry in ordered
        ]

    def is_directory(self, path: str) -> bool:
        """See Tree."""
        return (self.root / path).is_dir()

    def read(self, path: str) -> bytes | None:
        """See Tree."""
        return read_small_file(self.root / path)


class FilesTree:
    """Some files below a directory, and nothing else of it."""

    def __init__(self, root: Path, paths: Sequence[str]) -> None:
        self._root = root
        self._paths = sorted(set(paths))

    @property
    def name(self) -> str:
        """See Tree."""
        return self._root.name

    def entries(self, path: str = "") -> list[Entry]:
        """See Tree."""
        before = f"{path}/" if path else ""
        return [
            Entry(
                name,
                before + name,
                at is None,
                stored_bytes=None if at is None else (self._root / self._paths[at]).stat().st_size,
            )
            for name, at in children(self._paths, path)
        ]

    def is_directory(self, path: str) -> bool:
        """See Tree."""
        return is_directory(self._paths, path)

    def read(self, path: str) -> bytes | None:
        """See Tree."""
        return read_small_file(self._root / path) if path in self._paths else None


def read_small_file(path: Path) -> bytes | None:
    """The content of a list or csv; None where there is none. Raises ConfigError where it cannot be read or is too large."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"cannot read {path}: it is not a regular file")
        check_small(str(path), status.st_size)
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error


def check_small(name: str, size_bytes: int) -> None:
    """Raise ConfigError for a list or csv that is too large to be read into memory."""
    if size_bytes > _LARGEST_READ_BYTES:
        raise ConfigError(f"cannot read {name}: it has {size_bytes} bytes, at most {_LARGEST_READ_BYTES} are read")


def children(paths: Sequence[str], path: str) -> Iterator[tuple[str, int | None]]:
    """What lies in a directory, by sorted paths of files: names in their order, with the row of a file, None of a directory."""
    before = f"{path}/" if path else ""
    at, found = bisect_left(paths, before), []
    while at < len(paths) and paths[at].startswith(before):
        name, below, _ = paths[at][len(before) :].partition("/")
        found.append((name, None if below else at))
        at = bisect_left(paths, f"{before}{name}0", at) if below else at + 1  # `0` is the character after `/`
    return iter(sorted(found, key=lambda one: one[0]))


def is_directory(paths: Sequence[str], path: str) -> bool:
    """Whether files of sorted paths lie below a directory."""
    before = f"{path}/" if path else ""
    at = bisect_left(paths, before)
    return at < len(paths) and paths[at].startswith(before)


@dataclass(frozen=True, slots=True)
class OverlayTree:
    """Several trees as one; where two hold a file of the same path, the first counts."""

    trees: Sequence[Tree]

    @property
    def name(self) -> str:
        """See Tree."""
        return self.trees[0].name

    def entries(self, path: str = "") -> list[Entry]:
        """See Tree."""
        merged: dict[str, Entry] = {}
        for tree in self.trees:
            for entry in tree.entries(path) if tree.is_directory(path) else []:
                first = merged.setdefault(entry.name, entry)
                if first is not entry and not (first.is_directory and entry.is_directory):
                    first.shadows += 1 + entry.shadows
        return [merged[name] for name in sorted(merged)]

    def is_directory(self, path: str) -> bool:
        """See Tree."""
        return any(tree.is_directory(path) for tree in self.trees)

    def read(self, path: str) -> bytes | None:
        """See Tree."""
        found = (tree.read(path) for tree in self.trees)
        return next((content for content in found if content is not None), None)


def directories(tree: Tree, path: str = "") -> list[Entry]:
    """The directories in a directory, by name."""
    return [entry for entry in tree.entries(path) if entry.is_directory]


def _leads_to_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself leads to no directory
        return False
