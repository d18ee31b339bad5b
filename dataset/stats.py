"""Counts the clips of a data set, or those that a condition chooses, and tells how their measures are spread.

    python -m dataset.stats OUT --where "blur > 50 and abs(yaw_deg) < 45" [--by identity] [--columns blur,fps] [--json]
    python -m dataset.stats OUT --rejected [--by reason]

The condition is that of the readers, see `dataset.query.where`. Only the columns that are asked for are read, of the index alone.
Exit status: 0 done, also where nothing matches; 2 unusable arguments, 130 interrupted.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import argparse
import difflib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
from numpy.typing import NDArray

from motionshards.dataset.commandline import INTERRUPTED, UNUSABLE, OneLineParser, end, show
from motionshards.dataset.index import Dataset
from motionshards.dataset.query.formatting import as_text
from motionshards.dataset.query.where import parse
from motionshards.dataset.storage.bucket import directory_of
from motionshards.schemas.bucket import is_bucket
from motionshards.schemas.errors import ConfigError, DatasetError, StoreFailed
from motionshards.schemas.layout import INDEX, REJECTIONS
from motionshards.schemas.tables import INDEX as INDEX_SCHEMA
from motionshards.schemas.tables import QUALITY, open_parquet
from motionshards.schemas.tables import REJECTIONS as REJECTIONS_SCHEMA

OK = 0
FPS = "fps"
MEASURES = (
    *("n_frames", "source_frames", "duration_s", FPS, "past_end_s", "width_px", "height_px"),
    *QUALITY,
    *("au_valid", "au_confidence"),
)
_QUANTILES = {"p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}
_BY = ("identity", "video", "split", "source", "shard")
_BY_REJECTED = ("reason", "stage")
_MATCH, _GROUP = "match", "group"
_SCHEMAS = {INDEX: INDEX_SCHEMA, REJECTIONS: REJECTIONS_SCHEMA}


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What is asked of a data set.

    where: a condition of `dataset.query.where` on the columns of the index, or of the rejections; None asks for all
    by: what to group by, one of _BY, or with `rejected` also of _BY_REJECTED
    columns: measures; of groups the median of each
    rejected: ask for the clips that were rejected; they have no measures
    """

    where: str | None = None
    by: str | None = None
    columns: tuple[str, ...] = ()
    rejected: bool = False

    def __post_init__(self) -> None:
        if self.rejected and self.columns:
            raise ConfigError("--columns does not go with --rejected: clips that were rejected have no measures")
        if self.by in _BY_REJECTED and not self.rejected:
            raise ConfigError(f"--by {self.by} goes with --rejected")
        for name in self.columns:
            if name not in MEASURES:
                near = difflib.get_close_matches(name[:40], MEASURES, 1)
                meant = f"; did you mean {near[0]}?" if near else f" (there are {', '.join(MEASURES)})"
                raise ConfigError(f"--columns: there is no measure {name[:40]!r}{meant}")


def stats(out: Path, question: Question) -> dict[str, Any]:
    """The answer, of plain values, as docs/stats.md describes it.

    Raises:
        ConfigError: the condition cannot be used
        DatasetError: there is no finished data set, or its tables cannot be read
    """
    schema = REJECTIONS_SCHEMA if question.rejected else INDEX_SCHEMA
    condition = pc.scalar(True) if question.where is None else parse(question.where, schema)
    Dataset.open(out)
    rows = _read(out / (REJECTIONS if question.rejected else INDEX), _columns(question, condition))
    chosen = rows if question.where is None else rows.filter(rows[_MATCH])
    answer: dict[str, Any] = {"where": question.where, "rejected": question.rejected}
    answer["counts"] = {"matching": _counts(chosen), "all": _counts(rows)}
    if question.rejected:
        answer |= {name: {row["name"]: row["clips"] for row in _groups(chosen, name, ())} for name in _BY_REJECTED}
        answer["retryable"] = pc.sum(chosen["retryable"]).as_py() or 0
    else:
        answer["measures"] = {name: spread(_values(chosen, name)) for name in question.columns or MEASURES}
    if question.by is not None:
        answer |= {"by": question.by, "groups": _groups(chosen, _GROUP, question.columns)}
    return answer


def spread(values: NDArray[np.float64]) -> dict[str, Any]:
    """Count, extremes, quantiles (linear between neighbours) and mean of float64 [n] without its NaN; None where none is left."""
    values = values[~np.isnan(values)]
    names = ("min", *_QUANTILES, "max", "mean")
    if not len(values):
        return {"present": 0, **dict.fromkeys(names)}
    low, *middle, high = np.quantile(values, [0.0, *_QUANTILES.values(), 1.0]).tolist()
    return {"present": len(values), **dict(zip(names, [low, *middle, high, float(values.mean())], strict=True))}


def _columns(question: Question, condition: pc.Expression) -> dict[str, pc.Expression]:
    """What is read, and what is computed while reading."""
    names = ["identity", "video"]
    if question.rejected:
        names += [*_BY_REJECTED, "retryable"]
    else:
        names += ["n_frames", "duration_s", *(question.columns or MEASURES)]
    columns = {name: pc.field(name) for name in names if name != FPS}
    if FPS in names:
        lasts = pc.if_else(pc.field("duration_s") > 0.0, pc.field("duration_s"), pc.scalar(pa.scalar(None, pa.float64())))
        columns[FPS] = pc.field("source_frames").cast(pa.float64()) / lasts
    if question.by == "video":  # names of videos need not be unique among people
        columns[_GROUP] = pc.binary_join_element_wise(pc.field("identity"), pc.field("video"), "/")
    elif question.by is not None:
        columns[_GROUP] = pc.field(question.by)
    return {**columns, _MATCH: condition}


def _read(path: Path, columns: dict[str, pc.Expression]) -> pa.Table:
    try:
        open_parquet(path).close()  # checks what it declares
        return pyarrow.dataset.dataset(path, schema=_SCHEMAS[path.name]).to_table(columns=columns)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {next(iter(str(error).splitlines()), '')}") from error


def _counts(rows: pa.Table) -> dict[str, Any]:
    """Clips, people, videos, and of kept clips frames and hours."""
    identity = _codes(rows["identity"])[0]
    counts: dict[str, Any] = {
        "clips": len(rows),
        "identities": len(np.unique(identity)),
        "videos": len(np.unique(_pairs(identity, _codes(rows["video"])[0]))),
    }
    if "n_frames" in rows.column_names:
        counts["frames"] = pc.sum(rows["n_frames"]).as_py() or 0
        counts["hours"] = (pc.sum(rows["duration_s"]).as_py() or 0.0) / 3600
    return counts


def _groups(rows: pa.Table, column: str, measures: Sequence[str]) -> list[dict[str, Any]]:
    """One entry for each value of a column, the largest first."""
    codes, names = _codes(rows[column])
    count = len(names)
    identity, video = (_codes(rows[name])[0] for name in ("identity", "video"))
    people = np.unique(_pairs(codes, identity)) >> 32
    # A pair of (person, video) may be too large to be paired again, so it is numbered anew.
    shown = np.unique(_pairs(identity, video), return_inverse=True)[1]
    found: dict[str, Any] = {
        "clips": np.bincount(codes, minlength=count),
        "identities": np.bincount(people, minlength=count),
        "videos": np.bincount(np.unique(_pairs(codes, shown)) >> 32, minlength=count),
    }
    if "n_frames" in rows.column_names:
        found["frames"] = _sums(codes, _values(rows, "n_frames"), count).astype(np.int64)
        found["hours"] = _sums(codes, _values(rows, "duration_s"), count) / 3600
    found |= {f"{name} p50": _medians(codes, _values(rows, name), count) for name in measures}
    ordered = sorted(range(count), key=lambda code: (-found["clips"][code], names[code] or ""))
    columns = {"name": names, **{name: values.tolist() for name, values in found.items()}}
    return [{name: _plain(values[code]) for name, values in columns.items()} for code in ordered]


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    return None if value != value else value


def _codes(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    """A text column as numbers, int64 [n], and what each number stands for."""
    encoded = column.combine_chunks().dictionary_encode("encode")
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary.to_pylist()


def _pairs(left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    return (left << 32) | right


def _values(rows: pa.Table, name: str) -> NDArray[np.float64]:
    """A measure as float64 [n], NaN where a clip lacks it."""
    values: NDArray[np.float64] = rows[name].combine_chunks().cast(pa.float64()).to_numpy(zero_copy_only=False)
    return values


def _sums(codes: NDArray[np.int64], values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """The sum of the values of each code, float64 [count]."""
    return np.bincount(codes, np.nan_to_num(values), count).astype(np.float64)


def _medians(codes: NDArray[np.int64], values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """The median of the values of each code, float64 [count]; NaN where there is none."""
    codes, values = codes[~np.isnan(values)], values[~np.isnan(values)]
    ordered = values[np.lexsort((values, codes))]
    sizes = np.bincount(codes, minlength=count)
    starts = np.cumsum(sizes) - sizes
    medians, some = np.full(count, np.nan), sizes > 0
    low, high = starts + (sizes - 1) // 2, starts + sizes // 2
    medians[some] = (ordered[low[some]] + ordered[high[some]]) / 2
    return medians


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.top < 1:
        parser.error(f"--top is {options.top}, must be at least 1")
    try:
        names = tuple(name.strip() for name in options.columns.split(",")) if options.columns is not None else ()
        question = Question(where=options.where, by=options.by, columns=names, rejected=options.rejected)
        answer = _ask(options.out, question)
        show(json.dumps(answer) if options.json else as_text(answer, options.top))
    except (ConfigError, DatasetError, StoreFailed) as error:
        return end(UNUSABLE, f"error: {error}")
    except BrokenPipeError:  # `| head` has seen enough; what Python would still flush at its end goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return end(INTERRUPTED, "interrupted")
    return OK


def _ask(out: str, question: Question) -> dict[str, Any]:
    if not is_bucket(out):
        return stats(Path(out.removeprefix("file://")), question)
    with directory_of(out) as (place, _):
        return stats(place, question)


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="motionshards stats", description="Count the clips of a data set, and tell how their measures are spread."
    )
    parser.add_argument("out", metavar="OUT", help="the directory of the data set, or its URL, s3://…")
    parser.add_argument("--where", metavar="CONDITION", help='only clips that match, such as "blur > 50 and abs(yaw_deg) < 45"')
    parser.add_argument("--by", choices=(*_BY, *_BY_REJECTED), help="also count in groups; reason and stage with --rejected")
    parser.add_argument(
        "--columns", metavar="A,B", help=f"only these measures, and with --by their medians: {', '.join(MEASURES)}"
    )
    parser.add_argument("--top", type=int, default=20, help="how many groups are shown (default: %(default)s; --json has all)")
    parser.add_argument("--rejected", action="store_true", help="the clips that were rejected, instead of those that are kept")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return parser
