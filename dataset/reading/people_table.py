"""people.parquet: which clips show the same person, as `dataset.people` found. Row i is about the clip in row i of the index.

The key `motionshards_index` of the file's metadata has the SHA-256 of that index. With another index, the table is outdated.
"""

import io
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from motionshards.schemas.atomic import replacing
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.layout import INDEX, PEOPLE, WORK_DIR
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.output import only_writer
from motionshards.schemas.tables import open_parquet

COLUMNS = pa.schema(
    [
        ("person", pa.int32()),
        ("person_distance", pa.float32()),
        ("label_distance", pa.float32()),
        ("duplicate_of", pa.string()),
    ]
)
SCHEMA = pa.schema([("key", pa.string()), *COLUMNS])
_INDEX = b"motionshards_index"


def write_people(path: Path, rows: pa.Table, index_sha256: str) -> None:
    """Write the table, which has SCHEMA."""
    pq.write_table(rows.replace_schema_metadata({_INDEX: index_sha256}), path, compression="zstd")


def store_people(out: Path, rows: pa.Table, index_sha256: str) -> None:
    """Write the table into a dataset.

    Raises:
        ConfigError: a command that writes is running, or it cannot be written to
        DatasetError: its index has changed
    """
    with only_writer(out):
        if Manifest.read(out).files.get(INDEX, "") != index_sha256:  # a removal must leave no name behind
            raise DatasetError(f"{out} has changed while it was read: run the command again")
        with replacing(out, out / PEOPLE) as temporary:
            write_people(temporary, rows, index_sha256)
        with suppress(OSError):  # what a killed build left is not ours to delete
            (out / WORK_DIR).rmdir()


def read_people(source: Path | io.BytesIO, index_sha256: str) -> pa.Table:
    """The table, which belongs to the index with this digest. Raises DatasetError: it is missing, outdated or damaged."""
    try:
        with open_parquet(source) as file:
            if (file.metadata.metadata or {}).get(_INDEX, b"").decode() != index_sha256:
                raise DatasetError(f"{PEOPLE} is outdated: the index has changed. Run dataset.people again")
            return file.read(SCHEMA.names).cast(SCHEMA)
    except FileNotFoundError:
        raise DatasetError(f"there is no {PEOPLE}: run dataset.people") from None
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise DatasetError(f"{PEOPLE} cannot be read: {next(iter(str(error).splitlines()), '')}") from error
