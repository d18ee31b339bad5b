"""Frames of the source videos for display, located by the index and decoded as in a build.

A video may be on disk, in an archive or in an object store. Pixels: x right, y down, the center of the top left pixel is (0, 0).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motionshards.pipeline.clips.annotations import annotation
from motionshards.pipeline.inputs.unpack import Root, check_size, media
from motionshards.schemas.bucket import is_bucket, open_bucket
from motionshards.schemas.config import MAX_CLIP_BYTES
from motionshards.schemas.errors import ClipRejected, ConfigError
from motionshards.schemas.records import Span
from motionshards.schemas.tables import span_from_row
from motionshards.transforms.extract.decode import decode
from motionshards.transforms.extract.decoder.client import ordered
from motionshards.transforms.extract.decoder.filters import RGB, scaled
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.output_images import OutputImage
from motionshards.transforms.extract.timeline import Timeline, timeline_by_decoding, timeline_from_packets

Rgb = NDArray[np.uint8]
"""uint8 [H,W,3], RGB."""

_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Sources:
    """Location of the source videos of a dataset, and how HDR is mapped; if root is None, `missing` is the reason."""

    root: Root | None
    missing: str = ""
    hdr: str = "tonemap"

    @classmethod
    def found(cls, requested: str | None, recorded: str, hdr: str = "tonemap") -> "Sources":
        """The location in --input, else the one recorded in dataset.json. Raises ConfigError: --input does not exist."""
        try:
            return cls(_root(requested or recorded), hdr=hdr)
        except ConfigError as error:
            if requested:
                raise ConfigError(f"--input {error}") from error
            return cls(None, str(error))


def _root(place: str) -> Root:
    """The directory or object store; for an archive, its directory. Raises ConfigError."""
    if is_bucket(place):
        return open_bucket(place)
    path = Path(place.removeprefix("file://"))
    if not place or not path.exists():
        raise ConfigError(f"{place} does not exist" if place else "dataset.json does not record an input")
    return path.parent if path.is_file() else path


def source_frames(
    root: Root, spans: Sequence[Mapping[str, Any]], requested: Sequence[tuple[int, int]], longest_px: int, hdr: str = "tonemap"
) -> list[Rgb]:
    """Decode source frames of a clip, uncropped and upright, in the order of `requested`.

    Args:
        root: directory (also that of archives) or object store that the paths of the input are relative to
        spans: `spans` of a row of the index
        requested: (number of the span, number of the frame in its file), as in `span` and `frame_index` of meta.json
        longest_px: larger images are scaled down to this longer side
        hdr: `tonemap` or `keep`, as set for the dataset

    Raises:
        ClipRejected: a video cannot be read, or lacks a frame; see `reason` and `detail`
        StoreFailed: an object store cannot be read
    """
    found: dict[tuple[int, int], Rgb] = {}
    for _, group in groupby(
        sorted(set(requested), key=lambda one: (spans[one[0]]["uri"], one)), lambda one: spans[one[0]]["uri"]
    ):
        of_file = list(group)
        with _opened(spans[of_file[0][0]], root) as file:
            numbers = sorted({index for _, index in of_file})
            images = dict(zip(numbers, _frames(file, numbers, longest_px, hdr), strict=True))
        found |= {one: images[one[1]] for one in of_file}
    return [found[one] for one in requested]


def middle_frame(root: Root, spans: Sequence[Mapping[str, Any]], longest_px: int) -> Rgb | None:
    """The middle frame of the first span that can be decoded, else the first frame of its video; None if no span can be.

    Arguments and StoreFailed as for `source_frames`. Rejected clips are often damaged, so None is common.
    """
    for span in spans:
        try:
            with _opened(span, root) as file:
                return _middle_of(file, span_from_row(span), root, longest_px)
        except ClipRejected:
            continue  # the next file may be intact
    return None


def source_to_shown(source_size_px: Sequence[int], shown: Rgb) -> NDArray[np.float64]:
    """Affine from pixels of the source frame, of this width and height, to pixels of the scaled image: float64 [2,3]."""
    scale = np.array([shown.shape[1], shown.shape[0]]) / np.asarray(source_size_px, np.float64)
    return np.column_stack([np.diag(scale), 0.5 * scale - 0.5])


@contextmanager
def _opened(row: Mapping[str, Any], root: Root) -> Iterator[Media]:
    """Open the video of a span for a decoder. Raises ClipRejected, StoreFailed."""
    span = span_from_row(row)
    check_size([span.packed] if span.packed is not None else [], MAX_CLIP_BYTES)
    with media(span.uri, span.packed, root) as file:
        yield file


def _frames(file: Media, numbers: list[int], longest_px: int, hdr: str = "tonemap") -> list[Rgb]:
    """Frames by ascending number; as in a build, by the packets' timeline if the decoder agrees with it."""
    try:
        return _decoded(file, timeline_from_packets(file, _TIMEOUT_S), numbers, longest_px, hdr)
    except ClipRejected as lost:
        if lost.reason != "frame_mismatch":
            raise
    return _decoded(file, timeline_by_decoding(file, _TIMEOUT_S), numbers, longest_px, hdr)


def _decoded(file: Media, line: Timeline, numbers: list[int], longest_px: int, hdr: str) -> list[Rgb]:
    if not 0 <= numbers[0] <= numbers[-1] < len(line.raw_s):
        raise ClipRejected("frame_mismatch", f"requested frames {numbers[0]} to {numbers[-1]} of {len(line.raw_s)}")
    size = min(longest_px, max(line.size_px))
    frames = decode(file, line, np.array(numbers, np.int64), size, "pad", _TIMEOUT_S, hdr=hdr)
    boxes = frames.content_px.tolist()
    return [rgb[y0:y1, x0:x1].copy() for rgb, (x0, y0, x1, y1) in zip(frames.rgb, boxes, strict=True)]


def _middle_of(file: Media, span: Span, root: Root, longest_px: int) -> Rgb:
    """The middle frame of a span, else the first of its file. Raises ClipRejected if that cannot be decoded either."""
    try:
        line = timeline_from_packets(file, _TIMEOUT_S)
        return _frames(file, [_middle_number(span, root, line)], longest_px)[0]
    except ClipRejected:
        return _first_of(file, longest_px)


def _middle_number(span: Span, root: Root, line: Timeline) -> int:
    """The number of the middle frame of a span, or of its file if the annotation is invalid or beyond the end."""
    try:
        frames = annotation(span, root, line.size_px, line.pixel_aspect).frames(line)
    except ClipRejected:
        frames = np.arange(0)
    return int(frames[len(frames) // 2]) if len(frames) else len(line.raw_s) // 2


def _first_of(file: Media, longest_px: int) -> Rgb:
    """The first frame, without counting the others, so that later damage does not matter. Raises ClipRejected."""
    side = f"min(1,{longest_px}/max(iw*sar,ih))"
    requested = OutputImage((scaled(f"max(1,round(iw*sar*{side}))", f"max(1,round(ih*{side}))"), RGB))
    with ordered(file, _TIMEOUT_S, do="frames", start_s=0, numbers=[0], images=[asdict(requested)]) as answers:
        answers.expect("stream")
        message = answers.next()
        if not message or not message["frames"]:
            raise ClipRejected("corrupt", "no frames")
        found = np.empty(message["shapes"][0], np.uint8)
        answers.fill(found.data.cast("B"))
    return found
