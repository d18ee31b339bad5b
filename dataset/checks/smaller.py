"""Checks that stills and video of a sample at a smaller size show the same as those at the dataset's size."""

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from motionshards.dataset.checks.stills import check_still, stills_of
from motionshards.dataset.checks.video import check_mp4, decoded, shown_stills
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.layout import VIDEO, VIDEO_FRAMES, frame_suffix, video_suffix
from motionshards.schemas.samples.members import array_member
from motionshards.transforms.extract.output_images import content_sizes

Box = tuple[int, int, int, int]

# Images are compared at this size at most, where filters and JPEG make little difference.
_COMPARED_PX, _COMPARED_FRAMES = 32, 9
_LEAST_PSNR_DB, _MOST_SOURCE_PX = 18.0, 1_000_000
# Between equal images, noise decides which is closer: mean squared error in levels of 0 to 255.
_CLEARLY_CLOSER, _NOISE = 2, 1.0


def check_smaller(
    size_px: int, members: Mapping[str, bytes], meta: Mapping[str, Any], row: Mapping[str, Any], config: BuildConfig
) -> Iterator[str]:
    """Errors in the members of a smaller size, prefixed with the suffix.

    members, meta: those of the dataset's size have been checked
    """
    stills = stills_of(members, row, config, size_px)
    faults = [(number, fault) for number, still in stills.items() for fault in check_still(still, size_px)]
    if not faults:
        main, small = (map(simplejpeg.decode_jpeg, one.values()) for one in (stills_of(members, row, config), stills))
        mismatched = _mismatched(main, small, meta, row, config, size_px)
        faults = [(number, f"shows a different image than {frame_suffix(number)}") for number in mismatched]
    yield from (f"{frame_suffix(number, size_px)}: {fault}" for number, fault in faults)
    if VIDEO in members and not faults:
        suffix = video_suffix(size_px)
        yield from (f"{suffix}: {fault}" for fault in _check_video(members, suffix, size_px, meta, row, config, stills))


def _check_video(
    members: Mapping[str, bytes],
    suffix: str,
    size_px: int,
    meta: Mapping[str, Any],
    row: Mapping[str, Any],
    config: BuildConfig,
    stills: Mapping[int, bytes],
) -> Iterator[str]:
    # Each size is encoded separately: packets may have been copied at one of them, recorded in meta.json for the main size only.
    video = {**meta["mp4"], "crf": None if config.video_copy else config.crf}
    shown = shown_stills(array_member(VIDEO_FRAMES, members[VIDEO_FRAMES]), meta, stills)
    faults = list(check_mp4(members[suffix], video, shown, config, size_px))
    yield from faults
    if faults:
        return
    which = np.unique(np.linspace(0, video["frames"] - 1, _COMPARED_FRAMES).round().astype(int)).tolist()
    try:
        main = decoded(members[VIDEO], meta["mp4"], which, config, config.size)
        small = decoded(members[suffix], video, which, config, size_px)
        mismatched = _mismatched(main, small, meta, row, config, size_px)
    except ClipRejected as error:
        yield f"cannot be read: {error.detail or error.reason}"
        return
    for place in mismatched[:1]:
        yield f"frame {which[place]} shows a different image than {VIDEO}"


def _content(meta: Mapping[str, Any], row: Mapping[str, Any], config: BuildConfig, size_px: int) -> Box | None:
    """The part of every frame of a size that shows the source frame; its edges are rounded for each size separately.

    None if it differs between frames, because the source changes its size, or if the recorded sizes are impossible.
    """
    source_px, aspect = np.unique(np.array(meta["source_size_px"], np.float64), axis=0), row["pixel_aspect"] or 1.0
    possible = len(source_px) == 1 and ((source_px >= 1) & (source_px <= _MOST_SOURCE_PX)).all()
    if not possible or not 1 / _MOST_SOURCE_PX <= aspect <= _MOST_SOURCE_PX:
        return None
    if config.recipe != "resize":
        return 0, 0, size_px, size_px
    ((width, height),) = content_sizes(source_px.astype(np.int32), [Fraction(aspect)], size_px, config.fit).tolist()
    left, top = (size_px - width) // 2, (size_px - height) // 2
    return left, top, left + width, top + height


def _mismatched(
    main: Iterable[NDArray[np.uint8]],
    small: Iterable[NDArray[np.uint8]],
    meta: Mapping[str, Any],
    row: Mapping[str, Any],
    config: BuildConfig,
    size_px: int,
) -> list[int]:
    """Indices of images that differ between both sizes, or that are clearly closer to another image of the main size."""
    side = min(size_px, _COMPARED_PX)
    first, second = (
        _compared(images, _content(meta, row, config, size), side) for images, size in ((main, config.size), (small, size_px))
    )
    usual = np.median(second - first, axis=0) if len(first) else 0  # difference common to all images, due to the filters
    errors = np.array([np.square(first - one).mean(axis=1) for one in second - usual]).reshape(len(second), len(first))
    own, nearest = np.diag(errors), errors.min(axis=1, initial=np.inf)
    far = np.square(second - first).mean(axis=1) > 255**2 / 10 ** (_LEAST_PSNR_DB / 10)
    return np.flatnonzero(far | (own > _CLEARLY_CLOSER * nearest + _NOISE)).tolist()


def _compared(images: Iterable[NDArray[np.uint8]], part: Box | None, side: int) -> NDArray[np.float32]:
    """A part of images [H,W,3] as rows that are comparable between sizes, float32 [n,k]; no rows if `part` is None."""
    shown = [] if part is None else [Image.fromarray(one).resize((side, side), Image.Resampling.BOX, part) for one in images]
    return np.array([np.asarray(one).ravel() for one in shown], np.float32).reshape(len(shown), 3 * side**2)
