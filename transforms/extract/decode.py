"""Frame-exact decoding of a video by frame numbers, upright."""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.frames import Frames, SearchImage, SmallerFrames
from motionshards.schemas.moving import Encoded
from motionshards.transforms.extract.crop import Window
from motionshards.transforms.extract.decoder.client import Answers, ordered
from motionshards.transforms.extract.frame_facts import FrameFacts
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.output_images import (
    ExtraOutputs,
    OutputImage,
    content_sizes,
    resize_affine,
    stored_square,
    window_place,
    window_square,
)
from motionshards.transforms.extract.timeline import Timeline

_Receiver = tuple[OutputImage, Callable[[NDArray[np.uint8]], None]]
"""A kind of image, and the function that receives those of all frames, uint8 [H,W,C]."""

_NO_EXTRA = ExtraOutputs()
_SAME_TIME_S = 1e-3
# A seek also decodes frames before the first one, and most clips are short.
_SEEK_FROM_S, _SEEK_MARGIN_S = 10.0, 1.0


def decode(
    media: Media,
    timeline: Timeline,
    indices: NDArray[np.int64],
    size: int,
    fit: str,
    timeout_s: float,
    window: Window | None = None,
    hdr: str = "tonemap",
    extra: ExtraOutputs = _NO_EXTRA,
) -> Frames:
    """Decode the frames `indices` (ascending, of `timeline`) scaled to [size,size].

    fit: `pad` keeps the display aspect and centers the image on black, `squash` fills the square
    window: the part of the frame to crop, in whole source pixels; black outside the frame. It fills the square.
    hdr: `tonemap` maps HDR frames to BT.709, `keep` leaves their values unchanged
    extra: additional outputs of the same decoding pass

    Seeks are verified: frames far into a long file are reached by a seek to the keyframe before them, and if the result is not
    exactly the requested frames, at their times and without an error, the file is decoded from its start.

    Raises:
        ClipRejected: corrupt, frame_mismatch, size_changes, and as `ordered`
    """
    start_s = seek_s(timeline, extra.requested(indices))
    if start_s:
        try:
            return decode_from(start_s, media, timeline, indices, size, fit, timeout_s, window, hdr, extra)
        except ClipRejected as rejection:
            if rejection.reason not in ("corrupt", "frame_mismatch"):
                raise
    return decode_from(0, media, timeline, indices, size, fit, timeout_s, window, hdr, extra)


def seek_s(timeline: Timeline, indices: NDArray[np.int64]) -> int:
    """Where decoding starts, in whole seconds of the container's time; 0 is the start of the file."""
    return seek_before(float(timeline.raw_s[indices[0]]))


def seek_before(first_s: float) -> int:
    """Where decoding starts for frames from `first_s` on; as `seek_s`."""
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
    extra: ExtraOutputs = _NO_EXTRA,
) -> Frames:
    """`decode` from second `start_s` of the file: selects by frame number from its start, by timestamp after a seek."""
    if window is not None and not timeline.one_size:
        raise ClipRejected("size_changes", "use --recipe resize")
    search, every, video = extra.search, extra.every, extra.video
    search_output = None if search is None else search.output_image(timeline, window, size)
    requested, sizes = extra.requested(indices), (size, *extra.resized.sizes_px)
    shown = [indices, *(extra.resized.indices for _ in sizes[1:])]
    pixels = [np.empty((len(numbers), side, side, 3), np.uint8) for numbers, side in zip(shown, sizes, strict=True)]
    receivers: list[_Receiver] = [
        (_restricted(stored_square(side, fit, window, timeline.size_px), requested, numbers), _filling(into))
        for side, numbers, into in zip(sizes, shown, pixels, strict=True)
    ]
    rgb, searched = pixels[0], list[NDArray[np.uint8]]()
    if search_output is not None:
        of_search = _restricted(search_output, requested, indices)
        receivers.append((of_search, lambda image: searched.append(image[..., 0] if image.shape[2] == 1 else image)))
    if every is not None:
        every.sink.begin()
        receivers.append((_restricted(every.output_image(timeline, window), requested, every.indices), every.sink.take))
    whole = fit if window is None else None
    orders = [video.order(requested, side, whole, timeline, number) for number, side in enumerate(sizes)] if video else []
    frames, encoded = _collect(media, timeline, requested, start_s, receivers, timeout_s, hdr, orders)
    every_size = check_frames(frames, timeline, requested, start_s)
    if video is not None and not all(one["frames"] for one in encoded):  # packets cannot be copied
        reencoded = replace(extra, video=replace(video, copy=False))
        return decode_from(start_s, media, timeline, indices, size, fit, timeout_s, window, hdr, reencoded)
    places = np.searchsorted(requested, indices)
    source_size = every_size[places]
    if window is None:
        pixel_aspects = frames.each_pixel_aspect
        content_size = content_sizes(source_size, [pixel_aspects[place] for place in places], size, fit)
        corner = (size - content_size) // 2
        affine, content = resize_affine(source_size, content_size, corner), np.hstack([corner, corner + content_size])
    else:
        if (every_size != timeline.size_px).any():
            raise ClipRejected("frame_mismatch", "the frames' size differs from the header")
        affine, content = window_place(window, source_size, size)
    covers = content if search_output is not None and window is None else np.full_like(content, [0, 0, size, size])
    search_images = (
        zip(searched if search_output is not None else rgb, covers.tolist(), strict=True) if search is not None else ()
    )
    videos = [Encoded(rate=video.rate, **one) for one in encoded] if video else [None for _ in sizes]
    return Frames(
        rgb,
        timeline.pts_s[indices],
        affine,
        source_size,
        content.astype(np.int32),
        frames.display,
        tuple(SearchImage(pixels, tuple(part)) for pixels, part in search_images),
        videos[0],
        tuple(map(SmallerFrames, sizes[1:], pixels[1:], videos[1:])),
    )


def _restricted(outputs: OutputImage, requested: NDArray[np.int64], chosen: NDArray[np.int64]) -> OutputImage:
    """The image, restricted to the `chosen` ones of the requested frames."""
    return outputs if len(chosen) == len(requested) else replace(outputs, only=tuple(np.searchsorted(requested, chosen).tolist()))


def _collect(
    media: Media,
    timeline: Timeline,
    indices: NDArray[np.int64],
    start_s: int,
    receivers: Sequence[_Receiver],
    timeout_s: float,
    hdr: str,
    videos: Sequence[dict[str, object]],
) -> tuple[FrameFacts, list[dict[str, Any]]]:
    """Pass each image, uint8 [H,W,C], to its receiver; returns the facts of all frames, and the encoded videos."""
    frames, encoded = FrameFacts(), list[dict[str, Any]]()
    with chosen(media, timeline, indices, start_s, [outputs for outputs, _ in receivers], timeout_s, hdr, videos) as answers:
        frames.header = answers.expect("stream")
        while message := answers.next():
            if "mp4" in message:
                content = bytearray(message["mp4"])
                answers.fill(memoryview(content))
                encoded.append({"mp4": bytes(content), "frames": message["count"], "crf": message["crf"]})
                continue
            for (_, receive), shape in zip(receivers, message["shapes"], strict=False):  # the last message has no shapes
                if shape is not None:
                    image = np.empty(shape, np.uint8)
                    answers.fill(image.data.cast("B"))
                    receive(image)
            frames.add(message["frames"])
    return frames, encoded


def _filling(rgb: NDArray[np.uint8]) -> Callable[[NDArray[np.uint8]], None]:
    """A function that copies images one after the other into [T,H,W,3]. `check_frames` detects surplus ones."""
    places = iter(rgb)

    def receive(image: NDArray[np.uint8]) -> None:
        np.copyto(next(places), image)

    return receive


def chosen(
    media: Media,
    timeline: Timeline,
    indices: NDArray[np.int64],
    start_s: int,
    images: Sequence[OutputImage],
    timeout_s: float,
    hdr: str,
    videos: Sequence[dict[str, object]] = (),
) -> AbstractContextManager[Answers]:
    """Order images of frames of a timeline: by number from the start of the file, by time after a seek."""
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
        images=[asdict(one) for one in images],
        tone_map=mapped,
        untagged=timeline.untagged,
        videos=videos,
        **which,
    )


def _within_s(timeline: Timeline, start_s: int) -> float:
    """Tolerance for the times of frames."""
    gap_s = float(np.diff(timeline.raw_s).min(initial=_SAME_TIME_S * 2.5))
    return 0.4 * gap_s if start_s else _SAME_TIME_S


def cut(rgb: NDArray[np.uint8], window: Window, size: int, timeout_s: float) -> NDArray[np.uint8]:
    """Crop decoded frames, uint8 [T,H,W,3], to [T,size,size,3], with exactly the result of `decode` with that window.

    Raises:
        ClipRejected: decode_timeout, decoder_killed
    """
    count, height, width, _ = rgb.shape
    filters, found = window_square(size, window, (width, height)).filters, np.empty((count, size, size, 3), np.uint8)
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


def check_frames(frames: FrameFacts, timeline: Timeline, indices: NDArray[np.int64], start_s: int) -> NDArray[np.int32]:
    """Check that the decoder returned these frames, as the timeline describes them; returns their sizes, int32 [T,2].

    Raises:
        ClipRejected: frame_mismatch
    """
    if len(frames) != len(indices):
        raise ClipRejected("frame_mismatch", f"requested {len(indices)} frames, got {len(frames)}")
    if np.abs(frames.times_s - timeline.raw_s[indices]).max(initial=0) > _within_s(timeline, start_s):
        raise ClipRejected("frame_mismatch", "times of decoded frames differ from those of the packets")
    if timeline.one_size and frames.pixel_aspects != [timeline.pixel_aspect]:
        raise ClipRejected("frame_mismatch", "the frames' pixel aspect differs from the header")
    if frames.is_hdr != timeline.hdr:
        raise ClipRejected("frame_mismatch", "the frames' transfer function differs from the header")
    return frames.sizes_px
