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

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
from duckdb import DuckDBPyConnection

from motionshards.dataset.commandline import INTERRUPTED, UNUSABLE, OneLineParser, end, show
from motionshards.dataset.index import Dataset
from motionshards.dataset.query.database import database
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
_SPREAD = f"count(x), min(x), quantile_cont(x, {[*_QUANTILES.values()]}), max(x), favg(x)"
_CLIPS = "count(*) AS clips, count(DISTINCT identity) AS identities, count(DISTINCT (identity, video)) AS videos"
_LENGTHS = "coalesce(sum(n_frames), 0)::BIGINT AS frames, coalesce(fsum(duration_s), 0) / 3600 AS hours"
_BY = ("identity", "video", "split", "source", "shard")
_BY_REJECTED = ("reason", "stage")
_MATCH = "matches"
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
        DatasetError: there is no finished dataset, or its tables cannot be read
    """
    schema = REJECTIONS_SCHEMA if question.rejected else INDEX_SCHEMA
    condition = pc.scalar(True) if question.where is None else parse(question.where, schema)
    Dataset.open(out)
    rows = _read(out / (REJECTIONS if question.rejected else INDEX), _columns(question, condition))
    with database() as connection:
        connection.register("everything", rows)
        connection.execute(f"CREATE VIEW matching AS FROM everything WHERE {_MATCH}")
        return _answer(connection, question)


def _columns(question: Question, condition: pc.Expression) -> dict[str, pc.Expression]:
    """What is read, and what is computed while reading."""
    names = {"identity", "video", question.by or "video"}
    if question.rejected:
        names |= {*_BY_REJECTED, "retryable"}
    else:
        names |= {"n_frames", "duration_s", "source_frames", *(question.columns or MEASURES)} - {FPS}
    return {**{name: pc.field(name) for name in names}, _MATCH: condition}


def _read(path: Path, columns: dict[str, pc.Expression]) -> pa.Table:
    try:
        open_parquet(path).close()  # checks what it declares
        return pyarrow.dataset.dataset(path, schema=_SCHEMAS[path.name]).to_table(columns=columns)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {next(iter(str(error).splitlines()), '')}") from error


def _answer(connection: DuckDBPyConnection, question: Question) -> dict[str, Any]:
    counts = _CLIPS if question.rejected else f"{_CLIPS}, {_LENGTHS}"
    matching, everything = (_rows(connection, f"SELECT {counts} FROM {rows}")[0] for rows in ("matching", "everything"))
    answer: dict[str, Any] = {"where": question.where, "rejected": question.rejected}
    answer["counts"] = {"matching": matching, "all": everything}
    if question.rejected:
        answer |= {by: {row["name"]: row["clips"] for row in _groups(connection, by, _CLIPS)} for by in _BY_REJECTED}
        answer |= _rows(connection, "SELECT count(*) FILTER (retryable) AS retryable FROM matching")[0]
    else:
        answer["measures"] = {name: _spread(connection, name) for name in question.columns or MEASURES}
    if question.by is not None:
        medians = [f'median({_measure(name)}) AS "{name} p50"' for name in question.columns]
        answer |= {"by": question.by, "groups": _groups(connection, question.by, ", ".join([counts, *medians]))}
    return answer


def _groups(connection: DuckDBPyConnection, by: str, figures: str) -> list[dict[str, Any]]:
    """One entry for each value of a column, the largest first. Names of videos need not be unique among people."""
    name = "identity || '/' || video" if by == "video" else by
    return _rows(
        connection, f"SELECT {name} AS name, {figures} FROM matching GROUP BY name ORDER BY clips DESC, name NULLS FIRST"
    )


def _spread(connection: DuckDBPyConnection, name: str) -> dict[str, Any]:
    """Count, extremes, quantiles (linear between neighbours) and mean of the clips that have the measure; None where none has."""
    present, low, quantiles, high, mean = connection.execute(
        f"SELECT {_SPREAD} FROM (SELECT {_measure(name)} AS x FROM matching)"
    ).fetchall()[0]
    between = dict(zip(_QUANTILES, quantiles or [None] * len(_QUANTILES), strict=True))
    return {"present": present, "min": low, **between, "max": high, "mean": mean}


def _measure(name: str) -> str:
    """A measure in SQL, a DOUBLE; NULL where a clip lacks it."""
    value = "CASE WHEN duration_s > 0 THEN source_frames / duration_s END" if name == FPS else f"{name}::DOUBLE"
    return f"nullif({value}, 'nan')"


def _rows(connection: DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = connection.sql(query).to_arrow_table().to_pylist()
    return rows


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
