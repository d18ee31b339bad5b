"""Choose the crop recipe for a folder of unknown videos by examining a few of them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from heapq import nsmallest

import numpy as np

from motionshards.pipeline.clips.clip import find_tracks, read_clip
from motionshards.pipeline.clips.read import ReadClip
from motionshards.pipeline.inputs.unpack import Root
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.records import ClipSpec
from motionshards.transforms.extract.landmarks.models import FaceModel
from motionshards.transforms.extract.quality.measure import face_size_px
from motionshards.transforms.extract.sample import stable_hash

_VIDEOS, _FRAMES, _FIRST_S = 8, 3, 10.0
# Faces take 0.55 to 0.75 of the frame's shorter side in VoxCeleb2, 0.45 in FFHQ, and 0.1 to 0.3 for a person sitting at a desk.
_CLOSE = 0.35


@dataclass(frozen=True, slots=True)
class _Examined:
    """What was found in the first seconds of a video.

    frames: number of decodable frames in the whole video
    face: median of the faces' longer sides, as a fraction of the frame's shorter side; NaN without faces
    """

    frames: int
    face: float


def choose_recipe(clips: Iterable[ClipSpec], root: Root, model: FaceModel, config: BuildConfig) -> tuple[str, str]:
    """Choose `face` if faces are small in their frames, or `resize` if frames are close-ups or without faces.

    Examines a few frames of a few videos, sampled deterministically. Returns the recipe and the reason.
    """
    drawn = nsmallest(_VIDEOS, clips, key=lambda spec: stable_hash(config.seed, spec.key))
    examined = [one for spec in drawn if (one := _examine(spec, root, model, config)) is not None]
    faces = [one.face for one in examined if np.isfinite(one.face)]
    if not examined:
        return "resize", "none of the examined videos can be read"
    if 2 * len(faces) < len(examined):
        return "resize", f"only {len(faces)} of {len(examined)} examined videos show a face"
    face, frames = float(np.median(faces)), float(np.median([one.frames for one in examined]))
    seen = f"faces fill {face:.0%} of the frame's shorter side in {len(faces)} of {len(examined)} examined videos"
    if face >= _CLOSE:
        return "resize", seen
    if frames < config.tube_min_frames:
        return "resize", f"{seen}, but most have fewer frames than --tube-min-frames {config.tube_min_frames}"
    return "face", f"{seen}; --recipe resize stores whole frames"


def _examine(spec: ClipSpec, root: Root, model: FaceModel, config: BuildConfig) -> _Examined | None:
    """Examine the first seconds of a video; None if it cannot be read."""
    spans = tuple(replace(span, end_s=min(span.end_s, span.start_s + _FIRST_S)) for span in spec.spans)
    few = config.without_video(recipe="resize", frames=_FRAMES, min_frames=1)
    (read,) = read_clip(replace(spec, spans=spans), root, model, few)
    if not isinstance(read, ReadClip):
        return None
    (track,), place = find_tracks([read], model), read.crop.placement
    shares = face_size_px(track.boxes_px, place.source_to_crop) / place.source_size_px.min(axis=1)
    found = shares[np.isfinite(shares)]
    return _Examined(sum(read.file_frames), float(np.median(found)) if len(found) else np.nan)
