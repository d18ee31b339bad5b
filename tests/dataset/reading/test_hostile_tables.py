"""Tables of a few kilobytes that declare millions of rows: every reader refuses them before reading."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made import make_dataset

import motionshards.dataset.report.__main__ as report
from motionshards.dataset import stats, verify
from motionshards.dataset.index import Dataset
from motionshards.dataset.stream import ClipStream, Pairs
from motionshards.pipeline.planning.plan import read_plan
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.layout import INDEX, plan_path
from motionshards.schemas.marker import read_entry, read_marker
from motionshards.schemas.tables import INDEX as INDEX_SCHEMA
from motionshards.schemas.tables import MARKER, PLAN, open_parquet

GROUPS = 32
ROWS = 1 << 20


@pytest.fixture(autouse=True)
def little_memory(peak_kb: Callable[[], int]) -> Iterator[None]:
    yield
    assert peak_kb() < 300_000


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[pa.Schema, Path], None]:
    """A function that writes a table of equal rows, of which a million take a few bytes."""
    column = pa.array(["a"]).dictionary_encode()
    column = pa.DictionaryArray.from_arrays(pa.array([0]).cast(pa.int32()).take(pa.array([0] * ROWS)), column.dictionary)
    folder = tmp_path_factory.mktemp("declared")

    def write(schema: pa.Schema, path: Path) -> None:
        stored = folder / f"{len(schema)}.parquet"
        if not stored.exists():
            one = pa.table({"key": column})
            with pq.ParquetWriter(stored, one.schema, compression="zstd") as writer:
                for _ in range(GROUPS):
                    writer.write_table(one, row_group_size=ROWS)
        assert stored.stat().st_size < 100_000
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(stored.read_bytes())

    return write


READERS: dict[str, Callable[[Path], Any]] = {
    "index": lambda out: Dataset.open(out).index(),
    "length": lambda out: len(Dataset.open(out)),
    "samples": lambda out: next(Dataset.open(out).samples()),
    "stream": lambda out: ClipStream(out, Pairs(2), global_batch_size=4),
}


@pytest.mark.parametrize("name", READERS)
def test_an_index_that_declares_millions_of_equal_rows_is_refused(
    tmp_path: Path, declared: Callable[[pa.Schema, Path], None], name: str
) -> None:
    out = make_dataset(tmp_path, 8)
    declared(INDEX_SCHEMA, out / INDEX)
    with pytest.raises(DatasetError, match=r"declare 33,554,432 rows"):
        READERS[name](out)


@pytest.mark.parametrize("command", [stats, report, verify])
def test_commands_report_such_an_index_in_one_line(
    tmp_path: Path, declared: Callable[[pa.Schema, Path], None], command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    out = make_dataset(tmp_path, 8)
    declared(INDEX_SCHEMA, out / INDEX)
    assert command.main([str(out)]) != 0
    output = capsys.readouterr()
    assert len([line for line in (output.out + output.err).splitlines() if "declare 33,554,432 rows" in line]) == 1


def test_markers_and_plans_of_millions_of_equal_rows_are_refused(
    tmp_path: Path, declared: Callable[[pa.Schema, Path], None]
) -> None:
    for schema, path, read in (
        (MARKER, tmp_path / "a.parquet", read_marker),
        (MARKER, tmp_path / "a.parquet", read_entry),
        (PLAN, plan_path(tmp_path, 0), read_plan),
    ):
        declared(schema, path)
        with pytest.raises(DatasetError, match="declare"):
            read(path)


def test_minimal_rows_of_a_build_are_within_the_limits(tmp_path: Path) -> None:
    """Rows that differ only in a counting key are the smallest ones."""
    keys = pa.array([f"demo/id{number % 100}/{number}" for number in range(3 * ROWS // 2)])
    pq.write_table(pa.table({"key": keys}), tmp_path / "a.parquet", compression="zstd", row_group_size=1 << 16)
    with open_parquet(tmp_path / "a.parquet") as file:
        assert file.metadata.num_rows == len(keys)
