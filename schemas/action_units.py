"""Facial action units (Ekman and Friesen's FACS) as defined by OpenFace 2.x: names, their order, and the per-clip record."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_NUMBERS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
INTENSITIES = tuple(f"AU{number:02d}" for number in _NUMBERS)
MEANS = tuple(name.lower() for name in INTENSITIES)
PRESENCES = (*INTENSITIES[:-1], "AU28", "AU45")
MOST = 5.0
# OpenFace computes action units where its confidence exceeds 0.725. Confidence is quantized; the next step above is 0.75.
MIN_CONFIDENCE = 0.75


@dataclass(frozen=True, slots=True)
class AuFile:
    """An externally computed csv file: POSIX path relative to the folder of `--aus csv:DIR`, and the SHA-256 of its contents."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class SourceFrames:
    """All decodable frames of a clip, stored or not, in the order of its spans.

    span: int32 [F], index of the span that the frame belongs to
    index: int32 [F], frame number within its file, from 0
    pts_s: float64 [F], seconds from the first frame of its file
    """

    span: NDArray[np.int32]
    index: NDArray[np.int32]
    pts_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.span)

    def rows(self, span: NDArray[np.int32], index: NDArray[np.int32]) -> NDArray[np.int32]:
        """Look up frames by span and frame number, int32 [T] each; returns their row numbers, int32 [T]. KeyError: not found."""
        numbers = {place: row for row, place in enumerate(zip(self.span.tolist(), self.index.tolist(), strict=True))}
        return np.array([numbers[place] for place in zip(span.tolist(), index.tolist(), strict=True)], np.int32)


@dataclass(frozen=True, slots=True)
class AuSequence:
    """Intensities of all decodable frames of a clip, stored or not, in the order of its spans.

    intensity: float32 [F,17], 0 to 5, in the order of INTENSITIES; NaN where not valid
    pts_s: float64 [F], seconds from the first frame of its file
    row: int32 [T], index of each stored frame among the F frames
    """

    intensity: NDArray[np.float32]
    pts_s: NDArray[np.float64]
    row: NDArray[np.int32]

    def __post_init__(self) -> None:
        f = len(self.pts_s)
        if self.intensity.shape != (f, len(INTENSITIES)):
            raise ValueError(f"intensity of the sequence has shape {self.intensity.shape}, expected {(f, len(INTENSITIES))}")
        whole = np.isnan(self.intensity).all(axis=1) | ((self.intensity >= 0) & (self.intensity <= MOST)).all(axis=1)
        if not whole.all():
            raise ValueError(f"intensity of the sequence must be 0 to {MOST}, or NaN for an entire frame")
        if len(self.row) and not 0 <= self.row.min() <= self.row.max() < f:
            raise ValueError(f"row must be 0 to {f - 1}")


@dataclass(frozen=True, slots=True)
class ActionUnits:
    """Action units of the stored frames of a clip. Presence and intensity come from separate models and can disagree.

    intensity: float32 [T,17], 0 (absent) to 5, in the order of INTENSITIES; NaN where not valid
    presence: float32 [T,18], 0 or 1, in the order of PRESENCES; NaN where not valid; None if the extractor does not compute it
    valid: bool [T], whether the extractor found the clip's face with sufficient confidence
    confidence: float32 [T], the extractor's confidence in the face, 0 to 1; NaN where it found none or does not report it
    files: one per span of the clip if they were read from csv files, None for a span without a file; otherwise empty
    sequence: action units of all frames of the clip; None if only those of the stored frames are kept
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
            raise ValueError(f"the sequence has {len(self.sequence.row)} rows, expected one for each of {t} stored frames")
        shapes = {"intensity": (t, len(INTENSITIES)), "presence": (t, len(PRESENCES)), "valid": (t,), "confidence": (t,)}
        arrays = {name: value for name in shapes if (value := getattr(self, name)) is not None}
        for name, value in arrays.items():
            if value.shape != shapes[name]:
                raise ValueError(f"{name} has shape {value.shape}, expected {shapes[name]}")
        for name, most in (("intensity", MOST), ("presence", 1.0)):
            values = arrays.get(name, np.where(self.valid, 0.0, np.nan)[:, None])
            inside = (values >= 0) & (values <= most)
            if not np.where(self.valid[:, None], inside, np.isnan(values)).all():
                raise ValueError(f"{name} must be 0 to {most} in valid frames and NaN elsewhere")

    def __len__(self) -> int:
        return len(self.valid)

    @classmethod
    def of_none(cls, frames: int, presence: bool = True) -> "ActionUnits":
        """Action units of `frames` frames, none of them valid."""
        intensity, none = (np.full((frames, len(names)), np.nan, np.float32) for names in (INTENSITIES, PRESENCES))
        valid, confidence = np.zeros(frames, np.bool_), np.full(frames, np.nan, np.float32)
        return cls(intensity, none if presence else None, valid, confidence)

    @property
    def share(self) -> float:
        """Fraction of frames that are valid, 0 to 1."""
        return float(self.valid.mean())

    @property
    def means(self) -> dict[str, float | None]:
        """Mean intensity of each action unit over the valid frames, keyed by index column (`au01`); None without valid frames."""
        return mean_intensities(self.intensity)


def mean_intensities(intensity: NDArray[np.float32]) -> dict[str, float | None]:
    """Mean of each column of float32 [T,17] over its valid rows, keyed by index column (`au01`); None where no row is valid."""
    valid = intensity[~np.isnan(intensity).any(axis=1)].astype(np.float64)
    means = valid.mean(axis=0).tolist() if len(valid) else [None] * len(INTENSITIES)
    return dict(zip(MEANS, means, strict=True))
