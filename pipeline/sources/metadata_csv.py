"""FOMM's metadata csv: `video_id,start,end,bbox,fps,width,height,partition[,person_id]`.

start and end are frame numbers at `fps`, which may be a fraction; bbox is left-top-right-bottom in pixels of a width x height
frame. The delimiter may be a comma, semicolon or tab.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from motionshards.pipeline.inputs.files import cost_s, video_of, videos_by_id
from motionshards.pipeline.inputs.foreign import points_outside
from motionshards.pipeline.inputs.tree import Entry, read_small_file
from motionshards.pipeline.sources.listing import Listing
from motionshards.pipeline.sources.splits import split_named
from motionshards.pipeline.sources.table import read_rows
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import SPLITS, clip_key
from motionshards.schemas.records import ClipSpec

_COLUMNS = ("video_id", "start", "end", "bbox", "fps", "width", "height", "partition")
_BOX = re.compile("-".join([r"(-?\d{1,9}(?:\.\d+)?)"] * 4))
_FRACTION = re.compile(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*")
_SHOWN = 80


def list_clips(listing: Listing, source: str, usual_name: str) -> Iterator[ClipSpec]:
    """Yield one clip per row of the csv given by the user, or of `usual_name` in the input, if it exists.

    Rows that cannot be parsed are recorded in `listing.malformed` and skipped.

    Raises:
        ConfigError: the csv cannot be read or lacks columns
    """
    name = listing.metadata.name if listing.metadata else usual_name
    content = _content(listing, usual_name)
    if content is None:
        return
    videos = videos_by_id(listing.tree)
    for row in read_rows(name, content, _COLUMNS):
        try:
            if row.error:
                raise ValueError(row.error)
            yield _spec(row.cells, source, videos)
        except ValueError as error:
            listing.malformed.append(f"{name} {row.place}: {error}")


def _content(listing: Listing, usual_name: str) -> bytes | None:
    if listing.metadata is None:
        return listing.tree.read(usual_name)
    content = read_small_file(listing.metadata)
    if content is None:
        raise ConfigError(f"cannot read {listing.metadata}: no such file")
    return content


def _spec(row: dict[str, str], source: str, videos: dict[str, Entry]) -> ClipSpec:
    """Parse one row. Raises ValueError, naming the column."""
    video, split = row.get("video_id", ""), split_named(row.get("partition", ""))
    start, end = _number(row, "start", least=0), _number(row, "end", least=0)
    fps, width, height = (_number(row, name, least=1) for name in ("fps", "width", "height"))
    box = _BOX.fullmatch(row.get("bbox", "").strip())
    if not video:
        raise ValueError("video_id is empty")
    if points_outside(video):
        raise ValueError(f"video_id is {_shown(row, 'video_id')}, which is outside the input")
    if box is None:
        raise ValueError(f"bbox is {_shown(row, 'bbox')}, must be left-top-right-bottom")
    if end <= start:
        raise ValueError(f"end is {row['end']}, must be after start ({row['start']})")
    if split is None:
        raise ValueError(f"partition is {_shown(row, 'partition')}, must be one of {', '.join(SPLITS)}")
    file = video_of(video, videos)
    left, top, right, bottom = (float(edge) for edge in box.groups())
    span = replace(
        file.span(), start_s=start / fps, end_s=end / fps, box=(left, top, right, bottom), reference_px=(width, height)
    )
    identity = row.get("person_id") or video
    key = clip_key(identity, video, f"{int(start):06d}-{int(end):06d}")
    return ClipSpec(key, source, split, identity, video, (span,), cost_s(file.bytes))


def _number(row: dict[str, str], name: str, least: float) -> float:
    text = row.get(name, "")
    fraction = _FRACTION.fullmatch(text)
    try:
        # With semicolons as delimiter, the decimal separator may be a comma, as in several locales.
        value = float(Fraction(*map(int, fraction.groups()))) if fraction else float(text.replace(",", "."))
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{name} is {_shown(row, name)}, must be a number") from None
    if not least <= value < 1e9:
        raise ValueError(f"{name} is {text.strip()[:_SHOWN]}, must be at least {least:g} and below 1e9")
    return value


def _shown(row: dict[str, str], name: str) -> str:
    return repr(row.get(name))[:_SHOWN]
