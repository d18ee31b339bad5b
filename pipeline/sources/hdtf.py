"""HDTF: four lists for each of RD, WDA and WRA, as published, and downloaded videos `videos/<video>.mp4`.

    {RD,WDA,WRA}_video_url.txt       Radio11 https://www.youtube.com/watch?v=…
    {RD,WDA,WRA}_annotion_time.txt   Radio11.mp4 00:30-01:00 01:30-02:30      the clips Radio11_0 and Radio11_1
    {RD,WDA,WRA}_resolution.txt      Radio11.mp4 720                          height that the crops refer to
    {RD,WDA,WRA}_crop_wh.txt         Radio11_0.mp4 412 599 0 599              x, width, y, height in pixels

Video names of WDA and WRA are names of people followed by a number; the speakers of RD are unknown. There are no splits.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from motionshards.pipeline.inputs.files import VIDEO_SUFFIXES, videos_by_id
from motionshards.pipeline.inputs.foreign import lines_of
from motionshards.pipeline.inputs.tree import Entry, Tree
from motionshards.pipeline.sources.listed import Listed, clips_of, file_name, shown
from motionshards.pipeline.sources.listing import Listing
from motionshards.schemas.records import ClipSpec

EXPECTED = "RD_annotion_time.txt and the other lists, at the top or in HDTF_dataset/, and videos/<video>.mp4"
SUBSETS = ("RD", "WDA", "WRA")
KINDS = ("video_url", "annotion_time", "resolution", "crop_wh")
DIRECTORY = "HDTF_dataset"
_TIME = re.compile(r"(?:(\d{1,3}):)?(\d{1,3}):(\d{1,2}(?:\.\d{1,6})?)", re.ASCII)
_WHOLE = re.compile(r"-?\d{1,6}", re.ASCII)
_YOUTUBE_ID = re.compile(r"(?:[?&]v=|youtu\.be/)([A-Za-z0-9_-]{11})(?![A-Za-z0-9_-])")

Box = tuple[float, float, float, float]


def list_clips(listing: Listing) -> Iterator[ClipSpec]:
    """Yield the annotated stretches of all subsets in the order of the lists; malformed lines go to `listing.malformed`."""
    return clips_of("hdtf", _listed(listing), listing.unit)


def urls(tree: Tree) -> dict[str, str]:
    """URL of each listed video, by name."""
    return {
        cells[0]: cells[1]
        for subset in SUBSETS
        for _, cells in _lines(tree, subset, "video_url")
        if len(cells) == 2 and cells[1].startswith(("http://", "https://"))
    }


def _listed(listing: Listing) -> Iterator[Listed]:
    if listing.tree.is_directory(DIRECTORY):
        listing.tree.entries(DIRECTORY)  # so that a link to it counts as used
    videos, addresses = videos_by_id(listing.tree), urls(listing.tree)
    for subset in SUBSETS:
        heights = {name: float(cells[0]) for name, cells in _numbers(listing, subset, "resolution", 1).items()}
        crops = _numbers(listing, subset, "crop_wh", 4)
        timed = set()
        for where, (name, *times) in _lines(listing.tree, subset, "annotion_time"):
            try:
                video = file_name("video", _stem(name))
            except ValueError as error:
                listing.malformed.append(f"{where}: {error}")
                continue
            timed.add(video)
            file = _file(subset, video, addresses, videos)
            for number, text in enumerate(times):
                try:
                    start_s, end_s = _stretch(text)
                except ValueError as error:
                    listing.malformed.append(f"{where}: {error}")
                    continue
                span = replace(file.span(), start_s=start_s, end_s=end_s, shown_times=True)
                crop, height = crops.get(f"{video}_{number}"), heights.get(video, 0)
                if crop is not None and height > 0:
                    span = replace(span, box=_box(crop), reference_px=(0.0, height))
                identity = video if subset == "RD" else video.rstrip("0123456789") or video
                yield Listed("train", identity, video, str(number), span, file.bytes)
        for where, (name, *_) in _lines(listing.tree, subset, "video_url"):
            if name not in timed:
                listing.malformed.append(f"{where}: {shown(name)} has no times in {subset}_annotion_time.txt")


def _file(subset: str, video: str, addresses: dict[str, str], videos: dict[str, Entry]) -> Entry:
    """Find the file of a video by its name, with a subset prefix, or by YouTube id; the expected path if there is none."""
    found = _YOUTUBE_ID.search(addresses.get(video, ""))
    names = (video, f"{subset}_{video}", *(found.groups() if found else ()))
    there = next((videos[name] for name in names if name in videos), None)
    return there or Entry(f"{video}.mp4", f"videos/{video}.mp4", is_directory=False)


def _lines(tree: Tree, subset: str, kind: str) -> Iterator[tuple[str, list[str]]]:
    """Yield (place for messages, cells) for each non-blank line of a list, if the list exists."""
    name = f"{subset}_{kind}.txt"
    content = tree.read(name)
    if content is None:
        content = tree.read(f"{DIRECTORY}/{name}")
    for number, line in enumerate(lines_of(content or b""), 1):
        if cells := line.split():
            yield f"{name} line {number}", cells


def _numbers(listing: Listing, subset: str, kind: str, count: int) -> dict[str, list[int]]:
    """Parse a list with a name and `count` integers per line; returns name without suffix -> integers."""
    found = {}
    for where, (name, *cells) in _lines(listing.tree, subset, kind):
        if len(cells) != count or not all(_WHOLE.fullmatch(cell) for cell in cells):
            listing.malformed.append(f"{where}: {shown(' '.join(cells))} must be {count} whole number{'s' * (count > 1)}")
        else:
            found[_stem(name)] = [int(cell) for cell in cells]
    return found


def _box(crop: list[int]) -> Box:
    x, width, y, height = crop
    return float(x), float(y), float(x + width), float(y + height)


def _stem(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if f"{dot}{suffix.lower()}" in VIDEO_SUFFIXES else name


def _stretch(text: str) -> tuple[float, float]:
    """Parse `00:30-01:00` as start and end in seconds. Raises ValueError."""
    start, dash, end = text.partition("-")
    times = [_TIME.fullmatch(one) for one in (start, end)]
    seconds = [int(time[1] or 0) * 3600 + int(time[2]) * 60 + float(time[3]) for time in times if time is not None]
    if len(seconds) != 2 or not dash:
        raise ValueError(f"time is {shown(text)}, must be MM:SS-MM:SS")
    if seconds[1] <= seconds[0]:
        raise ValueError(f"time is {shown(text)}, must end after its start")
    return seconds[0], seconds[1]
