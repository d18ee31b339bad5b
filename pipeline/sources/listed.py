"""Helpers for corpora that list stretches of full videos: name checks, and one clip per stretch or per video."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from motionshards.pipeline.inputs.files import cost_s
from motionshards.pipeline.inputs.foreign import points_outside
from motionshards.schemas.layout import clip_key
from motionshards.schemas.records import ClipSpec, Span

_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Listed:
    """A stretch of a video.

    name: name of the clip within its video
    bytes: size of the file
    """

    split: str
    identity: str
    video: str
    name: str
    span: Span
    bytes: int


def clips_of(source: str, listed: Iterable[Listed], unit: str) -> Iterator[ClipSpec]:
    """Yield one clip per stretch; with unit `video` one per video, in the order of their first stretches."""
    if unit != "video":
        for one in listed:
            yield _clip(source, one, one.name, [one])
        return
    videos: dict[tuple[str, str], list[Listed]] = {}
    for one in listed:
        videos.setdefault((one.split, one.video), []).append(one)
    for together in videos.values():
        yield _clip(source, together[0], "video", together)


def _clip(source: str, first: Listed, name: str, together: list[Listed]) -> ClipSpec:
    key = clip_key(first.identity, first.video, name)
    spans, cost = tuple(one.span for one in together), sum(cost_s(one.bytes) for one in together)
    return ClipSpec(key, source, first.split, first.identity, first.video, spans, cost)


def file_name(field: str, text: object) -> str:
    """Check a file name from a list. Raises ValueError, naming the field: it is not a name, or points outside its directory."""
    if not isinstance(text, str) or not text or "/" in text or "\\" in text or points_outside(text):
        raise ValueError(f"{field} is {shown(text)}, must be a file name")
    return text


def shown(text: object) -> str:
    """A value of a list, shortened for a message."""
    return repr(text)[:_SHOWN]
