"""The seam of action units: what a source of them is told about a clip, and what it gives back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.action_units import ActionUnits
from motionshards.schemas.errors import ClipRejected


@dataclass(frozen=True, slots=True)
class StoredClip:
    """The T stored frames of a clip, and where they come from.

    key: of the sample
    uris: of the files of its spans
    jpegs: the T frames as they are stored
    boxes_px: float32 [T,4], the face's box in crop pixels, x0 y0 x1 y1, NaN rows without a face; None where no face was searched
    span: int32 [T], which span a frame is from
    index: int32 [T], number of the frame within the span's file, from 0
    file_frames: how many decodable frames the file of each span has; None where that was not recorded
    source_to_crop: float64 [T,2,3], affine from source pixels to crop pixels
    """

    key: str
    uris: tuple[str, ...]
    jpegs: tuple[bytes, ...] = field(repr=False)
    boxes_px: NDArray[np.float32] | None
    span: NDArray[np.int32]
    index: NDArray[np.int32]
    file_frames: tuple[int | None, ...]
    source_to_crop: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.jpegs)


class AuSource(Protocol):
    """Where action units come from. Sources go to worker processes by pickle.

    name: its word in `BuildConfig.aus`
    batch_frames: how many frames it wants at once
    """

    @property
    def name(self) -> str: ...

    @property
    def batch_frames(self) -> int: ...

    def action_units(self, clips: Sequence[StoredClip], scratch: Path | None) -> list[ActionUnits | ClipRejected]:
        """What each clip has, or why it is lost; that of a clip does not depend on the others.

        scratch: directory for temporary files; None is the system's

        Raises:
            BuildFailed: it does not work at all on this machine
        """

    def provenance(self) -> dict[str, str]:
        """Versions, hashes and command lines that decide the action units."""
