"""A stored clip: frames, landmarks, action units and metadata."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from motionshards.dataset.clips.video import Sound, Video
from motionshards.dataset.plotting.overlay import Marks
from motionshards.dataset.plotting.panel import Panel, plot, spread
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.layout import (
    AUS,
    AUS_SEQUENCE,
    IDENTITY,
    LANDMARK_SCORES,
    LANDMARKS,
    META,
    POINT_SCORES,
    POINTS,
    VIDEO,
    is_main_frame,
)
from motionshards.schemas.moving import scaled_px
from motionshards.schemas.printable import printable
from motionshards.schemas.samples.encode import decode_arrays
from motionshards.transforms.extract.encode import decode_frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False, eq=False)
class Sample:
    """One clip with N described frames.

    key: unique name, `identity/video/clip`
    pixels: `frames`, or a function that decodes them
    landmarks: float32 [N,68,2], x and y in crop pixels, NaN where no face was found; None with `--landmarks none`
    landmark_scores: float32 [N,68], 0 to 1; None with `--landmarks none`
    meta: identity and source of the clip, and lists of length N for time, position and quality; `boxes_px`, `content_px` and
        `source_to_crop` refer to pixels of `frames`
    aus: float32 [N,17], intensities of `schemas.action_units.INTENSITIES`, 0 to 5, NaN rows where meta["au_valid"] is false;
        None with `--aus none`
    embedding: float32 [128], mean face descriptor, NaN if no face was found; None without `--identity-embedding`
    aus_sequence: float32 [F,17], action units of all F frames of the clip; meta["au_sequence_row"] has the rows of the stored
        frames, meta["au_sequence_pts_s"] the time of each row; None without `--aus-frames all`
    video: continuous video; None with `--store stills`
    audio: sound; None if the clip has none
    """

    key: str
    pixels: NDArray[np.uint8] | Callable[[], NDArray[np.uint8]]
    landmarks: NDArray[np.float32] | None
    landmark_scores: NDArray[np.float32] | None
    meta: dict[str, Any]
    aus: NDArray[np.float32] | None = None
    embedding: NDArray[np.float32] | None = None
    aus_sequence: NDArray[np.float32] | None = None
    video: Video | None = None
    audio: Sound | None = None

    @cached_property
    def frames(self) -> NDArray[np.uint8]:
        """uint8 [N,H,W,3], RGB, in time order: the stills or, in a dataset without stills, the measured frames of the video.

        Raises:
            DatasetError: the frames are damaged
        """
        return self.pixels() if callable(self.pixels) else self.pixels

    def __repr__(self) -> str:
        """Decodes nothing."""
        arrays = ("landmarks", "aus", "embedding", "aus_sequence")
        facts = [f"{len(self.meta['pts_s'])} frames"] if "pts_s" in self.meta else []
        facts += [name for name in arrays if getattr(self, name) is not None]
        facts += [f"video: {len(self.video)} frames at {float(self.video.rate):.4g} fps"] if self.video else []
        facts += [f"audio: {self.audio.samples / self.audio.hz:.4g} s at {self.audio.hz} Hz"] if self.audio else []
        return f"Sample({printable(self.key)}: {', '.join(facts)})"

    def marks(self, number: int) -> Marks:
        """Landmarks, face box and head pose of a frame, in its pixels."""
        meta = self.meta
        return Marks(
            points_px=None if self.landmarks is None else self.landmarks[number],
            box_px=meta["boxes_px"][number] if "boxes_px" in meta else None,
            pose_deg=[meta[f"{name}_deg"][number] for name in ("yaw", "pitch", "roll")],
        )

    def show(self, frames: int = 9) -> "Figure":
        """Plot frames with landmarks, face box, head pose and action units, and the waveform.

        frames: maximum number of frames, evenly spaced

        Raises:
            ConfigError: matplotlib is not installed, or there is nothing to show
        """
        shown = spread(len(self.frames), frames)
        panel = Panel(
            title=self.key,
            frames=self.frames[shown],
            captions=[f"{self.meta['pts_s'][number]:.2f} s" for number in shown],
            marks=[self.marks(number) for number in shown],
            aus=None if self.aus is None else self.aus[shown],
            audio=None if self.audio is None else self.audio.read(),
            audio_hz=None if self.audio is None else self.audio.hz,
        )
        return plot([panel])


def sample_of(key: str, members: dict[str, bytes], place: str, smaller_px: int | None = None) -> Sample:
    """A sample from a clip's members; its frames are decoded on access.

    place: path of the shard, for messages
    smaller_px: size of the frames, if it is not the dataset's

    Raises:
        ValueError: a member is missing or damaged
    """
    if META not in members:
        raise ValueError(f"{META} is missing")
    jpegs = [content for suffix, content in members.items() if is_main_frame(suffix)]
    arrays = decode_arrays(members, len(jpegs) or None)
    video = Video.of(members, arrays, smaller_px)
    points, scores = (LANDMARKS, LANDMARK_SCORES) if jpegs or video is None else (POINTS, POINT_SCORES)
    return Sample(
        key,
        partial(_decoded, jpegs, video, f"{place}: {key}"),
        landmarks=arrays.get(_stem(points)),
        landmark_scores=arrays.get(_stem(scores)),
        meta=arrays[_stem(META)],
        aus=arrays.get(_stem(AUS)),
        embedding=arrays.get(_stem(IDENTITY)),
        aus_sequence=arrays.get(_stem(AUS_SEQUENCE)),
        video=video,
        audio=Sound.of(members, arrays),
    )


def at_size(sample: Sample, main_px: int, size_px: int) -> Sample:
    """Scale the landmarks and meta of a sample, stored in pixels of `main_px`, to frames of `size_px`."""
    share = size_px / main_px
    points, meta = sample.landmarks, {**sample.meta, **_lists_at_size(sample.meta, share)}
    if VIDEO in meta:
        meta[VIDEO] = {**meta[VIDEO], **_lists_at_size(meta[VIDEO], share)}
    return replace(sample, meta=meta, landmarks=None if points is None else scaled_px(points, main_px, size_px))


@contextmanager
def naming(place: str) -> Iterator[None]:
    """Turn a ValueError into a DatasetError that names the clip."""
    try:
        yield
    except ValueError as error:
        raise DatasetError(f"{place}: {error}") from error


def _decoded(jpegs: Sequence[bytes], video: Video | None, place: str) -> NDArray[np.uint8]:
    with naming(place):
        return decode_frames(jpegs) if jpegs or video is None else video.read(range(0, len(video), video.every))


def _lists_at_size(described: Mapping[str, Any], share: float) -> dict[str, Any]:
    """The scaled lists in pixels of frames; unknown values stay None."""
    shift = (share - 1) / 2  # pixel centers are integers; content_px has edges, which do not shift
    lists: dict[str, Callable[[Any], list[Any]]] = {
        "content_px": lambda box: [edge * share for edge in box],
        "boxes_px": lambda box: [value if value is None else value * share + shift for value in box],
        "source_to_crop": lambda rows: [[x * share, y * share, offset * share + shift] for x, y, offset in rows],
    }
    return {name: [scale(one) for one in described[name]] for name, scale in lists.items() if name in described}


def _stem(suffix: str) -> str:
    return suffix.rpartition(".")[0]
