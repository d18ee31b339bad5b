"""The marker of a shard: rows and entry come back, damage is told."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import DatasetError
from schemas.manifest import ShardEntry
from schemas.marker import read_marker, write_marker
from schemas.records import ClipSpec, Rejected, Span
from schemas.tables import MARKER, PLAN, rejected_row, table

ROOT = Path(__file__).resolve().parents[2]
ENTRY = ShardEntry("s-train-000000", "train", 0, 3, 0, None)


def rows(count: int = 3) -> pa.Table:
    specs = [ClipSpec(f"i/v/{n}", "s", "train", "i", "v", (Span(f"{n}.mp4"),), 1.0) for n in range(count)]
    return table((rejected_row(Rejected(spec, "corrupt", "dé\ntail"), ENTRY.name) for spec in specs), MARKER)


@pytest.mark.parametrize("entry", [ENTRY, ShardEntry("é", "test", 2, 0, 10**12, "0" * 64)], ids=["empty shard", "shard"])
@pytest.mark.parametrize("count", [0, 3])
def test_entry_and_rows_come_back(tmp_path: Path, entry: ShardEntry, count: int) -> None:
    write_marker(tmp_path / "m.parquet", entry, rows(count))
    back, stored = read_marker(tmp_path / "m.parquet")
    assert back == entry and stored.equals(rows(count)) and stored.schema.equals(MARKER)


def test_equal_markers_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_marker(tmp_path / name, ENTRY, rows())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_truncated_marker_is_told_wherever_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    write_marker(path, ENTRY, rows())
    whole = path.read_bytes()
    for length in [*range(0, len(whole), len(whole) // 40), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(DatasetError, match="not a readable marker"):
            read_marker(path)


def test_other_files_are_no_markers(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    writers = [
        lambda: path.write_text("<html>"),
        lambda: path.write_bytes(bytes(1000)),
        lambda: pq.write_table(rows(), path),
        lambda: pq.write_table(rows().replace_schema_metadata({b"motionshards": b"{"}), path),
        lambda: pq.write_table(rows().replace_schema_metadata({b"motionshards": b'{"name": "x"}'}), path),
        lambda: pq.write_table(rows().replace_schema_metadata({b"motionshards": b"[1]"}), path),
        lambda: write_marker(path, ENTRY, pa.table({"key": ["a"]})),
        lambda: write_marker(path, ENTRY, table([], PLAN)),
        lambda: write_marker(path, ENTRY, rows().set_column(0, "key", pa.array([[1]] * 3))),
    ]
    for write in writers:
        write()
        with pytest.raises(DatasetError):
            read_marker(path)
    for missing in (tmp_path / "absent.parquet", tmp_path):
        with pytest.raises(DatasetError):
            read_marker(missing)


def test_flipped_bits_are_a_dataset_error_or_go_unseen_but_never_a_crash(tmp_path: Path) -> None:
    """In a process of its own: a parser that dies of damage would take the tests with it."""
    path = tmp_path / "m.parquet"
    write_marker(path, ENTRY, rows())
    program = """
import random, sys
from pathlib import Path
from schemas.errors import DatasetError
from schemas.marker import read_marker
path, told = Path(sys.argv[1]), 0
whole = path.read_bytes()
for seed in range(150):
    draw, damaged = random.Random(seed), bytearray(whole)
    damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
    path.write_bytes(damaged)
    try:
        read_marker(path)
    except DatasetError:
        told += 1
print(told)
"""
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10
