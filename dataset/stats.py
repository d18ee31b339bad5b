"""Count the clips of a dataset, or those that satisfy a condition, and summarize their measures.

    python -m dataset.stats OUT --where "blur > 50 and abs(yaw_deg) < 45" [--by identity] [--columns blur,source_fps] [--json]
    python -m dataset.stats OUT --rejected [--by reason]

The condition is the same as for streams, see `dataset.query.where`. Reads only the requested columns of the index, no shards.
Exit status: 0 done, even if nothing matches; 2 invalid arguments, 130 interrupted.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
from cyclopts import Parameter, Token
from cyclopts.types import PositiveInt
from duckdb import DuckDBPyConnection
from numpy.typing import NDArray

from motionshards.dataset.commandline import OUTPUT, DatasetArgument, choice, command, show
from motionshards.dataset.index import Dataset, readable
from motionshards.dataset.query.database import database
from motionshards.dataset.query.formatting import as_text
from motionshards.dataset.query.where import parse
from motionshards.dataset.storage.bucket import directory_of
from motionshards.schemas.action_units import MEANS
from motionshards.schemas.errors import ConfigError, DatasetError, StoreFailed
from motionshards.schemas.layout import INDEX, REJECTIONS
from motionshards.schemas.tables import CLIP_MEASURES, SOUND_MEASURES, open_parquet
from motionshards.schemas.tables import INDEX as INDEX_SCHEMA
from motionshards.schemas.tables import REJECTIONS as REJECTIONS_SCHEMA
from motionshards.transforms.extract.action_units.summary import histogram, variance_of

SOURCE_FPS = "source_fps"
OF_VIDEO = ("video_frames", "fps", "video_crf", "has_audio", "audio_hz", *SOUND_MEASURES)
MEASURES = (
    *("n_frames", "source_frames", "duration_s", SOURCE_FPS, "past_end_s", "width_px", "height_px"),
    *CLIP_MEASURES,
    *("au_valid", "au_confidence", *MEANS, "identity_spread"),
    *OF_VIDEO,
)
_QUANTILES = {"p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}
_SPREAD = f"count(x), min(x), quantile_cont(x, {[*_QUANTILES.values()]}), max(x), favg(x)"
_CLIPS = "count(*) AS clips, count(DISTINCT identity) AS identities, count(DISTINCT (identity, video)) AS videos"
_LENGTHS = "coalesce(sum(n_frames), 0)::BIGINT AS frames, coalesce(fsum(duration_s), 0) / 3600 AS hours"
_VIDEO_LENGTHS = (
    "coalesce(sum(video_frames), 0)::BIGINT AS video_frames, count(*) FILTER (has_audio) AS with_sound, "
    "coalesce(fsum(video_frames / fps) FILTER (has_audio), 0) / 3600 AS sound_hours"
)
_BY = ("identity", "video", "split", "source", "shard")
_BY_KEPT = ("fps", "has_audio", "audio_hz", "audio_lost")
_BY_REJECTED = ("reason", "stage")
_MATCH = "matches"
_SCHEMAS = {INDEX: INDEX_SCHEMA, REJECTIONS: REJECTIONS_SCHEMA}


def _names(_: Any, tokens: Sequence[Token]) -> tuple[str, ...]:
    return tuple(name.strip() for token in tokens for name in token.value.split(","))


@dataclass(frozen=True, kw_only=True)
class StatsQuery:
    """What to count and summarize. Raises ConfigError: options cannot be combined, or a measure is unknown."""

    where: str | None = None
    """Count only clips that satisfy this condition, such as "blur > 50 and abs(yaw_deg) < 45"."""
    by: Annotated[str | None, choice((*_BY, *_BY_KEPT, *_BY_REJECTED))] = None
    """Also count per group. `identity` also splits each measure's variance into between and within identities; `reason` and
    `stage` need --rejected."""
    columns: Annotated[tuple[str, ...], Parameter(converter=_names)] = ()
    """Summarize only these measures (comma-separated), and with --by show their medians per group; by default all."""
    rejected: bool = False
    """Count rejected clips instead of kept ones."""

    def __post_init__(self) -> None:
        if self.rejected and self.columns:
            raise ConfigError("--columns cannot be combined with --rejected: rejected clips have no measures")
        if self.by in _BY_REJECTED and not self.rejected:
            raise ConfigError(f"--by {self.by} needs --rejected")
        if self.by in _BY_KEPT and self.rejected:
            raise ConfigError(f"--by {self.by} cannot be combined with --rejected: rejected clips have no video and sound")
        for name in self.columns:
            if name not in MEASURES:
                near = difflib.get_close_matches(name[:40], MEASURES, 1)
                meant = f"; did you mean {near[0]}?" if near else f" (there are {', '.join(MEASURES)})"
                raise ConfigError(f"--columns: there is no measure {name[:40]!r}{meant}")


def stats(out: Path, query: StatsQuery) -> dict[str, Any]:
    """Counts and summaries as plain values, see docs/stats.md.

    Raises:
        ConfigError: the condition is invalid
        DatasetError: there is no finished dataset, or its tables cannot be read
    """
    schema = REJECTIONS_SCHEMA if query.rejected else INDEX_SCHEMA
    condition = pc.scalar(True) if query.where is None else parse(query.where, schema)
    config = Dataset.open(out).manifest.config
    absent = {*(MEANS if config.aus == "none" else ()), *(() if config.stores_video else OF_VIDEO)}
    measures = query.columns or tuple(name for name in MEASURES if name not in absent)
    counts = ", ".join([_CLIPS, *([] if query.rejected else [_LENGTHS, *([_VIDEO_LENGTHS] if config.stores_video else [])])])
    columns = _columns(query, measures, condition, config.stores_video)
    rows = _read(out / (REJECTIONS if query.rejected else INDEX), columns)
    with database() as connection:
        connection.register("everything", rows)
        connection.execute(f"CREATE VIEW matching AS FROM everything WHERE {_MATCH}")
        return _answer(connection, query, measures, counts)


def _columns(query: StatsQuery, measures: Sequence[str], condition: pc.Expression, moving: bool) -> dict[str, pc.Expression]:
    """The columns to read, and the expression to evaluate while reading."""
    names = {"identity", "video", query.by or "video"}
    if query.rejected:
        names |= {*_BY_REJECTED, "retryable"}
    else:
        names |= {"n_frames", "duration_s", "source_frames", *measures} - {SOURCE_FPS}
        names |= {"video_frames", "fps", "has_audio"} if moving else set()
    return {**{name: pc.field(name) for name in names}, _MATCH: condition}


def _read(path: Path, columns: dict[str, pc.Expression]) -> pa.Table:
    with readable(path):
        open_parquet(path).close()  # checks the header of an untrusted file
        return pyarrow.dataset.dataset(path, schema=_SCHEMAS[path.name]).to_table(columns=columns)


def _answer(connection: DuckDBPyConnection, query: StatsQuery, measures: Sequence[str], counts: str) -> dict[str, Any]:
    matching, everything = (_rows(connection, f"SELECT {counts} FROM {rows}")[0] for rows in ("matching", "everything"))
    answer: dict[str, Any] = {"where": query.where, "rejected": query.rejected}
    answer["counts"] = {"matching": matching, "all": everything}
    if query.rejected:
        answer |= {by: {row["name"]: row["clips"] for row in _groups(connection, by, _CLIPS)} for by in _BY_REJECTED}
        answer |= _rows(connection, "SELECT count(*) FILTER (retryable) AS retryable FROM matching")[0]
    else:
        people = _people(connection) if query.by == "identity" else None
        answer["measures"] = {name: _spread(connection, name) | _values(connection, name, people) for name in measures}
    if query.by is not None:
        medians = [f'median({_measure(name)}) AS "{name} p50"' for name in query.columns]
        answer |= {"by": query.by, "groups": _groups(connection, query.by, ", ".join([counts, *medians]))}
    return answer


def _groups(connection: DuckDBPyConnection, by: str, figures: str) -> list[dict[str, Any]]:
    """One entry per value of a column, largest first. Names of videos are unique only within an identity."""
    name = "identity || '/' || video" if by == "video" else f"{by}::VARCHAR"
    return _rows(
        connection, f"SELECT {name} AS name, {figures} FROM matching GROUP BY name ORDER BY clips DESC, name NULLS FIRST"
    )


def _spread(connection: DuckDBPyConnection, name: str) -> dict[str, Any]:
    """Count, extremes, quantiles (linearly interpolated) and mean over the clips that have the measure; None if none has."""
    present, low, quantiles, high, mean = connection.execute(
        f"SELECT {_SPREAD} FROM (SELECT {_measure(name)} AS x FROM matching)"
    ).fetchall()[0]
    between = dict(zip(_QUANTILES, quantiles or [None] * len(_QUANTILES), strict=True))
    return {"present": present, "min": low, **between, "max": high, "mean": mean}


def _people(connection: DuckDBPyConnection) -> NDArray[np.int32]:
    """int32 [clips], an identity number per matching clip."""
    names = connection.sql("SELECT identity FROM matching").to_arrow_table()["identity"].combine_chunks()
    return np.asarray(names.dictionary_encode().indices.to_numpy())


def _values(connection: DuckDBPyConnection, name: str, people: NDArray[np.int32] | None) -> dict[str, Any]:
    """Summaries of all values: the histogram of an action unit and, with `people`, the variance between and within them."""
    if people is None and name not in MEANS:
        return {}
    found = connection.execute(f"SELECT {_measure(name)} AS x FROM matching").fetchnumpy()["x"]
    values = np.ma.filled(np.ma.asarray(found, np.float64), np.nan)
    answer: dict[str, Any] = {"histogram": histogram(values)} if name in MEANS else {}
    if people is not None:
        variance = variance_of(values, people)
        parts = (None, None, None) if variance is None else (variance.between, variance.within, variance.share)
        answer |= dict(zip(("between", "within", "share_between"), parts, strict=True))
    return answer


def _measure(name: str) -> str:
    """SQL expression of a measure as DOUBLE; NULL if a clip lacks it."""
    value = "CASE WHEN duration_s > 0 THEN source_frames / duration_s END" if name == SOURCE_FPS else f"{name}::DOUBLE"
    return f"nullif({value}, 'nan')"


def _rows(connection: DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = connection.sql(query).to_arrow_table().to_pylist()
    return rows


@dataclass(frozen=True, kw_only=True)
class StatsOptions(StatsQuery, DatasetArgument):
    """Options of `motionshards stats`."""

    top: Annotated[PositiveInt, Parameter(group=OUTPUT)] = 20
    """Number of groups to show; JSON output contains all."""
    json: Annotated[bool, Parameter(group=OUTPUT)] = False
    """Print one JSON object."""


@command("stats", unusable=(ConfigError, DatasetError, StoreFailed))
def main(options: StatsOptions) -> None:
    """Count the clips of a dataset and summarize their measures."""
    with directory_of(options.data) as (out, _):
        answer = stats(out, options)
    show(json.dumps(answer) if options.json else as_text(answer, options.top))
