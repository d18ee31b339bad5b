"""Names from untrusted datasets are escaped in terminals and reports."""

import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made import make_dataset

from motionshards.dataset import build, preview, remove, sql, stats, verify
from motionshards.dataset.reading.faults import Fault, Faults
from motionshards.dataset.report.markup import element
from motionshards.dataset.stream import ClipStream
from motionshards.dataset.views import Pairs
from motionshards.schemas.layout import INDEX, REJECTIONS
from motionshards.schemas.tables import REJECTIONS as REJECTIONS_SCHEMA

EVIL = "id\x1b[2J\x9b31m\u202e\u2066\u2028x"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset in which all names are EVIL."""
    out = make_dataset(tmp_path_factory.mktemp("evil") / "data", 4, size=16)
    rows = pq.read_table(out / INDEX)
    for name, value in (("identity", EVIL), ("video", EVIL)):
        rows = rows.set_column(rows.column_names.index(name), name, pa.array([value] * len(rows)))
    keys = pa.array([f"{EVIL}/{number}" for number in range(len(rows))])
    pq.write_table(rows.set_column(0, "key", keys), out / INDEX)
    pq.write_table(REJECTIONS_SCHEMA.empty_table(), out / REJECTIONS)
    return out


def harmless(text: str) -> bool:
    return bool(text) and all(letter.isprintable() or letter == "\n" for letter in text)


def commands(out: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "stats": lambda: stats.main([str(out), "--by", "identity"]),
        "stats --json": lambda: stats.main([str(out), "--by", "video", "--json"]),
        "stats --where": lambda: stats.main([str(out), "--where", f"{EVIL} > 1"]),
        "sql": lambda: sql.main([str(out), "FROM clips"]),
        "sql --format csv": lambda: sql.main([str(out), "FROM clips", "--format", "csv"]),
        "sql --format jsonl": lambda: sql.main([str(out), "FROM clips", "--format", "jsonl"]),
        "preview": lambda: preview.main([str(out), "--output", str(tmp_path / f"{EVIL}.png"), "--count", "1"]),
        "verify": lambda: verify.main([str(out), "--quiet"]),
        "remove": lambda: remove.main([str(out), "--identity", EVIL]),
        "build": lambda: build.main(["--source", "folder", "--input", f"/nowhere/{EVIL}", "--output", str(tmp_path / "new")]),
        "arguments": lambda: verify.main([f"/nowhere/{EVIL}"]),
    }


@pytest.mark.parametrize("name", commands(Path(), Path()))
def test_commands_print_no_control_characters(out: Path, tmp_path: Path, name: str, capsys: Any) -> None:
    commands(out, tmp_path)[name]()
    output = capsys.readouterr()
    assert harmless(output.out + output.err)


def test_logs_of_streams_have_no_control_characters(out: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="motionshards"):
        ClipStream(out, Pairs(), global_batch_size=1, identities=[EVIL, f"{EVIL}2"])
        Faults(None).add(Fault(0, "damaged", f"a {EVIL}"), EVIL)
    assert len(caplog.messages) == 2 and all(map(harmless, caplog.messages))


def test_the_report_has_no_control_characters() -> None:
    assert harmless(element("p", EVIL, title=EVIL))
