"""File trees that sources list: a directory, single files, or several trees merged. Paths are separated by `/`."""

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

# Limit for a list or csv. A row takes about 80 bytes, and the largest corpora have a million rows.
_LARGEST_READ_BYTES = 1 << 28


@dataclass(slots=True)
class Entry:
    """A file or directory of a tree.

    path: relative to the top of the tree
    is_link: whether it is a symbolic link
    packed: location in an archive; None on disk
    stored_bytes: size of an object in a store or of a single file
    shadows: number of files with the same path in other inputs, hidden by this one
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
        """Size of the file in bytes, determined lazily since it may take a system call."""
        if self.packed is not None:
            return self.packed.bytes
        if self.stored_bytes is not None:
            return self.stored_bytes
        try:
            return self.on_disk.stat().st_size if self.on_disk else 0
        except OSError:  # a broken link: the build will reject the clip with a reason
            return 0

    @property
    def uri(self) -> str:
        """The path as stored in records."""
        return path_to_uri(self.path)

    def span(self) -> Span:
        """The whole file as a span."""
        return Span(self.uri, packed=self.packed)


class Tree(Protocol):
    """The file tree that a source lists. The top is the empty path.

    name: name of the top directory or archive
    """

    @property
    def name(self) -> str: ...

    def entries(self, path: str = "") -> list[Entry]:
        """Entries of a directory, sorted by name. Raises ConfigError: it cannot be listed."""

    def is_directory(self, path: str) -> bool:
        """Whether `path` is a directory."""

    def read(self, path: str) -> bytes | None:
        """The content of a list or csv; None if it does not exist. Raises ConfigError: it cannot be read or is too large."""


@dataclass(frozen=True, slots=True)
class DirectoryTree:
    """The files below a directory. Broken links count as files, so that the build rejects them with a reason."""

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
    """Selected files below a directory."""

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
    """The content of a list or csv; None if it does not exist. Raises ConfigError: it cannot be read or is too large."""
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
    """Raise ConfigError if a list or csv is too large to be read into memory."""
    if size_bytes > _LARGEST_READ_BYTES:
        raise ConfigError(f"cannot read {name}: it has {size_bytes} bytes, the limit is {_LARGEST_READ_BYTES}")


def children(paths: Sequence[str], path: str) -> Iterator[tuple[str, int | None]]:
    """Entries of a directory, given sorted file paths: (name, index of the file; None for a directory), sorted by name."""
    before = f"{path}/" if path else ""
    at, found = bisect_left(paths, before), []
    while at < len(paths) and paths[at].startswith(before):
        name, below, _ = paths[at][len(before) :].partition("/")
        found.append((name, None if below else at))
        at = bisect_left(paths, f"{before}{name}0", at) if below else at + 1  # `0` is the character after `/`
    return iter(sorted(found, key=lambda one: one[0]))


def is_directory(paths: Sequence[str], path: str) -> bool:
    """Whether any of the sorted file paths is below the directory `path`."""
    before = f"{path}/" if path else ""
    at = bisect_left(paths, before)
    return at < len(paths) and paths[at].startswith(before)


@dataclass(frozen=True, slots=True)
class OverlayTree:
    """Several trees merged into one; of files with the same path, the first one counts."""

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
    """The subdirectories of a directory, sorted by name."""
    return [entry for entry in tree.entries(path) if entry.is_directory]


def _leads_to_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
