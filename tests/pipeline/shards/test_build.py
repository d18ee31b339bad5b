"""Building a shard: reproducible bytes, rejections in the same commit, bounded decoding."""

import os
import resource
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from audited import audited
from checkout import ROOT

from motionshards.pipeline.clips.clip import build_clip
from motionshards.pipeline.clips.isolate import build_alone
from motionshards.pipeline.planning.plan import read_unit
from motionshards.pipeline.shards import build as shard
from motionshards.pipeline.shards.build import BuildJob, build_shard
from motionshards.pipeline.shards.journal import Abandoned, Journal, failure, finished_clips, record_failure, suspects
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import BuildFailed
from motionshards.schemas.layout import marker_path, tar_path
from motionshards.schemas.marker import read_marker
from motionshards.schemas.records import Clip, ClipSpec, Rejected, ShardUnit
from motionshards.schemas.samples.encode import encode_sample
from motionshards.transforms.extract.decoder.client import decoder_versions
from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.extract.landmarks.options import ModelOptions

CONFIG = BuildConfig(source="voxceleb2", size=96, frames=3, clips_per_shard=1000)


@pytest.fixture
def job(demo_videos: Path, tmp_path: Path) -> BuildJob:
    return BuildJob(demo_videos, tmp_path / "out", CONFIG, decoder_versions()["ffmpeg"])


def files(job: BuildJob, unit: ShardUnit) -> tuple[bytes, bytes]:
    return tar_path(job.out, unit.split, unit.name).read_bytes(), marker_path(job.out, unit.split, unit.name).read_bytes()


def rebuilt(job: BuildJob, unit: ShardUnit) -> tuple[bytes, bytes]:
    marker_path(job.out, unit.split, unit.name).unlink(missing_ok=True)
    build_shard(unit, job)
    return files(job, unit)


@pytest.mark.slow
@pytest.mark.parametrize("store", ["stills", "both"])
def test_bytes_do_not_depend_on_decoders_suspects_or_repetition(job: BuildJob, unit: ShardUnit, store: Any) -> None:
    job = replace(job, config=replace(job.config, store=store))
    first = rebuilt(job, unit)
    assert rebuilt(replace(job, decoders=1), unit) == first
    assert rebuilt(replace(job, decoders=5), unit) == first
    everyone = frozenset(spec.key for spec in read_unit(job.out, unit))
    assert rebuilt(replace(job, suspects=everyone), unit) == first


def test_a_committed_unit_is_not_changed(job: BuildJob, unit: ShardUnit) -> None:
    rebuilt(job, unit)
    tar = tar_path(job.out, unit.split, unit.name)
    before = tar.stat()
    build_shard(unit, job)
    assert (tar.stat().st_ino, tar.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_tar_without_marker_is_written_again(job: BuildJob, unit: ShardUnit) -> None:
    first = rebuilt(job, unit)
    tar_path(job.out, unit.split, unit.name).write_bytes(b"of a run that was killed between tar and marker")
    assert rebuilt(job, unit) == first


def test_a_shard_of_rejected_clips_has_a_marker_but_no_tar(job: BuildJob, unit: ShardUnit, tmp_path: Path) -> None:
    job = replace(job, root=tmp_path / "moved-away")
    tar_path(job.out, unit.split, unit.name).parent.mkdir()
    tar_path(job.out, unit.split, unit.name).write_bytes(b"of an earlier attempt")
    build_shard(unit, job)
    assert not tar_path(job.out, unit.split, unit.name).exists()
    entry, rows = read_marker(marker_path(job.out, unit.split, unit.name))
    assert (entry.clips, entry.rejected, entry.bytes, entry.sha256) == (0, len(unit), 0, None)
    assert set(rows["reason"].to_pylist()) == {"unreadable"}


def test_a_worker_with_another_ffmpeg_refuses(job: BuildJob, unit: ShardUnit) -> None:
    with pytest.raises(BuildFailed, match=r"built with 0\.0-other"):
        build_shard(unit, replace(job, ffmpeg="0.0-other"))


def test_decoding_stays_a_few_clips_ahead(job: BuildJob, unit: ShardUnit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames take memory, so the number of clips read ahead is bounded by the pool, however slow the consumer is."""
    started, consumed, most = [], [], 0
    guard = threading.Lock()
    read = shard.read_clip

    def counted(*arguments: object) -> object:
        nonlocal most
        with guard:
            started.append(1)
            most = max(most, len(started) - len(consumed))
        return read(*arguments)

    monkeypatch.setattr(shard, "read_clip", counted)
    for _ in shard.outcomes(read_unit(job.out, unit), job, Journal(None, unit.name)):
        consumed.append(1)
    assert len(started) == len(consumed) == len(unit)
    assert most <= job.decoders + 2


def test_a_clip_built_in_isolation_equals_one_built_in_a_batch(job: BuildJob, unit: ShardUnit) -> None:
    spec = read_unit(job.out, unit)[0]
    (here,), (alone,) = (
        build_clip(spec, job.root, models.load("dlib"), CONFIG),
        build_alone(spec, job.root, CONFIG, ModelOptions()),
    )
    assert isinstance(here, Clip)
    assert isinstance(alone, Clip)
    assert encode_sample(here) == encode_sample(alone)


def test_a_clip_rejected_in_isolation_keeps_its_reason(job: BuildJob, unit: ShardUnit, tmp_path: Path) -> None:
    spec = read_unit(job.out, unit)[0]
    (outcome,) = build_alone(spec, tmp_path, CONFIG, ModelOptions())
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "unreadable"


def test_a_bug_in_the_child_is_not_blamed_on_the_clip(job: BuildJob, unit: ShardUnit) -> None:
    spec = read_unit(job.out, unit)[0]
    with pytest.raises(BuildFailed, match="building id"):
        build_alone(spec, job.root, replace(CONFIG, landmarks="no-such-model"), ModelOptions())


def test_journals_identify_clips_in_flight_on_dead_processes(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from motionshards.pipeline.shards.journal import Journal\n"
        "j = Journal(Path(sys.argv[1]), 'unit'); [j.begin(k) for k in ('a/b/1', 'a/b/2', 'a/b/3')]; j.done('a/b/2')\n"
        "import os; os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], check=False, cwd=ROOT)
    assert done.returncode == -9
    running = Journal(tmp_path, "other")
    running.begin("c/d/1")
    running.begin("c/d/2")
    running.done("c/d/2")
    assert suspects(tmp_path) == {"a/b/1", "a/b/3"}
    assert finished_clips(tmp_path) == 2
    running.close(committed=True)
    assert finished_clips(tmp_path) == 1


def test_a_failure_that_could_not_be_recorded_is_still_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk a file can be created, but nothing can be written to it."""
    assert failure(tmp_path) is None
    record_failure(tmp_path, OSError(28, "No space left on device", "a\nb\udcff"))
    assert failure(tmp_path) == "No space left on device: a b\\udcff"
    (tmp_path / "failure.txt").write_bytes(b"")
    assert failure(tmp_path) == f"a worker failed and could not record why in {tmp_path}"
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result([4096, 4096, 9, 0, 0, 9, 9, 9, 0, 255]))
    assert failure(tmp_path) == f"No space left on device: {tmp_path}"


def test_clips_in_flight_on_dead_workers_are_suspects_of_the_next(tmp_path: Path) -> None:
    """On a cluster the dead worker may have been on another machine, whose processes cannot be checked."""
    (tmp_path / "unit-1.far.away.example.77").write_text("+a/b/1\n+a/b/2\n-a/b/1\n")
    (tmp_path / "unit-1.near.78").write_text("+a/b/3\n")
    (tmp_path / "unit-12.near.79").write_text("+a/b/4\n")
    journal = Journal(tmp_path, "unit-1")
    journal.begin("a/b/5")
    assert journal.in_flight_elsewhere() == {"a/b/2", "a/b/3"}
    assert Journal(None, "unit-1").in_flight_elsewhere() == frozenset()


def test_a_suspect_of_another_attempt_is_built_in_isolation(
    job: BuildJob, unit: ShardUnit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "journals").mkdir()
    key = read_unit(job.out, unit)[1].key
    (tmp_path / "journals" / f"{unit.name}.far.1").write_text(f"+{key}\n")
    alone = []

    def recorded(spec: ClipSpec, *rest: Any) -> list[Clip | Rejected]:
        alone.append(spec.key)
        return build_alone(spec, *rest)

    monkeypatch.setattr(shard, "build_alone", recorded)
    build_shard(unit, replace(job, journal=tmp_path / "journals"))
    batched = files(job, unit)
    assert alone == [key]
    marker_path(job.out, unit.split, unit.name).unlink()
    build_shard(unit, job)
    assert files(job, unit) == batched


def test_a_unit_stops_if_its_driver_has_ended(job: BuildJob, unit: ShardUnit, tmp_path: Path) -> None:
    """An interrupted driver of a cluster deletes the journals."""
    journals = tmp_path / "journals"
    with pytest.raises(Abandoned):
        Journal(journals, unit.name)
    journals.mkdir()
    journal = Journal(journals, unit.name)
    journal.begin("a/b/1")
    shutil.rmtree(journals)
    with pytest.raises(Abandoned):
        journal.begin("a/b/2")
    with pytest.raises(Abandoned):
        build_shard(unit, replace(job, journal=journals))
    assert not marker_path(job.out, unit.split, unit.name).exists()


@pytest.mark.parametrize(("kills", "reasons"), [(1, []), (99, ["decoder_killed"])])
def test_a_killed_decoder_is_retried_once(demo_videos: Path, tmp_path: Path, kills: int, reasons: list[str]) -> None:
    """A decoder that kills itself the first `kills` times, when it sets its limits, before it reads a video."""
    hook = f"""if event == "resource.setrlimit" and args[0] == {resource.RLIMIT_CPU}:
    with open("{tmp_path}/runs", "a+") as runs:
        runs.write("x\\n")
        runs.seek(0)
        killed = len(runs.readlines()) <= {kills}
    if killed:
        os.kill(os.getpid(), 9)"""
    out, video = tmp_path / "out", sorted(demo_videos.rglob("*.mp4"))[0]
    (tmp_path / "in" / "id" / "v").mkdir(parents=True)
    (tmp_path / "in" / "id" / "v" / "1.mp4").write_bytes(video.read_bytes())
    command = [sys.executable, "-m", "dataset.build", "--source", "voxceleb2", "--input", str(tmp_path / "in"), "--quiet"]
    environment = audited(tmp_path / "hook", hook)
    done = subprocess.run([*command, "--output", str(out)], cwd=ROOT, env=environment, check=False)
    assert done.returncode == int(bool(reasons))
    assert [row["reason"] for row in pq.read_table(out / "rejections.parquet").to_pylist()] == reasons
    assert len((tmp_path / "runs").read_text().split()) == (3 if not reasons else 2)
