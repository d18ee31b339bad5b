"""CelebV-HQ: `celebvhq_info.json` as published, and downloaded videos `videos/<youtube id>.mp4`.

Times are in seconds; boxes are fractions of the frame, which the authors enlarge by 0.02 on each side before cropping. The file
does not name people, so each video is its own identity. There are no splits.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from motionshards.pipeline.inputs.files import video_of, videos_by_id
from motionshards.pipeline.inputs.tree import Entry
from motionshards.pipeline.sources.listed import Listed, clips_of, file_name, shown
from motionshards.pipeline.sources.listing import Listing
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.records import ClipSpec

LIST = "celebvhq_info.json"
EXPECTED = f"{LIST} and videos/<youtube id>.mp4"
_MARGIN = 0.02
_REFERENCE_PX = (1.0, 1.0)


def list_clips(listing: Listing) -> Iterator[ClipSpec]:
    """Yield the clips in the order of the list; malformed ones are recorded in `listing.malformed`.

    Raises:
        ConfigError: the list is not JSON with an object `clips`
    """
    return clips_of("celebvhq", _listed(listing), listing.unit)


def _listed(listing: Listing) -> Iterator[Listed]:
    content = listing.tree.read(LIST)
    if content is None:
        return
    try:
        clips = _object(json.loads(content), "clips")
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"cannot read {LIST}: {error}") from error
    videos = videos_by_id(listing.tree)
    for name, clip in clips.items():
        try:
            yield _clip(name, clip, videos)
        except (ValueError, RecursionError) as error:
            listing.malformed.append(f"{LIST} {shown(name)}: {error}")


def _clip(name: str, clip: Any, videos: dict[str, Entry]) -> Listed:
    """Parse one clip of the list. Raises ValueError, naming the field."""
    video = file_name("ytb_id", clip.get("ytb_id") if isinstance(clip, dict) else None)
    duration, edges = _object(clip, "duration"), _object(clip, "bbox")
    start_s, end_s = (_number(duration, field, 1e9) for field in ("start_sec", "end_sec"))
    left, top, right, bottom = (_number(edges, field, 1.0) for field in ("left", "top", "right", "bottom"))
    if end_s <= start_s:
        raise ValueError(f"end_sec is {end_s:g}, must be after start_sec ({start_s:g})")
    box = max(left - _MARGIN, 0.0), max(top - _MARGIN, 0.0), min(right + _MARGIN, 1.0), min(bottom + _MARGIN, 1.0)
    file = video_of(video, videos)
    span = replace(file.span(), start_s=start_s, end_s=end_s, box=box, reference_px=_REFERENCE_PX, shown_times=True)
    return Listed("train", video, video, name.removeprefix(f"{video}_"), span, file.bytes)


def _object(holder: Any, field: str) -> dict[str, Any]:
    found = holder.get(field) if isinstance(holder, dict) else None
    if not isinstance(found, dict):
        raise ValueError(f"{field} is {shown(found)}, must be an object")
    return found


def _number(holder: dict[str, Any], field: str, most: float) -> float:
    value = holder.get(field)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ValueError(f"{field} is {shown(value)}, must be a number from 0 to {most:g}")
    return float(value)
