"""How well a model reconstructs clips from their first frame (section 4 of the paper): pixels, and landmarks of faces.

The driving frames are those of the clip itself and its keypoints are taken as they are. The clip is what a data set stores of it,
some frames spread over the video, where the authors take every frame. Faces are looked for in the same way in reconstruction and
real frame. Identity (AED) is not measured: that needs a network that tells people apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from motionshards.trainers.fomm.animate import Networks
from motionshards.transforms.extract.landmarks.models import FaceModel

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipScore:
    """What one clip gave.

    frames: that were reconstructed
    l1: mean absolute difference over their pixels and channels, of values in [0, 1]
    faces: frames in whose real picture a face was found; None: faces were not looked for
    lost: of these, in how many reconstructions none was found
    akd_px: mean distance of the 68 landmarks over the others, in pixels of the stored frames; None where there are none
    """

    key: str
    frames: int
    l1: float
    faces: int | None = None
    lost: int | None = None
    akd_px: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Means over all frames of some clips, so that long clips count for more, as published. None where nothing was measured."""

    clips: int
    frames: int
    l1: float
    faces: int | None
    missing_rate: float | None
    akd_px: float | None

    @classmethod
    def of(cls, clips: Sequence[ClipScore]) -> "Scores":
        """Raises ValueError: there are no clips."""
        if not clips:
            raise ValueError("nothing was reconstructed")
        frames = [clip.frames for clip in clips]
        faces = None if clips[0].faces is None else sum(clip.faces or 0 for clip in clips)
        lost = sum(clip.lost or 0 for clip in clips)
        measured = [(clip.akd_px, (clip.faces or 0) - (clip.lost or 0)) for clip in clips if clip.akd_px is not None]
        pairs = sum(count for _, count in measured)
        return cls(
            clips=len(clips),
            frames=sum(frames),
            l1=float(np.average([clip.l1 for clip in clips], weights=frames)),
            faces=faces,
            missing_rate=lost / faces if faces else None,
            akd_px=sum(akd * count for akd, count in measured) / pairs if pairs else None,
        )


@torch.inference_mode()
def reconstruct(networks: Networks, frames: Tensor, batch: int) -> Tensor:
    """Frames [1:] of frames float32 [N,3,H,W] in [0, 1], painted from the first; `batch` of them at a time."""
    source = frames[:1]
    keypoints = networks.kp_detector(source)
    driven = torch.split(frames[1:], batch)
    return torch.cat([networks.generator(source, keypoints, networks.kp_detector(part)) for part in driven])


def score(
    key: str, frames: Pixels, networks: Networks, device: torch.device, batch: int, faces: FaceModel | None
) -> tuple[ClipScore, Pixels]:
    """The score of a clip's frames uint8 [N,H,W,3], N of at least 2, and the N - 1 reconstructed ones."""
    pictures = as_pictures(frames, device)
    made = reconstruct(networks, pictures, batch)
    l1 = (made - pictures[1:]).abs().double().mean().item()
    pixels = as_pixels(made)
    if faces is None:
        return ClipScore(key=key, frames=len(pixels), l1=l1), pixels
    real, found = face_points(faces, frames[1:]), face_points(faces, pixels)
    seen, kept = (~np.isnan(points).any(axis=(1, 2)) for points in (real, found))
    both = seen & kept
    distances = np.linalg.norm(real[both] - found[both], axis=-1)
    akd = float(distances.mean()) if both.any() else None
    clip = ClipScore(key=key, frames=len(pixels), l1=l1, faces=int(seen.sum()), lost=int((seen & ~kept).sum()), akd_px=akd)
    return clip, pixels


def face_points(model: FaceModel, frames: Pixels) -> NDArray[np.float32]:
    """Landmarks of the best face of each frame uint8 [T,H,W,3]: [T,68,2] in its pixels, NaN where no face was found."""
    boxes = np.full((len(frames), 4), np.nan, np.float32)
    for box, found in zip(boxes, model.detect(frames), strict=True):
        if len(found):
            box[:] = found.boxes_px[0]
    return model.landmarks(frames, boxes).points_px


def comparison(source: Pixels, real: Pixels, made: Pixels) -> Pixels:
    """A row for people, [H,4W,3]: source, real frame, reconstruction, and their difference, black where there is none."""
    difference = np.abs(real.astype(np.int16) - made).astype(np.uint8)
    return np.concatenate([source, real, made, difference], axis=1)


def as_pictures(frames: Pixels, device: torch.device) -> Tensor:
    """uint8 [N,H,W,3] as float32 [N,3,H,W] in [0, 1]."""
    return torch.from_numpy(frames).to(device).permute(0, 3, 1, 2).float() / 255


def as_pixels(pictures: Tensor) -> Pixels:
    """The inverse, rounded."""
    bytes_nhwc = (pictures.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1)
    return np.ascontiguousarray(bytes_nhwc.cpu().numpy())
