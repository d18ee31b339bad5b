"""Names that resemble a name which does not exist, for messages."""

import difflib

import pyarrow as pa
import pyarrow.compute as pc

LONGEST_NAME = 300
_COUNT, _COMPARED = 3, 20_000


def similar(name: str, names: pa.ChunkedArray) -> list[str]:
    """At most three of `names` that contain this one, else the closest of the same video, the same identity, or the first 20,000.

    name: a key, an identity or a video; characters beyond the first 300 are ignored
    names: string
    """
    name = name[:LONGEST_NAME]
    whole: list[str] = names.filter(pc.match_substring(names, name)).slice(0, _COUNT).to_pylist() if len(name) > 2 else []
    if whole:
        return whole
    identity, _, rest = name.partition("/")
    video = rest.partition("/")[0]
    for part in (f"{identity}/{video}/", f"{identity}/", f"/{video}/", ""):
        alike = names.filter(pc.match_substring(names, part)).slice(0, _COMPARED).to_pylist()
        if near := difflib.get_close_matches(name, alike, _COUNT):
            return near
    return []
