"""File names of exported clips."""

import re
from dataclasses import dataclass
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc

from motionshards.schemas.layout import shortened

_SPECIAL = re.compile(r"[#*?\[\]=]")
# Clip names from FOMM's csv files: number of the first frame and of the last, and `~2` for a repeated row.
_FOMM_CLIP = re.compile(r"(\d+)-(\d+)(~\d+)?")
_LONGEST_IDENTITY, _LONGEST_CLIP, _LONGEST_PART = (
    80,
    120,
    72,
)  # bytes; with numbers and suffix far below the limit of 255 bytes of file systems


@dataclass(frozen=True, slots=True)
class Names:
    """File names by which the original repositories of FOMM and its successors can sample by identity.

    They parse the part before the first `#` as the identity, and use all files whose names start with it.

    prefixes: identities that are a prefix of other identities; they are marked with `=`, which no other name contains
    """

    prefixes: frozenset[str] = frozenset()

    @classmethod
    def of(cls, rows: pa.Table) -> "Names":
        """Names for all clips of an export. rows: rows of the index with the column key."""
        people = pc.list_element(pc.split_pattern(rows["key"], "/", max_splits=1), 0)
        identities = sorted({_escaped(name, _LONGEST_IDENTITY) for name in pc.unique(people).to_pylist()})
        return cls(frozenset(first for first, second in pairwise(identities) if second.startswith(first)))

    def identity(self, key: str) -> str:
        """The identity of the clip with this key, as spelled in file names."""
        name = _escaped(key.partition("/")[0], _LONGEST_IDENTITY)
        return f"{name}=" if name in self.prefixes else name

    def fomm(self, key: str, frames: int, part: tuple[int, int] | None = None) -> str:
        """`<identity>#<video>#<start>#<stop>`, without suffix, for a clip of `frames` frames, or for a part [start, stop) of it.

        Clips of FOMM's csv files are named as by its authors: with the frame numbers of the csv, and without `<identity>` if it
        equals the video. For other clips, `<video>` is `<video>.<clip>`, and frames are counted from the start of the clip.
        """
        identity, video, clip = key.split("/")
        start, stop = part or (0, frames)
        listed = _FOMM_CLIP.fullmatch(clip)
        if listed is None:
            parts, again = [self.identity(key), _escaped(f"{video}.{clip}", _LONGEST_CLIP)], ""
        else:
            first, again = int(listed[1]), listed[3] or ""
            start, stop = first + start, first + stop if part else int(listed[2])
            parts = [self.identity(key)] if identity == video else [self.identity(key), _escaped(video, _LONGEST_CLIP)]
        return "#".join([*parts, f"{start:06d}", f"{stop:06d}{again}"])


def flat_name(key: str) -> str:
    """`<identity>#<video>#<clip>`, without suffix, for folders with clips of all identities; unique per key."""
    return "#".join(_escaped(part, _LONGEST_PART) for part in key.split("/"))


def _escaped(name: str, longest: int) -> str:
    """A part of a key, with characters escaped that have a meaning in these names or for `glob`."""
    return shortened(_SPECIAL.sub(lambda found: f"%{ord(found[0]):02X}", name), longest)
