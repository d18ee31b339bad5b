"""Accounts for every file of an input: it is planned, or counted under a reason why it is not.

Sources list their directories through an `AccountedTree`, which notes what it hands out, so no directory is listed twice.
Directories that the source never looked into are listed at the end.
"""

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
import pyarrow as pa

from motionshards.pipeline.inputs.files import VIDEO_SUFFIXES
from motionshards.pipeline.inputs.tree import Entry, Tree
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import path_to_uri

# Why a file or directory is not planned, besides the suffixes of files.
HIDDEN = "hidden"
LINKED_DIRECTORY = "linked directory"
LINK_LOOP = "link loop"
LINKED_AGAIN = "linked again"
SHADOWED = "shadowed"
SAME_NAME = "same name in the archive"
BROKEN_LINK = "broken link in the archive"
SPECIAL_FILE = "special file in the archive"
UNREADABLE_DIRECTORY = "unreadable directory"
UNLISTED = "unlisted"
"""Put before a video's suffix: no clip of the source refers to the file."""

_CHUNK = 65_536
_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")


class AccountedTree:
    """A tree that remembers what it handed out, and hides hidden files.

    used: uris of files and directories that serve otherwise, such as opened archives; they are hidden, and not left out
    counts: reason -> how many files and directories have been left out so far
    """

    def __init__(self, tree: Tree, used: Iterable[str] = ()) -> None:
        self._tree = tree
        self.counts: Counter[str] = Counter()
        self._listed: set[str] = set()
        self._directories = [""]
        self._links: dict[str, str] = {}
        self._used = set(used)
        # A hash and the number of a reason for each file: a million paths would take a hundred megabytes.
        self._hashes = array("q")
        self._codes = array("I")
        self._reasons: dict[str, int] = {}

    @property
    def name(self) -> str:
        """See Tree."""
        return self._tree.name

    def entries(self, path: str = "") -> list[Entry]:
        """What a directory holds, by name, without what is hidden. Raises ConfigError where it cannot be listed."""
        found = self._tree.entries(path)
        if self._used:
            found = [entry for entry in found if entry.uri not in self._used]
        if path not in self._listed:
            self._listed.add(path)
            self._note(found)
        return [entry for entry in found if not entry.is_hidden]

    def is_directory(self, path: str) -> bool:
        """See Tree."""
        return self._tree.is_directory(path)

    def read(self, path: str) -> bytes | None:
        """See Tree. The file counts as used."""
        self._used.add(path_to_uri(path))
        return self._tree.read(path)

    def leave_out(self, link: Entry, reason: str) -> None:
        """Note why a linked directory is not followed."""
        self._links[link.path] = reason

    def left_out(self, planned: pa.Array) -> dict[str, int]:
        """How many files are neither planned nor used, by reason. A directory that is not looked into counts as one.

        planned: uris of the files that clips refer to
        """
        self._list_the_rest()
        known = np.fromiter(map(hash, chain(self._used, _strings(planned))), np.int64)
        rest = ~np.isin(np.array(self._hashes, np.int64), known)
        counts = np.bincount(np.array(self._codes, np.int64)[rest], minlength=len(self._reasons)).tolist()
        reasons = +Counter(dict(zip(self._reasons, counts, strict=True)))
        links = Counter(reason for path, reason in self._links.items() if path not in self._listed)
        return dict(sorted((self.counts + reasons + links).items()))

    def _note(self, found: list[Entry]) -> None:
        for entry in found:
            self.counts[SHADOWED] += entry.shadows
            if entry.is_hidden:
                self.counts[HIDDEN] += 1
            elif not entry.is_directory:
                self._hashes.append(hash(entry.uri))
                self._codes.append(self._reasons.setdefault(_reason(entry.name), len(self._reasons)))
            elif entry.is_link:
                self._links.setdefault(entry.path, LINKED_DIRECTORY)
            else:
                self._directories.append(entry.path)

    def _list_the_rest(self) -> None:
        """List the directories that no source asked for. Links are not followed: they may lead anywhere."""
        while self._directories:
            path = self._directories.pop()
            if path in self._listed:
                continue
            try:
                self.entries(path)
            except ConfigError:
                self.counts[UNREADABLE_DIRECTORY] += 1


def _strings(texts: pa.Array) -> Iterator[str]:
    for start in range(0, len(texts), _CHUNK):
        yield from texts.slice(start, _CHUNK).to_pylist()


def _reason(name: str) -> str:
    """Why a file of that name is left out, should it be."""
    suffix = "." + name.rpartition(".")[2].lower() if "." in name else ""
    if suffix in VIDEO_SUFFIXES:
        return f"{UNLISTED} {suffix}"
    if not suffix:
        return "no suffix"
    # A suffix may be part of somebody's name, and names do not belong on a data card.
    return suffix if _SUFFIX.fullmatch(suffix) else "other suffix"


def as_text(left_out: dict[str, int]) -> str:
    """The counts in one line, the largest first."""
    return ", ".join(f"{reason} {count}" for reason, count in sorted(left_out.items(), key=lambda one: (-one[1], one[0])))
