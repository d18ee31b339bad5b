"""The interface of sources of action units: what they get of a clip, and what they return."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.action_units import ActionUnits, SourceFrames
from motionshards.schemas.errors import ClipRejected

# What the names of a source's provenance begin with.
AU_PROVENANCE = ("openface_", "pyfaceau_")
MOST_IMAGE_PX = 960
IMAGES = f"all frames of the clip, the part that its crop shows, PNG in square pixels, at most {MOST_IMAGE_PX} px"


@dataclass(frozen=True, slots=True)
class StoredClip:
    """The T stored frames of a clip, and where they come from.

    key: of the sample
    uris: of the files of its spans
    jpegs: the T frames as they are stored; empty where a video is stored instead
    boxes_px: float32 [T,4], the face's box in crop pixels, x0 y0 x1 y1, NaN rows without a face; None where no face was searched
    span: int32 [T], which span a frame is from
    index: int32 [T], number of the frame within the span's file, from 0
    file_frames: how many decodable frames the file of each span has; None where that was not recorded
    source_to_crop: float64 [T,2,3], affine from source pixels to crop pixels
    every: all F decodable frames of the clip; None if they are not known
    keep_every: whether the action units of all F frames are kept
    images: directory with an image file for each of the F frames, in name order; None if the source reads none
    shown_px: int32 [T,4], which part of the crop those images show, x0 y0 x1 y1, end exclusive
    """

    key: str
    uris: tuple[str, ...]
    jpegs: tuple[bytes, ...] = field(repr=False)
    boxes_px: NDArray[np.float32] | None
    span: NDArray[np.int32]
    index: NDArray[np.int32]
    file_frames: tuple[int | None, ...]
    source_to_crop: NDArray[np.float64]
    every: SourceFrames | None = field(default=None, repr=False)
    keep_every: bool = False
    images: Path | None = None
    shown_px: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.span)

    @property
    def boxes(self) -> list[NDArray[np.float32] | None]:
        """The box of each stored frame; None where no face was searched."""
        return [None] * len(self) if self.boxes_px is None else list(self.boxes_px)


class AuSource(Protocol):
    """Where action units come from. Sources go to worker processes by pickle.

    name: its word in `BuildConfig.aus`
    batch_frames: how many frames it wants at once
    reads_images: whether it sees all frames of a clip as images; else the stored frames, or none
    """

    @property
    def name(self) -> str: ...

    @property
    def batch_frames(self) -> int: ...

    @property
    def reads_images(self) -> bool: ...

    def action_units(self, clips: Sequence[StoredClip], scratch: Path | None) -> list[ActionUnits | ClipRejected]:
        """The action units of each clip, or why it is lost; those of a clip do not depend on the others.

        scratch: directory for temporary files, which holds the images where there are any; None is the system's

        Raises:
            BuildFailed: it does not work at all on this machine
        """

    def provenance(self) -> dict[str, str]:
        """Versions, hashes and command lines that decide the action units."""
