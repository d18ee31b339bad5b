"""Checks the stored video of a sample against its row. It is untrusted, and decoded in a separate process."""

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.layout import META, POINT_SCORES, POINTS, VIDEO, VIDEO_FRAMES
from motionshards.schemas.moving import NO_POINT, measured_rows, point_scale
from motionshards.schemas.samples.members import array_member
from motionshards.transforms.extract.decoder.client import ordered
from motionshards.transforms.extract.decoder.limits import GROUP_FRAMES
from motionshards.transforms.extract.media import in_memory

_COLUMNS = ("video_frames", "fps")
_LEAST_PSNR_DB = 25.0
# Coarser videos can differ more from the stills, whose quality is independent.
_COARSEST_COMPARED_CRF = 32
_CLEARLY_CLOSER = 2
# Times in meta.json are rounded to a microsecond.
_SAME_TIME_S = 2e-6


def check_video_row(row: Mapping[str, Any], config: BuildConfig) -> Iterator[str]:
    """Errors in the columns of stored video, which must not be null."""
    if missing := [name for name in _COLUMNS if row[name] is None]:
        yield f"{', '.join(missing)} must not be null"
        return
    rows = measured_rows(row["video_frames"], config.landmarks_every)
    if row["video_frames"] < 1 or (not config.stores_stills and row["n_frames"] != rows):
        yield f"n_frames is {row['n_frames']}, must be {rows} for a video of {row['video_frames']} frames"
    if not row["fps"] > 0 or (config.fps != "source" and row["fps"] != float(Fraction(config.fps))):
        yield f"fps is {row['fps']:g}, must be {config.fps}"
    crf = row["video_crf"]
    if (crf is None and not config.video_copy) or (crf not in (None, config.crf) and config.video_psnr is None):
        yield f"video_crf is {crf}, must be {config.crf}"


def check_video(
    members: Mapping[str, bytes],
    meta: Mapping[str, Any],
    row: Mapping[str, Any],
    config: BuildConfig,
    stills: Mapping[int, bytes],
) -> Iterator[str]:
    """Errors in the members of stored video and its part of meta.json, prefixed with the suffix.

    Args:
        meta: has been checked, except for the values of its object `mp4`
        stills: JPEG files by number, only those that can be decoded
    """
    video, described = meta["mp4"], meta["mp4"] if config.stores_stills else meta
    wrong = list(_check_meta(video, row, config))
    yield from (f"{META}: mp4: {fault}" for fault in wrong)
    if wrong:
        return
    try:
        source = array_member(VIDEO_FRAMES, members[VIDEO_FRAMES], row["video_frames"])
    except ValueError as error:
        yield f"{VIDEO_FRAMES}: {str(error).removeprefix(VIDEO_FRAMES).strip()}"
        return
    faults = list(_check_source(source, Fraction(*video["rate"]), meta, row, described))
    yield from (f"{VIDEO_FRAMES}: {fault}" for fault in faults)
    shown = {} if faults else shown_stills(source, meta, stills)
    yield from (f"{VIDEO}: {fault}" for fault in check_mp4(members[VIDEO], video, shown, config, config.size))
    if config.landmarks != "none":
        yield from _check_points(members, described, measured_rows(len(source), config.landmarks_every))


def _check_meta(video: Mapping[str, Any], row: Mapping[str, Any], config: BuildConfig) -> Iterator[str]:
    units, offset_px = point_scale(config.size)
    expected = {"frames": row["video_frames"], "crf": row["video_crf"], "every": config.landmarks_every}
    expected |= {"point_units": units, "point_offset_px": offset_px}
    if float(Fraction(*video["rate"])) != row["fps"]:
        yield f"rate is {video['rate']}, the index has {row['fps']:g}"
    for name, value in expected.items():
        if video[name] != value:
            yield f"{name} is {video[name]}, must be {value}"
    if ("pts_s" in video) != config.stores_stills:
        yield f"pts_s must {'not ' if config.stores_stills else ''}be missing"
    if config.stores_stills and config.landmarks != "none" and not {"boxes_px", "box_scores"} <= set(video):
        yield "boxes_px or box_scores are missing"


def _check_source(
    source: NDArray[np.float64], rate: Fraction, meta: Mapping[str, Any], row: Mapping[str, Any], described: Mapping[str, Any]
) -> Iterator[str]:
    """Errors in float64 [M,3], the source frame that each frame of the video shows."""
    span, index, pts_s = source.T
    if not np.isfinite(source).all() or (source < 0).any() or (source[:, :2] % 1).any():
        yield "has numbers that are not spans, frames or times"
        return
    new, ahead, later = np.diff(span), np.diff(index), np.diff(pts_s)
    if (
        span[-1] >= len(meta["spans"])
        or (new < 0).any()
        or ((new == 0) & ((ahead < 0) | (np.sign(ahead) != np.sign(later)))).any()
    ):
        yield "its frames are not sorted by span and frame number"
        return
    measured = np.column_stack([described[name] for name in ("span", "frame_index", "pts_s")])
    rows = source[:: meta["mp4"]["every"]]
    if not np.allclose(rows, measured, rtol=0, atol=_SAME_TIME_S):
        yield f"{META} describes different frames"
    for number in np.unique(span):
        known_s = np.array(row["frame_pts_s"])[np.array(meta["span"]) == number]
        yield from _check_times(pts_s[span == number], known_s, rate, int(np.argmax(span == number)))


def _check_times(pts_s: NDArray[np.float64], known_s: NDArray[np.float64], rate: Fraction, first: int) -> Iterator[str]:
    """Check that each frame shows the nearest in time of all known frames of the span."""
    times_s = pts_s[0] + np.arange(len(pts_s)) / float(rate)
    known_s = np.sort(np.concatenate([[-np.inf], pts_s, known_s, [np.inf]]))
    after = np.searchsorted(known_s, times_s)
    nearest_s = np.minimum(known_s[after] - times_s, times_s - known_s[after - 1])
    for number in np.flatnonzero(np.abs(pts_s - times_s) > nearest_s + _SAME_TIME_S)[:1].tolist():
        yield f"frame {first + number} shows the source at {pts_s[number]:g} s, but another is nearer to {times_s[number]:g} s"


def shown_stills(source: NDArray[np.float64], meta: Mapping[str, Any], stills: Mapping[int, bytes]) -> dict[int, bytes]:
    """The stills that the video also shows, by the number of the first frame of the video that does."""
    places = {(span, index): place for place, (span, index, _) in reversed(list(enumerate(source.tolist())))}
    frames = list(zip(meta["span"], meta["frame_index"], strict=True))
    return {places[frames[number]]: still for number, still in stills.items() if frames[number] in places}


def check_mp4(
    mp4: bytes, video: Mapping[str, Any], shown: Mapping[int, bytes], config: BuildConfig, size_px: int
) -> Iterator[str]:
    """Errors in a stored video.

    video: its description in meta.json
    shown: stills of its size that it shows, by frame number
    size_px: height and width of its frames
    """
    if not 0 <= mp4.find(b"moov") < mp4.find(b"mdat"):
        yield "its header is not at the start of the file"
        return
    coarse = video["crf"] is not None and video["crf"] > _COARSEST_COMPARED_CRF
    compared = {} if coarse else shown
    which = sorted({near for number in compared for near in _neighbors(number) if 0 <= near < video["frames"]})
    errors = dict[tuple[int, int], float]()
    try:
        for number, image in zip(which, decoded(mp4, video, which, config, size_px), strict=True):
            for still in compared.keys() & _neighbors(number):
                errors[still, number - still] = _error(image, compared[still])
    except ClipRejected as error:
        yield f"cannot be read: {error.detail or error.reason}"
        return
    yield from _check_stills(errors)


def _neighbors(number: int) -> set[int]:
    return {number - 1, number, number + 1}


def _error(image: NDArray[np.uint8], jpeg: bytes) -> float:
    """The mean squared error between an image, uint8 [H,W,3], and a still of the same size."""
    return float(np.square(image - simplejpeg.decode_jpeg(jpeg).astype(np.float32)).mean())


def _check_stills(errors: Mapping[tuple[int, int], float]) -> Iterator[str]:
    """Check that stills are similar to the frames that show them, and not to their neighbors.

    errors: (frame that shows a still, offset) -> error between the still and the frame at that offset
    """
    error, worst = max(((error, number) for (number, step), error in errors.items() if step == 0), default=(0.0, 0))
    if error > 255**2 / 10 ** (_LEAST_PSNR_DB / 10):
        psnr_db = 10 * math.log10(255**2 / error)
        yield f"frame {worst} differs from the still of the same source frame: PSNR is {psnr_db:.1f} dB"
        return
    for step, where in ((-1, "before"), (1, "after")):
        beside = {number: error for (number, by), error in errors.items() if by == step}
        if sum(beside.values()) < sum(errors[number, 0] for number in beside) / _CLEARLY_CLOSER:
            yield f"stills match the frames {where} those that show the same source frames"


def decoded(
    mp4: bytes, video: Mapping[str, Any], which: Sequence[int], config: BuildConfig, size_px: int
) -> Iterator[NDArray[np.uint8]]:
    """The frames with the numbers `which`, uint8 [H,W,3]; all others are decoded and checked, too. Raises ClipRejected."""
    order = {"frames": video["frames"], "size": size_px, "rate": video["rate"], "which": which}
    order["longest_group"] = None if video["crf"] is None else GROUP_FRAMES
    with in_memory("video.mp4", [mp4]) as media, ordered(media, config.decode_timeout_s, do="check", **order) as answers:
        while message := answers.next():
            image = np.empty(message["image"], np.uint8)
            answers.fill(image.data.cast("B"))
            yield image


def _check_points(members: Mapping[str, bytes], described: Mapping[str, Any], rows: int) -> Iterator[str]:
    """Errors in the landmarks of measured frames."""
    found = np.array([None not in box for box in described["boxes_px"]])
    for suffix in (POINTS, POINT_SCORES):
        try:
            array = array_member(suffix, members[suffix], rows)
        except ValueError as error:
            yield f"{suffix}: {str(error).removeprefix(suffix).strip()}"
            continue
        if suffix == POINTS:
            known = (array != NO_POINT).reshape(rows, -1)
            for number in np.flatnonzero(found & ~known.all(axis=1)).tolist():
                yield f"{suffix}: row {number} has a face, but missing points"
            for number in np.flatnonzero(~found & known.any(axis=1)).tolist():
                yield f"{suffix}: row {number} has points, but no face"
