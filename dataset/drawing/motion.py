"""Clips of a dataset for people to look at: some of their described frames, and their stored video with its sound."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motionshards.dataset.drawing.overlay import Marks
from motionshards.dataset.drawing.playable import playable
from motionshards.dataset.index import Dataset, Sample, read_members
from motionshards.schemas.errors import ClipRejected, DatasetError
from motionshards.schemas.layout import META, SOUND, VIDEO, frame_suffix, tar_path
from motionshards.schemas.moving import size_of
from motionshards.schemas.regular_file import open_regular
from motionshards.schemas.samples.encode import decode_arrays
from motionshards.schemas.tables import QUALITY
from motionshards.transforms.extract.encode import decode_frames
from motionshards.transforms.extract.sound import Pcm, flac_samples
from motionshards.transforms.extract.stored_frames import frames_of_mp4

_TIMEOUT_S = 120.0

_POSE = ("yaw_deg", "pitch_deg", "roll_deg")
_OF_FRAMES = ("span", "frame_index", "pts_s", "source_size_px", "source_to_crop", "boxes_px", *QUALITY)


@dataclass(frozen=True, slots=True)
class Motion:
    """The stored video of a clip, M frames of which every `every`-th is measured, and its sound.

    place: path of the shard and key of the clip, for messages
    mp4, flac: the members; flac is None without sound
    size_px: height and width of a frame
    rate: frames per second
    source: float64 [M,3], the span and number of the source frame that each frame shows, and its time in seconds
    points_px: float32 [L,68,2], landmarks of the measured frames; None with `--landmarks none`
    boxes_px: float32 [L,4]; None likewise
    pose_deg: float32 [L,3], yaw, pitch, roll
    """

    place: str
    mp4: bytes = field(repr=False)
    flac: bytes | None = field(repr=False)
    size_px: int
    rate: Fraction
    every: int
    source: NDArray[np.float64] = field(repr=False)
    points_px: NDArray[np.float32] | None = field(repr=False)
    boxes_px: NDArray[np.float32] | None = field(repr=False)
    pose_deg: NDArray[np.float32] = field(repr=False)

    def __len__(self) -> int:
        return len(self.source)

    def frames(self, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Frames by number, uint8 [n,H,W,3]. Raises DatasetError, as the next two do: a member is damaged."""
        with _named(self.place):
            return frames_of_mp4(self.mp4, numbers, _TIMEOUT_S)

    def sound(self) -> Pcm | None:
        """The sound, None without one."""
        with _named(self.place):
            return None if self.flac is None else flac_samples(self.flac, _TIMEOUT_S)

    def playable(self, most_bytes: int | None = None) -> tuple[bytes, int]:
        """Video and sound as one file, see `playable`."""
        with _named(self.place):
            return playable(self.mp4, self.flac, most_bytes)

    def marks(self, number: int) -> Marks:
        """What is known of a frame. Between two measured frames of a span, values are interpolated."""
        row, rest = divmod(number, self.every)
        after = min(row + 1, len(self.pose_deg) - 1)
        same_span = self.source[min(after * self.every, len(self) - 1), 0] == self.source[row * self.every, 0]
        share = np.float32(rest / self.every if same_span else 0)

        def between(values: NDArray[np.float32]) -> NDArray[np.float32]:
            found: NDArray[np.float32] = values[row] + share * (values[after] - values[row]) if share else values[row]
            return found

        points, boxes = (None if values is None else between(values) for values in (self.points_px, self.boxes_px))
        return Marks(points, None if boxes is None else boxes.tolist(), between(self.pose_deg).tolist())

    def share_of(self, span: int, frame_index: int) -> float:
        """When the frame that shows this frame of the source, or the one nearest to it, is shown, as a share of the clip."""
        apart = np.abs(self.source[:, 1] - frame_index) + np.where(self.source[:, 0] == span, 0, np.inf)
        return float(np.argmin(apart)) / len(self)


def read_clip(data: Dataset, row: Mapping[str, Any], most: int | None = None) -> tuple[Sample, Motion | None]:
    """A clip with its described frames, of more than `most` so many that are evenly spread, and its stored video if there is one.

    row: of the index, with the columns key, split, shard, members and n_frames

    Raises:
        DatasetError: the shard is absent, or a member is not what the index says
    """
    path = tar_path(data.out, row["split"], row["shard"])
    place = f"{path}: {row['key']}"
    try:
        with open_regular(path) as stream, _named(place):
            members = read_members(stream, row["members"])
            arrays = decode_arrays(members, row["n_frames"])
            motion = motion_of(place, members, arrays) if "mp4" in arrays[_stem(META)] else None
            return _sample(row["key"], members, arrays, motion, _spread(row["n_frames"], most)), motion
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error


@contextmanager
def _named(place: str) -> Iterator[None]:
    """Errors about a clip become a DatasetError that names it."""
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
    """The described frames with these numbers: stills, or without any, measured frames of the video."""
    if motion is None or frame_suffix(0) in members:
        names = ("landmarks", "landmark_scores")
        frames = decode_frames([members[frame_suffix(number)] for number in numbers.tolist()])
    else:
        names = ("points", "point_scores")
        frames = motion.frames(numbers * motion.every)
    landmarks, scores, aus = (arrays[name][numbers] if name in arrays else None for name in (*names, "aus"))
    meta = arrays[_stem(META)]
    taken = {name: [meta[name][number] for number in numbers.tolist()] for name in _OF_FRAMES if name in meta}
    return Sample(key, frames, landmarks, scores, {**meta, **taken}, aus)


def motion_of(place: str, members: Mapping[str, bytes], arrays: Mapping[str, Any]) -> Motion:
    """The stored video of a sample that has one.

    place: for messages
    arrays: as `decode_arrays` gives them

    Raises:
        KeyError: a member is missing
    """
    meta = arrays[_stem(META)]
    video = meta["mp4"]
    measured = video if "pts_s" in video else meta
    return Motion(
        place=place,
        mp4=members[VIDEO],
        flac=members[SOUND] if "flac" in meta else None,
        size_px=size_of(video["point_units"], video["point_offset_px"]),
        rate=Fraction(*video["rate"]),
        every=video["every"],
        source=arrays["frames"],
        points_px=arrays.get("points"),
        boxes_px=_floats(measured["boxes_px"]) if "boxes_px" in measured else None,
        pose_deg=np.stack([_floats(measured[name]) for name in _POSE], axis=1),
    )


def _floats(values: Any) -> NDArray[np.float32]:
    """float32; null becomes NaN."""
    return np.array(values, np.float32)


def _stem(suffix: str) -> str:
    return suffix.rpartition(".")[0]
