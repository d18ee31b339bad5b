"""Do the stills and the video of a sample at a smaller size show what those at the dataset's size show?"""

from collections.abc import Iterable, Iterator, Mapping
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

# Pictures are compared at this size at most, where filters and JPEG make little difference.
_COMPARED_PX, _COMPARED_FRAMES = 32, 9
_LEAST_PSNR_DB = 20.0
# Of two equal pictures the nearer one is a matter of noise: mean squared error in levels of 0 to 255.
_CLEARLY_CLOSER, _NOISE = 4, 1.0


def check_smaller(
    size_px: int, members: Mapping[str, bytes], meta: Mapping[str, Any], row: Mapping[str, Any], config: BuildConfig
) -> Iterator[str]:
    """Faults of the members of a smaller size; the suffix comes first.

    members, meta: those of the dataset's own size are without faults
    """
    stills = stills_of(members, row, config, size_px)
    faults = [(number, fault) for number, still in stills.items() for fault in check_still(still, size_px)]
    if not faults:
        unlike = _unlike(_of_stills(stills_of(members, row, config)), _of_stills(stills))
        faults = [(number, f"shows another picture than {frame_suffix(number)}") for number in unlike]
    yield from (f"{frame_suffix(number, size_px)}: {fault}" for number, fault in faults)
    if VIDEO in members and not faults:
        suffix = video_suffix(size_px)
        yield from (f"{suffix}: {fault}" for fault in _check_video(members, suffix, size_px, meta, config, stills))


def _check_video(
    members: Mapping[str, bytes],
    suffix: str,
    size_px: int,
    meta: Mapping[str, Any],
    config: BuildConfig,
    stills: Mapping[int, bytes],
) -> Iterator[str]:
    # Each size is encoded by itself, so packets may have been copied at one of them, which meta.json tells of the main one only.
    video = {**meta["mp4"], "crf": None if config.video_copy else config.crf}
    shown = shown_stills(array_member(VIDEO_FRAMES, members[VIDEO_FRAMES]), meta, stills)
    faults = list(check_mp4(members[suffix], video, shown, config, size_px))
    yield from faults
    if faults:
        return
    which = np.unique(np.linspace(0, video["frames"] - 1, _COMPARED_FRAMES).round().astype(int)).tolist()
    try:
        main = _compared(decoded(members[VIDEO], meta["mp4"], which, config, config.size))
        small = _compared(decoded(members[suffix], video, which, config, size_px))
    except ClipRejected as error:
        yield f"cannot be read: {error.detail or error.reason}"
        return
    for place in _unlike(main, small)[:1]:
        yield f"frame {which[place]} shows another picture than that of {VIDEO}"


def _of_stills(stills: Mapping[int, bytes]) -> NDArray[np.float32]:
    return _compared(simplejpeg.decode_jpeg(jpeg) for jpeg in stills.values())


def _compared(pictures: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Pictures [H,W,3] as rows that can be compared between sizes, float32 [n,k]."""
    side = (_COMPARED_PX, _COMPARED_PX)
    small = [np.asarray(Image.fromarray(one).resize(side, Image.Resampling.BOX), np.float32).ravel() for one in pictures]
    return np.array(small, np.float32).reshape(len(small), 3 * _COMPARED_PX**2)


def _unlike(main: NDArray[np.float32], small: NDArray[np.float32]) -> list[int]:
    """Which rows of `small` differ from the same row of `main`, or resemble another row clearly more."""
    errors = np.array([np.square(main - one).mean(axis=1) for one in small]).reshape(len(small), len(main))
    own, nearest = np.diag(errors), errors.min(axis=1, initial=np.inf)
    most = 255**2 / 10 ** (_LEAST_PSNR_DB / 10)
    return np.flatnonzero((own > most) | (own > _CLEARLY_CLOSER * nearest + _NOISE)).tolist()
