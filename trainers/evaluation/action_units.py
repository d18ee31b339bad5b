"""The error of action units, measured with OpenFace's mode for stills in real and reconstructed frames alike."""

import logging
from dataclasses import dataclass

import numpy as np
import simplejpeg

from motionshards.schemas.action_units import INTENSITIES
from motionshards.schemas.errors import ClipRejected
from motionshards.trainers.evaluation.measures import Features, Floats, Frames
from motionshards.trainers.evaluation.scores import Pixels
from motionshards.transforms.extract.action_units.source import AuSource, StoredClip

logger = logging.getLogger("motionshards")

_QUALITY = 98


@dataclass(frozen=True)
class ActionUnitMeasure:
    """Mean absolute error of 17 intensities from 0 to 5, for frames with valid ones in both images. See Measure.

    source: a source of action units that reads stored frames
    """

    source: AuSource

    def features(self, frames: Frames) -> Features:
        """See Measure. OpenFace loads its models in each call, so all frames are measured in one."""
        count = len(frames.pixels)
        jpegs = tuple(_jpeg(frame) for frame in frames.pixels)
        affine = np.tile(np.eye(2, 3), (count, 1, 1))
        numbers = np.arange(count, dtype=np.int32)
        clip = StoredClip("frames", ("frames",), jpegs, None, np.zeros(count, np.int32), numbers, (count,), affine)
        (found,) = self.source.action_units([clip], None)
        if isinstance(found, ClipRejected):
            logger.warning("%d frames have no action units: %s", count, f"{found.reason}: {found.detail}")
            return {"intensity": np.full((count, len(INTENSITIES)), np.nan)}
        return {"intensity": found.intensity}

    def compare(self, real: Features, reconstructed: Features) -> dict[str, Floats]:
        """See Measure."""
        return {"au_error": np.abs(reconstructed["intensity"] - real["intensity"]).mean(axis=1)}

    def provenance(self) -> dict[str, str]:
        """See AuSource."""
        return self.source.provenance()


def _jpeg(frame: Pixels) -> bytes:
    encoded: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(frame), _QUALITY, "RGB", "444")
    return encoded
