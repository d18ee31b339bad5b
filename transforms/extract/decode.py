"""Frames of a video by their number, through ffmpeg, exactly and upright."""

import os

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.records import Frames
from motionshards.transforms.extract.crop import Window
from motionshards.transforms.extract.ffmpeg import RAW_OUTPUT, FfmpegResult, safe_input_options
from motionshards.transforms.extract.frame_log import FrameLog
from motionshards.transforms.extract.hdr import tone_mapped
from motionshards.transforms.extract.media import INPUT, Media, run_on
from motionshards.transforms.extract.timeline import Timeline

# swscale's fast paths differ between processors; these flags choose the exact ones, so that bytes do not.
SCALER = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
_SAME_TIME_S = 1e-3
# Seeking costs some decoding before the first frame too, and short clips are most of the work.
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
) -> Frames:
    """Decode the frames `indices` (ascending, of `timeline`) scaled to [size,size].

    fit: `pad` keeps the display aspect and centres the picture on black, `squash` fills the square
    window: the part of the frame to take, in whole source pixels; black where it leaves the frame. It fills the square.
    hdr: `tonemap` shows HDR frames as BT.709 would, `keep` takes their values as they are

    Frames far into a long file are reached by a seek to the keyframe before them. Where that gives anything but exactly the
    frames that were asked for, at their times and without an error, the file is decoded from its start.

    Raises:
        ClipRejected: corrupt, frame_mismatch, size_changes, no_tone_mapping, and as `run_on`
    """
    start_s = seek_s(timeline, indices)
    if start_s:
        try:
            return decode_from(start_s, media, timeline, indices, size, fit, timeout_s, window, hdr)
        except ClipRejected as lost:
            if lost.reason not in ("corrupt", "frame_mismatch"):
                raise
    return decode_from(0, media, timeline, indices, size, fit, timeout_s, window, hdr)


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
) -> Frames:
    """`decode` from a second of the file onwards: by frame number from its start, by timestamp after a seek."""
    if window is not None and not timeline.one_size:
        raise ClipRejected("size_changes", "use --recipe resize")
    terms, times, within_s = frame_choice(start_s, timeline, indices)
    frames, options = FrameLog(), {**safe_input_options(), **({"ss": start_s} if start_s else {})}
    source = frames.source(ffmpeg.input(INPUT, **options)["V:0"].filter("select", terms))
    if timeline.hdr and hdr == "tonemap":
        source = tone_mapped(source, untagged=timeline.untagged)
    video = _whole(source, frames, size, fit) if window is None else _part(source, size, window, timeline.size_px)
    output = video.output("pipe:1", fps_mode="passthrough", **RAW_OUTPUT, **{"frames:v": len(indices)})
    result = run_on(media, output, timeout_s, take=frames.take)
    source_size = check_frames(frames, timeline, times, within_s)
    rgb = _pixels(result, len(indices), size)
    if window is None:
        content_size = frames.content_px
        corner = (size - content_size) // 2
        affine, content = resize_affine(source_size, content_size, corner), np.hstack([corner, corner + content_size])
    else:
        if (source_size != timeline.size_px).any():
            raise ClipRejected("frame_mismatch", "frames of another size than in the header")
        affine, content = window_place(window, source_size, size)
    return Frames(rgb, timeline.pts_s[indices], affine, source_size, content.astype(np.int32), frames.display)


def frame_choice(start_s: int, timeline: Timeline, indices: NDArray[np.int64]) -> tuple[str, NDArray[np.float64], float]:
    """ffmpeg's expression that selects frames, their times after a seek to `start_s`, and by how much those may be off."""
    by_time = timeline.by_time or start_s > 0
    gap_s = np.diff(timeline.raw_s).min(initial=_SAME_TIME_S * 2.5)
    within_s = 0.4 * float(gap_s) if by_time else _SAME_TIME_S
    times = timeline.raw_s[indices] - start_s
    if len(indices) == indices[-1] - indices[0] + 1:
        if by_time:
            return f"between(t,{times[0] - within_s:.6f},{times[-1] + within_s:.6f})", times, within_s
        return f"between(n,{indices[0]},{indices[-1]})", times, within_s
    terms = [f"lt(abs(t-{time:.6f}),{within_s:.6f})" for time in times] if by_time else [f"eq(n,{i})" for i in indices]
    return _any_of(terms), times, within_s


def _whole(video: ffmpeg.nodes.FilterableStream, frames: FrameLog, size: int, fit: str) -> ffmpeg.nodes.FilterableStream:
    width, height = ("if(gte(dar,1),{0},max(1,round({0}*dar)))", "if(gte(dar,1),max(1,round({0}/dar)),{0})")
    scaled = video.filter(
        "scale",
        w=width.format(size) if fit == "pad" else size,
        h=height.format(size) if fit == "pad" else size,
        flags=SCALER,
    )
    content = frames.content(scaled.filter("format", "rgb24"))
    return content.filter("pad", size, size, x="floor((ow-iw)/2)", y="floor((oh-ih)/2)")


def _part(
    video: ffmpeg.nodes.FilterableStream, size: int, window: Window, frame_px: tuple[int, int]
) -> ffmpeg.nodes.FilterableStream:
    """Cut in RGB: cutting frames with halved chroma at odd pixels would move their colours."""
    x0, y0, x1, y1 = window
    left, top = max(0, -x0), max(0, -y0)
    width, height = (max(end, extent) + before for end, extent, before in zip((x1, y1), frame_px, (left, top), strict=True))
    video = video.filter("scale", w="iw", h="ih", flags=SCALER).filter("format", "rgb24")
    if (width, height) != frame_px:
        video = video.filter("pad", width, height, x=left, y=top)
    video = video.filter("crop", x1 - x0, y1 - y0, x0 + left, y0 + top)
    return video.filter("scale", w=size, h=size, flags=SCALER)


def cut(rgb: NDArray[np.uint8], window: Window, size: int, timeout_s: float) -> NDArray[np.uint8]:
    """The window of frames that are decoded already, uint8 [T,H,W,3], exactly as `decode` would have cut it: [T,size,size,3].

    Raises:
        ClipRejected: decode_timeout, decoder_killed
    """
    count, height, width, _ = rgb.shape
    raw = ffmpeg.input(INPUT, format="rawvideo", pix_fmt="rgb24", video_size=(width, height), framerate=25)
    output = _part(raw["v:0"], size, window, (width, height)).output("pipe:1", **RAW_OUTPUT)
    descriptor = os.memfd_create("frames")
    try:
        with open(descriptor, "wb", closefd=False) as stream:
            stream.write(np.ascontiguousarray(rgb).data)
        result = run_on(Media.of_descriptor(descriptor, "frames"), output, timeout_s)
    finally:
        os.close(descriptor)
    return _pixels(result, count, size)


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


def _any_of(terms: list[str]) -> str:
    """The sum of the terms as a balanced tree: ffmpeg's expressions nest 100 deep at most, and a plain sum nests."""
    if len(terms) == 1:
        return terms[0]
    middle = len(terms) // 2
    return f"({_any_of(terms[:middle])}+{_any_of(terms[middle:])})"


def check_frames(frames: FrameLog, timeline: Timeline, expected_s: NDArray[np.float64], within_s: float) -> NDArray[np.int32]:
    """Check that the decoder gave the frames of these times, as the timeline describes them; gives their sizes, int32 [T,2].

    Raises:
        ClipRejected: frame_mismatch
    """
    if len(frames) != len(expected_s):
        raise ClipRejected("frame_mismatch", f"asked for {len(expected_s)} frames, got {len(frames)}")
    if np.abs(frames.times_s - expected_s).max(initial=0) > within_s:
        raise ClipRejected("frame_mismatch", "the decoder's frames have other times than the packets")
    if timeline.one_size and frames.pixel_aspects != [timeline.pixel_aspect]:
        raise ClipRejected("frame_mismatch", "frames of another pixel aspect than in the header")
    if frames.is_hdr != timeline.hdr:
        raise ClipRejected("frame_mismatch", "frames of another transfer function than in the header")
    return frames.sizes_px


def _pixels(result: FfmpegResult, count: int, size: int) -> NDArray[np.uint8]:
    if len(result.stdout) != count * size * size * 3:
        raise ClipRejected("frame_mismatch", f"asked for {count} frames, got {len(result.stdout) / (size * size * 3):g}")
    return np.frombuffer(result.stdout, np.uint8).reshape(count, size, size, 3)


def resize_affine(
    source_size: NDArray[np.int32], content_size: NDArray[np.int32], corner: NDArray[np.int32]
) -> NDArray[np.float64]:
    """float64 [T,2,3] that takes source pixels to pixels of the resized picture whose top left pixel is at `corner`."""
    scale = content_size / source_size
    affine = np.zeros((len(scale), 2, 3))
    affine[:, [0, 1], [0, 1]] = scale
    affine[:, :, 2] = 0.5 * scale - 0.5 + corner
    return affine
