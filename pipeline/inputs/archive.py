"""Zip and tar archives, whole or split into parts, as trees of files that are read without extraction.

An archive is listed once, when a build is planned; the plan records the location of each file. Missing or truncated parts are
reported then, before any work begins.
"""

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable

from motionshards.pipeline.inputs.accounting import BROKEN_LINK, LINKED_DIRECTORY, SAME_NAME
from motionshards.pipeline.inputs.archive_list import Columns, list_archive, plain
from motionshards.pipeline.inputs.foreign import points_outside
from motionshards.pipeline.inputs.parts import Parts
from motionshards.pipeline.inputs.tree import Entry, check_small, children, is_directory
from motionshards.pipeline.inputs.unpack import unpacked
from motionshards.schemas.errors import ClipRejected, ConfigError
from motionshards.schemas.records import Packed

_MAX_LINKS = 40


class ArchiveTree:
    """The files of one archive.

    archive: its uri, as in `Packed`
    splits: split directories of the source's layout; if the archive is named after one, its paths are placed below it
    refused: one line per file that is skipped because its path is outside the archive
    left_out: reason -> number of other files that are skipped

    Raises:
        ConfigError: it is not a zip or uncompressed tar, or parts are missing, truncated or of another archive
    """

    def __init__(self, archive: str, parts: Parts, splits: tuple[str, ...] = ()) -> None:
        self._archive = archive
        columns = list_archive(parts)
        self.left_out = columns.left_out
        self.refused = [f"{archive}: {_problem(name)}" for name in columns.names if _problem(name)]
        # Of files with the same name the last one counts, as with extraction programs.
        rows = {plain(name): row for row, name in enumerate(columns.names) if not _problem(name)}
        self.left_out[SAME_NAME] += len(columns.names) - len(self.refused) - len(rows)
        _add_links(rows, columns)
        columns.names.clear()
        columns.links.clear()
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


def _problem(name: str) -> str:
    """Why a file of that name cannot be used; empty if it can."""
    if points_outside(name):
        return f"the path {name[:200]!r} is outside the archive"
    return "" if plain(name) else "a file has no name"


def _add_links(rows: dict[str, int], columns: Columns) -> None:
    """Resolve links to files of the archive; count all other links as left out."""
    links = {plain(name): target for name, target in columns.links.items() if not _problem(name)}
    columns.left_out[BROKEN_LINK] += len(columns.links) - len(links)
    paths = sorted(rows) if links else []
    found = {}
    for name in links:
        target, hops = name, 0
        while target in links and hops < _MAX_LINKS:
            target, hops = links[target], hops + 1
        if target in rows:
            found[name] = rows[target]
        else:
            columns.left_out[LINKED_DIRECTORY if target and is_directory(paths, target) else BROKEN_LINK] += 1
    rows |= found


def _mount(archive: str, paths: Iterable[str], splits: tuple[str, ...]) -> str:
    """Prefix for the archive's paths, such as `test/` for vox2_test_mp4.zip with paths mp4/…: only its name has the split."""
    if any(path.partition("/")[0].lower() in splits for path in paths):
        return ""
    words = re.split("[^a-z]+", archive.rpartition("/")[2].lower())
    return next((f"{split}/" for split in splits if split in words), "")
