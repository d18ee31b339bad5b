"""Comparison of two evaluations of the same frames."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motionshards.schemas.errors import ConfigError
from motionshards.trainers.evaluation.scores import METRICS, format_value, missing_faces, text_table

TABLE = "evaluation.json"
VERSION = 2
"""Version of evaluation.json. Version 1 had neither a baseline nor the frames."""
_SAME = {
    "dataset_sha256": "datasets",
    "split": "splits",
    "size_px": "sizes",
    "landmarks": "landmark models",
}


_MAX_VALUE_CHARS = 40  # longer values, such as digests, are not printed


@dataclass(frozen=True, slots=True)
class Difference:
    """A metric of two evaluations and of their common baseline; None if it was not measured.

    difference: second - first
    """

    first: float | None
    second: float | None
    difference: float | None
    copy: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two evaluations of the same frames, by metric."""

    names: tuple[str, str]
    clips: int
    frames: int
    metrics: Mapping[str, Difference]

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [("", "A", "B", "B - A", "copy", "better is")]
        for name, each in self.metrics.items():
            values = [format_value(each.first, name), format_value(each.second, name), format_value(each.difference, name, "+")]
            rows.append((METRICS[name].label, *values, format_value(each.copy, name), METRICS[name].better))
        heading = f"A: {self.names[0]}\nB: {self.names[1]}\n{self.frames} frames of {self.clips} clips"
        missing = self.metrics.get("missing", Difference(None, None, None, None))
        warnings = missing_faces(missing.first, "A") + missing_faces(missing.second, "B")
        return f"{heading}\n{text_table(rows, 4)}{warnings}"


def compare(first: Path, second: Path) -> Comparison:
    """Compare the evaluations in two directories.

    Raises:
        ConfigError: one cannot be read, or they differ in data, frames or the models that measured them
    """
    one, other = _read(first), _read(second)
    for name, what in _SAME.items():
        if one[name] != other[name]:
            raise ConfigError(f"{first} and {second} cannot be compared: their {what} differ{_values(one[name], other[name])}")
    for name in one["provenance"].keys() & other["provenance"].keys():
        if one["provenance"][name] != other["provenance"][name]:
            raise ConfigError(f"{first} and {second} cannot be compared: they were measured with a different {name}")
    frames = [{clip["key"]: clip["frames"] for clip in each["per_clip"]} for each in (one, other)]
    if frames[0] != frames[1]:
        differing = sum(frames[0].get(key) != frames[1].get(key) for key in {*frames[0], *frames[1]})
        raise ConfigError(f"{first} and {second} cannot be compared: they reconstruct different frames in {differing} clips")
    names = [name for name in METRICS if name in one["model_scores"] or name in other["model_scores"]]
    return Comparison((str(first), str(second)), one["clips"], one["frames"], {name: _metric(one, other, name) for name in names})


def _metric(one: dict[str, Any], other: dict[str, Any], name: str) -> Difference:
    first, second = (each["model_scores"].get(name, {}).get("mean") for each in (one, other))
    difference = None if first is None or second is None else second - first
    copies = [each["copy_scores"][name]["mean"] for each in (one, other) if name in each["copy_scores"]]
    return Difference(first, second, difference, copies[0])


def _values(one: Any, other: Any) -> str:
    return "" if len(str(one)) > _MAX_VALUE_CHARS else f" ({one} and {other})"


def _read(directory: Path) -> dict[str, Any]:
    path = directory / TABLE
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise ConfigError(f"{path} is of another version of motionshards evaluate; run the evaluation again")
    return content
