"""The records passed between the steps: frozen dataclasses, validated on construction.

Coordinates: `source` pixels are those of the decoded, upright video frame; `crop` pixels are those of the stored image. In
both, x points right, y down, and the center of the top left pixel is (0, 0). T is the number of sampled frames.
"""

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.action_units import ActionUnits, SourceFrames
from motionshards.schemas.frames import Display, Placement, require
from motionshards.schemas.moving import Smaller, StoredSound, measured_rows
from motionshards.schemas.reasons import REASONS

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Packed:
    """Location of a file inside an archive.

    archive: path of the archive (its first part, if split) below the input root, encoded by `layout.path_to_uri`
    offset: byte offset of the file's local header (zip) or content (tar) within the whole archive
    stored_bytes, bytes: size in the archive, and unpacked
    method: `tar`, `stored`, `deflated`, or the name of an unsupported compression method
    crc32: of the unpacked content; None in a tar
    """

    archive: str
    offset: int
    stored_bytes: int
    bytes: int
    method: str
    crc32: int | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """A time range of one file, with the position of the annotated face or person.

    uri: path below the input root or within the archive, encoded by `layout.path_to_uri`
    start_s, end_s: seconds from the first frame of the file, end exclusive; 0 and inf mean the whole file
    box: x0 y0 x1 y1, edges (not pixel centers) in pixels of a frame of size `reference_px`; None without annotation
    reference_px: width and height of the frame that `box` refers to; the width is 0 if only the height is known
    track_uri: a VoxCeleb annotation file, whose boxes and times take precedence
    packed, track_packed: location of the two files in an archive; None for files on disk
    frames: first frame in the file and the one after the last; takes precedence over the times
    shown_times: whether the times are timestamps; otherwise those of a span with a box are frame numbers over the nominal rate
    """

    uri: str
    start_s: float = 0.0
    end_s: float = float("inf")
    box: tuple[float, float, float, float] | None = None
    reference_px: tuple[float, float] | None = None
    track_uri: str | None = None
    packed: Packed | None = None
    track_packed: Packed | None = None
    frames: tuple[int, int] | None = None
    shown_times: bool | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start_s < self.end_s:  # not `require`, which would format the message for each of a million spans
            raise ValueError(f"span of {self.uri}: {self.start_s} to {self.end_s} s is empty")
        if self.frames is not None and not (len(self.frames) == 2 and 0 <= self.frames[0] < self.frames[1]):
            raise ValueError(f"span of {self.uri}: frames are {self.frames}, must be (first, one after the last)")


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """One clip to build: an utterance, or with `--unit video` all utterances of a video.

    key: `identity/video/clip` with dots escaped, unique in the dataset
    cost: estimated seconds of one core
    """

    key: str
    source: str
    split: str
    identity: str
    video: str
    spans: tuple[Span, ...]
    cost: float

    def __post_init__(self) -> None:
        if not self.key or "." in self.key:
            raise ValueError(f"key is {self.key!r}, must not be empty or contain a dot")
        if not self.spans or not self.cost > 0:
            raise ValueError(f"clip {self.key} has {len(self.spans)} spans and cost {self.cost}, both must be positive")


@dataclass(frozen=True, slots=True)
class FaceTrack:
    """The tracked face of a clip in its sampled frames.

    boxes_px: float32 [T,4], x0 y0 x1 y1 in crop pixels, NaN where the face was not found; in tubes, gaps are interpolated
    scores: float32 [T], detector confidence, NaN where the face was not found
    faces: int32 [T], number of faces detected in the frame
    """

    boxes_px: F32
    scores: F32
    faces: NDArray[np.int32]

    def __post_init__(self) -> None:
        t = len(self.boxes_px)
        require(self.boxes_px.shape == (t, 4), "boxes_px is not [T,4]")
        require(self.scores.shape == (t,) and self.faces.shape == (t,), "scores and faces are not [T]")

    @property
    def found(self) -> NDArray[np.bool_]:
        """Mask of the frames in which the face was found, bool [T]."""
        found: NDArray[np.bool_] = np.isfinite(self.boxes_px.sum(axis=1))
        return found


@dataclass(frozen=True, slots=True)
class Landmarks:
    """68 points per frame in iBUG 300-W order.

    points_px: float32 [T,68,2], x y in crop pixels, NaN where there is no face
    scores: float32 [T,68], the model's confidence, 0 to 1; 0 where there is no face
    """

    points_px: F32
    scores: F32

    def __post_init__(self) -> None:
        t = len(self.points_px)
        require(self.points_px.shape == (t, 68, 2), "points_px is not [T,68,2]")
        require(self.scores.shape == (t, 68), "scores is not [T,68]")


@dataclass(frozen=True, slots=True)
class Quality:
    """Per-frame measures, all float32 [T]. Measures of the face are NaN where there is none.

    blur: variance of the Laplacian of the grayscale image (low means blurred), in crop pixels, without padding
    brightness: mean gray level of the image, 0 to 255
    face_size_px: longer side of the face box in source pixels
    faces: number of faces in the frame
    yaw_deg, pitch_deg, roll_deg: head pose, see `transforms.extract.quality.pose`
    landmark_residual: residual of the pose fit, relative to the distance between the outer eye corners
    """

    blur: F32
    brightness: F32
    face_size_px: F32
    faces: F32
    yaw_deg: F32
    pitch_deg: F32
    roll_deg: F32
    landmark_residual: F32


@dataclass(frozen=True, slots=True)
class Measured:
    """Measures of the L measured frames of a stored video. `track` and `landmarks` as in `Clip`."""

    placement: Placement
    track: FaceTrack | None
    landmarks: Landmarks | None
    quality: Quality


@dataclass(frozen=True, slots=True)
class StoredVideo:
    """The continuous video of a clip at the stored size.

    mp4: H.264, M frames; frame i is shown at i / rate seconds
    size_px: height and width of its frames
    rate: frames per second
    crf: x264's constant rate factor; None where the packets of the source were copied
    source: [M], the source frame that each frame shows
    every: frames 0, every, 2·every, … are measured
    measured: their measures; None in a clip without stills, which has them as its own measures
    """

    mp4: bytes = field(repr=False)
    size_px: int
    rate: Fraction
    crf: int | None
    source: SourceFrames
    every: int
    measured: Measured | None = None

    def __post_init__(self) -> None:
        rows = measured_rows(len(self.source), self.every)
        if self.measured is not None:
            require(len(self.measured.placement) == rows, f"{len(self.measured.placement)} measured frames, expected {rows}")

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True, slots=True)
class Clip:
    """A finished clip, written as one sample of a shard. `track` and `landmarks` are None with `--landmarks none`.

    T is the number of stills; in a clip without stills, the number of measured frames of its video.

    source_frames, duration_s: number of decodable frames in all spans, and their duration in seconds
    past_end_s: how far the annotation extends past the end of its video, seconds
    jpegs: T encoded frames at the stored size; empty without stills
    aus: None with `--aus none`
    file_frames: number of decodable frames in the whole file of each span; empty in samples of format version 1
    display: display metadata of the source
    embedding: float32 [128], mean face descriptor, NaN if no face was found; None without `--identity-embedding`
    identity_spread: largest distance between the descriptors of two frames; None without descriptors
    every: all decodable frames of the clip; None in clips that were read from a sample
    video, sound: None if not stored
    smaller: stills and video at the smaller sizes of the dataset, in descending order
    sound_lost: reason code if the source has audio that could not be decoded
    """

    spec: ClipSpec
    source_frames: int
    duration_s: float
    past_end_s: float
    placement: Placement = field(repr=False)
    track: FaceTrack | None
    landmarks: Landmarks | None
    quality: Quality
    jpegs: tuple[bytes, ...] = field(repr=False)
    aus: ActionUnits | None = field(default=None, repr=False)
    file_frames: tuple[int, ...] = ()
    display: Display = Display()  # noqa: RUF009 -- frozen
    embedding: F32 | None = field(default=None, repr=False)
    identity_spread: float | None = None
    every: SourceFrames | None = field(default=None, repr=False)
    video: StoredVideo | None = None
    sound: StoredSound | None = None
    sound_lost: str | None = None
    smaller: tuple[Smaller, ...] = ()

    def __len__(self) -> int:
        return len(self.placement)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A planned clip that could not be built. `reason` is a code of `schemas.reasons`."""

    spec: ClipSpec
    reason: str
    detail: str = ""

    def __post_init__(self) -> None:
        require(self.reason in REASONS, f"unknown reason code {self.reason!r}")

    @property
    def stage(self) -> str:
        """The step that rejected the clip."""
        return REASONS[self.reason].stage

    @property
    def retryable(self) -> bool:
        """Whether the same input may succeed in another run."""
        return REASONS[self.reason].retryable


@dataclass(frozen=True, slots=True)
class ShardUnit:
    """The work of one shard: rows [start, stop) of one plan file."""

    plan: str
    start: int
    stop: int
    split: str
    name: str

    def __len__(self) -> int:
        return self.stop - self.start
