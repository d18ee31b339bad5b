"""Action units of stills in a shard: one call for all clips, bytes independent of batching, and rejections with a reason."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from openface_program import confidence, intensities

from motionshards.dataset.index import read_members
from motionshards.pipeline.clips import action_units
from motionshards.pipeline.clips.action_units import with_action_units
from motionshards.pipeline.planning.plan import read_unit
from motionshards.pipeline.runners import local
from motionshards.pipeline.shards.build import BuildJob, _journaled, build_shard, outcomes
from motionshards.pipeline.shards.journal import Journal, suspects
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.layout import AUS, marker_path, tar_path
from motionshards.schemas.marker import read_marker
from motionshards.schemas.records import Clip, Rejected, ShardUnit
from motionshards.schemas.samples.encode import decode_arrays
from motionshards.transforms.extract.action_units.openface import OpenFace
from motionshards.transforms.extract.decoder.client import decoder_versions

CONFIG = BuildConfig(source="voxceleb2", size=64, frames=3, landmarks="none", clips_per_shard=1000)
Command = Callable[..., list[str]]


@pytest.fixture
def job(demo_videos: Path, tmp_path: Path, openface: Command) -> BuildJob:
    (tmp_path / "scratch").mkdir()
    config, aus = replace(CONFIG, aus="openface-still"), OpenFace(tuple(openface()), still=True)
    return BuildJob(demo_videos, tmp_path / "out", config, decoder_versions()["ffmpeg"], journal=tmp_path / "scratch", aus=aus)


def built(job: BuildJob, unit: ShardUnit) -> tuple[bytes, bytes]:
    """The bytes of tar and marker, with nothing left in the scratch directory."""
    marker_path(job.out, unit.split, unit.name).unlink(missing_ok=True)
    build_shard(unit, job)
    assert job.journal is not None and not list(job.journal.iterdir())
    return tuple(path(job.out, unit.split, unit.name).read_bytes() for path in (tar_path, marker_path))  # type: ignore[return-value]


def samples(job: BuildJob, unit: ShardUnit) -> Iterator[tuple[dict[str, object], dict[str, bytes]]]:
    """The rows of kept clips and their members."""
    _, rows = read_marker(marker_path(job.out, unit.split, unit.name))
    with tar_path(job.out, unit.split, unit.name).open("rb") as stream:
        for row in rows.filter(rows["kept"]).to_pylist():
            yield row, read_members(stream, row["members"])


def calls(tmp_path: Path) -> list[int]:
    return [int(line.split()[0]) for line in (tmp_path / "openface.log").read_text().splitlines()]


def test_a_shard_is_one_call_with_the_stored_jpegs(job: BuildJob, unit: ShardUnit, tmp_path: Path, openface: Command) -> None:
    openface(lost_every=4)
    built(job, unit)
    assert calls(tmp_path) == [len(unit) * CONFIG.frames]
    count = 0
    for row, members in samples(job, unit):
        arrays = decode_arrays(members)
        jpegs = [content for name, content in members.items() if name.endswith(".jpg")]
        lost = np.array([hashlib.sha256(jpeg).digest()[31] % 4 == 0 for jpeg in jpegs])
        expected = np.array([intensities(jpeg) for jpeg in jpegs], np.float32)
        expected[lost] = np.nan
        np.testing.assert_array_equal(arrays["aus"], expected)
        meta = arrays["meta"]
        assert meta["au_valid"] == (~lost).tolist() == row["frame_au_valid"]
        assert row["au_valid"] == np.float32((~lost).mean())
        assert [presence == [None] * 18 for presence in meta["au_presence"]] == lost.tolist()
        assert meta["au_confidence"] == [confidence(jpeg, 4) or None for jpeg in jpegs] and "au_files" not in meta
        assert list(members).index(AUS) == len(members) - 2
        count += 1
    assert count == len(unit)


def test_bytes_do_not_depend_on_the_call_the_suspects_or_the_decoders(
    job: BuildJob, unit: ShardUnit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = built(job, unit)
    everyone = frozenset(spec.key for spec in read_unit(job.out, unit))
    assert built(replace(job, suspects=everyone, decoders=1), unit) == first
    monkeypatch.setattr(OpenFace, "batch_frames", 4)
    assert built(job, unit) == first
    assert len(calls(tmp_path)) == 2 + -(-len(unit) // 2), "two clips per call, with batches of 4 frames"


def test_a_clip_that_crashes_openface_is_rejected_alone_and_retried_later(
    job: BuildJob, unit: ShardUnit, openface: Command
) -> None:
    built(job, unit)
    (row, members), *others = samples(job, unit)
    openface(crash_on=[hashlib.sha256(members["001.jpg"]).hexdigest()])
    first = built(job, unit)
    _, rows = read_marker(marker_path(job.out, unit.split, unit.name))
    (lost,) = (one for one in rows.to_pylist() if not one["kept"])
    assert (lost["key"], lost["stage"], lost["reason"], lost["retryable"]) == (row["key"], "action_units", "aus_failed", True)
    assert "status -8" in lost["detail"]
    assert [one["key"] for one, _ in samples(job, unit)] == [one["key"] for one, _ in others]
    assert built(replace(job, suspects=frozenset({str(row["key"])})), unit) == first


def test_without_action_units_clips_are_neither_buffered_nor_changed(job: BuildJob, unit: ShardUnit, tmp_path: Path) -> None:
    plain = replace(job, config=CONFIG, aus=None)
    built(plain, unit)
    assert not (tmp_path / "openface.log").exists()
    for row, members in samples(plain, unit):
        assert AUS not in members and b"au_" not in members["meta.json"]
        assert row["au_valid"] is row["frame_au_valid"] is row["au_confidence"] is row["frame_au_confidence"] is None


def test_buffered_clips_are_not_in_flight(job: BuildJob, unit: ShardUnit) -> None:
    """OpenFace is a separate process: if this one dies meanwhile, no clip is to blame."""
    assert job.journal is not None
    notes: list[str] = []

    class Watching:
        name, batch_frames, reads_images = "openface-still", 1_000, False

        def action_units(self, clips: object, scratch: object) -> list[object]:
            (path,) = job.journal.iterdir()  # type: ignore[union-attr]
            notes.extend(path.read_text().splitlines())
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        build_shard(unit, replace(job, aus=Watching()))  # type: ignore[arg-type]
    assert {note[1:] for note in notes if note[0] == "+"} == {note[1:] for note in notes if note[0] == "-"}
    assert sum(note[0] == "-" for note in notes) == len(unit)


def test_a_clip_in_progress_is_a_suspect_and_a_written_one_is_not(job: BuildJob, unit: ShardUnit, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "scratch", unit.name)
    stream = _journaled(outcomes(read_unit(job.out, unit), job, journal), journal)
    first, second = next(stream)[0].spec.key, next(stream)[0].spec.key
    (path,) = (tmp_path / "scratch").iterdir()
    done = {line[1:] for line in path.read_text().splitlines() if line[0] == "-"}
    assert first in done and second not in done
    assert suspects(tmp_path / "scratch") == set(), "while this process runs"


def test_outcomes_keep_their_order_and_rejected_ones_pass_through(job: BuildJob, unit: ShardUnit) -> None:
    specs = read_unit(job.out, unit)
    clips = [one for one in outcomes(specs, replace(job, aus=None), Journal(None, "x")) if isinstance(one[0], Clip)]
    lost = Rejected(replace(specs[0], key="a/b/c"), "corrupt")
    mixed = [[lost], clips[0], [lost, *clips[1]], [lost], clips[2]]
    done = list(with_action_units(iter(mixed), job.aus, job.config, None))
    assert [[one.spec.key for one in each] for each in done] == [[one.spec.key for one in each] for each in mixed]
    assert all(one.aus is not None for each in done for one in each if isinstance(one, Clip))
    assert list(with_action_units(iter([[lost]]), job.aus, job.config, None)) == [[lost]]
    stored = action_units.stored_clip(clips[0][0], job.config)  # type: ignore[arg-type]
    assert stored.file_frames == (clips[0][0].source_frames,)  # type: ignore[union-attr]
    old = replace(clips[0][0], file_frames=())  # type: ignore[type-var]
    assert action_units.stored_clip(old, job.config).file_frames == stored.file_frames, "known for whole files"  # type: ignore[arg-type]


def test_images_of_killed_workers_are_deleted_and_the_log_is_kept(job: BuildJob) -> None:
    assert job.journal is not None
    (job.journal / "openface-x" / "frames").mkdir(parents=True)
    (job.journal / "openface-x" / "frames" / "frame.jpg").write_bytes(b"image")
    for name in ("unit.4711", "beam.log"):
        (job.journal / name).write_text("")
    local._forget_journals(job)
    assert [path.name for path in job.journal.iterdir()] == ["beam.log"]
