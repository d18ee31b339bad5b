"""The command: selection of clips, refused arguments and directories, and damaged shards."""

import json
import shutil
from pathlib import Path

import pytest

from motionshards.dataset.export import run
from motionshards.dataset.export.__main__ import main
from motionshards.dataset.index import Dataset
from motionshards.schemas.layout import tar_path


def words(out: Path, output: Path, *options: str) -> list[str]:
    return [str(out), "--format", "frames", "--output", str(output), "--workers", "1", *options]


def test_selected_clips_are_exported_and_counted(moving: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "frames"
    assert main(words(moving, output, "--where", "has_audio", "--limit", "2", "--json")) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {name: printed[name] for name in ("clips", "written", "frames", "left_out")} == {
        "clips": 2,
        "written": 2,
        "frames": 43,
        "left_out": {},
    }
    record = json.loads((output / "export.json").read_text())
    assert [clip["key"].split("/")[0] for clip in record["clips"]] == ["id001", "id002"]
    assert record["options"] == {
        **{"split": [], "where": "has_audio", "limit": 2},
        **{"size": 64, "frames": "png", "crf": 18},
    }


def test_a_repeated_export_does_nothing(exported: Path, moving: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in exported.rglob("*")}
    assert main(words(moving, exported)) == 0
    printed = capsys.readouterr()
    assert "nothing to do" in printed.err and "12 of 12 clips as frames" in printed.out
    assert {path: path.stat().st_mtime_ns for path in exported.rglob("*")} == before


def test_workers_sharing_a_shard_write_the_same_bytes(
    exported: Path, moving: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_TASK_CLIPS", 3)  # a shard has four clips
    assert main([*words(moving, tmp_path / "frames", "--quiet"), "--workers", "2"]) == 0
    written = {path.relative_to(tmp_path / "frames"): path.read_bytes() for path in (tmp_path / "frames").rglob("*.*")}
    assert written == {path.relative_to(exported): path.read_bytes() for path in exported.rglob("*.*")}
    assert len(json.loads(written[Path("export.json")])["clips"]) == 12


@pytest.mark.parametrize(
    ("options", "printed"),
    [
        (["--size", "32"], "already holds a different export (size: 64 -> 32). Use another --output"),
        (["--where", "has_audio"], "already holds a different export (where: none -> has_audio). Use another --output"),
    ],
)
def test_other_options_need_another_directory(
    exported: Path, moving: Path, options: list[str], printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(moving, exported, *options)) == 2
    assert printed in capsys.readouterr().err


def test_another_format_needs_another_directory(exported: Path, moving: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(moving, exported, "--format", "fomm")) == 2
    assert "already holds a different export (format: frames -> fomm). Use another" in capsys.readouterr().err


def test_a_changed_dataset_needs_another_directory(
    exported: Path, moving: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(moving, out)
    manifest = json.loads((out / "dataset.json").read_text())
    (out / "dataset.json").write_text(json.dumps({**manifest, "input": "elsewhere"}))
    assert main(words(out, exported)) == 2
    assert "already holds a different export (dataset.json: " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["notes.txt", "export.json"])
def test_a_directory_with_unrelated_files_is_refused_and_unchanged(
    moving: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text("[]")
    assert main(words(moving, tmp_path)) == 2
    assert name in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "[]")]


@pytest.mark.parametrize(
    ("options", "printed"),
    [
        (["--frames", "mp4"], "--frames mp4 cannot be used with --format frames, only png"),
        (["--crf", "20"], "--crf cannot be used with --format frames, which encodes no video"),
        (["--where", "yaw_deg > 400"], "no clips to export: none matches --where yaw_deg > 400"),
        (["--split", "test"], "no clips to export: the dataset has no --split test, only train"),
        (
            ["--format", "fomm", "--size", "33"],
            "mp4 files need an even size, not --size 33: choose another size, or use --frames png",
        ),
        (["--format", "fram"], "frames"),
    ],
)
def test_invalid_options_are_refused_before_anything_is_written(
    moving: Path, tmp_path: Path, options: list[str], printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(moving, tmp_path / "frames", *options)) == 2
    assert printed in capsys.readouterr().err
    assert not (tmp_path / "frames").exists()


def test_an_output_within_the_dataset_is_refused(moving: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(moving, moving / "frames")) == 2
    assert "is inside the dataset" in capsys.readouterr().err and not (moving / "frames").exists()


def test_clips_of_a_damaged_shard_are_skipped_with_a_reason(
    moving: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, output = tmp_path / "out", tmp_path / "frames"
    shutil.copytree(moving, out)
    rows = Dataset.open(out).index().to_pylist()
    tar_path(out, rows[0]["split"], rows[0]["shard"]).unlink()
    member = next(one for one in rows[5]["members"] if one["suffix"] == "mp4")
    with tar_path(out, rows[5]["split"], rows[5]["shard"]).open("r+b") as stream:
        stream.seek(member["offset"] + member["size"] // 2)
        stream.write(b"damage")
    assert main(words(out, output)) == 1
    assert "7 of 12 clips as frames" in (printed := capsys.readouterr().out) and "(5 unreadable)" in printed
    clips = json.loads((output / "export.json").read_text())["clips"]
    assert clips[0]["detail"] == "the shard cannot be read: No such file or directory"
    assert clips[5]["detail"].startswith("mp4 is damaged") and "files" in clips[4]
    assert not (output / rows[5]["key"]).exists() and (output / rows[4]["key"] / "clip.json").exists()


@pytest.mark.parametrize("form", ["frames", "parquet"])
def test_the_same_command_exports_the_clips_of_a_restored_shard(
    moving: Path, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The result equals an export without damage; undamaged clips are not written again."""
    out, output, whole = tmp_path / "out", tmp_path / form, tmp_path / "whole"
    shutil.copytree(moving, out)
    rows = Dataset.open(out).index().to_pylist()
    tar = tar_path(out, rows[0]["split"], rows[0]["shard"])
    tar.rename(tmp_path / "kept.tar")
    for _ in range(2):  # the damage persists
        assert main(words(out, output, "--format", form)) == 1
        printed = capsys.readouterr()
        assert "(4 unreadable)" in printed.out and "the same command retries them" in printed.err
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.*") if path.suffix in (".png", ".parquet")}
    (tmp_path / "kept.tar").rename(tar)
    assert main(words(out, output, "--format", form)) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert main(words(out, whole, "--format", form)) == 0
    assert {path.relative_to(output): path.read_bytes() for path in output.rglob("*") if path.is_file()} == {
        path.relative_to(whole): path.read_bytes() for path in whole.rglob("*") if path.is_file()
    }
