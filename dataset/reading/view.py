"""How a reader asks a view for frames: the protocol of `dataset.views`, and the numbers that a view picks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from motionshards.dataset.reading.catalog import Catalog
from motionshards.dataset.reading.order import I64


@dataclass(frozen=True, slots=True)
class Picks:
    """What is read for some clips.

    frames: int64 [B,n], numbers of shown frames: of stills, or of a video's frames
    other_clip, other_frame: int64 [B], described frames whose action units are the target; None where there is none
    audio_start: int64 [B], first sample of the sound; None without sound
    """

    frames: I64
    other_clip: I64 | None = None
    other_frame: I64 | None = None
    audio_start: I64 | None = None


class View(Protocol):
    """How clips become samples. Views go to other processes by pickle.

    n: frames of a sample
    per_identity: an epoch takes one clip of each identity instead of every clip
    in_time_order: frames are in time order and their position means nothing else, so time may be reversed

    A view may also have `prefers`, "stills" or "video": what it reads where both are stored, by default the stills; and `audio`,
    whether samples have sound, with `samples(catalog)`, how many samples of it.
    """

    @property
    def n(self) -> int: ...

    @property
    def per_identity(self) -> bool: ...

    @property
    def in_time_order(self) -> bool: ...

    def unusable(self, catalog: Catalog) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """Why clips cannot be shown, and bool [C] which these are. Raises ConfigError where none could ever be."""

    def pick(self, catalog: Catalog, seed: int, clip: I64, turn: I64) -> Picks:
        """The picks for clips, int64 [B], in their turns, int64 [B]."""
