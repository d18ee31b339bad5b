"""Checks a sample against its row: frames can be decoded, arrays have their shapes, and meta.json describes the same clip."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from motionshards.dataset.checks.aus import check_action_units, check_sequence
from motionshards.dataset.checks.smaller import check_smaller
from motionshards.dataset.checks.sound import check_sound, check_sound_row
from motionshards.dataset.checks.stills import check_still, stills_of
from motionshards.dataset.checks.video import check_video, check_video_row
from motionshards.schemas.confidence import CONFIDENCE, FRAME_SCORES, confidence_columns
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.layout import (
    AUS,
    AUS_SEQUENCE,
    IDENTITY,
    LANDMARK_SCORES,
    LANDMARKS,
    META,
    POINT_SCORES,
    POINTS,
    SOUND,
    VIDEO,
    VIDEO_FRAMES,
    frame_suffix,
    video_suffix,
)
from motionshards.schemas.moving import restored_scores
from motionshards.schemas.samples.members import array_member, embedding_member, meta_member

T = TypeVar("T")

DOUBT_COLUMNS = (*CONFIDENCE, "frame_landmark_residual", *(f"frame_{name}" for name in FRAME_SCORES))
"""Columns of the index that are recomputed from samples."""

_SAME_IN_META = ("key", "source", "split", "identity", "video", "source_frames")
_OF_EACH_FACE = ("boxes_px", "box_scores")
# Norms are 1.3 to 1.7 for single faces, and lower for means of several.
_EMBEDDING_LENGTHS = (0.5, 2.5)


def expected_suffixes(row: Mapping[str, Any], config: BuildConfig, *, sequence: bool = True) -> list[str]:
    """The members of the sample of a row, in order.

    sequence: whether the action units of all frames are present, if the config requests them
    """
    stills = [frame_suffix(number) for number in range(row["n_frames"] if config.stores_stills else 0)]
    moving = [VIDEO, *([SOUND] if row["has_audio"] else []), VIDEO_FRAMES] if row["video_frames"] is not None else []
    points = [POINTS, POINT_SCORES] if moving else []
    points += [LANDMARKS, LANDMARK_SCORES] if config.stores_stills else []
    arrays = [] if config.landmarks == "none" else points
    arrays += [] if config.aus == "none" else [AUS]
    arrays += [AUS_SEQUENCE] if sequence and config.aus_frames == "all" else []
    arrays += [IDENTITY] if config.identity_embedding else []
    for size_px in config.smaller_sizes:
        arrays += [frame_suffix(number, size_px) for number in range(len(stills))]
        arrays += [video_suffix(size_px)] if moving else []
    return [*stills, *moving, *arrays, META]


def check_row(row: Mapping[str, Any], config: BuildConfig, *, added: bool = False) -> Iterator[str]:
    """Errors in a row of the index itself: numbers of frames, columns of video and sound, and list of members.

    added: whether video may have been added to a finished dataset; clips whose source was unreadable by then have none
    """
    wrong = []
    if config.stores_stills and not config.required_frames <= row["n_frames"] <= config.frames:
        wrong = [f"n_frames is {row['n_frames']}, must be between {config.required_frames} and {config.frames}"]
    if config.stores_video and not (added and config.stores_stills and row["video_frames"] is None):
        wrong += [*check_video_row(row, config), *check_sound_row(row, config)]
    yield from wrong
    # A clip that was lost when action units were added later has no sequence, because its number of frames may be unknown.
    if not wrong and [member["suffix"] for member in row["members"]] not in (
        expected_suffixes(row, config),
        *([expected_suffixes(row, config, sequence=False)] if row["au_valid"] == 0 else []),
    ):
        yield f"its members are not the expected ones for a sample of {row['n_frames']} frames"


def check_sample(members: Mapping[str, bytes], row: Mapping[str, Any], config: BuildConfig) -> Iterator[str]:
    """Errors in the members of a sample, prefixed with the suffix. The suffixes have been checked before."""
    stills = stills_of(members, row, config)
    damaged = {number: fault for number, still in stills.items() for fault in check_still(still, config.size)}
    yield from (f"{frame_suffix(number)}: {fault}" for number, fault in damaged.items())
    meta = _parsed(META, lambda: meta_member(members[META], row["n_frames"]))
    if isinstance(meta, str):
        yield f"{META}: {meta}"
        return
    wrong = list(_check_meta(meta, row, members, with_faces=config.landmarks != "none"))
    yield from (f"{META}: {fault}" for fault in wrong)
    faults: list[str] = []
    if VIDEO in members and not wrong:
        faults += check_video(members, meta, row, config, {one: still for one, still in stills.items() if one not in damaged})
    if not wrong and not faults and not damaged:
        for size_px in config.smaller_sizes:
            faults += check_smaller(size_px, members, meta, row, config)
    if SOUND in members and not wrong and not faults:
        faults += [f"{SOUND}: {fault}" for fault in check_sound(members[SOUND], meta, row, config)]
    if config.landmarks != "none":
        if config.stores_stills:
            faults += _check_landmarks(members, row["n_frames"], None if wrong else _found(meta["boxes_px"]))
        if not wrong and not faults:
            faults += _check_doubt(members, meta, row)
    yield from faults
    if config.aus != "none":
        intensity = _array(AUS, members[AUS], row["n_frames"])
        yield from (
            [f"{AUS}: {intensity}"]
            if isinstance(intensity, str)
            else check_action_units(intensity, meta, row, bare=config.aus == "pyfaceau")
        )
        if AUS_SEQUENCE in members:
            every = _array(AUS_SEQUENCE, members[AUS_SEQUENCE], row["source_frames"])
            found = [every] if isinstance(every, str) else check_sequence(every, intensity, meta)
            yield from (f"{AUS_SEQUENCE}: {fault}" for fault in found)
    if config.identity_embedding:
        embedding = _parsed(IDENTITY, lambda: embedding_member(members[IDENTITY]))
        wrong_embedding = [embedding] if isinstance(embedding, str) else _check_embedding(embedding, row["identity_spread"])
        yield from (f"{IDENTITY}: {fault}" for fault in wrong_embedding)


def _check_meta(meta: dict[str, Any], row: Mapping[str, Any], members: Mapping[str, bytes], *, with_faces: bool) -> Iterator[str]:
    for name in _SAME_IN_META:
        if meta.get(name) != row[name]:
            yield f"{name} is {meta.get(name)!r}, the index has {row[name]!r}"
    if with_faces:
        yield from (f"{name} is missing" for name in _OF_EACH_FACE if name not in meta)
    for name in (VIDEO, SOUND):
        if (name in meta) != (name in members):
            yield f"{name} is {'missing' if name in members else 'present, but the member is missing'}"


def _check_doubt(members: Mapping[str, bytes], meta: Mapping[str, Any], row: Mapping[str, Any]) -> Iterator[str]:
    """Columns of the row that differ from values computed from the sample. Format version 1 lacks them and the residual."""
    if "landmark_residual" not in meta:
        return
    residual = _floats(meta["landmark_residual"])
    expected = confidence_columns(
        boxes_px=_floats(meta["boxes_px"]),
        detector_scores=_floats(meta["box_scores"]),
        landmark_scores=_scores(members),
        residual=residual,
        yaw_deg=_floats(meta["yaw_deg"]),
        span=np.array(meta["span"], np.int64),
        pts_s=np.array(meta["pts_s"], np.float64),
    )
    columns = {**expected, "frame_landmark_residual": residual}
    if wrong := [name for name in columns if not np.array_equal(_floats(columns[name]), _floats(row[name]), equal_nan=True)]:
        yield f"{META}: the index has different values of {', '.join(wrong)}"


def _scores(members: Mapping[str, bytes]) -> NDArray[np.float32]:
    """The landmark scores of the described frames, float32 [N,68]."""
    if LANDMARK_SCORES in members:
        return array_member(LANDMARK_SCORES, members[LANDMARK_SCORES])
    return restored_scores(array_member(POINT_SCORES, members[POINT_SCORES]))


def _floats(values: Any) -> NDArray[np.float32]:
    """As float32; None becomes NaN."""
    return np.array(values, np.float32)


def _found(boxes: list[Any]) -> NDArray[np.bool_]:
    """Whether each frame has a face, bool [N]: its box is not null."""
    return np.array([None not in box for box in boxes])


def _check_landmarks(members: Mapping[str, bytes], frames: int, found: NDArray[np.bool_] | None) -> Iterator[str]:
    """Errors in both arrays. `found` is None if meta.json does not record which frames have a face."""
    points = _array(LANDMARKS, members[LANDMARKS], frames)
    if isinstance(points, str):
        yield f"{LANDMARKS}: {points}"
    elif found is not None:
        finite = np.isfinite(points).reshape(frames, -1)
        for number in np.flatnonzero(found & ~finite.all(axis=1)).tolist():
            yield f"{LANDMARKS}: frame {number} has a face, but non-finite points"
        for number in np.flatnonzero(~found & finite.any(axis=1)).tolist():
            yield f"{LANDMARKS}: frame {number} has points, but no face"
    scores = _array(LANDMARK_SCORES, members[LANDMARK_SCORES], frames)
    if isinstance(scores, str):
        yield f"{LANDMARK_SCORES}: {scores}"
    elif not ((scores >= 0) & (scores <= 1)).all():
        yield f"{LANDMARK_SCORES}: has values outside 0 to 1"


def _check_embedding(embedding: NDArray[np.float32], spread: float | None) -> Iterator[str]:
    """Errors in a face descriptor, given the spread in the index, which is None if no face was found."""
    length = float(np.linalg.norm(embedding))
    if spread is None:
        if not np.isnan(embedding).all():
            yield "has values, but the index has no identity_spread"
    elif not _EMBEDDING_LENGTHS[0] <= length <= _EMBEDDING_LENGTHS[1]:
        yield f"has the norm {length:.3g}, which is impossible for a face descriptor"
    elif not 0 <= spread <= 2 * _EMBEDDING_LENGTHS[1]:
        yield f"identity_spread in the index is {spread}, which is impossible"


def _array(suffix: str, content: bytes, frames: int) -> NDArray[np.float32] | str:
    return _parsed(suffix, lambda: array_member(suffix, content, frames))


def _parsed(suffix: str, parse: Callable[[], T]) -> T | str:
    """A member as parsed by the readers, or why that fails, without its name."""
    try:
        return parse()
    except ValueError as error:
        return str(error).removeprefix(suffix).removeprefix(":").strip()
