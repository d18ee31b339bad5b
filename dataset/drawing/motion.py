"""Reads clips of a dataset for display: some of their described frames, and their stored video with its sound."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motionshards.dataset.clips.video import Sound, Video
from motionshards.dataset.index import Dataset, Sample, read_members
from motionshards.dataset.plotting.overlay import Marks
from motionshards.schemas.errors import ClipRejected, DatasetError
from motionshards.schemas.layout import frame_suffix, tar_path
from motionshards.schemas.regular_file import open_regular
from motionshards.schemas.samples.encode import decode_arrays
from motionshards.schemas.tables import QUALITY
from motionshards.transforms.extract.encode import decode_frames
from motionshards.transforms.extract.encoded.playable import playable
from motionshards.transforms.extract.sound import Pcm, flac_samples
from motionshards.transforms.extract.stored_frames import frames_of_mp4

_TIMEOUT_S = 120.0

_POSE = ("yaw_deg", "pitch_deg", "roll_deg")
_OF_FRAMES = ("span", "frame_index", "pts_s", "source_size_px", "source_to_crop", "boxes_px", *QUALITY)


@dataclass(frozen=True, slots=True)
class Motion:
    """The stored video of a clip, M frames of which L are measured, and its sound.

    place: path of the shard and key of the clip, for messages
    source: float64 [M,3], span and number of the source frame that each frame shows, and its time in seconds
    points_px: float32 [L,68,2], landmarks of the measured frames; None with `--landmarks none`
    boxes_px: float32 [L,4], face boxes of the measured frames; None likewise
    pose_deg: float32 [L,3], yaw, pitch, roll of the measured frames
    """

    place: str
    video: Video
    audio: Sound | None
    source: NDArray[np.float64] = field(repr=False)
    points_px: NDArray[np.float32] | None = field(repr=False)
    boxes_px: NDArray[np.float32] | None = field(repr=False)
    pose_deg: NDArray[np.float32] = field(repr=False)

    @classmethod
    def of(cls, place: str, members: Mapping[str, bytes], arrays: Mapping[str, Any]) -> "Motion | None":
        """The video of a sample, as `Video.of`. Raises ValueError."""
        video, meta = Video.of(members, arrays), arrays["meta"]
        if video is None:
            return None
        measured = meta["mp4"] if "pts_s" in meta["mp4"] else meta
        return cls(
            place,
            video,
            Sound.of(members, arrays),
            source=arrays["frames"],
            points_px=arrays.get("points"),
            boxes_px=_floats(measured["boxes_px"]) if "boxes_px" in measured else None,
            pose_deg=np.stack([_floats(measured[name]) for name in _POSE], axis=1),
        )

    def __len__(self) -> int:
        return len(self.video)

    def frames(self, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Frames by number, uint8 [n,H,W,3]. Raises DatasetError, as the next two methods: a member is damaged."""
        with _named(self.place):
            return frames_of_mp4(self.video.mp4, numbers, _TIMEOUT_S)

    def sound(self) -> Pcm | None:
        """The sound; None if there is none."""
        with _named(self.place):
            return None if self.audio is None else flac_samples(self.audio.flac, _TIMEOUT_S)

    def playable(self, most_bytes: int | None = None) -> tuple[bytes, int]:
        """Video and sound as one file, see `playable`."""
        with _named(self.place):
            return playable(self.video.mp4, None if self.audio is None else self.audio.flac, most_bytes)

    def marks(self, number: int) -> Marks:
        """The marks of a frame. Between two measured frames of a span, values are interpolated."""
        every = self.video.every
        row, rest = divmod(number, every)
        after = min(row + 1, len(self.pose_deg) - 1)
        same_span = self.source[after * every, 0] == self.source[row * every, 0]
        share = np.float32(rest / every if same_span else 0)

        def between(values: NDArray[np.float32]) -> NDArray[np.float32]:
            found: NDArray[np.float32] = values[row] + share * (values[after] - values[row]) if share else values[row]
            return found

        points, boxes = (None if values is None else between(values) for values in (self.points_px, self.boxes_px))
        return Marks(points, None if boxes is None else boxes.tolist(), between(self.pose_deg).tolist())

    def share_of(self, span: int, frame_index: int) -> float:
        """Time of this source frame, or of the nearest one, in the video, as a fraction of its length."""
        apart = np.abs(self.source[:, 1] - frame_index) + np.where(self.source[:, 0] == span, 0, np.inf)
        return float(np.argmin(apart)) / len(self)


def read_clip(data: Dataset, row: Mapping[str, Any], most: int | None = None) -> tuple[Sample, Motion | None]:
    """Read a clip with its described frames, at most `most` evenly spaced ones, and its stored video, if any.

    row: row of the index with the columns key, split, shard, members and n_frames

    Raises:
        DatasetError: the shard is missing, or a member differs from the index
    """
    path = tar_path(data.out, row["split"], row["shard"])
    place = f"{path}: {row['key']}"
    try:
        with open_regular(path) as stream, _named(place):
            members = read_members(stream, row["members"])
            arrays = decode_arrays(members, row["n_frames"])
            motion = Motion.of(place, members, arrays)
            return _sample(row["key"], members, arrays, motion, _spread(row["n_frames"], most)), motion
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error


@contextmanager
def _named(place: str) -> Iterator[None]:
    """Raise errors about a clip as a DatasetError that names it."""
    try:
        yield
    except ClipRejected as error:
        raise DatasetError(f"{place}: {error.detail or error.reason}") from error
    except KeyError as error:
        raise DatasetError(f"{place}: {error.args[0]} is missing") from error
    except ValueError as error:
        raise DatasetError(f"{place}: {error}") from error


def _spread(frames: int, most: int | None) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = np.linspace(0, frames - 1, min(frames, most or frames)).round().astype(np.int64)
    return numbers


def _sample(
    key: str, members: Mapping[str, bytes], arrays: Mapping[str, Any], motion: Motion | None, numbers: NDArray[np.int64]
) -> Sample:
    """The described frames with these numbers: stills, or measured frames of the video if there are none."""
    if motion is None or frame_suffix(0) in members:
        names = ("landmarks", "landmark_scores")
        frames = decode_frames([members[frame_suffix(number)] for number in numbers.tolist()])
    else:
        names = ("points", "point_scores")
        frames = motion.frames(numbers * motion.video.every)
    landmarks, scores, aus = (arrays[name][numbers] if name in arrays else None for name in (*names, "aus"))
    meta = arrays["meta"]
    taken = {name: [meta[name][number] for number in numbers.tolist()] for name in _OF_FRAMES if name in meta}
    return Sample(key, frames, landmarks, scores, {**meta, **taken}, aus)


def _floats(values: Any) -> NDArray[np.float32]:
    """As float32; null becomes NaN."""
    return np.array(values, np.float32)
