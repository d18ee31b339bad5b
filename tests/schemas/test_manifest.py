"""dataset.json: round trip, and every kind of invalid content."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.layout import DATASET_JSON
from motionshards.schemas.manifest import FORMAT, FORMAT_VERSION, Manifest, Run, ShardEntry, damage, made_by

FULL = Manifest(
    config=BuildConfig(source="voxceleb2", min_frames=2, decode_timeout_s=12.5),
    provenance={"ffmpeg": "7.1", "landmark_model": "sha256:00 ☃"},
    input="/vidéos/with space",
    complete=True,
    counts={"planned": 3, "kept": 1, "rejected": {"corrupt": 2}, "frames": 9, "bytes": 12345678901},
    shards=(
        ShardEntry("voxceleb2-train-000000", "train", 1, 1, 2048, "ab" * 32),
        ShardEntry("voxceleb2-test-000000", "test", 0, 1, 0, None),
    ),
    runs=(Run("2026-11-21T20:00:00+00:00", 3, 1.5, "local", 2),),
)


BARE = Manifest(BuildConfig(source="s"), {}, "in")
SIZES = replace(BARE, config=replace(BARE.config, size=512, smaller_sizes=(256, 128)))


@pytest.mark.parametrize("manifest", [FULL, BARE, SIZES], ids=["full", "bare", "sizes"])
def test_manifest_round_trip(tmp_path: Path, manifest: Manifest) -> None:
    manifest.write(tmp_path)
    assert Manifest.read(tmp_path) == manifest
    assert ("smaller_sizes" in (tmp_path / DATASET_JSON).read_text()) == (manifest is SIZES)  # absent before there were several
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [DATASET_JSON]


def test_writing_again_replaces_and_equal_manifests_are_equal_bytes(tmp_path: Path) -> None:
    Manifest(BuildConfig(source="s"), {}, "in").write(tmp_path)
    FULL.write(tmp_path)
    first = (tmp_path / DATASET_JSON).read_bytes()
    Manifest.read(tmp_path).write(tmp_path)
    assert (tmp_path / DATASET_JSON).read_bytes() == first
    stored = json.loads(first)
    assert (stored["format"], stored["format_version"]) == (FORMAT, FORMAT_VERSION)
    assert "☃".encode() in first  # human-readable


SHARD = {"name": "s-train-000000", "split": "train", "clips": 1, "rejected": 0, "bytes": 2048, "sha256": "ab" * 32}


def edited(change: dict[str, Any], **without: Any) -> bytes:
    stored = {"format": FORMAT, "format_version": FORMAT_VERSION, "provenance": {}, "input": "", "shards": []}
    stored |= {"config": BuildConfig(source="s").to_json(), "complete": False, "counts": {}} | change
    return json.dumps({name: value for name, value in stored.items() if name not in without}).encode()


def test_unedited_manifest_of_these_tests_is_readable(tmp_path: Path) -> None:
    (tmp_path / DATASET_JSON).write_bytes(edited({}))
    assert Manifest.read(tmp_path) == Manifest(BuildConfig(source="s"), {}, "")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b"{}",
        edited({"format": "other"}),
        edited({"format_version": 3}),
        edited({"format_version": 0}),
        edited({"format_version": True}),
        edited({"format_version": 2.0}),
        edited({"format_version": "1"}),
        edited({}, format=1),
        edited({}, config=1),
        edited({}, provenance=1),
        edited({}, shards=1),
        edited({"surplus": 1}),
        edited({"config": None}),
        edited({"config": {"size": 64}}),
        edited({"config": BuildConfig(source="s").to_json() | {"size": 1}}),
        edited({"config": BuildConfig(source="s").to_json() | {"size": "big"}}),
        edited({"shards": [{"name": "x"}]}),
        edited({"shards": [1]}),
        edited({"shards": None}),
        *(
            edited({"shards": [SHARD | change]})
            for change in (
                {"name": "../x"},
                {"name": ""},
                {"name": 7},
                {"split": "a/b"},
                {"split": ".."},
                {"clips": -1},
                {"clips": "1"},
                {"bytes": 2**70},
                {"bytes": 1.5},
                {"rejected": True},
                {"sha256": "ab"},
                {"added": ["1"]},
                {"marker_sha256": "../x"},
            )
        ),
        edited({"shards": [SHARD, SHARD]}),
        edited({"counts": None}),
        edited({"removals": [{"kind": "key", "digest": "a", "at": "", "clips": "1", "samples": 1}]}),
        edited({"files": {"index.parquet": 1}}),
        b"[" * 200_000,
        b'{"format": ' * 100_000,
    ],
    ids=lambda content: content[-45:].decode("latin-1"),
)
def test_invalid_manifest_is_a_dataset_error_naming_the_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / DATASET_JSON).write_bytes(content)
    with pytest.raises(DatasetError, match=DATASET_JSON) as raised:
        Manifest.read(tmp_path)
    assert "\n" not in str(raised.value)


def test_every_edit_is_detected_but_reformatting_is_not(tmp_path: Path) -> None:
    FULL.write(tmp_path)
    content = (tmp_path / DATASET_JSON).read_bytes()
    assert damage(content) is None
    stored = json.loads(content)
    assert damage(json.dumps(dict(reversed(stored.items())), ensure_ascii=True).encode()) is None
    for change in ({"input": "/elsewhere"}, {"sha256": "0" * 64}, {"counts": {}}, {"config": stored["config"] | {"seed": 1}}):
        assert "is damaged or was edited" in str(damage(json.dumps(stored | change).encode()))
    del stored["sha256"]
    assert "is damaged or was edited" in str(damage(json.dumps(stored).encode()))
    assert damage(json.dumps(stored | {"format_version": 1}).encode()) is None, "version 1 has no digest"


def test_digest_of_settings_is_unaffected_by_new_fields() -> None:
    config = FULL.config
    assert FULL.made_by == made_by(replace(config), dict(reversed(FULL.provenance.items())))
    others = [made_by(replace(config, seed=1), FULL.provenance), made_by(config, {**FULL.provenance, "ffmpeg": "8"})]
    assert len({FULL.made_by, *others}) == 3
    assert config.changed() == {"source": "voxceleb2", "min_frames": 2, "decode_timeout_s": 12.5}


def test_folder_without_manifest_is_not_a_dataset(tmp_path: Path) -> None:
    for out, message in ((tmp_path, "holds no dataset"), (tmp_path / "absent", "does not exist")):
        with pytest.raises(DatasetError, match=message):
            Manifest.read(out)


def test_unreadable_manifest_is_a_dataset_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError):
        Manifest.read(tmp_path / "file")
