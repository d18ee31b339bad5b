"""The face descriptor of a finished clip, from its stored frames: so an addition gives the bytes of a build."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from motionshards.pipeline.clips.stored import stored_rgb
from motionshards.schemas.layout import IDENTITY_NUMBERS
from motionshards.schemas.records import Clip
from motionshards.transforms.extract.identity.compare import spread
from motionshards.transforms.extract.identity.descriptor import descriptors

# On 19 clips, the least distance between people is 0.92, 1.14 and 1.34 times the largest within one, with 1, 3 and 5 frames.
_FRAMES = 5


def with_identity(clip: Clip, timeout_s: float) -> Clip:
    """The clip with the descriptor of its face.

    timeout_s: for the decoder, where the frames are stored as video

    Raises:
        ConfigError: the model's file is missing
        ClipRejected: as of `stored_rgb`
    """
    assert clip.landmarks is not None, "BuildConfig refuses descriptors without landmarks"
    chosen = _frames(clip)
    if not len(chosen):
        return replace(clip, embedding=np.full(IDENTITY_NUMBERS, np.nan, np.float32), identity_spread=None)
    found = descriptors(stored_rgb(clip, chosen, timeout_s), clip.landmarks.points_px[chosen])
    return replace(clip, embedding=found.mean(axis=0), identity_spread=spread(found))


def _frames(clip: Clip) -> NDArray[np.int64]:
    """Up to five frames, spread over those with a face: of each fifth the one whose head is turned least."""
    assert clip.landmarks is not None
    seen = np.flatnonzero(np.isfinite(clip.landmarks.points_px).all(axis=(1, 2)))
    turned_deg = np.nan_to_num(np.hypot(clip.quality.yaw_deg, clip.quality.pitch_deg), nan=np.inf)
    parts = np.array_split(seen, min(_FRAMES, len(seen))) if len(seen) else []
    return np.array([part[np.argmin(turned_deg[part])] for part in parts], np.int64)
