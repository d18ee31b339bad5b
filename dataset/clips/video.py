"""The stored video and sound of a clip, decoded on request."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.layout import SOUND, VIDEO, VIDEO_FRAMES
from motionshards.schemas.moving import size_of
from motionshards.transforms.extract.encode import MAX_DECODED_BYTES


@dataclass(frozen=True, slots=True)
class Video:
    """The stored video of a clip; `len()` is the number of frames, M.

    mp4: content of the file, H.264
    size_px: height and width of the frames
    rate: frames per second
    pts_s: float64 [M], time of the source frame shown by each frame, in seconds from the start of its source file
    every: landmarks and pose were measured in frames 0, every, 2·every, …
    """

    mp4: bytes = field(repr=False)
    size_px: int
    rate: Fraction
    pts_s: NDArray[np.float64] = field(repr=False)
    every: int

    @classmethod
    def of(cls, members: Mapping[str, bytes], arrays: Mapping[str, Any], size_px: int | None = None) -> "Video | None":
        """The video of a sample; None if it has none.

        members: contents of the sample by suffix
        arrays: the result of `decode_arrays` for them
        size_px: size of the frames, by default the dataset's

        Raises:
            ValueError: a member is missing
        """
        meta, frames = arrays["meta"].get(VIDEO), arrays.get(VIDEO_FRAMES.removesuffix(".npy"))
        if meta is None:
            return None
        if VIDEO not in members or frames is None:
            raise ValueError(f"{VIDEO} or {VIDEO_FRAMES} is missing")
        size_px = size_px or size_of(meta["point_units"], meta["point_offset_px"])
        return cls(members[VIDEO], size_px, Fraction(*meta["rate"]), frames[:, 2], meta["every"])

    def __len__(self) -> int:
        return len(self.pts_s)

    def read(self, numbers: Iterable[int] | None = None) -> NDArray[np.uint8]:
        """Decode the frames with these numbers, by default all: uint8 [n,H,W,3], RGB.

        Raises:
            ValueError: the file is damaged, or the frames would take too much memory
        """
        requested = np.arange(len(self)) if numbers is None else np.fromiter(numbers, np.int64)
        if max(len(requested), 1) * self.size_px**2 * 3 > MAX_DECODED_BYTES:
            raise ValueError(f"{len(requested)} frames of {self.size_px} px exceed the limit of {MAX_DECODED_BYTES:,} bytes")
        from motionshards.transforms.extract.stored_video import FrameReader

        frames = np.empty((len(requested), self.size_px, self.size_px, 3), np.uint8)
        FrameReader().into(self.mp4, requested, frames)
        return frames


@dataclass(frozen=True, slots=True)
class Sound:
    """The stored sound of a clip, for the length of its video; `len()` is the number of samples per channel.

    flac: content of the file, FLAC with 16 bits per sample
    hz: samples per second
    channels: number of channels
    samples: number of samples per channel
    """

    flac: bytes = field(repr=False)
    hz: int
    channels: int
    samples: int

    @classmethod
    def of(cls, members: Mapping[str, bytes], arrays: Mapping[str, Any]) -> "Sound | None":
        """See `Video.of`."""
        meta = arrays["meta"].get(SOUND)
        if (meta is None) != (SOUND not in members):
            raise ValueError(f"{SOUND} or its description is missing")
        return None if meta is None else cls(members[SOUND], meta["hz"], meta["channels"], meta["samples"])

    def __len__(self) -> int:
        return self.samples

    def read(self, start: int = 0, count: int | None = None) -> NDArray[np.float32]:
        """Decode samples [start, start + count), by default to the end: float32 [count], in [-1, 1], mean over the channels.

        Raises:
            ValueError: the file is damaged, or the samples would take too much memory
        """
        count = self.samples - start if count is None else count
        if not 0 <= count * 4 <= MAX_DECODED_BYTES:
            raise ValueError(f"cannot read {count:,} samples from sample {start:,} on: there are {self.samples:,}")
        from motionshards.transforms.extract.stored_video import read_stored_sound

        sound = np.empty(count, np.float32)
        read_stored_sound(self.flac, start, sound)
        return sound
