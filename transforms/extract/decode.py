"""Frames of a video by their number, exactly and upright."""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.frames import Frames, SearchPicture
from motionshards.transforms.extract.crop import Window
from motionshards.transforms.extract.decoder.client import Answers, ordered
from motionshards.transforms.extract.decoder.filters import GREY, RGB, Filter, scaled
from motionshards.transforms.extract.frame_facts import FrameFacts
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.timeline import Timeline

_SAME_TIME_S = 1e-3
# Seeking costs some decoding before the first frame too, and short clips are most of the work.
_SEEK_FROM_S, _SEEK_MARGIN_S = 10.0, 1.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is made of a frame.

    filters: of FFmpeg; they end with `rgb24` or `gray`
    only: of which frames, by their places among those that are asked for; None for all
    """

    filters: tuple[Filter, ...]
    only: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Search:
    """What is decoded besides the stored frames, for a detector of faces: the same part of the source in square pixels.

    grey: in grey, else in RGB and only where that is finer than the stored frame
    scale: of the source, more than 0 and at most 1
    """

    grey: bool
    scale: float

    def wanted(self, timeline: Timeline, window: Window | None, size: int) -> Wanted | None:
        """The picture of each frame; None where the stored frame of this size is searched."""
        color = GREY if self.grey else RGB
        x0, y0, x1, y1 = window or (0, 0, *timeline.size_px)
        if not self.grey and max(float((x1 - x0) * timeline.pixel_aspect), y1 - y0) * self.scale <= size:
            return None
        # Square pixels with as many of them: an extreme pixel aspect is not to make large pictures.
        width, height = (f"max(16,round({side}*{self.scale:.6f}*sqrt({by})))" for side, by in (("iw", "sar"), ("ih", "1/sar")))
        part = () if window is None else _cut(window, timeline.size_px, color)
        return Wanted((*part, scaled(width, height), color))


def decode(
    media: Media,
    timeline: Timeline,
    indices: NDArray[np.int64],
    size: int,
    fit: str,
    timeout_s: float,
    window: Window | None = None,
    hdr: str = "tonemap",
    search: Search | None = None,
) -> Frames:
    """Decode the frames `indices` (ascending, of `timeline`) scaled to [size,size].

    fit: `pad` keeps the display aspect and centres the picture on black, `squash` fills the square
    window: the part of the frame to take, in whole source pixels; black where it leaves the frame. It fills the square.
    hdr: `tonemap` shows HDR frames as BT.709 would, `keep` takes their values as they are
    search: pictures for a detector; None if the stored frames are searched, or none

    Frames far into a long file are reached by a seek to the keyframe before them. Where that gives anything but exactly the
    frames that were asked for, at their times and without an error, the file is decoded from its start.

    Raises:
        ClipRejected: corrupt, frame_mismatch, size_changes, and as `ordered`
    """
    start_s = seek_s(timeline, indices)
    if start_s:
        try:
            return decode_from(start_s, media, timeline, indices, size, fit, timeout_s, window, hdr, search)
        except ClipRejected as lost:
            if lost.reason not in ("corrupt", "frame_mismatch"):
                raise
    return decode_from(0, media, timeline, indices, size, fit, timeout_s, window, hdr, search)


def seek_s(timeline: Timeline, indices: NDArray[np.int64]) -> int:
    """Where decoding begins, whole seconds as the container counts them; 0 for the start of the file."""
    first_s = float(timeline.raw_s[indices[0]])
    return int(first_s - _SEEK_MARGIN_S) if first_s > _SEEK_FROM_S else 0


def decode_from(
    start_s: int,
    media: Media,
    timeline: Timeline,
    indices: NDArray[np.int64],
    size: int,
    fit: str,
    timeout_s: float,
    window: Window | None,
    hdr: str = "tonemap",
    search: Search | None = None,
) -> Frames:
    """`decode` from a second of the file onwards: by frame number from its start, by timestamp after a seek."""
    if window is not None and not timeline.one_size:
        raise ClipRejected("size_changes", "use --recipe resize")
    stored = _whole(size, fit) if window is None else _part(size, window, timeline.size_px)
    extra = None if search is None else search.wanted(timeline, window, size)
    rgb, frames, searched = np.empty((len(indices), size, size, 3), np.uint8), FrameFacts(), list[NDArray[np.uint8]]()
    pictures = [stored] if extra is None else [stored, extra]
    with chosen(media, timeline, indices, start_s, pictures, timeout_s, hdr) as answers:
        frames.header = answers.expect("stream")
        while message := answers.next():
            for place, (height, width, channels) in enumerate(message["shapes"]):
                if place:
                    searched.append(np.empty((height, width) if channels == 1 else (height, width, channels), np.uint8))
                answers.fill((searched[-1] if place else rgb[len(frames)]).data.cast("B"))
            frames.add(message["frames"])
    source_size = check_frames(frames, timeline, indices, start_s)
    if window is None:
        content_size = _content_sizes(source_size, frames.each_pixel_aspect, size, fit)
        corner = (size - content_size) // 2
        affine, content = resize_affine(source_size, content_size, corner), np.hstack([corner, corner + content_size])
    else:
        if (source_size != timeline.size_px).any():
            raise ClipRejected("frame_mismatch", "frames of another size than in the header")
        affine, content = window_place(window, source_size, size)
    covers = content if extra is not None and window is None else np.full_like(content, [0, 0, size, size])
    search_pictures = zip(searched if extra is not None else rgb, covers.tolist(), strict=True) if search is not None else ()
    return Frames(
        rgb,
        timeline.pts_s[indices],
        affine,
        source_size,
        content.astype(np.int32),
        frames.display,
        tuple(SearchPicture(pixels, tuple(part)) for pixels, part in search_pictures),
    )


def chosen(
    media: Media,
    timeline: Timeline,
    indices: NDArray[np.int64],
    start_s: int,
    pictures: Sequence[Wanted],
    timeout_s: float,
    hdr: str,
) -> AbstractContextManager[Answers]:
    """The order for pictures of frames of a timeline, by number from the start of the file, by time after a seek."""
    if start_s:
        which = {"times_s": timeline.raw_s[indices].tolist(), "within_s": _within_s(timeline, start_s)}
    else:
        which = {"numbers": indices.tolist()}
    mapped = timeline.hdr and hdr == "tonemap"
    return ordered(
        media,
        timeout_s,
        do="frames",
        start_s=start_s,
        pictures=[asdict(one) for one in pictures],
        tone_map=mapped,
        untagged=timeline.untagged,
        **which,
    )


def _within_s(timeline: Timeline, start_s: int) -> float:
    """By how much the times of frames may be off."""
    gap_s = float(np.diff(timeline.raw_s).min(initial=_SAME_TIME_S * 2.5))
    return 0.4 * gap_s if start_s else _SAME_TIME_S


def _whole(size: int, fit: str) -> Wanted:
    width, height = ("if(gte(dar,1),{0},max(1,round({0}*dar)))", "if(gte(dar,1),max(1,round({0}/dar)),{0})")
    if fit != "pad":
        width = height = "{0}"
    place = f"{size}:{size}:x=floor((ow-iw)/2):y=floor((oh-ih)/2)"
    return Wanted((scaled(width.format(size), height.format(size)), RGB, ("pad", place)))


def _part(size: int, window: Window, frame_px: tuple[int, int]) -> Wanted:
    return Wanted((*_cut(window, frame_px, RGB), scaled(size, size), RGB))


def _cut(window: Window, frame_px: tuple[int, int], color: Filter) -> tuple[Filter, ...]:
    """The window at the source's scale. The color is converted first: cutting halved chroma at odd pixels would move colors."""
    x0, y0, x1, y1 = window
    left, top = max(0, -x0), max(0, -y0)
    width, height = (max(end, extent) + before for end, extent, before in zip((x1, y1), frame_px, (left, top), strict=True))
    filters = [scaled("iw", "ih"), color]
    if (width, height) != frame_px:
        filters.append(("pad", f"{width}:{height}:x={left}:y={top}"))
    return *filters, ("crop", f"{x1 - x0}:{y1 - y0}:{x0 + left}:{y0 + top}")


def _content_sizes(source_px: NDArray[np.int32], pixel: list[Fraction], size: int, fit: str) -> NDArray[np.int32]:
    """Width and height of whole frames in a square of `size`, as `_whole` scales them, int32 [T,2]."""
    if fit != "pad":
        return np.full_like(source_px, size)
    dar = source_px[:, 0] / source_px[:, 1] * np.array([float(one) for one in pixel])
    wide = np.where(dar >= 1, size, np.maximum(1, np.floor(size * dar + 0.5)))
    high = np.where(dar >= 1, np.maximum(1, np.floor(size / dar + 0.5)), size)
    return np.stack([wide, high], axis=1).astype(np.int32)


def cut(rgb: NDArray[np.uint8], window: Window, size: int, timeout_s: float) -> NDArray[np.uint8]:
    """The window of frames that are decoded already, uint8 [T,H,W,3], exactly as `decode` would have cut it: [T,size,size,3].

    Raises:
        ClipRejected: decode_timeout, decoder_killed
    """
    count, height, width, _ = rgb.shape
    filters, found = _part(size, window, (width, height)).filters, np.empty((count, size, size, 3), np.uint8)
    descriptor = os.memfd_create("frames")
    try:
        with open(descriptor, "wb", closefd=False) as stream:
            stream.write(np.ascontiguousarray(rgb).data)
        media = Media.of_descriptor(descriptor, "frames")
        with ordered(media, timeout_s, do="cut", size=[width, height], filters=filters) as answers:
            for one in found:
                answers.expect("cut")
                answers.fill(one.data.cast("B"))
            answers.finish()
    finally:
        os.close(descriptor)
    return found


def window_place(window: Window, source_size: NDArray[np.int32], size: int) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Affine float64 [T,2,3] and content box int32 [T,4] of frames of `source_size` [T,2] cut by a window."""
    low, high = np.array(window[:2]), np.array(window[2:])
    scale = size / (high - low)
    affine = np.zeros((len(source_size), 2, 3))
    affine[:, [0, 1], [0, 1]] = scale
    affine[:, :, 2] = 0.5 * scale - 0.5 - low * scale
    first = np.ceil((np.zeros_like(source_size) - low).clip(min=0) * scale)
    last = np.floor((np.minimum(source_size, high) - low) * scale)
    return affine, np.hstack([first, last]).astype(np.int32)


def check_frames(frames: FrameFacts, timeline: Timeline, indices: NDArray[np.int64], start_s: int) -> NDArray[np.int32]:
    """Check that the decoder gave these frames, as the timeline describes them; gives their sizes, int32 [T,2].

    Raises:
        ClipRejected: frame_mismatch
    """
    if len(frames) != len(indices):
        raise ClipRejected("frame_mismatch", f"asked for {len(indices)} frames, got {len(frames)}")
    if np.abs(frames.times_s - timeline.raw_s[indices]).max(initial=0) > _within_s(timeline, start_s):
        raise ClipRejected("frame_mismatch", "the decoder's frames have other times than the packets")
    if timeline.one_size and frames.pixel_aspects != [timeline.pixel_aspect]:
        raise ClipRejected("frame_mismatch", "frames of another pixel aspect than in the header")
    if frames.is_hdr != timeline.hdr:
        raise ClipRejected("frame_mismatch", "frames of another transfer function than in the header")
    return frames.sizes_px


def resize_affine(
    source_size: NDArray[np.int32], content_size: NDArray[np.int32], corner: NDArray[np.int32]
) -> NDArray[np.float64]:
    """float64 [T,2,3] that takes source pixels to pixels of the resized picture whose top left pixel is at `corner`."""
    scale = content_size / source_size
    affine = np.zeros((len(scale), 2, 3))
    affine[:, [0, 1], [0, 1]] = scale
    affine[:, :, 2] = 0.5 * scale - 0.5 + corner
    return affine
