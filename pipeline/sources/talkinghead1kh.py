"""TalkingHead-1KH: `data_list/{train,val}_video_tubes.txt` as published, and the videos cut into chunks of one minute.

A line is `<chunk>, H, W, S, E, L, T, R, B`: frames S to E (inclusive) of the chunk `<youtube id>_<NNNN>`, and a box in pixels of
a W×H frame. Chunks are cut without decoding, so they begin at keyframes, not at full minutes. The lists do not name people, so
each video is its own identity. `small_video_tubes.txt`, a subset of `train`, is used if there is no `train` list.
"""

from collections.abc import Iterator
from dataclasses import replace

from motionshards.pipeline.inputs.files import VIDEO_SUFFIXES
from motionshards.pipeline.inputs.foreign import lines_of
from motionshards.pipeline.inputs.tree import Entry, Tree, directories
from motionshards.pipeline.sources.listed import Listed, clips_of, file_name, shown
from motionshards.pipeline.sources.listing import Listing
from motionshards.schemas.records import ClipSpec

EXPECTED = "data_list/{train,val}_video_tubes.txt and videos/<youtube id>/<youtube id>_<NNNN>.mp4"
DIRECTORY = "data_list"
_LISTS = {"train": ("train", "small"), "val": ("val",)}
_CHUNKS = ("videos", "1min_clips", "train/1min_clips", "val/1min_clips", "small/1min_clips")
_FIELDS = ("H", "W", "S", "E", "L", "T", "R", "B")
_LARGEST = 10**9


def list_clips(listing: Listing) -> Iterator[ClipSpec]:
    """Yield the clips in the order of the lists; records malformed lines, and videos that are not cut into chunks yet."""
    return clips_of("talkinghead1kh", _listed(listing), listing.unit)


def _listed(listing: Listing) -> Iterator[Listed]:
    chunks = chunks_by_name(listing.tree)
    whole: dict[str, Entry] = {}
    if listing.tree.is_directory(DIRECTORY):
        listing.tree.entries(DIRECTORY)  # so that a link to it counts as used
    for split, names in _LISTS.items():
        name, content = _first(listing.tree, names)
        for number, line in enumerate(lines_of(content), 1):
            if not line.strip():
                continue
            try:
                one = _clip(split, line, chunks)
            except ValueError as error:
                listing.malformed.append(f"{name} line {number}: {error}")
                continue
            if one.video in chunks and not one.bytes:
                whole.setdefault(one.video, chunks[one.video])
            yield one
    if whole:
        first = next(iter(whole.values())).path
        listing.notes.append(f"videos not cut into chunks: {len(whole)}, such as {first}; `motionshards download` cuts them")


def _first(tree: Tree, names: tuple[str, ...]) -> tuple[str, bytes]:
    """Name and content of the first existing list."""
    for name in names:
        content = tree.read(f"{DIRECTORY}/{name}_video_tubes.txt")
        if content is not None:
            return f"{name}_video_tubes.txt", content
    return "", b""


def chunks_by_name(tree: Tree) -> dict[str, Entry]:
    """Name without suffix -> file, for all possible locations of chunks; the first file with a name counts."""
    per_video = [entry.path for entry in directories(tree, "videos")] if tree.is_directory("videos") else []
    places = per_video + [place for place in _CHUNKS if tree.is_directory(place)]
    found: dict[str, Entry] = {}
    for place in places:
        for entry in tree.entries(place):
            stem, dot, suffix = entry.name.rpartition(".")
            if not entry.is_directory and f"{dot}{suffix.lower()}" in VIDEO_SUFFIXES:
                found.setdefault(stem, entry)
    return found


def _clip(split: str, line: str, chunks: dict[str, Entry]) -> Listed:
    """Parse one line. Raises ValueError, naming the field."""
    cells = [cell.strip() for cell in line.split(",")]
    if len(cells) != 1 + len(_FIELDS):
        raise ValueError(f"{len(cells)} fields, expected {1 + len(_FIELDS)}")
    chunk = file_name("name", cells[0])
    video, _, number = chunk.rpartition("_")
    if not video or not number.isdecimal():
        raise ValueError(f"name is {shown(chunk)}, must be <youtube id>_<NNNN>")
    height, width, first, last, left, top, right, bottom = map(_whole, _FIELDS, cells[1:])
    if min(height, width) < 1 or not 0 <= first <= last:
        raise ValueError(f"H, W, S, E are {height}, {width}, {first}, {last}: H and W must be positive and 0 <= S <= E")
    file = chunks.get(chunk) or Entry(f"{chunk}.mp4", f"videos/{video}/{chunk}.mp4", is_directory=False)
    box = (float(left), float(top), float(right), float(bottom))
    span = replace(file.span(), frames=(first, last + 1), box=box, reference_px=(float(width), float(height)))
    name = f"{number}_S{first}_E{last}_L{left}_T{top}_R{right}_B{bottom}"
    return Listed(split, video, video, name, span, file.bytes)


def _whole(field: str, text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise ValueError(f"{field} is {shown(text)}, must be a whole number") from None
    if abs(value) >= _LARGEST:
        raise ValueError(f"{field} is {shown(text)}, must be below {_LARGEST}")
    return value
