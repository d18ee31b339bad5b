"""DIR/download.parquet: what became of each video, one row a video that was ever listed.

The file is replaced whole. The videos on disk are the truth about what is there; a row that is lost with a killed run costs one
more question to the server.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from motionshards.schemas.atomic import replacing
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.tables import open_parquet

REPORT = "download.parquet"

# available: a whole video is there. dead: gone for good. private: its owner keeps it. blocked: not to be had from here (country,
# age, login, too many requests). failed: anything else. pending: not asked for yet. The last three are asked for in every run.
STATUSES = ("available", "dead", "private", "blocked", "failed", "pending")

Row = dict[str, Any]

# path: below the output. width, height: pixels of the upright picture. fps: as the header tells. duration_s: by the packets.
# has_audio: whether there is sound; not in reports of 0.1. attempts: tries of the run that asked last; 0 where the file was there
# before. Null is what is not known.
SCHEMA = pa.schema(
    [
        ("video", pa.string()),
        ("url", pa.string()),
        ("status", pa.string()),
        ("detail", pa.string()),
        ("path", pa.string()),
        ("bytes", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("fps", pa.float64()),
        ("duration_s", pa.float64()),
        ("has_audio", pa.bool_()),
        ("attempts", pa.int32()),
        ("checked_at", pa.timestamp("ms", tz="UTC")),
    ]
)
_EARLIER = SCHEMA.remove(SCHEMA.get_field_index("has_audio"))


def read_report(out: Path) -> dict[str, Row]:
    """video -> row, of earlier runs.

    Raises:
        ConfigError: the file is not such a report
    """
    path = out / REPORT
    if not path.exists():
        return {}
    try:
        with open_parquet(path) as file:
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"cannot read {path} ({' '.join(str(error).split())[:200]}); move it away to start anew") from error
    if table.schema.remove_metadata() not in (SCHEMA, _EARLIER):
        raise ConfigError(f"{path} is no report of downloads; move it away to start anew")
    return {row["video"]: {"has_audio": None, **row} for row in table.to_pylist()}


def write_report(out: Path, rows: dict[str, Row]) -> None:
    """Replace the report, whole or not at all."""
    with replacing(out, out / REPORT) as temporary:
        pq.write_table(pa.Table.from_pylist(list(rows.values()), schema=SCHEMA), temporary)


def pending_row(video: str, url: str) -> Row:
    """The row of a video that was not asked for."""
    return {**dict.fromkeys(SCHEMA.names), "video": video, "url": url, "status": "pending", "detail": "", "attempts": 0}


def found_row(video: str, url: str, path: str, size_bytes: int) -> Row:
    """The row of a video that lies there already, and that nobody has looked into."""
    found = {"status": "available", "detail": "was there", "path": path, "bytes": size_bytes, "checked_at": now()}
    return {**pending_row(video, url), **found}


def now() -> datetime:
    """The time of a row."""
    return datetime.now(UTC).replace(microsecond=0)
