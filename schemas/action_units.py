"""Facial action units (Ekman and Friesen's FACS) as OpenFace 2.x gives them: names, their order, and the record of a clip."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_NUMBERS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
INTENSITIES = tuple(f"AU{number:02d}" for number in _NUMBERS)
PRESENCES = (*INTENSITIES[:-1], "AU28", "AU45")
MOST = 5.0
# OpenFace computes action units where its confidence exceeds 0.725; confidence comes in steps, and 0.75 is the first above.
LEAST_CONFIDENCE = 0.75


@dataclass(frozen=True, slots=True)
class AuFile:
    """A csv file that was computed elsewhere: its path below the folder that was given, with `/`, and the sha256 of its bytes."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class ActionUnits:
    """Action units of the stored frames of a clip. Presence and intensity are trained apart and can disagree.

    intensity: float32 [T,17], 0 (absent) to 5, in the order of INTENSITIES; NaN where not valid
    presence: float32 [T,18], 0 or 1, in the order of PRESENCES; NaN where not valid
    valid: bool [T], whether OpenFace found and trusted the clip's face
    confidence: float32 [T], OpenFace's own of the face it looked at, 0 to 1; NaN where it saw none
    files: one a span of the clip where they were read from csv files, None where there was none; empty where OpenFace was run
    """

    intensity: NDArray[np.float32]
    presence: NDArray[np.float32]
    valid: NDArray[np.bool_]
    confidence: NDArray[np.float32]
    files: tuple[AuFile | None, ...] = ()

    def __post_init__(self) -> None:
        t = len(self.valid)
        shapes = {"intensity": (t, len(INTENSITIES)), "presence": (t, len(PRESENCES)), "valid": (t,), "confidence": (t,)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has the shape {getattr(self, name).shape}, not {shape}")
        for name, most in (("intensity", MOST), ("presence", 1.0)):
            values = getattr(self, name)
            inside = (values >= 0) & (values <= most)
            if not np.where(self.valid[:, None], inside, np.isnan(values)).all():
                raise ValueError(f"{name} must be 0 to {most} in valid frames and NaN in others")

    def __len__(self) -> int:
        return len(self.valid)

    @classmethod
    def of_none(cls, frames: int) -> "ActionUnits":
        """Those of so many frames of which none is valid."""
        intensity, presence = (np.full((frames, len(names)), np.nan, np.float32) for names in (INTENSITIES, PRESENCES))
        return cls(intensity, presence, np.zeros(frames, np.bool_), np.full(frames, np.nan, np.float32))

    @property
    def share(self) -> float:
        """The share of frames that are valid, 0 to 1."""
        return float(self.valid.mean())
