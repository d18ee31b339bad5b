"""The command: undamaged datasets pass, the report counts what was checked, and damage never raises exceptions."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from damage import run, shard_names, tar_of
from nine_clips import BAD_CLIP

from motionshards.dataset import verify
from motionshards.pipeline.finalize import finalize
from motionshards.pipeline.planning import plan
from motionshards.pipeline.shards.build import BuildJob, build_shard
from motionshards.pipeline.shards.tar import ShardWriter
from motionshards.schemas.layout import REJECTIONS
from motionshards.schemas.manifest import Manifest


def test_an_undamaged_dataset_passes(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in ([], ["--fast"], ["--workers", "1"]):
        assert run(built, capsys, *options) == (0, [f"{len(Manifest.read(built).shards)} shards, 8 clips, 72 frames: ok"])


def test_json_is_one_object_on_the_last_line(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tar_of(copy).unlink()
    status, lines = run(copy, capsys, "--json")
    report = json.loads(lines[-1])
    assert (status, report["ok"], report["faults"]) == (1, False, lines[:-1])
    assert (report["clips"], report["frames"]) == (8, 72)


def test_the_report_counts_what_was_checked(built: Path) -> None:
    report = verify.verify(built, fast=True, workers=2)
    assert report == verify.Report((), len(Manifest.read(built).shards), 8, 72)


@pytest.mark.parametrize("arguments", [["no/such/dir"], [__file__], [], [".", "--workers", "0"], [".", "--nonsense"]])
def test_invalid_arguments_exit_with_2_and_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.main(arguments) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_it_runs_as_a_command(built: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dataset.verify", str(built), "--fast"],
        capture_output=True,
        text=True,
        cwd=Path(verify.__file__).parents[1],
        check=True,
    )
    assert done.stdout.endswith(": ok\n")
    assert done.stderr == ""


def test_control_characters_in_names_of_tar_members_are_escaped(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tar_of(copy).unlink()
    with ShardWriter(tar_of(copy)) as writer:
        writer.add("a\nb\x1b[31m", {"000.jpg": b""})
    status, lines = run(copy, capsys)
    assert status == 1
    assert any(r"a\nb\x1b[31m.000.jpg: is not in the index" in line for line in lines)


def test_a_clip_that_was_planned_again_counts_once(
    copy: Path,
    demo_videos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    manifest = Manifest.read(copy)
    video = tmp_path / "videos" / BAD_CLIP
    video.parent.mkdir(parents=True)
    job = BuildJob(tmp_path / "videos", copy, manifest.config, manifest.provenance["ffmpeg"])
    for content, kept in ((b"", 8), (next(demo_videos.rglob("*.mp4")).read_bytes(), 9)):
        video.write_bytes(content)
        plan.plan_again(copy, pq.read_table(copy / REJECTIONS), manifest.config, shard_names(copy))
        for unit in plan.units(copy):
            build_shard(unit, job)
        assert finalize(copy, manifest).counts["kept"] == kept
        shutil.rmtree(copy / ".work")
        assert run(copy, capsys)[0] == 0


def test_flipped_bytes_never_raise_exceptions(copy: Path) -> None:
    dice = random.Random(0)
    for path in sorted(path for path in copy.rglob("*") if path.suffix in (".tar", ".parquet", ".json")):
        intact = path.read_bytes()
        for _ in range(4):
            damaged = bytearray(intact)
            for _ in range(dice.choice((1, 8))):
                damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
            path.write_bytes(damaged)
            report = verify.verify(copy, fast=True, workers=1)
            assert report.faults or path.suffix != ".tar"
        path.write_bytes(intact)
    assert verify.verify(copy).faults == ()
