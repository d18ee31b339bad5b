"""The database has no access to files, network and settings, whatever the statement."""

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from motionshards.dataset.query.database import database


@pytest.mark.parametrize(
    "statement",
    [
        "COPY (SELECT 1) TO 'x.csv'",
        "ATTACH 'x.db'",
        "EXPORT DATABASE 'x'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "FROM read_csv('/etc/passwd')",
        "FROM read_parquet('s3://bucket/a.parquet')",
        "FROM glob('/*')",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "SET threads = 9",
        "RESET lock_configuration",
        "PRAGMA enable_profiling",
    ],
)
def test_statements_reach_neither_files_nor_network_nor_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with database() as connection, pytest.raises(duckdb.Error, match=r"disabled|locked"):
        connection.execute(statement).fetchall()
    assert not list(tmp_path.iterdir())


def test_files_can_be_read_and_not_written(tmp_path: Path) -> None:
    path = tmp_path / "it's [a] *.parquet"
    pq.write_table(pa.table({"x": range(5)}), path)
    content = path.read_bytes()
    with database({"given": path}) as connection:
        assert connection.read_parquet("tables://given").fetchall() == [(x,) for x in range(5)]
        copy = "COPY (SELECT 1) TO '{}' (FORMAT parquet, USE_TMP_FILE {})"
        for target in ("tables://given", str(path), "tables://other"):
            for temporary in ("true", "false"):
                with pytest.raises(duckdb.Error, match=r"disabled|read-only"):
                    connection.execute(copy.format(target.replace("'", "''"), temporary)).fetchall()
    assert [path] == list(tmp_path.iterdir()) and path.read_bytes() == content


def test_a_sort_beyond_the_memory_spills_to_a_directory_that_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("motionshards.dataset.query.database._SETTINGS", {"threads": 1, "memory_limit": "40MiB"})
    with database() as connection:
        batches = connection.sql("SELECT i, hash(i) AS h FROM range(1500000) AS t(i) ORDER BY h").to_arrow_reader(1000)
        first = next(batches)["h"]
        assert list(tmp_path.glob("*/*"))
        assert first.to_pylist() == sorted(first.to_pylist()) and len(first) + sum(map(len, batches)) == 1500000
    assert not list(tmp_path.iterdir())
