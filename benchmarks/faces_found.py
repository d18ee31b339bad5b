"""The frames that the sections of `benchmarks.faces` examine, with the values that a build would store."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from motionshards.pipeline.inputs.tree import DirectoryTree
from motionshards.pipeline.sources.listing import Listing
from motionshards.pipeline.sources.voxceleb2 import list_clips
from motionshards.schemas.layout import uri_to_path
from motionshards.schemas.records import FaceTrack, Landmarks
from motionshards.transforms.extract.decode import decode
from motionshards.transforms.extract.landmarks.models import FaceModel, load
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.quality.pose import fitted_pose
from motionshards.transforms.extract.timeline import timeline_from_packets
from motionshards.transforms.extract.track import centered_box, track

SIZE_PX = 256
_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Found:
    """T frames of 256 x 256 px in which dlib found the face.

    clip: int [T], number of the clip
    rgb: uint8 [T,H,W,3]
    boxes_px: float32 [T,4]
    detector_score: float32 [T]
    points_px: float32 [T,68,2]
    landmark_score: float64 [T], mean of the landmarks' scores
    pose_deg: float32 [T,3], yaw, pitch, roll
    residual: float32 [T], of the pose fit
    """

    clip: NDArray[np.int64]
    rgb: NDArray[np.uint8]
    boxes_px: NDArray[np.float32]
    detector_score: NDArray[np.float32]
    points_px: NDArray[np.float32]
    landmark_score: NDArray[np.float64]
    pose_deg: NDArray[np.float32]
    residual: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.rgb)

    @classmethod
    def of(
        cls,
        clip: Sequence[int] | NDArray[np.int64],
        rgb: NDArray[np.uint8],
        boxes_px: NDArray[np.float32],
        detector_score: NDArray[np.float32],
        landmarks: Landmarks,
    ) -> "Found":
        """Create from landmarks; computes pose and residual."""
        pose, residual = fitted_pose(landmarks.points_px, (SIZE_PX, SIZE_PX))
        score = landmarks.scores.mean(axis=1, dtype=np.float64)
        return cls(np.asarray(clip), rgb, boxes_px, detector_score, landmarks.points_px, score, pose, residual)


@dataclass(frozen=True)
class Corpus:
    """Clips of a directory in VoxCeleb2's layout, and evenly spaced frames of each.

    videos, people: path and identity of each clip
    missed_rgb: uint8 [M,H,W,3], the frames in which dlib found no face
    elsewhere: directory in which the other corpora may be
    work: for temporary files
    """

    found: Found
    missed_rgb: NDArray[np.uint8] = field(repr=False)
    videos: tuple[Path, ...]
    people: tuple[str, ...]
    frames: int
    elsewhere: Path
    work: Path


def model() -> FaceModel:
    """dlib's detector and predictor."""
    dlib = load("dlib")
    assert dlib is not None
    return dlib


def find_faces(source: Path, frames: int, work: Path) -> Corpus:
    """Find the faces in `frames` frames of each clip."""
    dlib, clips = model(), list(list_clips(Listing(DirectoryTree(source))))
    videos = tuple(source / uri_to_path(clip.spans[0].uri) for clip in clips)
    rgb = [evenly_spaced(path, frames) for path in videos]
    tracks = [track(dlib.detect(one), centered_box(SIZE_PX)) for one in rgb]
    number = np.repeat(np.arange(len(clips)), [int(one.found.sum()) for one in tracks])
    seen = np.concatenate([one.found for one in tracks])
    pixels = np.concatenate(rgb)
    boxes, scores = (_joined(tracks, name) for name in ("boxes_px", "scores"))
    found = Found.of(number, pixels[seen], boxes, scores, dlib.landmarks(pixels[seen], boxes))
    people = tuple(clip.identity for clip in clips)
    return Corpus(found, pixels[~seen], videos, people, frames, source.parent, work)


def evenly_spaced(path: Path, count: int, size: int = SIZE_PX) -> NDArray[np.uint8]:
    """`count` evenly spaced frames of a video, uint8 [T,size,size,3]."""
    media = Media.at(path)
    line = timeline_from_packets(media, _TIMEOUT_S)
    indices = np.unique(np.linspace(0, len(line.raw_s) - 1, count).astype(np.int64))
    return decode(media, line, indices, size, "pad", _TIMEOUT_S).rgb


def _joined(tracks: Sequence[FaceTrack], name: str) -> NDArray[np.float32]:
    return np.concatenate([getattr(faces, name)[faces.found] for faces in tracks])
