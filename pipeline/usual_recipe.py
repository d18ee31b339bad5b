"""The crop recipe of a folder of unknown videos: a few of them are looked at."""

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
# Faces of VoxCeleb2 take 0.55 to 0.75 of the frame's shorter side, those of FFHQ 0.45; in a frame of a person who sits at a
# desk it is 0.1 to 0.3.
_CLOSE = 0.35


@dataclass(frozen=True, slots=True)
class _Look:
    """What is seen in the first seconds of a video.

    frames: decodable ones in the whole video
    face: the median of the faces' longer sides, as a share of the frame's shorter side; NaN where there is no face
    """

    frames: int
    face: float


def recipe_by_looking(clips: Iterable[ClipSpec], root: Root, model: FaceModel, config: BuildConfig) -> tuple[str, str]:
    """`face` if people are to be cut out of their frames, `resize` if frames show faces close up or none; and why.

    Looks at a few frames of a few videos, drawn at random but always the same.
    """
    drawn = nsmallest(_VIDEOS, clips, key=lambda spec: stable_hash(config.seed, spec.key))
    looks = [look for spec in drawn if (look := _look(spec, root, model, config)) is not None]
    faces = [look.face for look in looks if np.isfinite(look.face)]
    if not looks:
        return "resize", "none of the videos looked at can be read"
    if 2 * len(faces) < len(looks):
        return "resize", f"there is a face in only {len(faces)} of {len(looks)} videos looked at"
    face, frames = float(np.median(faces)), float(np.median([look.frames for look in looks]))
    seen = f"faces fill {face:.0%} of the frame's shorter side in {len(faces)} of {len(looks)} videos looked at"
    if face >= _CLOSE:
        return "resize", seen
    if frames < config.tube_min_frames:
        return "resize", f"{seen}, but most have fewer frames than --tube-min-frames {config.tube_min_frames}"
    return "face", f"{seen}; --recipe resize stores whole frames"


def _look(spec: ClipSpec, root: Root, model: FaceModel, config: BuildConfig) -> _Look | None:
    """None where the video cannot be read."""
    spans = tuple(replace(span, end_s=min(span.end_s, span.start_s + _FIRST_S)) for span in spec.spans)
    few = config.without_video(recipe="resize", frames=_FRAMES, min_frames=1)
    (read,) = read_clip(replace(spec, spans=spans), root, model, few)
    if not isinstance(read, ReadClip):
        return None
    (track,), place = find_tracks([read], model), read.crop.placement
    shares = face_size_px(track.boxes_px, place.source_to_crop) / place.source_size_px.min(axis=1)
    found = shares[np.isfinite(shares)]
    return _Look(sum(read.file_frames), float(np.median(found)) if len(found) else np.nan)
