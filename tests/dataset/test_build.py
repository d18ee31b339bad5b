"""The command: exit statuses, summary line and repeated runs, on real videos with the real graph."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from checkout import ROOT
from videos import MakeVideo

from motionshards.dataset import build
from motionshards.pipeline.planning.plan import plan_again
from motionshards.schemas.manifest import Manifest

FAST = ["--size", "64", "--landmarks", "none", "--frames", "3", "--workers", "1"]


@pytest.fixture
def tree(demo_videos: Path, tmp_path: Path) -> Path:
    """Eight utterances of two people, which the test may change."""
    return Path(shutil.copytree(demo_videos, tmp_path / "videos"))


def arguments(tree: Path, out: Path, *more: str) -> list[str]:
    return ["--source", "voxceleb2", "--input", str(tree), "--output", str(out), *FAST, *more]


def shards(out: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.glob("t*/*"))}


def keys(out: Path, name: str = "index") -> list[str]:
    return pq.read_table(out / f"{name}.parquet", columns=["key"])["key"].to_pylist()


def test_the_summary_is_the_last_line_and_the_only_one_with_quiet(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / "dev/mp4/id90000/empty000000").mkdir()
    (tree / "dev/mp4/id90000/empty000000/00001.mp4").touch()
    assert build.main(arguments(tree, tmp_path / "out", "--quiet")) == 0
    output = capsys.readouterr()
    assert output.err == ""
    assert output.out.startswith("9 planned = 8 kept + 1 rejected (empty_file 1); processed 9 clips in ")
    assert "clips/s" in output.out
    assert "MB in" in output.out
    assert output.out.count("\n") == 1
    assert build.main(arguments(tree, tmp_path / "out", "--quiet", "--json")) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["planned"] == 9 == report["kept"] + sum(report["rejected"].values())
    assert report["clips_built"] == 0


def test_many_clips_without_a_face_are_explained(
    tree: Path, make_video: MakeVideo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, output = (
        tmp_path / "out",
        "of 9 clips have no detected face: try --recipe face, which searches every frame, ",
    )
    output += "or --landmarks fan, which finds faces from 32 px"
    faceless = tree / "dev/mp4/id90000/faceless000"
    faceless.mkdir()
    shutil.copy(make_video("bars.mp4"), faceless / "00001.mp4")
    with_faces = ["--landmarks", "dlib", "--size", "128", "--frames", "1", "--quiet"]
    assert build.main(arguments(tree, out, *with_faces)) == 0
    assert capsys.readouterr().out.endswith(f" MB in {out}; 1 {output}\n")
    assert f"\n1 {output}.\n" in (out / "README.md").read_text()
    assert build.main(arguments(tree, out, *with_faces, "--json")) == 0
    assert json.loads(capsys.readouterr().out)["advice"] == [f"1 {output}"]


def test_new_files_become_new_shards_and_old_ones_stay(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    late = tree / "dev/mp4/id90000"
    shutil.move(late, tmp_path / "late")
    assert build.main(arguments(tree, out)) == 0
    output = capsys.readouterr().err
    assert "planned: 4 new clips" in output and "resuming" not in output
    before, inodes = shards(out), {path: path.stat().st_ino for path in out.glob("t*/*")}
    shutil.move(tmp_path / "late", late)
    assert build.main(arguments(tree, out)) == 0
    output = capsys.readouterr().err
    assert "planned: 4 new clips" in output and "resuming: 4 of 8 clips are built" in output
    assert before.items() < shards(out).items()
    assert all(path.stat().st_ino == inode for path, inode in inodes.items())
    assert len(keys(out)) == len(set(keys(out))) == 8
    assert len(list((out / "plan").iterdir())) == 2
    assert build.main(arguments(tree, out)) == 0  # builds nothing
    output = capsys.readouterr().err
    assert "all 8 clips are built" in output and "planned" not in output
    runs = Manifest.read(out).runs
    assert [(run.clips, run.runner) for run in runs] == [(4, "local"), (4, "local")]
    assert all(run.seconds > 0 for run in runs) and runs[0].at < runs[1].at


@pytest.mark.slow
def test_a_larger_limit_contains_the_smaller(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert build.main(arguments(tree, out, "--limit", "3")) == 0
    first = set(keys(out))
    assert build.main(arguments(tree, out, "--limit", "5")) == 0
    assert (len(first), len(keys(out))) == (3, 5)
    assert first < set(keys(out))


def test_split_plans_only_that_split(tree: Path, tmp_path: Path) -> None:
    assert build.main(arguments(tree, tmp_path / "out", "--split", "test")) == 0
    index = pq.read_table(tmp_path / "out/index.parquet")
    assert set(index["split"].to_pylist()) == {"test"}
    assert len(index) == 4


def test_a_sample_of_unit_video_draws_over_all_its_utterances(tree: Path, tmp_path: Path) -> None:
    assert build.main([*arguments(tree, tmp_path / "out", "--unit", "video"), "--frames", "40"]) == 0
    rows = pq.read_table(tmp_path / "out/index.parquet").to_pylist()
    assert len(rows) == 4
    for row in rows:
        assert len(row["spans"]) == 2
        assert row["n_frames"] == 40
        assert row["source_frames"] > 139
        assert sum(later < earlier for earlier, later in zip(row["frame_pts_s"], row["frame_pts_s"][1:], strict=False)) == 1


@pytest.mark.slow
def test_clips_with_few_frames_are_kept_with_min_frames(make_video, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    make_video("in/id1/video/short.mp4", source="testsrc2=size=96x64:rate=25:duration=0.2")
    make_video("in/id1/video/long.mp4")
    assert build.main(arguments(tmp_path / "in", tmp_path / "strict", "--frames", "9")) == 0
    assert keys(tmp_path / "strict") == ["id1/video/long"]
    assert pq.read_table(tmp_path / "strict/rejections.parquet")["reason"].to_pylist() == ["too_few_frames"]
    assert build.main([*arguments(tmp_path / "in", tmp_path / "lenient"), "--frames", "9", "--min-frames", "2"]) == 0
    lengths = pq.read_table(tmp_path / "lenient/index.parquet", columns=["key", "n_frames"]).to_pylist()
    assert {row["key"]: row["n_frames"] for row in lengths} == {"id1/video/short": 5, "id1/video/long": 9}


def test_retry_builds_rejected_clips_again_and_the_later_outcome_counts(tree: Path, tmp_path: Path) -> None:
    out, link = tmp_path / "out", tree / "dev/mp4/id90000/later000000/00001.mp4"
    link.parent.mkdir()
    link.symlink_to(tmp_path / "comes-later.mp4")
    missing = tree / "dev/mp4/id90000/later000000/00002.mp4"
    missing.symlink_to(tmp_path / "never.mp4")
    assert build.main(arguments(tree, out)) == 0
    assert pq.read_table(out / "rejections.parquet")["reason"].to_pylist() == ["unreadable"] * 2
    before = shards(out)
    shutil.copy(next(iter((tree / "test").rglob("*.mp4"))), tmp_path / "comes-later.mp4")
    assert build.main(arguments(tree, out, "--retry", "unreadable")) == 0
    assert keys(out, "rejections") == ["id90000/later000000/00002"]
    assert "id90000/later000000/00001" in keys(out)
    counts = Manifest.read(out).counts
    assert counts["planned"] == 10 == counts["kept"] + sum(counts["rejected"].values())
    assert before.items() < shards(out).items()


@pytest.mark.slow
def test_a_retry_that_was_interrupted_is_planned_once(tree: Path, tmp_path: Path) -> None:
    out, link = tmp_path / "out", tree / "dev/mp4/id90000/later000000/00001.mp4"
    link.parent.mkdir()
    link.symlink_to(tmp_path / "comes-later.mp4")
    assert build.main(arguments(tree, out)) == 0
    shutil.copy(next(iter((tree / "test").rglob("*.mp4"))), tmp_path / "comes-later.mp4")
    config = Manifest.read(out).config
    again = plan_again(out, pq.read_table(out / "rejections.parquet"), config, {e.name for e in Manifest.read(out).shards})
    assert again == 1, "like a run that is killed right after planning"
    assert build.main(arguments(tree, out, "--retry", "unreadable")) == 0
    assert Manifest.read(out).counts["kept"] == 9
    assert keys(out, "rejections") == []


def test_a_rerun_finishes_an_index_that_was_not_written(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert build.main(arguments(tree, out)) == 0
    index, manifest = (out / "index.parquet").read_bytes(), Manifest.read(out)
    (out / "index.parquet").unlink()
    Manifest(manifest.config, manifest.provenance, manifest.input, runs=manifest.runs).write(out)
    assert build.main(arguments(tree, out)) == 0
    assert (out / "index.parquet").read_bytes() == index
    assert Manifest.read(out) == manifest


def test_a_different_config_is_refused_naming_the_difference(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert build.main(arguments(tree, out)) == 0
    before = shards(out)
    assert build.main([*arguments(tree, out), "--size", "96", "--jpeg-quality", "90"]) == 2
    output = capsys.readouterr().err.splitlines()[-1]
    assert "size: 64 -> 96" in output
    assert "jpeg_quality: 95 -> 90" in output
    assert shards(out) == before


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--limt", "3"], "Unknown option: --limt. Did you mean --limit? Options of Apache Beam go after --"),
        (["--job_name=mine"], "Unknown option: --job_name"),
        (["--yzx"], "Unknown option: --yzx. Options of Apache Beam go after --"),
        (["--", "--job_nam=mine"], "unknown option --job_nam (not an option of Apache Beam)"),
        (["--runner", "FnApiRunner", "--limt", "3"], "Unknown option: --limt. Did you mean --limit?"),
        (["stray"], "stray"),
        (["--frames", "0"], "frames is 0"),
        (["--frames", "many"], "--frames"),
        (["--size", "7"], "size is 7"),
        (["--jpeg-quality", "101"], "jpeg_quality is 101"),
        (["--min-frames", "4"], "min_frames is 4"),
        (["--workers", "0"], '"0" for --workers. Must be > 0'),
        (["--limit", "0"], '"0" for --limit. Must be > 0'),
        (["--split", "dev"], "--split"),
        (["--source", "imagenet"], "--source"),
        (["--input", "/nowhere/at/all"], "/nowhere/at/all"),
        (["--output", "/proc/motionshards"], "/proc/motionshards"),
    ],
)
def test_invalid_arguments_exit_with_2_and_one_line(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: list[str], message: str
) -> None:
    status = build.main([*arguments(tree, tmp_path / "out"), "--quiet", *extra])
    output = capsys.readouterr()
    assert status == 2
    assert output.out == ""
    assert message in output.err
    assert output.err.count("\n") == 1
    assert "Traceback" not in output.err
    assert not (tmp_path / "out").exists()


def test_an_input_without_clips_is_reported_with_the_expected_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    for source in (tmp_path / "in", tmp_path / "absent"):
        assert build.main(arguments(source, tmp_path / "out")) == 2
    missing, absent = capsys.readouterr().err.splitlines()
    assert "<identity>/<video>/<clip>.mp4" in missing and absent == f"error: --input {tmp_path / 'absent'} does not exist"
    assert not (tmp_path / "out").exists()


def test_a_directory_with_unrelated_files_is_refused(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("years of work")
    assert build.main(arguments(tree, tmp_path / "out")) == 2
    assert "thesis.tex" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_options_of_beam_are_passed_through(tree: Path, tmp_path: Path) -> None:
    assert build.main(arguments(tree, tmp_path / "out", "--limit", "1", "--", "--job_name=mine")) == 0


def test_any_beam_runner_writes_the_same_bytes(tree: Path, tmp_path: Path) -> None:
    assert build.main(arguments(tree, tmp_path / "local")) == 0
    assert build.main(arguments(tree, tmp_path / "beam", "--runner", "FnApiRunner")) == 0
    assert shards(tmp_path / "beam") == shards(tmp_path / "local")


def test_a_damaged_manifest_is_one_line(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "dataset.json").write_text("{")
    assert build.main(arguments(tree, out, "--quiet")) == 2
    output = capsys.readouterr().err
    assert "dataset.json cannot be parsed" in output
    assert output.count("\n") == 1


def test_an_unknown_runner_is_reported_in_one_line(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main(arguments(tree, tmp_path / "out", "--quiet", "--runner", "NoSuchRunner")) == 1
    output = capsys.readouterr().err
    assert "runner NoSuchRunner failed: ValueError" in output
    assert output.count("\n") == 1


def test_a_build_that_keeps_no_clip_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = tmp_path / "in/id1/video/00001.mp4"
    clip.parent.mkdir(parents=True)
    clip.write_text("<!DOCTYPE html><title>404</title>")
    assert build.main(arguments(tmp_path / "in", tmp_path / "out")) == 1
    assert "1 planned = 0 kept + 1 rejected (not_a_video 1)" in capsys.readouterr().out
    assert Manifest.read(tmp_path / "out").complete
    assert not list((tmp_path / "out").rglob("*.tar"))


def test_the_module_runs_from_any_directory(tree: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dataset.build", *arguments(tree, tmp_path / "out", "--limit", "1", "--json")]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["kept"] == 1
