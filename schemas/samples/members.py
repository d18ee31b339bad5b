"""Parse members of untrusted samples: bounded in memory and time, and ValueError is the only exception.

MAX_META_BYTES: a longer meta.json is refused before parsing, since nested lists take up to 25 times the memory of their text.
"""

import functools
import json
import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.action_units import INTENSITIES, PRESENCES
from motionshards.schemas.config import MAX_SIZE_PX
from motionshards.schemas.layout import (
    AUS,
    AUS_SEQUENCE,
    IDENTITY,
    IDENTITY_NUMBERS,
    LANDMARK_SCORES,
    LANDMARKS,
    POINT_SCORES,
    POINTS,
    VIDEO_FRAMES,
)
from motionshards.schemas.moving import measured_rows, size_of
from motionshards.schemas.tables import MEDIANS, QUALITY

MAX_META_BYTES = 16 << 20

ROWS: dict[str, tuple[str, tuple[int, ...]]] = {
    LANDMARKS: ("<f4", (68, 2)),
    LANDMARK_SCORES: ("<f4", (68,)),
    AUS: ("<f4", (len(INTENSITIES),)),
    AUS_SEQUENCE: ("<f4", (len(INTENSITIES),)),
    VIDEO_FRAMES: ("<f8", (3,)),
    POINTS: ("<u2", (68, 2)),
    POINT_SCORES: ("|u1", (68,)),
}
"""dtype and row shape of each array that has one row per frame."""
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(rb"\{'descr': '([<|][fu][1248])', 'fortran_order': False, 'shape': \((\d{1,7}), ([\d, ]{1,9})\), \} *\n")
_EMBEDDING_HEADER = re.compile(
    rb"\{'descr': '([<|][fu][1248])', 'fortran_order': False, 'shape': \(%d,\), \} *\n" % IDENTITY_NUMBERS
)
_TEXTS = ("key", "identity")
_NUMBERS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("span", "frame_index", "pts_s", *MEDIANS), ()),
    "source_size_px": (2,),
    "content_px": (4,),
    "source_to_crop": (2, 3),
}
_NUMBERS_SINCE_2: dict[str, tuple[int, ...]] = dict.fromkeys(set(QUALITY) - set(MEDIANS), ())
_NUMBERS_OF_FACES: dict[str, tuple[int, ...]] = {"boxes_px": (4,), "box_scores": ()}
_NUMBERS_OF_AUS: dict[str, tuple[int, ...]] = {"au_confidence": (), "au_presence": (len(PRESENCES),), "au_sequence_row": ()}
_NEVER_NULL = ("au_sequence_row", "span", "frame_index", "pts_s", "source_size_px", "content_px", "source_to_crop")


def array_member(suffix: str, content: bytes, frames: int | None = None) -> NDArray[Any]:
    """Parse an npy member of a sample; the array shares the memory of `content`.

    dtype and row shape must be those that `samples.encode` documents for the member, and the header must be exactly what
    `numpy.save` writes for it. The header is matched by a regular expression, not evaluated, which is also faster.

    frames: expected number of rows, if known

    Raises:
        ValueError: it is not such an array
    """
    end = 10 + int.from_bytes(content[8:10], "little")
    dtype, shape = _shape(content[:end], suffix)
    if frames is not None and shape[0] != frames:
        raise ValueError(f"{suffix} has {shape[0]} rows for {frames} frames")
    if len(content) - end != dtype.itemsize * math.prod(shape):
        raise ValueError(f"{suffix} has {len(content) - end} bytes, which does not match {dtype} {list(shape)}")
    return np.frombuffer(content, dtype, offset=end).reshape(shape)


def embedding_member(content: bytes) -> NDArray[np.float32]:
    """Parse identity.npy: float32 [128], sharing the memory of `content`. Raises ValueError: it is not such an array."""
    end = 10 + int.from_bytes(content[8:10], "little")
    is_one = content.startswith(_MAGIC) and _EMBEDDING_HEADER.fullmatch(content[10:end])
    if not is_one or len(content) - end != 4 * IDENTITY_NUMBERS:
        raise ValueError(f"{IDENTITY} is not an npy file of float32 [{IDENTITY_NUMBERS}]")
    return np.frombuffer(content, np.float32, offset=end)


@functools.lru_cache(maxsize=256)
def _shape(header: bytes, suffix: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
    kind, rows = ROWS[suffix]
    found = _HEADER.fullmatch(header[10:]) if header.startswith(_MAGIC) else None
    if found is None or found[1].decode() != kind or found[3].decode().rstrip(",") != ", ".join(map(str, rows)):
        raise ValueError(f"{suffix} is not an npy file of {np.dtype(kind)} [N,{','.join(map(str, rows))}] in C order")
    return np.dtype(kind), (int(found[2]), *rows)


def meta_member(content: bytes, frames: int | None = None) -> dict[str, Any]:
    """Parse meta.json, checking the per-frame lists for length, shape and type.

    frames: N, if known; otherwise the length of `pts_s`

    Raises:
        ValueError: it is invalid
    """
    meta = parse_json(content)
    if not isinstance(meta, dict):
        raise ValueError("meta.json is not a JSON object")
    for name in _TEXTS:
        if not isinstance(meta.get(name), str):
            raise ValueError(f"meta.json: {name} is not a string")
    count = len(meta["pts_s"]) if frames is None and isinstance(meta.get("pts_s"), list) else frames or 0
    _check_lists(meta, count, _NUMBERS)
    if "mp4" in meta:
        _check_video(meta["mp4"], count)
    if "flac" in meta:
        _check_sound(meta["flac"])
    times = meta.get("au_sequence_pts_s", [])
    if not isinstance(times, list) or not _are_numbers(times, (len(times),), False):
        raise ValueError("meta.json: au_sequence_pts_s is not a list of numbers")
    valid = meta.get("au_valid", [False] * count)
    if not isinstance(valid, list) or len(valid) != count or not all(isinstance(one, bool) for one in valid):
        raise ValueError(f"meta.json: au_valid is not a list of {count} of true and false")
    return meta


def _check_lists(meta: dict[str, Any], count: int, required: dict[str, tuple[int, ...]]) -> None:
    """Raise ValueError unless the per-frame lists have the required length, shape and type."""
    optional = _NUMBERS | _NUMBERS_SINCE_2 | _NUMBERS_OF_FACES | _NUMBERS_OF_AUS
    expected = required | {name: shape for name, shape in optional.items() if name in meta}
    for name, shape in expected.items():
        if not _are_numbers(meta.get(name), (count, *shape), name not in _NEVER_NULL):
            raise ValueError(f"meta.json: {name} is not a list of numbers {[count, *shape]}")


def _check_sound(sound: Any) -> None:
    """Raise ValueError if `flac` of meta.json is not an object that a build writes."""
    numbers = [sound.get(name) for name in ("hz", "channels", "samples")] if isinstance(sound, dict) else [None]
    if not all(type(one) is int and 0 < one < 2**40 for one in numbers):
        raise ValueError("meta.json: hz, channels or samples of flac is not a positive integer")


def _check_video(video: Any, count: int) -> None:
    """Raise ValueError if `mp4` of meta.json is not an object that a build writes for a clip of `count` described frames."""
    rate = video.get("rate") if isinstance(video, dict) else None
    if not isinstance(rate, list) or len(rate) != 2:
        raise ValueError("meta.json: mp4 has no rate")
    wholes = [*rate, *(video.get(name) for name in ("frames", "every", "point_units"))]
    if not all(type(one) is int and 0 < one < 2**31 for one in wholes):
        raise ValueError("meta.json: rate, frames, every or point_units of mp4 is not a positive integer")
    if not _are_numbers(video.get("point_offset_px"), (), False) or not _are_numbers(video.get("crf"), (), True):
        raise ValueError("meta.json: mp4 has no valid point_offset_px or crf")
    if not 1 <= size_of(video["point_units"], video["point_offset_px"]) <= MAX_SIZE_PX:
        raise ValueError("meta.json: point_units and point_offset_px of mp4 imply frames of impossible size")
    rows = measured_rows(video["frames"], video["every"])
    if "pts_s" in video:
        _check_lists(video, rows, _NUMBERS)
    elif rows != count:
        raise ValueError(f"meta.json: mp4 has {rows} measured frames, but the sample describes {count}")


def parse_json(content: bytes) -> Any:
    """Parse strict JSON (no NaN or infinity). Raises ValueError: it is invalid, longer than MAX_META_BYTES or too deep."""
    if len(content) > MAX_META_BYTES:
        raise ValueError(f"JSON of {len(content):,} bytes is longer than the limit of {MAX_META_BYTES:,}")
    try:
        return json.loads(content, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("JSON is nested too deeply") from None


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _are_numbers(value: Any, shape: tuple[int, ...], null: bool) -> bool:
    if shape:
        return isinstance(value, list) and len(value) == shape[0] and all(_are_numbers(one, shape[1:], null) for one in value)
    if value is None:
        return null
    # 1e999 parses to infinity, and integers may have thousands of digits
    return (type(value) is int and abs(value) < 2**53) or (type(value) is float and math.isfinite(value))
