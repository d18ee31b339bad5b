"""Facial action units (Ekman and Friesen's FACS) as OpenFace 2.x gives them: names, their order, and the record of a clip."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_NUMBERS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
INTENSITIES = tuple(f"AU{number:02d}" for number in _NUMBERS)
MEANS = tuple(name.lower() for name in INTENSITIES)
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
class SourceFrames:
    """All decodable frames of a clip, stored or not, span after span.

    span: int32 [F], which span of the clip a frame is from
    index: int32 [F], number of the frame within its file, from 0
    pts_s: float64 [F], seconds from the first frame of its file
    """

    span: NDArray[np.int32]
    index: NDArray[np.int32]
    pts_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.span)

    def rows(self, span: NDArray[np.int32], index: NDArray[np.int32]) -> NDArray[np.int32]:
        """int32 [T], which of them are the frames of these spans and numbers; they must be among them."""
        numbers = {place: row for row, place in enumerate(zip(self.span.tolist(), self.index.tolist(), strict=True))}
        return np.array([numbers[place] for place in zip(span.tolist(), index.tolist(), strict=True)], np.int32)


@dataclass(frozen=True, slots=True)
class AuSequence:
    """Intensities of all decodable frames of a clip, stored or not, span after span.

    intensity: float32 [F,17], 0 to 5, in the order of INTENSITIES; NaN where not valid
    pts_s: float64 [F], seconds from the first frame of its file
    row: int32 [T], which of the F frames each stored frame is
    """

    intensity: NDArray[np.float32]
    pts_s: NDArray[np.float64]
    row: NDArray[np.int32]

    def __post_init__(self) -> None:
        f = len(self.pts_s)
        if self.intensity.shape != (f, len(INTENSITIES)):
            raise ValueError(f"intensity of the sequence has the shape {self.intensity.shape}, not {(f, len(INTENSITIES))}")
        whole = np.isnan(self.intensity).all(axis=1) | ((self.intensity >= 0) & (self.intensity <= MOST)).all(axis=1)
        if not whole.all():
            raise ValueError(f"intensity of the sequence must be 0 to {MOST} or, in all of a frame, NaN")
        if len(self.row) and not 0 <= self.row.min() <= self.row.max() < f:
            raise ValueError(f"row must be 0 to {f - 1}")


@dataclass(frozen=True, slots=True)
class ActionUnits:
    """Action units of the stored frames of a clip. Presence and intensity are trained apart and can disagree.

    intensity: float32 [T,17], 0 (absent) to 5, in the order of INTENSITIES; NaN where not valid
    presence: float32 [T,18], 0 or 1, in the order of PRESENCES; NaN where not valid; None if the program computes none
    valid: bool [T], whether the program found and trusted the clip's face
    confidence: float32 [T], the program's own for the face it looked at, 0 to 1; NaN where it saw none, or reports none
    files: one per span of the clip where they were read from csv files, None where there was none; else empty
    sequence: of all frames of the clip; None if only those of the stored frames are kept
    """

    intensity: NDArray[np.float32]
    presence: NDArray[np.float32] | None
    valid: NDArray[np.bool_]
    confidence: NDArray[np.float32]
    files: tuple[AuFile | None, ...] = ()
    sequence: AuSequence | None = None

    def __post_init__(self) -> None:
        t = len(self.valid)
        if self.sequence is not None and len(self.sequence.row) != t:
            raise ValueError(f"the sequence has {len(self.sequence.row)} rows for {t} stored frames")
        shapes = {"intensity": (t, len(INTENSITIES)), "presence": (t, len(PRESENCES)), "valid": (t,), "confidence": (t,)}
        arrays = {name: value for name in shapes if (value := getattr(self, name)) is not None}
        for name, value in arrays.items():
            if value.shape != shapes[name]:
                raise ValueError(f"{name} has the shape {value.shape}, not {shapes[name]}")
        for name, most in (("intensity", MOST), ("presence", 1.0)):
            values = arrays.get(name, np.where(self.valid, 0.0, np.nan)[:, None])
            inside = (values >= 0) & (values <= most)
            if not np.where(self.valid[:, None], inside, np.isnan(values)).all():
                raise ValueError(f"{name} must be 0 to {most} in valid frames and NaN in others")

    def __len__(self) -> int:
        return len(self.valid)

    @classmethod
    def of_none(cls, frames: int, presence: bool = True) -> "ActionUnits":
        """Those of so many frames of which none is valid."""
        intensity, none = (np.full((frames, len(names)), np.nan, np.float32) for names in (INTENSITIES, PRESENCES))
        valid, confidence = np.zeros(frames, np.bool_), np.full(frames, np.nan, np.float32)
        return cls(intensity, none if presence else None, valid, confidence)

    @property
    def share(self) -> float:
        """The share of frames that are valid, 0 to 1."""
        return float(self.valid.mean())

    @property
    def means(self) -> dict[str, float | None]:
        """The mean intensity of each action unit over the valid frames, by the index's name of it; None where there is none."""
        return mean_intensities(self.intensity)


def mean_intensities(intensity: NDArray[np.float32]) -> dict[str, float | None]:
    """The mean of each column of float32 [T,17] over its valid rows, by name (`au01`); None where no row is valid."""
    valid = intensity[~np.isnan(intensity).any(axis=1)].astype(np.float64)
    means = valid.mean(axis=0).tolist() if len(valid) else [None] * len(INTENSITIES)
    return dict(zip(MEANS, means, strict=True))
