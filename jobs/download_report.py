"""DIR/download.parquet: the status of each video that was ever listed, one row per video.

The file is replaced atomically. Which videos are available is decided by the files on disk; a row that is lost with a killed run
costs one more request to the server.
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

# available: a complete video is on disk. dead: deleted. private: restricted by its owner. blocked: refused to this machine
# (country, age, login, too many requests). failed: any other error. pending: not requested yet. The last three are requested in
# every run.
STATUSES = ("available", "dead", "private", "blocked", "failed", "pending")

Row = dict[str, Any]

# path: relative to the output. width, height: pixels of the upright image. fps: from the header. duration_s: from the packets.
# has_audio: whether there is sound; absent in reports of 0.1. attempts: number in the last run that requested it; 0 if the file
# existed before. Unknown values are null.
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
    """Read the rows of earlier runs by video.

    Raises:
        ConfigError: the file cannot be read or is not such a report
    """
    path = out / REPORT
    if not path.exists():
        return {}
    try:
        with open_parquet(path) as file:
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"cannot read {path} ({' '.join(str(error).split())[:200]}); move it away to start over") from error
    if table.schema.remove_metadata() not in (SCHEMA, _EARLIER):
        raise ConfigError(f"{path} is not a report of downloads; move it away to start over")
    return {row["video"]: {"has_audio": None, **row} for row in table.to_pylist()}


def write_report(out: Path, rows: dict[str, Row]) -> None:
    """Replace the report atomically."""
    with replacing(out, out / REPORT) as temporary:
        pq.write_table(pa.Table.from_pylist(list(rows.values()), schema=SCHEMA), temporary)


def pending_row(video: str, url: str) -> Row:
    """Return the row of a video that has not been requested."""
    return {**dict.fromkeys(SCHEMA.names), "video": video, "url": url, "status": "pending", "detail": "", "attempts": 0}


def found_row(video: str, url: str, path: str, size_bytes: int) -> Row:
    """Return the row of a video that was on disk before and has not been decoded."""
    found = {"status": "available", "detail": "was on disk", "path": path, "bytes": size_bytes, "checked_at": now()}
    return {**pending_row(video, url), **found}


def now() -> datetime:
    """Return the current time with a resolution of a second."""
    return datetime.now(UTC).replace(microsecond=0)
