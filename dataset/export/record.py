"""export.json, the record of an export: its settings, and the outcome of each clip.

{"format": …, "version": …, "versions": {…}, "dataset": {…}, "options": {…}, "counts": {…}, "clips":[
{"key": …, "files": […], "frames": 105}
,{"key": …, "left_out": "no_sound"}
]}

The first line is the header, followed by one line per clip in the order of the index, so the file can be read line by line.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from motionshards.dataset.export.directory import ExportDirectory
from motionshards.dataset.export.format import FAULTS
from motionshards.schemas.atomic import beside
from motionshards.schemas.config import differences
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.regular_file import open_regular

NAME = "export.json"
_OPEN, _CLOSE = ',"clips":[\n', "]}\n"
_LONGEST_HEADER, _SHOWN_DIGITS = 1 << 20, 16


def read_header(path: Path) -> dict[str, Any] | None:
    """The header of a record; None if the file does not exist. Raises ConfigError: it is not a record."""
    try:
        with open_regular(path) as stream:
            header: dict[str, Any] = json.loads(stream.readline(_LONGEST_HEADER).decode() + _CLOSE)
        _flat(header)
    except FileNotFoundError:
        return None
    except (OSError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not the record of an export: choose another --output") from error
    return header


def check_same_export(found: dict[str, Any], requested: dict[str, Any], output: Path) -> None:
    """Raises ConfigError: the header found in the directory `output` belongs to a different export."""
    old, new = _flat(found), _flat(requested)
    if old["format"] != new["format"]:  # then libraries and options differ, too
        old, new = {"format": old["format"]}, {"format": new["format"]}
    if changed := differences(old, new):
        raise ConfigError(f"--output {output} already holds a different export ({'; '.join(changed)}). Use another --output")


def write_header(output: ExportDirectory, header: dict[str, Any]) -> None:
    """Record the settings of an export at its start."""
    output.work.mkdir(parents=True, exist_ok=True)
    with beside(output.work / NAME) as temporary:
        temporary.write_text(_header(header) + _CLOSE, "utf-8")


def write_record(output: ExportDirectory, header: dict[str, Any], shards: Iterable[Path]) -> dict[str, Any]:
    """Write the record of a finished export; returns its counts.

    shards: the files of `ExportDirectory.lines`, in order
    """
    shards = list(shards)
    counts = _counts(json.loads(line) for line in _lines(shards))
    with output.file(NAME) as temporary, temporary.open("w", encoding="utf-8") as stream:
        stream.write(_header({**header, "counts": counts}))
        for number, line in enumerate(_lines(shards)):
            stream.write(f",{line}" if number else line)
        stream.write(_CLOSE)
    return counts


def has_faults(lines: Path) -> bool:
    """Whether a file of `ExportDirectory.lines` lists a damaged clip."""
    return any(json.loads(line).get("left_out") in FAULTS for line in _lines([lines]))


def _counts(clips: Iterable[dict[str, Any]]) -> dict[str, Any]:
    counts, left_out, last = Counter(clips=0, written=0, files=0, frames=0), Counter[str](), ""
    for clip in clips:
        counts["clips"] += 1
        if "left_out" in clip:
            left_out[clip["left_out"]] += 1
        else:
            counts.update(written=1, frames=clip["frames"])
            for name in clip["files"]:
                counts["files"] += name != last  # the clips of a shard can share a file
                last = name
    return {**counts, "left_out": dict(sorted(left_out.items()))}


def _lines(shards: Iterable[Path]) -> Iterator[str]:
    for path in shards:
        with path.open(encoding="utf-8") as stream:
            yield from stream


def _header(header: dict[str, Any]) -> str:
    return json.dumps(header, ensure_ascii=False, separators=(",", ":"))[:-1] + _OPEN


def _flat(header: dict[str, Any]) -> dict[str, Any]:
    """The settings that identify an export, by the names that users know."""
    how = {"format": header["format"], "version": header["version"], "dataset.json": header["dataset"]["sha256"][:_SHOWN_DIGITS]}
    return {**how, **header["versions"], **header["options"]}
