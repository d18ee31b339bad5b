"""Results of `motionshards sql` compared with plain Python on the same rows; their order, output formats, and refused queries."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made import make_dataset
from markdown_code import ROOT, code
from s3_here import s3_here
from shell_commands import commands
from tables import kept, lost, write_tables

from motionshards.dataset import sql
from motionshards.schemas.layout import INDEX, REJECTIONS
from motionshards.schemas.manifest import Manifest, ShardEntry
from motionshards.schemas.tables import INDEX as INDEX_SCHEMA
from motionshards.schemas.tables import REJECTIONS as REJECTIONS_SCHEMA

ROWS = kept(200)
EVIL = "id\x1b[2J\x9b31m\u202ex"
PAGE = "docs/stats.md"
QUERIES = [
    command.arguments[1]
    for piece in code((ROOT / PAGE).read_text(), PAGE)
    for command in commands(piece.text)
    if piece.kind == "indented" and command.module == "motionshards.dataset.sql"
]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset whose path is full of special characters of globs and SQL; read-only."""
    shards = (ShardEntry("demo-000000", "train", 20, 1, 1000, "0" * 64), ShardEntry("demo-000001", "test", 0, 7, 0, None))
    return write_tables(tmp_path_factory.mktemp("sql") / "it's [x] *?", ROWS, lost(70), shards)


def answer(out: Path, query: str) -> list[tuple[object, ...]]:
    with sql.select(out, query) as (_, batches):
        return [row for batch in batches for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)]


def test_rows_are_those_of_plain_python_and_sorted_by_all_columns(out: Path) -> None:
    clips = Counter((row["identity"], row["split"]) for row in ROWS)
    query = "SELECT identity, split, count(*) AS clips FROM clips GROUP BY identity, split"
    assert answer(out, query) == sorted((*who, count) for who, count in clips.items())
    assert answer(out, "SELECT reason, count(*) FROM rejections GROUP BY reason") == [
        ("corrupt", 20),
        ("no_face", 30),
        ("unreadable", 20),
    ]
    assert answer(out, "FROM shards") == [("demo-000000", "train", 20, 1, 1000, "0" * 64), ("demo-000001", "test", 0, 7, 0, None)]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT key FROM clips ORDER BY key DESC",
        "WITH a AS (SELECT key FROM clips) SELECT key FROM a ORDER BY 1 DESC;",
        "(SELECT key FROM clips WHERE blur > 50) UNION (SELECT key FROM clips) ORDER BY ALL DESC\n;\n",
    ],
)
def test_order_by_is_kept(out: Path, query: str) -> None:
    assert answer(out, query) == sorted(((row["key"],) for row in ROWS), reverse=True)


def test_an_order_within_a_subquery_is_ignored(out: Path) -> None:
    query = "SELECT key FROM (SELECT key FROM clips ORDER BY key DESC LIMIT 5) -- of all clips"
    assert answer(out, query) == sorted((row["key"],) for row in ROWS)[-5:]


def test_random_samples_are_reproducible(out: Path) -> None:
    query = "SELECT key FROM clips ORDER BY random() LIMIT 20"
    assert answer(out, query) == answer(out, query) != answer(out, "SELECT key FROM clips ORDER BY key LIMIT 20")


def test_measures_are_compared_as_float32(out: Path) -> None:
    """0.9 is not a float32; queries select 9 of 10 frames like `--where`."""
    assert answer(out, "SELECT 0.9::FLOAT >= 0.9, 0.9::FLOAT = 0.9") == [(True, True)]


def test_a_table_shows_the_first_rows(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = "SELECT key, split, n_frames, [n_frames, NULL] AS list, repeat('x', 99) AS long, NULL AS nothing FROM clips"
    assert sql.main([str(out), query, "--top", "3"]) == 0
    head, *lines, more = capsys.readouterr().out.splitlines()
    assert head.split() == ["key", "split", "n_frames", "list", "long", "nothing"]
    first = min(ROWS, key=lambda row: row["key"])
    assert len(lines) == 3 and more == "… and 197 more"
    frames = first["n_frames"]
    assert lines[0] == f"{first['key']}  {first['split']:5}  {frames:8}  [{frames}, None]  {'x' * 59}…  -"


def test_csv_has_all_rows_in_full(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sql.main([str(out), "SELECT key, yaw_deg, [blur] AS blurs FROM clips", "--format", "csv"]) == 0
    head, *lines = csv.reader(io.StringIO(capsys.readouterr().out))
    assert head == ["key", "yaw_deg", "blurs"] and len(lines) == 200
    yaw = {row["key"]: row["yaw_deg"] for row in ROWS}
    assert all(yaw[key] == (pytest.approx(float(cell)) if cell else None) for key, cell, _ in lines)


def test_json_has_null_instead_of_nan(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = """SELECT i, 'nan'::FLOAT AS n, [1.5, '-inf'::DOUBLE] AS list, {'a': NULL} AS "the whole", sum(i) OVER () AS sum
        FROM range(3) AS t(i)"""
    assert sql.main([str(out), query, "--format", "jsonl"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [{"i": i, "n": None, "list": [1.5, None], "the whole": {"a": None}, "sum": 3} for i in range(3)]


def test_parquet_has_the_types(out: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert sql.main([str(out), "SELECT key, blur FROM clips", "--format", "parquet"]) == 0
    table = pq.read_table(io.BytesIO(capsysbinary.readouterr().out))
    assert table.schema.types == [pa.string(), pa.float32()]
    assert table["key"].to_pylist() == sorted(row["key"] for row in ROWS)


def test_parquet_is_not_printed_on_a_terminal(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert sql.main([str(out), "FROM clips", "--format", "parquet"]) == 2


@pytest.mark.parametrize("format", ["table", "csv", "jsonl"])
def test_control_characters_are_escaped(out: Path, capsys: pytest.CaptureFixture[str], format: str) -> None:
    assert sql.main([str(out), f"SELECT '{EVIL}' AS \"{EVIL}\"", "--format", format]) == 0
    assert sql.main([str(out), f'SELECT "{EVIL}"', "--format", format]) == 2
    output = capsys.readouterr()
    assert all(letter.isprintable() or letter == "\n" for letter in output.out + output.err)


def test_the_queries_of_the_page_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = make_dataset(tmp_path / "out", 40, aus=True, size=16)
    pq.write_table(pa.Table.from_pylist(lost(7), schema=REJECTIONS_SCHEMA), out / REJECTIONS)
    assert len(QUERIES) >= 5
    found = []
    for query in QUERIES:
        assert sql.main([str(out), query, "--format", "jsonl"]) == 0
        found.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    people, poses, _, sharpest, lengths, rejected = found
    assert lengths == [{"source": "demo", "hours": None, "sound_hours": None}], "the dataset has no stored video"
    assert sum(row["clips"] for row in people) == 40
    assert sum(row["frames"] for row in poses) == sum(5 + clip % 4 for clip in range(40))
    assert set(Counter(row["identity"] for row in sharpest).values()) == {3}
    assert sum(row["clips"] for row in rejected) == 7


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT blurr FROM clips", 'column "blurr" not found in FROM clause! Candidate bindings: "blur"'),
        ("FROM clip", 'Did you mean "clips"?'),
        ("SELEC 1", 'syntax error at or near "SELEC"'),
        ("SELECT key::INT FROM clips", "Could not convert string"),
        ("SELECT i, if(i > 50000, error('late'), 0) FROM range(90000) AS t(i) ORDER BY (SELECT 1)", "late"),
        ("SELECT 1; SELECT 2", "must be one SELECT statement"),
        ("", "must be one SELECT statement"),
        ("WITH x AS (COPY (SELECT 1) TO 'tables://clips' (USE_TMP_FILE false)) SELECT 1", "WITH must name SELECT statements"),
        ("WITH x AS (INSERT INTO shards VALUES (1)) FROM x", "WITH must name SELECT statements"),
        ("SELECT ?", "Values were not provided"),
        *((f"FROM {what}", "file system operations are disabled") for what in ("read_csv('/etc/passwd')", "glob('/*')")),
        *((f"FROM '{file}'", "file system operations are disabled") for file in ("s3://b/a.parquet", "http://b/a.csv", "a.json")),
        ("SELECT * FROM read_text('/etc/passwd')", "file system operations are disabled"),
        ("FROM ROWS", "Table with name ROWS does not exist"),  # a variable of this module
        *(
            (statement, "must be one SELECT statement")
            for statement in (
                "COPY clips TO 'x.csv'",
                "ATTACH 'x.db'",
                "INSTALL httpfs",
                "LOAD httpfs",
                "PRAGMA version",
                "SET threads = 9",
                "CREATE TABLE x AS FROM clips",
                "DROP VIEW clips",
                "EXPORT DATABASE 'x'",
            )
        ),
    ],
)
def test_invalid_queries_are_reported_in_one_line(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], query: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sql.main([str(out), query, "--format", "csv"]) == 2
    output = capsys.readouterr()
    assert output.err.count("\n") == 1 and output.err.startswith("error: sql: ") and message in output.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("after_s", [0.2, 0.5, 1.0])
def test_a_long_query_can_be_interrupted(out: Path, after_s: float, capsys: pytest.CaptureFixture[str]) -> None:
    """Also while DuckDB is preparing it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it in background jobs
    timer = threading.Timer(after_s, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    query = "SELECT count(*) FROM range(1000000) AS a, range(1000000) AS b WHERE a.range * b.range % 7 = 3"  # takes hours
    try:
        assert sql.main([str(out), query]) == 130
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "interrupted\n"


def test_a_closed_pipe_stops_the_query(out: Path) -> None:
    words = [sys.executable, "-m", "dataset.sql", str(out), "FROM range(1000000)", "--format", "csv"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "range\n"
        process.stdout.close()
        assert process.wait(60) == 0 and process.stderr and process.stderr.read() == ""


def test_a_dataset_in_an_object_store(out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_here() as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        for name in (INDEX, REJECTIONS, "dataset.json"):
            store.put(f"set/{name}", (out / name).read_bytes())
        assert sql.main(["s3://data/set", "SELECT count(*) AS clips FROM clips", "--format", "csv"]) == 0
    assert capsys.readouterr().out == "clips\n200\n"


def test_columns_missing_in_an_earlier_version_are_null(tmp_path: Path) -> None:
    out = write_tables(tmp_path / "out", ROWS[:1])
    pq.write_table(pq.read_table(out / INDEX).drop_columns(["pixel_aspect", "members"]), out / INDEX)
    assert answer(out, "SELECT pixel_aspect, members FROM clips") == [(None, None)]
    assert [name for (name,) in answer(out, "SELECT column_name FROM (DESCRIBE clips)")] == sorted(INDEX_SCHEMA.names)


def test_a_missing_unfinished_or_damaged_dataset_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = write_tables(tmp_path / "out", ROWS[:3])
    good = (out / INDEX).read_bytes()
    assert sql.main([str(tmp_path / "none"), "FROM clips"]) == 2
    assert "none does not exist" in capsys.readouterr().err
    for damaged in (b"PAR1 and no more", good[: len(good) // 2], good[:4] + bytes(200) + good[204:]):
        (out / INDEX).write_bytes(damaged)
        assert sql.main([str(out), "FROM clips"]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    replace(Manifest.read(out), complete=False).write(out)
    assert sql.main([str(out), "FROM clips"]) == 2
    assert "the build is unfinished" in capsys.readouterr().err
