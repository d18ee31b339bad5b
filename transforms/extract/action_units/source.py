"""The interface of sources of action units, and the clip that they receive."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.action_units import ActionUnits, SourceFrames
from motionshards.schemas.errors import ClipRejected

# Prefixes of the keys of a source's provenance.
AU_PROVENANCE = ("openface_", "pyfaceau_")
MAX_IMAGE_PX = 960
IMAGES = f"all frames of the clip, the part that its crop shows, PNG in square pixels, at most {MAX_IMAGE_PX} px"


@dataclass(frozen=True, slots=True)
class StoredClip:
    """The T stored frames of a clip, and their origin.

    key: key of the sample
    uris: URI of the file of each span
    jpegs: the T stored frames; empty if a video is stored instead
    boxes_px: float32 [T,4], box of the face in crop pixels, x0 y0 x1 y1, NaN rows without a face; None if no face was searched
    span: int32 [T], number of the span that the frame is from
    index: int32 [T], number of the frame within the span's file, from 0
    file_frames: number of decodable frames in the file of each span; None if not recorded
    source_to_crop: float64 [T,2,3], affine from source pixels to crop pixels
    every: all F decodable frames of the clip; None if unknown
    keep_every: whether the action units of all F frames are kept
    images: directory with an image file for each of the F frames, in name order; None if the source reads none
    shown_px: int32 [T,4], part of the crop that these images show, x0 y0 x1 y1, end exclusive
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
        """The box of each stored frame; None if no face was searched."""
        return [None] * len(self) if self.boxes_px is None else list(self.boxes_px)


class AuSource(Protocol):
    """A source of action units. It is pickled for worker processes.

    name: its name in `BuildConfig.aus`
    batch_frames: preferred number of frames per call
    reads_images: whether it reads all frames of a clip as image files; else it reads the stored frames, or none
    """

    @property
    def name(self) -> str: ...

    @property
    def batch_frames(self) -> int: ...

    @property
    def reads_images(self) -> bool: ...

    def action_units(self, clips: Sequence[StoredClip], scratch: Path | None) -> list[ActionUnits | ClipRejected]:
        """The action units of each clip, or why it is rejected; the result for a clip does not depend on the others.

        scratch: directory for temporary files, which contains the images, if any; None uses the system's

        Raises:
            BuildFailed: the source does not work on this machine
        """

    def provenance(self) -> dict[str, str]:
        """Versions, hashes and command lines that decide the action units."""
