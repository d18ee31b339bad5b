"""Panels of a figure of clips. `figure` is imported on use, since matplotlib is an optional dependency."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from motionshards.dataset.plotting.overlay import Marks
from motionshards.schemas.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """n frames of a clip, with everything that is drawn for them.

    frames: uint8 [n,S,S,3], RGB
    captions: n texts below the frames, of one or more lines
    marks: n marks to draw on the frames
    aus: float [n,17], intensities of action units, 0 to 5 or NaN
    target_aus: float [17], drawn over the action units of the last frame
    audio: float32 [samples], -1 to 1
    audio_hz: samples per second
    """

    title: str
    frames: NDArray[np.uint8]
    captions: Sequence[str]
    marks: Sequence[Marks]
    aus: NDArray[np.floating] | None = None
    target_aus: NDArray[np.floating] | None = None
    audio: NDArray[np.float32] | None = None
    audio_hz: int | None = None


def spread(count: int, most: int) -> list[int]:
    """At most `most` evenly spaced numbers below `count`, including the first and the last."""
    return [round(number) for number in np.linspace(0, count - 1, max(0, min(count, most))).tolist()]


def plot(panels: Sequence[Panel]) -> "Figure":
    """A figure of clips. Raises ConfigError: matplotlib is not installed, or there is nothing to show."""
    if not panels or not len(panels[0].frames):
        raise ConfigError("show(): the numbers of clips and frames must be at least 1")
    try:
        from motionshards.dataset.plotting.figure import draw
    except ImportError as error:
        raise ConfigError(f"show() needs {error.name}: pip install 'motionshards[notebook]'") from error
    return draw(panels)
