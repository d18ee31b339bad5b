"""A clip for exports: stored video or stills, with landmarks and head pose in pixels of the frames."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from motionshards.dataset.clips.video import Sound, Video
from motionshards.schemas.layout import META, VIDEO, frame_suffix
from motionshards.schemas.moving import Smaller
from motionshards.schemas.samples.encode import decode_arrays
from motionshards.schemas.samples.restore import smaller_in
from motionshards.transforms.extract.encode import decode_into, square_side_px
from motionshards.transforms.extract.stored_video import FrameReader

# Frames to decode at a time: multiples of 12, the keyframe interval of stored video.
_GROUP, _MOST_FRAMES, _MOST_BYTES = 12, 96, 64 << 20
_POSE = ("yaw_deg", "pitch_deg", "roll_deg")


@dataclass(frozen=True, slots=True)
class Measurements:
    """Measurements of L of a clip's frames, in pixels of the stored size; NaN where no face was found.

    numbers: int64 [L], numbers of the measured frames
    points_px: float32 [L,68,2], landmarks; None with `--landmarks none`
    boxes_px: float32 [L,4], x0 y0 x1 y1 of the face; None with `--landmarks none`
    pose_deg: float32 [L,3], yaw, pitch, roll in degrees
    """

    numbers: NDArray[np.int64] = field(repr=False)
    points_px: NDArray[np.float32] | None = field(repr=False)
    boxes_px: NDArray[np.float32] | None = field(repr=False)
    pose_deg: NDArray[np.float32] = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoredClip:
    """A clip of a dataset. Its frames are those of its stored video if it has one, else its stills; `len()` is their number.

    key: key of the clip
    row: the clip's row of the index, all columns
    meta: the clip's meta.json
    video: stored video; None in a dataset of stills
    jpegs: stills; empty with `--store video`
    sound: stored sound; None if the clip has none
    size_px: height and width of the frames
    smaller: stills and video at the smaller stored sizes
    """

    key: str
    row: Mapping[str, Any] = field(repr=False)
    meta: Mapping[str, Any] = field(repr=False)
    video: Video | None
    jpegs: tuple[bytes, ...] = field(repr=False)
    sound: Sound | None
    size_px: int
    smaller: tuple[Smaller, ...]
    _arrays: Mapping[str, Any] = field(repr=False)
    _reader: FrameReader = field(repr=False)

    @classmethod
    def of(cls, row: Mapping[str, Any], members: Mapping[str, bytes], reader: FrameReader) -> "StoredClip":
        """The clip of a row of the index.

        members: contents of the sample by suffix
        reader: decodes stored video; one per process

        Raises:
            ValueError: a member is missing or damaged
        """
        if META not in members:
            raise ValueError(f"{META} is missing")
        arrays = decode_arrays(members, row["n_frames"])
        video, jpegs = Video.of(members, arrays), _jpegs(members, row["n_frames"])
        if video is None and not jpegs:
            raise ValueError("there are neither stills nor video")
        size_px = square_side_px(jpegs[0]) if video is None else video.size_px
        sound = Sound.of(members, arrays)
        smaller = smaller_in(members)
        for one in smaller:
            if len(one.jpegs) != len(jpegs) or (one.mp4 is None) != (video is None):
                raise ValueError(f"a still or the video of {one.size_px} px is missing")
        return cls(row["key"], row, arrays["meta"], video, jpegs, sound, size_px, smaller, arrays, reader)

    def __len__(self) -> int:
        return len(self.jpegs) if self.video is None else len(self.video)

    @property
    def pts_s(self) -> NDArray[np.float64]:
        """Time of the source frame shown by each frame, float64 [n], in seconds from the start of its source file."""
        return np.array(self.meta["pts_s"], np.float64) if self.video is None else self.video.pts_s

    def measurements(self) -> Measurements:
        """Measurements of the measured frames: every n-th frame of a video, or all stills."""
        of_stills = self.video is None or "pts_s" not in self.meta["mp4"]
        measured = self.meta if of_stills else self.meta["mp4"]
        return Measurements(
            np.arange(0, len(self), 1 if self.video is None else self.video.every),
            self._arrays.get("landmarks" if self.video is None else "points"),
            _floats(measured["boxes_px"]) if "boxes_px" in measured else None,
            np.stack([_floats(measured[name]) for name in _POSE], axis=1),
        )

    def frames(self, numbers: NDArray[np.int64] | None = None, size_px: int | None = None) -> Iterator[NDArray[np.uint8]]:
        """Yield frames in RGB, uint8 [H,W,3], decoded a few at a time.

        numbers: int64 [n], ascending; by default all
        size_px: height and width, by default the dataset's; frames are resized with a Lanczos filter to sizes that are not stored

        Raises:
            ValueError: the video or a still is damaged
        """
        numbers, stored = np.arange(len(self)) if numbers is None else numbers, self.stored(size_px)
        groups = min(_MOST_FRAMES // _GROUP, _MOST_BYTES // (_GROUP * 3 * stored.size_px**2))
        step = _GROUP * max(groups, 1)
        for start in range(0, len(numbers), step):
            for frame in self._decoded(stored, numbers[start : start + step]):
                yield frame if size_px in (None, stored.size_px) else _resized(frame, size_px)

    def video_frames(self, size_px: int) -> Iterator[av.VideoFrame]:
        """All frames of the stored video of this size, or of the dataset's size if there is none, in their stored format.

        Raises:
            ValueError: the video is damaged, or there is none
        """
        stored = self.stored(size_px)
        if stored.mp4 is None:
            raise ValueError("there is no video")
        return self._reader.frames(stored.mp4, stored.size_px)

    def mp4(self, size_px: int) -> bytes | None:
        """The stored video of this size; None if there is none."""
        stored = self.stored(size_px)
        return stored.mp4 if stored.size_px == size_px else None

    def stored(self, size_px: int | None) -> Smaller:
        """The stills and video stored at a size, or those of the dataset's size if there are none."""
        main = Smaller(self.size_px, self.jpegs, None if self.video is None else self.video.mp4)
        return next((one for one in self.smaller if one.size_px == size_px), main)

    def _decoded(self, stored: Smaller, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
        """uint8 [n,H,W,3]"""
        frames = np.empty((len(numbers), stored.size_px, stored.size_px, 3), np.uint8)
        if stored.mp4 is not None:
            self._reader.into(stored.mp4, numbers, frames)
            return frames
        for frame, number in zip(frames, numbers.tolist(), strict=True):
            decode_into(stored.jpegs[number], frame)
        return frames


def _jpegs(members: Mapping[str, bytes], frames: int) -> tuple[bytes, ...]:
    if VIDEO in members and frame_suffix(0) not in members:
        return ()
    try:
        return tuple(members[frame_suffix(number)] for number in range(frames))
    except KeyError as error:
        raise ValueError(f"{error.args[0]} is missing") from None


def _resized(frame: NDArray[np.uint8], size_px: int | None) -> NDArray[np.uint8]:
    assert size_px is not None
    return np.asarray(Image.fromarray(frame).resize((size_px, size_px), Image.Resampling.LANCZOS))


def _floats(values: Any) -> NDArray[np.float32]:
    """float32; null becomes NaN."""
    return np.array(values, np.float32)
