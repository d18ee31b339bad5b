"""people.parquet: which clips show the same person, as found by `dataset.people`. Row i belongs to row i of the index.

The file's metadata records the SHA-256 of that index under `motionshards_index`; with any other index, the table is outdated.
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
    """Write a table with schema SCHEMA."""
    pq.write_table(rows.replace_schema_metadata({_INDEX: index_sha256}), path, compression="zstd")


def store_people(out: Path, rows: pa.Table, index_sha256: str) -> None:
    """Write the table into a dataset.

    Raises:
        ConfigError: another command is writing to the dataset, or it is not writable
        DatasetError: its index has changed
    """
    with only_writer(out):
        if Manifest.read(out).files.get(INDEX, "") != index_sha256:  # a removal must leave no name behind
            raise DatasetError(f"{out} was changed while it was being read: run the command again")
        with replacing(out, out / PEOPLE) as temporary:
            write_people(temporary, rows, index_sha256)
        with suppress(OSError):  # not empty: a killed build left files, which must be kept
            (out / WORK_DIR).rmdir()


def read_people(source: Path | io.BytesIO, index_sha256: str) -> pa.Table:
    """Read the table for the index with this digest. Raises DatasetError: it is missing, outdated or damaged."""
    try:
        with open_parquet(source) as file:
            if (file.metadata.metadata or {}).get(_INDEX, b"").decode() != index_sha256:
                raise DatasetError(f"{PEOPLE} is outdated, as the index has changed: run dataset.people again")
            return file.read(SCHEMA.names).cast(SCHEMA)
    except FileNotFoundError:
        raise DatasetError(f"there is no {PEOPLE}: run dataset.people") from None
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise DatasetError(f"{PEOPLE} cannot be read: {next(iter(str(error).splitlines()), '')}") from error
