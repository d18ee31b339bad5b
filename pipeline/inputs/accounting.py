"""Account for every file of an input: it is planned, or counted under the reason why it is not.

Sources list their directories through an `AccountedTree`, which records the files it returns, so that no directory is listed
twice. Directories that the source has not listed are listed at the end.
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
"""Prefix of a video suffix: no clip of the source refers to the file."""

_CHUNK = 65_536
_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")


class AccountedTree:
    """A tree that records the files it has listed, and omits hidden files.

    used: uris of files and directories with another purpose, such as opened archives; neither listed nor counted
    counts: reason -> number of files and directories left out so far
    """

    def __init__(self, tree: Tree, used: Iterable[str] = ()) -> None:
        self._tree = tree
        self.counts: Counter[str] = Counter()
        self._listed: set[str] = set()
        self._directories = [""]
        self._links: dict[str, str] = {}
        self._used = set(used)
        # A hash and a reason number per file, since a million paths would take a hundred megabytes.
        self._hashes = array("q")
        self._codes = array("I")
        self._reasons: dict[str, int] = {}

    @property
    def name(self) -> str:
        """See Tree."""
        return self._tree.name

    def entries(self, path: str = "") -> list[Entry]:
        """Entries of a directory by name, without hidden ones. Raises ConfigError: it cannot be listed."""
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
        """Record why a linked directory is not followed."""
        self._links[link.path] = reason

    def left_out(self, planned: pa.Array) -> dict[str, int]:
        """Number of files that are neither planned nor used, by reason. A directory that is not listed counts as one.

        planned: uris of the files that clips refer to
        """
        self._list_remaining()
        known = np.fromiter(map(hash, chain(self._used, _strings(planned))), np.int64)
        unused = ~np.isin(np.array(self._hashes, np.int64), known)
        counts = np.bincount(np.array(self._codes, np.int64)[unused], minlength=len(self._reasons)).tolist()
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

    def _list_remaining(self) -> None:
        """List the directories that the source has not listed. Links are not followed, since they may lead anywhere."""
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
    """The reason to count a file of that name under, if it is left out."""
    suffix = "." + name.rpartition(".")[2].lower() if "." in name else ""
    if suffix in VIDEO_SUFFIXES:
        return f"{UNLISTED} {suffix}"
    if not suffix:
        return "no suffix"
    # A suffix may be part of a person's name, which must not appear on a data card.
    return suffix if _SUFFIX.fullmatch(suffix) else "other suffix"


def as_text(left_out: dict[str, int]) -> str:
    """The counts in one line, largest first."""
    return ", ".join(f"{reason} {count}" for reason, count in sorted(left_out.items(), key=lambda one: (-one[1], one[0])))
