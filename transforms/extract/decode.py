"""Frames of a video by their number, through ffmpeg, exactly and upright."""

import re
from fractions import Fraction

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from schemas.errors import ClipRejected
from schemas.records import Frames
from transforms.extract.crop import Window
from transforms.extract.ffmpeg import FfmpegResult, safe_input_options
from transforms.extract.media import INPUT, Media, run_on
from transforms.extract.timeline import Timeline

# swscale's fast paths differ between processors; these flags choose the exact ones, so that bytes do not.
_SCALER = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
_SAME_TIME_S = 1e-3
# Seeking costs some decoding before the first frame too, and short clips are most of the work.
_SEEK_FROM_S, _SEEK_MARGIN_S = 10.0, 1.0

_TIME_BASE = re.compile(r"^\[showinfo@source @ 0x[0-9a-f]+\] \[info\] config in time_base: (\d+)/(\d+)", re.M)
_SOURCE = re.compile(r"^\[showinfo@source @ 0x[0-9a-f]+\] \[info\] n: *\d+ pts: *(-?\d+|NOPTS) .*? s:(\d+)x(\d+) ", re.M)
_CONTENT = re.compile(r"^\[showinfo@content @ 0x[0-9a-f]+\] \[info\] n: *\d+ pts: *\S+ .*? s:(\d+)x(\d+) ", re.M)


def decode(
    media: Media,
    timeline: Timeline,
    indices: NDArray[np.int64],
    size: int,
    fit: str,
    timeout_s: float,
    window: Window | None = None,
) -> Frames:
    """Decode the frames `indices` (ascending, of `timeline`) scaled to [size,size].

    fit: `pad` keeps the display aspect and centres the picture on black, `squash` fills the square
    window: the part of the frame to take, in whole source pixels; black where it leaves the frame. It fills the square.

    Frames far into a long file are reached by a seek to the keyframe before them. Where that gives anything but exactly the
    frames that were asked for, at their times and without an error, the file is decoded from its start.

    Raises:
        ClipRejected: corrupt, frame_mismatch, decode_timeout, decoder_killed
    """
    start_s = seek_s(timeline, indices)
    if start_s:
        try:
            return decode_from(start_s, media, timeline, indices, size, fit, timeout_s, window)
        except ClipRejected as lost:
            if lost.reason not in ("corrupt", "frame_mismatch"):
                raise
    return decode_from(0, media, timeline, indices, size, fit, timeout_s, window)


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
) -> Frames:
    """`decode` from a second of the file onwards: by frame number from its start, by timestamp after a seek."""
    gap_s = np.diff(timeline.raw_s).min(initial=_SAME_TIME_S * 2.5)
    within_s = 0.4 * float(gap_s) if start_s else _SAME_TIME_S
    times = timeline.raw_s[indices] - start_s
    terms = [f"lt(abs(t-{time:.6f}),{within_s:.6f})" for time in times] if start_s else [f"eq(n,{i})" for i in indices]
    options = {**safe_input_options(), **({"ss": start_s} if start_s else {})}
    source = ffmpeg.input(INPUT, **options)["V:0"].filter("select", _any_of(terms))
    source = source.filter("showinfo@source", checksum=0)
    video = _whole(source, size, fit) if window is None else _part(source, size, window, timeline.size_px)
    output = video.output("pipe:1", format="rawvideo", pix_fmt="rgb24", fps_mode="passthrough", **{"frames:v": len(indices)})
    rgb, source_size, content_size = _check(run_on(media, output, timeout_s), times, within_s, size)
    if window is None:
        corner = (size - content_size) // 2
        affine, content = resize_affine(source_size, content_size, corner), np.hstack([corner, corner + content_size])
    else:
        if (source_size != timeline.size_px).any():
            raise ClipRejected("frame_mismatch", "frames of another size than the header tells")
        affine, content = _window_place(window, source_size, size)
    return Frames(rgb, timeline.pts_s[indices], affine, source_size, content.astype(np.int32))


def _whole(video: ffmpeg.nodes.FilterableStream, size: int, fit: str) -> ffmpeg.nodes.FilterableStream:
    width, height = ("if(gte(dar,1),{0},max(1,round({0}*dar)))", "if(gte(dar,1),max(1,round({0}/dar)),{0})")
    return (
        video.filter(
            "scale",
            w=width.format(size) if fit == "pad" else size,
            h=height.format(size) if fit == "pad" else size,
            flags=_SCALER,
        )
        .filter("format", "rgb24")
        .filter("showinfo@content", checksum=0)
        .filter("pad", size, size, x="floor((ow-iw)/2)", y="floor((oh-ih)/2)")
    )


def _part(
    video: ffmpeg.nodes.FilterableStream, size: int, window: Window, frame_px: tuple[int, int]
) -> ffmpeg.nodes.FilterableStream:
    """Cut in RGB: cutting frames with halved chroma at odd pixels would move their colours."""
    x0, y0, x1, y1 = window
    left, top = max(0, -x0), max(0, -y0)
    width, height = (max(end, extent) + before for end, extent, before in zip((x1, y1), frame_px, (left, top), strict=True))
    video = video.filter("scale", w="iw", h="ih", flags=_SCALER).filter("format", "rgb24")
    if (width, height) != frame_px:
        video = video.filter("pad", width, height, x=left, y=top)
    video = video.filter("crop", x1 - x0, y1 - y0, x0 + left, y0 + top)
    return video.filter("scale", w=size, h=size, flags=_SCALER).filter("showinfo@content", checksum=0)


def _window_place(window: Window, source_size: NDArray[np.int32], size: int) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Affine and content box of each frame of a window that fills the square."""
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


def _check(
    result: FfmpegResult, expected_s: NDArray[np.float64], within_s: float, size: int
) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.int32]]:
    """Check that what came out is what was asked for, frame by frame; gives pixels, source sizes and content sizes."""
    source, content = _SOURCE.findall(result.log), _CONTENT.findall(result.log)
    base = _TIME_BASE.search(result.log)
    count = len(expected_s)
    if base is None or not len(source) == len(content) == count or len(result.stdout) != count * size * size * 3:
        raise ClipRejected("frame_mismatch", f"asked for {count} frames, got {len(result.stdout) / (size * size * 3):g}")
    times = np.array([float(int(pts) * Fraction(int(base[1]), int(base[2]))) for pts, _, _ in source])
    if np.abs(times - expected_s).max(initial=0) > within_s:
        raise ClipRejected("frame_mismatch", "the decoder's frames stand at other times than the packets")
    source_size = np.array([(int(w), int(h)) for _, w, h in source], np.int32)
    content_size = np.array([(int(w), int(h)) for w, h in content], np.int32)
    return np.frombuffer(result.stdout, np.uint8).reshape(count, size, size, 3), source_size, content_size


def resize_affine(
    source_size: NDArray[np.int32], content_size: NDArray[np.int32], corner: NDArray[np.int32]
) -> NDArray[np.float64]:
    """float64 [T,2,3] that takes source pixels to pixels of the resized picture whose top left pixel is at `corner`."""
    scale = content_size / source_size
    affine = np.zeros((len(scale), 2, 3))
    affine[:, [0, 1], [0, 1]] = scale
    affine[:, :, 2] = 0.5 * scale - 0.5 + corner
    return affine
