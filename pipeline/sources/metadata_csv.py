"""The metadata csv of FOMM's authors: `video_id,start,end,bbox,fps,width,height,partition[,person_id]`.

start and end are frame numbers at `fps`; bbox is left-top-right-bottom in pixels of a width x height frame.
"""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import replace

from pipeline.sources.files import cost_s, video_of, videos_by_id
from pipeline.sources.listing import Listing
from pipeline.sources.tree import Entry
from schemas.errors import ConfigError
from schemas.layout import clip_key
from schemas.records import ClipSpec

_COLUMNS = ("video_id", "start", "end", "bbox", "fps", "width", "height", "partition")
_BOX = re.compile("-".join([r"(-?\d+(?:\.\d+)?)"] * 4))
_SPLITS = ("train", "test")


class _Malformed(ValueError):
    """A cell that cannot be understood."""


def list_clips(listing: Listing, source: str, usual_name: str) -> Iterator[ClipSpec]:
    """A clip for each row of the csv the user named, or of `usual_name` in the input, in its order; nothing where there is none.

    Rows that cannot be understood are noted in `listing.malformed` and left out.

    Raises:
        ConfigError: the csv cannot be read or lacks columns
    """
    name = listing.metadata.name if listing.metadata else usual_name
    content = _content(listing, usual_name)
    if content is None:
        return
    videos = videos_by_id(listing.tree)
    for number, row in _rows(name, content):
        try:
            yield _spec(row, source, videos)
        except _Malformed as error:
            listing.malformed.append(f"{name} line {number}: {error}")


def _content(listing: Listing, usual_name: str) -> bytes | None:
    if listing.metadata is None:
        return listing.tree.read(usual_name)
    try:
        return listing.metadata.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {listing.metadata}: {error.strerror}") from error


def _rows(name: str, content: bytes) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row) for each row."""
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise ConfigError(f"{name} lacks the columns {', '.join(missing)}")
        for row in reader:
            yield reader.line_num, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"cannot read {name}: {error}") from error


def _spec(row: dict[str, str], source: str, videos: dict[str, Entry]) -> ClipSpec:
    video, partition = row["video_id"] or "", row["partition"]
    start, end = _number(row, "start", least=0), _number(row, "end", least=0)
    fps, width, height = (_number(row, name, least=1) for name in ("fps", "width", "height"))
    box = _BOX.fullmatch(row["bbox"] or "")
    if not video:
        raise _Malformed("video_id is empty")
    if box is None:
        raise _Malformed(f"bbox is {row['bbox']!r}, must be left-top-right-bottom")
    if end <= start:
        raise _Malformed(f"end is {row['end']}, must be after start ({row['start']})")
    if partition not in _SPLITS:
        raise _Malformed(f"partition is {partition!r}, must be train or test")
    file = video_of(video, videos)
    left, top, right, bottom = (float(edge) for edge in box.groups())
    span = replace(
        file.span(), start_s=start / fps, end_s=end / fps, box=(left, top, right, bottom), reference_px=(width, height)
    )
    identity = row.get("person_id") or video
    key = clip_key(identity, video, f"{int(start):06d}-{int(end):06d}")
    return ClipSpec(key, source, partition, identity, video, (span,), cost_s(file.bytes))


def _number(row: dict[str, str], name: str, least: float) -> float:
    try:
        value = float(row[name] or "")
    except ValueError:
        raise _Malformed(f"{name} is {row[name]!r}, must be a number") from None
    if not least <= value < 1e9:
        raise _Malformed(f"{name} is {row[name]}, must be at least {least:g}")
    return value
