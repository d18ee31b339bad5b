"""Checks the action units of a sample: range, NaN in invalid frames, and agreement with the index."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.action_units import MEANS, MOST, PRESENCES, AuSequence, mean_intensities
from motionshards.schemas.layout import AUS, META

_NONE = (None,) * len(PRESENCES)


def check_action_units(
    intensity: NDArray[np.float32], meta: Mapping[str, Any], row: Mapping[str, Any], *, bare: bool = False
) -> Iterator[str]:
    """Errors in the intensities of a sample, float32 [N,17], in its meta.json, and in its row of the index.

    bare: the program that computed them reports neither presences nor a confidence
    """
    valid = meta.get("au_valid")
    if not isinstance(valid, list) or len(valid) != len(intensity) or not all(isinstance(one, bool) for one in valid):
        yield f"{META}: au_valid is not a list of {len(intensity)} booleans"
        return
    yield from _check_intensity(intensity, np.array(valid, bool))
    faults = _check_bare(meta, valid) if bare else _check_meta(meta, valid)
    yield from (f"{META}: {fault}" for fault in faults)
    if row["frame_au_valid"] != valid or row["au_valid"] != np.float32(np.mean(valid)):
        yield f"{META}: au_valid differs from the index"
    means = {name: value if value is None else np.float32(value) for name, value in mean_intensities(intensity).items()}
    # Null in the index of an earlier version.
    if any(row.get(name) is not None for name in MEANS) and any(row.get(name) != value for name, value in means.items()):
        yield f"{AUS}: its means differ from the index"


def check_sequence(every: NDArray[np.float32], stored: NDArray[np.float32] | str, meta: Mapping[str, Any]) -> Iterator[str]:
    """Errors in the intensities of all frames of a clip, float32 [F,17], given those of the stored frames."""
    try:
        sequence = AuSequence(every, np.array(meta["au_sequence_pts_s"], np.float64), np.array(meta["au_sequence_row"], np.int32))
    except (KeyError, ValueError) as error:
        yield f"{META} does not match: {error}"
        return
    if isinstance(stored, str) or not np.array_equal(sequence.intensity[sequence.row], stored, equal_nan=True):
        yield f"the rows of the stored frames differ from {AUS}"


def _check_intensity(intensity: NDArray[np.float32], valid: NDArray[np.bool_]) -> Iterator[str]:
    inside = ((intensity >= 0) & (intensity <= MOST)).all(axis=1)
    for number in np.flatnonzero(valid & ~inside).tolist():
        yield f"{AUS}: frame {number} is valid, but has values outside 0 to {MOST:.0f}"
    for number in np.flatnonzero(~valid & ~np.isnan(intensity).all(axis=1)).tolist():
        yield f"{AUS}: frame {number} is not valid, but has values"


def _check_meta(meta: Mapping[str, Any], valid: list[bool]) -> Iterator[str]:
    presence, confidence = meta.get("au_presence"), meta.get("au_confidence")
    if not isinstance(presence, list) or len(presence) != len(valid) or not all(map(_is_presence, presence, valid)):
        yield f"au_presence is not {len(valid)} lists of {len(PRESENCES)}, 0 or 1 in valid frames and null in others"
    if not isinstance(confidence, list) or len(confidence) != len(valid) or not all(map(_is_confidence, confidence, valid)):
        yield f"au_confidence is not a list of {len(valid)} between 0 and 1, null only in frames that are not valid"


def _check_bare(meta: Mapping[str, Any], valid: list[bool]) -> Iterator[str]:
    if "au_presence" in meta or meta.get("au_confidence") != [None] * len(valid):
        yield "au_presence or au_confidence has values that the program does not report"


def _is_presence(values: Any, valid: bool) -> bool:
    if not isinstance(values, list) or len(values) != len(PRESENCES):
        return False
    return all(type(value) is int and value in (0, 1) for value in values) if valid else tuple(values) == _NONE


def _is_confidence(value: Any, valid: bool) -> bool:
    return not valid if value is None else isinstance(value, int | float) and 0 <= value <= 1
