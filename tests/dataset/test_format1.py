"""Datasets of format version 1 are read unchanged, and upgraded by commands that write to them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from format1 import KEYS, REJECTED, unpack_format1

from motionshards.dataset import build, remove, stats, verify
from motionshards.dataset.index import Dataset
from motionshards.dataset.reading.batch import Batch
from motionshards.dataset.report.__main__ import main as report
from motionshards.dataset.stream import ClipStream
from motionshards.dataset.views import Pairs
from motionshards.pipeline.upgrade import upgraded
from motionshards.schemas.bucket import open_bucket
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.layout import DATASET_JSON, INDEX, REJECTIONS, plan_path
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.marker import read_entry, read_marker
from motionshards.schemas.tables import INDEX as INDEX_SCHEMA
from motionshards.schemas.tables import MARKER, completed
from motionshards.schemas.tables import REJECTIONS as REJECTIONS_SCHEMA

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of format version 1; read-only."""
    return unpack_format1(tmp_path_factory.mktemp("format1") / "data")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return unpack_format1(tmp_path / "data")


def version(out: Path) -> int:
    return int(json.loads((out / DATASET_JSON).read_text())["format_version"])


def tree(out: Path) -> dict[str, str]:
    """SHA-256 of every file except dataset.json, which contains times."""
    files = sorted(path for path in out.rglob("*") if path.is_file() and path.name not in (DATASET_JSON, ".writer"))
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_clip_is_read(old: Path) -> None:
    data = Dataset.open(old)
    assert (version(old), data.manifest.format_version, len(data)) == (1, 1, 3)
    assert data.index().schema.equals(INDEX_SCHEMA) and data.index(["key"])["key"].to_pylist() == KEYS
    for sample in data.samples():
        assert sample.frames.shape == (3, 64, 64, 3) and sample.landmarks is not None and sample.aus is not None
        assert np.isfinite(sample.landmarks).all() and np.isfinite(sample.aus).any() == (sample.key != KEYS[0])
    batches: list[Batch] = list(ClipStream(old, Pairs(), global_batch_size=1, split=None))
    assert sorted(key for batch in batches for key in batch.keys) == sorted(KEYS)


def test_data_of_later_versions_is_absent(old: Path) -> None:
    manifest = Manifest.read(old)
    assert manifest.config == BuildConfig(
        **{"source": "voxceleb2", "size": 64, "frames": 3, "recipe": "resize", "landmarks": "dlib", "aus": "csv"},
        **{"clips_per_shard": 2, "jpeg_quality": 60, "hdr": "keep"},
    )
    assert manifest.files == {} and all((entry.made_by, entry.marker_sha256) == (None, None) for entry in manifest.shards)
    entry, rows = read_marker(next(old.glob("train/*.parquet")))
    assert entry.marker_sha256 is None and rows.schema.equals(MARKER)


def test_it_is_verified_with_a_warning(old: Path, capsys: Any) -> None:
    assert verify.main([str(old), "--quiet"]) == 0
    output = capsys.readouterr().out.splitlines()
    assert "format version 1 has no digests" in output[0] and output[1] == "3 shards, 3 clips, 9 frames: ok, 1 warning"


def test_read_only_commands_leave_it_unchanged(out: Path, capsys: Any) -> None:
    before = (tree(out), (out / DATASET_JSON).read_bytes())
    assert stats.main([str(out)]) == 0 and report([str(out), "--quiet", "--output", str(out.parent / "report.html")]) == 0
    assert (tree(out), (out / DATASET_JSON).read_bytes()) == before


def test_a_removal_upgrades_it(out: Path, old: Path, capsys: Any) -> None:
    assert remove.main([str(out), "--identity", "id90000"]) == 0
    output = capsys.readouterr()
    assert "upgrading format version 1 to 2" in output.err and "checked: ok" in output.out
    assert version(out) == 2 and verify.verify(out) == verify.Report((), 3, 1, 3)
    assert Dataset.open(out).index(["key"])["key"].to_pylist() == KEYS[:1]
    sample, before = (next(Dataset.open(place).samples()) for place in (out, old))
    np.testing.assert_array_equal(sample.frames, before.frames)


def test_an_addition_upgrades_it(out: Path) -> None:
    assert build.main(["--output", str(out), "--add", "quality", "--workers", "1", "--quiet"]) == 0
    assert version(out) == 2 and verify.verify(out) == verify.Report((), 3, 3, 9)


def test_a_build_with_the_same_settings_upgrades_it(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = Manifest.read(out)
    monkeypatch.setattr("motionshards.pipeline.build.provenance", lambda *_: old.provenance)
    (tmp_path / "videos").mkdir()
    build_args = ["--source", "voxceleb2", "--input", str(tmp_path / "videos"), "--aus", f"csv:{tmp_path / 'videos'}", "--quiet"]
    build_args += [
        "--frames",
        "3",
        "--landmarks",
        "dlib",
        "--clips-per-shard",
        "2",
        "--jpeg-quality",
        "60",
        "--hdr",
        "keep",
        "--output",
        str(out),
    ]
    assert build.main([*build_args, "--size", "128"]) == 2 and version(out) == 1
    assert build.main([*build_args, "--size", "64"]) == 0
    assert version(out) == 2 and verify.verify(out) == verify.Report((), 3, 3, 9)


def test_in_an_object_store_it_is_read_but_builds_are_refused(out: Path, tmp_path: Path, capsys: Any) -> None:
    url = f"memory://{tmp_path.name}/old"
    bucket = open_bucket(url)
    for path in (path for path in out.rglob("*") if path.is_file()):
        bucket.put(path, path.relative_to(out).as_posix())
    assert verify.main([url, "--quiet"]) == 0 and capsys.readouterr().out.endswith("9 frames: ok, 1 warning\n")
    build_args = ["--source", "voxceleb2", "--input", str(tmp_path), "--output", url, "--landmarks", "none", "--quiet"]
    assert build.main(build_args) == 2
    assert "has format version 1, which is only upgraded on a disk" in capsys.readouterr().err


def old_marker(path: Path, **changes: Any) -> None:
    """Change the entry of a marker to the format of version 1."""
    entry, rows = read_marker(path)
    names = ("name", "split", "clips", "rejected", "bytes", "sha256", "added")
    stored = {name: getattr(entry, name) for name in names} | changes
    pq.write_table(rows.replace_schema_metadata({b"motionshards": json.dumps(stored).encode()}), path, compression="zstd")


def edit(out: Path, **changes: Any) -> None:
    stored = json.loads((out / DATASET_JSON).read_text())
    (out / DATASET_JSON).write_text(json.dumps(stored | changes))


def test_a_removal_from_an_unfinished_build_upgrades_its_shards(out: Path, capsys: Any) -> None:
    for path in [*out.glob("test/*"), out / INDEX, out / REJECTIONS]:
        path.unlink()
    edit(out, complete=False, shards=[], counts={})
    assert remove.main([str(out), "--identity", "id90000"]) == 0
    assert capsys.readouterr().out.endswith("2 shards; the build is unfinished; run it again\n")
    assert version(out) == 2 and all(read_entry(path).marker_sha256 for path in out.glob("train/*.parquet"))


def test_a_shard_rewritten_by_an_interrupted_addition_does_not_claim_the_old_config(out: Path) -> None:
    ahead, behind = sorted(out.glob("train/*.parquet"))
    old_marker(ahead, added=[1])
    addition = {"number": 1, "what": "aus", "at": "", "pixels": "", "config": {"aus": "csv"}, "provenance": {}}
    edit(out, complete=False, additions=[addition])
    manifest = upgraded(out, Manifest.read(out), lambda text: None)
    assert read_entry(ahead).made_by is None and read_entry(behind).made_by == manifest.made_by


def test_an_upgrade_keeps_tars_plan_and_rows(out: Path, old: Path) -> None:
    manifest = upgraded(out, Manifest.read(out), lambda text: None)
    assert manifest == Manifest.read(out) and manifest.format_version == 2
    (out / ".work").rmdir()
    assert verify.verify(out).faults == verify.verify(out).warnings == ()
    same = [*old.glob("t*/*.tar"), plan_path(old, 0)]
    assert all((out / path.relative_to(old)).read_bytes() == path.read_bytes() for path in same)
    for path in old.glob("t*/*.parquet"):
        rows, before = (read_marker(one)[1].to_pylist() for one in (out / path.relative_to(old), path))
        assert repr(rows) == repr(before)
    lost, before = (completed(pq.read_table(place / REJECTIONS), REJECTIONS_SCHEMA).to_pylist() for place in (out, old))
    assert lost == before and [row["key"] for row in lost] == [REJECTED]
    assert repr(Dataset.open(out).index().to_pylist()) == repr(Dataset.open(old).index().to_pylist())
    assert upgraded(out, manifest, lambda text: pytest.fail("upgraded again")) is manifest


@pytest.mark.parametrize("step", range(1, 9))
def test_an_upgrade_interrupted_before_any_rename_stays_readable_and_is_finished_by_the_next_run(
    out: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    upgraded_copy = unpack_format1(out.parent / "whole")
    upgraded(upgraded_copy, Manifest.read(upgraded_copy), lambda text: None)
    calls, replace = [0], Path.replace

    def maybe(path: Path, target: Path) -> Path:
        calls[0] += 1
        if calls[0] == step:
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", maybe)
        with pytest.raises(KeyboardInterrupt):
            upgraded(out, Manifest.read(out), lambda text: None)
    assert version(out) == 1 and len(list(Dataset.open(out).samples())) == 3
    (out / ".work").rmdir()
    # croissant.json describes the index, which has more columns in this version.
    assert {fault.partition(":")[0] for fault in verify.verify(out).faults} <= {"croissant.json"}
    upgraded(out, Manifest.read(out), lambda text: None)
    assert tree(out) == tree(upgraded_copy)
