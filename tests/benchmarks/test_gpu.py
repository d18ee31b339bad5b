"""`benchmarks.gpu` runs on a CPU, stops rows at their time limits, and reports those that fail."""

import importlib
import json
from math import inf
from pathlib import Path

import pytest

from benchmarks import gpu, gpu_rows
from benchmarks.gpu_rows import Goal, Row

ARGUMENTS = ("--images", "2", "--size", "32", "--rounds", "1", "--device", "cpu")


def figures(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_rows_that_fail_or_hang_are_reported_and_the_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        Row("bad", "Bad", "augment", ("--no-such-option",), inf, 1),
        Row("hangs", "Hangs", "augment", (*ARGUMENTS, "--rounds", "1000000000"), 1, 1),
        Row("good", "Good", "augment", ARGUMENTS, inf, 1, (Goal("copies", most=0), Goal("times_plain", least=0))),
    ]
    monkeypatch.setattr(gpu, "prepare", lambda work, device: rows)
    monkeypatch.setattr(gpu, "_MIN_S", 0.5)
    results = tmp_path / "gpu.md"
    assert gpu.main(["--device", "cpu", "--minutes", "10", "--results", str(results)]) == 1
    found = figures(capsys)
    assert found["failed"] == ["bad", "hangs"] and found["bad"] == found["hangs"] == {} and found["good"]["copies"] > 0
    report = results.read_text()
    assert "**Failed:** status 2: error: Unknown option: --no-such-option" in report
    assert "**Failed:** timed out after 1 s" in report
    assert report.index("## Bad") < report.index("## Hangs") < report.index("## Good") < report.index("### The random warp of 2")
    assert [line.split(" | ")[-1].strip(" |") for line in report.splitlines() if line.startswith("| good")] == ["no", "yes"]


def test_rows_that_do_not_fit_into_the_time_limit_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "prepare", lambda work, device: [Row("late", "Late", "augment", ARGUMENTS, inf, 1)])
    assert gpu.main(["--device", "cpu", "--minutes", "0.01"]) == 1
    assert "**Failed:** skipped" in capsys.readouterr().out


def test_tables_of_a_row_that_timed_out_are_kept(tmp_path: Path) -> None:
    row = Row("one", "One", "augment", (), inf, 1)
    head, tables = "# title\n\n2026-01-01, a machine.\nversions.\n\n", "a note.\n\n## Table\n\n| a |\n"
    assert gpu._section(row, tmp_path) == ("", {})
    (tmp_path / "results.md").write_text(head + tables)
    assert gpu._section(row, tmp_path) == ("a note.\n\n### Table\n\n| a |", {})
    (tmp_path / "results.md").write_text(head + tables + '\n```json\n{"times": 2.0}\n```\n')
    assert gpu._section(row, tmp_path) == ("a note.\n\n### Table\n\n| a |", {"times": 2.0})


def test_gpu_commands_parse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_rows, "_inputs", lambda work: {"data": str(work), "vgg": "vgg.pth"})
    rows = gpu_rows.prepare(tmp_path, "cuda")
    assert [row.name for row in rows] == list(gpu_rows.names())
    for row in rows:
        if row.module != "pytest":
            options = importlib.import_module(f"benchmarks.{row.module}").main.parse(list(row.arguments))
            assert options.device == "cuda", row.name
    assert {"tests/dataset/test_loader.py", "tests/transforms/augment/test_tps.py"} < set(rows[0].arguments)


def test_an_unknown_row_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--only", "fom"]) == 2
    assert "--only fom: no such row, choose from tests, landmarks" in capsys.readouterr().err


@pytest.mark.slow
def test_all_rows_run_on_a_cpu_and_have_the_figures_of_their_goals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "gpu.md"
    assert gpu.main(["--device", "cpu", "--minutes", "30", "--results", str(results)]) == 0
    found = figures(capsys)
    rows = gpu_rows.prepare(tmp_path, "cpu")
    assert len(rows) == 9 and "not measured" not in results.read_text()
    assert all(isinstance(found[row.name][goal.figure], float) for row in rows for goal in row.goals)
