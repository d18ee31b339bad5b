"""The protocol of views (`dataset.views`), and the frame numbers that a view picks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from motionshards.dataset.reading.catalog import Catalog
from motionshards.dataset.reading.order import I64


@dataclass(frozen=True, slots=True)
class Picks:
    """What to read for some clips.

    frames: int64 [B,n], frame numbers: of stills, or of a video's frames
    other_clip, other_frame: int64 [B], clips and their described frames whose action units are the target; None without target
    audio_start: int64 [B], first audio sample; None without sound
    """

    frames: I64
    other_clip: I64 | None = None
    other_frame: I64 | None = None
    audio_start: I64 | None = None


class View(Protocol):
    """How clips become samples. Views must be picklable.

    n: frames per sample
    per_identity: whether an epoch draws one clip of each identity instead of every clip
    in_time_order: whether frames are in time order and their positions have no other meaning, so that time may be reversed

    Optional attributes: `prefers`, `"stills"` (default) or `"video"`, the frames to read if both are stored; `audio`, whether
    samples have sound, with a method `samples(catalog)` that returns the number of audio samples.
    """

    @property
    def n(self) -> int: ...

    @property
    def per_identity(self) -> bool: ...

    @property
    def in_time_order(self) -> bool: ...

    def unusable(self, catalog: Catalog) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """Yield reasons why clips do not satisfy the view's requirements, each with a mask, bool [C], of these clips.

        Raises:
            ConfigError: no clip of such a dataset can satisfy them
        """

    def pick(self, catalog: Catalog, seed: int, clip: I64, turn: I64) -> Picks:
        """Pick frames for clips, int64 [B], that were drawn `turn` times before, int64 [B]."""
