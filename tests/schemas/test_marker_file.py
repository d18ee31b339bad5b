"""The marker of a shard: round trip of rows and entry, and detection of damage."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from checkout import ROOT

from motionshards.schemas.errors import DatasetError
from motionshards.schemas.manifest import ShardEntry
from motionshards.schemas.marker import read_entry, read_marker, write_marker
from motionshards.schemas.records import ClipSpec, Rejected, Span
from motionshards.schemas.tables import MARKER, PLAN, SPAN, rejected_row, table

ENTRY = ShardEntry("s-train-000000", "train", 0, 3, 0, None)


def rows(count: int = 3) -> pa.Table:
    specs = [ClipSpec(f"i/v/{n}", "s", "train", "i", "v", (Span(f"{n}.mp4"),), 1.0) for n in range(count)]
    return table((rejected_row(Rejected(spec, "corrupt", "dé\ntail"), ENTRY.name) for spec in specs), MARKER)


@pytest.mark.parametrize("entry", [ENTRY, ShardEntry("é", "test", 2, 0, 10**12, "0" * 64)], ids=["empty shard", "shard"])
@pytest.mark.parametrize("count", [0, 3])
def test_entry_and_rows_round_trip(tmp_path: Path, entry: ShardEntry, count: int) -> None:
    write_marker(tmp_path / "m.parquet", entry, rows(count))
    back, stored = read_marker(tmp_path / "m.parquet")
    assert replace(back, marker_sha256=None) == entry and stored.equals(rows(count)) and stored.schema.equals(MARKER)
    assert read_entry(tmp_path / "m.parquet") == back


def test_the_digest_is_that_of_the_file_with_zeros_in_its_place(tmp_path: Path) -> None:
    write_marker(tmp_path / "m.parquet", ENTRY, rows())
    digest = read_entry(tmp_path / "m.parquet").marker_sha256
    assert digest is not None
    content = (tmp_path / "m.parquet").read_bytes()
    assert content.count(digest.encode()) == 1
    assert hashlib.sha256(content.replace(digest.encode(), b"0" * 64)).hexdigest() == digest


def test_a_marker_of_fewer_columns_is_read_with_nulls(tmp_path: Path) -> None:
    old = rows().drop_columns(["au_valid", "frame_au_valid"])
    spans = pa.array([[{"uri": "a.mp4", "start_s": 0.0, "end_s": 1.0}]] * 3)
    old = old.set_column(old.column_names.index("spans"), "spans", spans)
    write_marker(tmp_path / "m.parquet", ENTRY, old)
    stored = read_marker(tmp_path / "m.parquet")[1]
    assert stored.schema.equals(MARKER) and stored["au_valid"].null_count == 3
    assert stored["spans"][0].as_py()[0] == {**dict.fromkeys(SPAN.names), "uri": "a.mp4", "start_s": 0.0, "end_s": 1.0}


def test_equal_markers_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_marker(tmp_path / name, ENTRY, rows())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_truncated_marker_is_detected_wherever_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    write_marker(path, ENTRY, rows())
    whole = path.read_bytes()
    for length in [*range(0, len(whole), len(whole) // 40), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(DatasetError, match="not a readable marker"):
            read_marker(path)


def test_other_files_are_not_read_as_markers(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    write_marker(path, ENTRY, rows())
    whole = path.read_bytes()
    writers = [
        lambda: path.write_text("<html>"),
        lambda: path.write_bytes(bytes(1000)),
        lambda: pq.write_table(rows(), path),
        lambda: pq.write_table(rows().replace_schema_metadata({b"motionshards": b"{"}), path),
        lambda: pq.write_table(rows().replace_schema_metadata({b"motionshards": b'{"name": "x"}'}), path),
        lambda: pq.write_table(rows().replace_schema_metadata({b"motionshards": b"[1]"}), path),
        lambda: write_marker(path, ENTRY, pa.table({"color": ["a"]})),
        lambda: path.write_bytes(whole.replace(b'"split": "train"', b'"split": "../ab"')),
        lambda: write_marker(path, ENTRY, table([], PLAN)),
        lambda: write_marker(path, ENTRY, rows().set_column(0, "key", pa.array([[1]] * 3))),
    ]
    for write in writers:
        write()
        with pytest.raises(DatasetError):
            read_marker(path)
    os.mkfifo(tmp_path / "fifo")
    for missing in (tmp_path / "absent.parquet", tmp_path, tmp_path / "fifo"):
        with pytest.raises(DatasetError):
            read_marker(missing)


def test_every_flipped_bit_is_a_dataset_error_and_never_a_crash(tmp_path: Path) -> None:
    """In a separate process, since a parser that crashes on damage would end the test run."""
    path = tmp_path / "m.parquet"
    write_marker(path, ENTRY, rows())
    program = """
import random, sys
from pathlib import Path
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.marker import read_marker
path, detected = Path(sys.argv[1]), 0
whole = path.read_bytes()
for seed in range(150):
    draw, damaged = random.Random(seed), bytearray(whole)
    damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
    path.write_bytes(damaged)
    try:
        read_marker(path)
    except DatasetError:
        detected += 1
    else:
        detected += b"motionshards_sha256" not in damaged  # looks like version 1; dataset.json has its digest
print(detected)
"""
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 150
