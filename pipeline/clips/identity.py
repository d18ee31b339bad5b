"""Face descriptor of a finished clip, computed from its stored frames so that an addition produces the same bytes as a build."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from motionshards.pipeline.clips.stored import stored_rgb
from motionshards.schemas.layout import IDENTITY_NUMBERS
from motionshards.schemas.records import Clip
from motionshards.transforms.extract.identity.compare import spread
from motionshards.transforms.extract.identity.descriptor import descriptors

# On 19 clips, the ratio of the smallest inter-person to the largest intra-person distance is 0.92, 1.14 and 1.34 with 1, 3
# and 5 frames.
_FRAMES = 5


def with_identity(clip: Clip, timeout_s: float) -> Clip:
    """The clip with its face descriptor.

    timeout_s: time limit of the decoder, if frames are stored as video

    Raises:
        ConfigError: the model file is missing
        ClipRejected: the reasons of `stored_rgb`
    """
    assert clip.landmarks is not None, "BuildConfig refuses descriptors without landmarks"
    chosen = _frames(clip)
    if not len(chosen):
        return replace(clip, embedding=np.full(IDENTITY_NUMBERS, np.nan, np.float32), identity_spread=None)
    found = descriptors(stored_rgb(clip, chosen, timeout_s), clip.landmarks.points_px[chosen])
    return replace(clip, embedding=found.mean(axis=0), identity_spread=spread(found))


def _frames(clip: Clip) -> NDArray[np.int64]:
    """Choose up to five frames with a face: the most frontal one from each fifth of the clip. Returns int64 [n]."""
    assert clip.landmarks is not None
    seen = np.flatnonzero(np.isfinite(clip.landmarks.points_px).all(axis=(1, 2)))
    turned_deg = np.nan_to_num(np.hypot(clip.quality.yaw_deg, clip.quality.pitch_deg), nan=np.inf)
    parts = np.array_split(seen, min(_FRAMES, len(seen))) if len(seen) else []
    return np.array([part[np.argmin(turned_deg[part])] for part in parts], np.int64)
