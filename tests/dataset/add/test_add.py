"""Landmarks and quality are added to a finished dataset; frames and names of clips are unchanged."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from additions import add_args, build_args, rows
from contents import tree

from motionshards.dataset import build, verify
from motionshards.dataset.index import Dataset
from motionshards.schemas.confidence import CONFIDENCE, FRAME_SCORES
from motionshards.schemas.layout import CARD, DATASET_JSON, INDEX, REJECTIONS, marker_path, tar_path
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.output import only_writer
from motionshards.schemas.tables import QUALITY

pytestmark = pytest.mark.usefixtures("quick")

FACES = ("face_size_px", "faces", "yaw_deg", "pitch_deg", "roll_deg")


def jpegs(out: Path) -> dict[str, dict[str, bytes]]:
    """The stored JPEGs of each clip."""
    data = Dataset.open(out)
    found = {}
    for row in data.index().to_pylist():
        content = tar_path(out, row["split"], row["shard"]).read_bytes()
        members = {one["suffix"]: content[one["offset"] : one["offset"] + one["size"]] for one in row["members"]}
        found[row["key"]] = {suffix: member for suffix, member in members.items() if suffix.endswith(".jpg")}
    return found


def test_frames_names_and_rejections_are_unchanged_and_the_result_verifies(original: Path, added: Path) -> None:
    assert verify.verify(added).faults == ()
    assert jpegs(added) == jpegs(original)
    old, new = Manifest.read(original), Manifest.read(added)
    assert [(entry.name, entry.clips) for entry in new.shards] == [(entry.name, entry.clips) for entry in old.shards]
    assert (added / REJECTIONS).read_bytes() == (original / REJECTIONS).read_bytes()
    assert {path.name for path in added.rglob("*")} == {path.name for path in original.rglob("*")}
    assert all(entry.added == (1,) for entry in new.shards) and all(entry.added == () for entry in old.shards)
    assert {**old.counts, "bytes": 0} == {**new.counts, "bytes": 0} and new.counts["bytes"] > old.counts["bytes"]
    before, after = rows(original), rows(added)
    changed = {name for key in before for name in before[key] if repr(before[key][name]) != repr(after[key][name])}
    of_frames = {f"frame_{name}" for name in (*FACES, *FRAME_SCORES, "landmark_residual")}
    assert changed | {"yaw_jump_deg"} == {"members", *FACES, *CONFIDENCE, *of_frames}  # few clips have adjacent frames


def test_landmarks_match_those_of_a_build_within_a_few_pixels(videos: Path, added: Path, tmp_path: Path) -> None:
    """A build detects landmarks in decoded frames, an addition in their JPEGs."""
    assert build.main(build_args(videos, tmp_path / "fresh", "--landmarks", "dlib")) == 0
    fresh = {sample.key: sample for sample in Dataset.open(tmp_path / "fresh").samples()}
    later = {sample.key: sample for sample in Dataset.open(added).samples()}
    assert set(later) - set(fresh) == {"id90000/noface00000/00001"}, "a build rejects clips without a face"
    for key, sample in fresh.items():
        assert sample.landmarks is not None and later[key].landmarks is not None
        assert np.abs(sample.landmarks - later[key].landmarks).max() <= 4
        assert np.abs(sample.landmarks - later[key].landmarks).mean() < 0.5
        assert sample.meta.keys() == later[key].meta.keys() and list(sample.meta) == list(later[key].meta)
        same = {name for name in sample.meta if sample.meta[name] == later[key].meta[name]}
        assert {"blur", "brightness", "pts_s", "frame_index", "source_to_crop", "faces"} <= same
    assert Manifest.read(tmp_path / "fresh").provenance == Manifest.read(added).provenance
    assert Manifest.read(tmp_path / "fresh").config == Manifest.read(added).config


def test_a_clip_without_a_face_is_kept_with_nan(added: Path) -> None:
    (sample,) = [sample for sample in Dataset.open(added).samples() if "noface" in sample.key]
    assert sample.landmarks is not None and np.isnan(sample.landmarks).all()
    assert sample.landmark_scores is not None and not sample.landmark_scores.any()
    assert sample.meta["boxes_px"] == [[None] * 4] * 3 and sample.meta["faces"] == [0.0] * 3
    assert rows(added)[sample.key]["yaw_deg"] is None


def test_the_origin_of_the_landmarks_is_recorded(added: Path) -> None:
    manifest = Manifest.read(added)
    (addition,) = manifest.additions
    assert (addition.number, addition.what, addition.pixels, addition.finished) == (1, "landmarks", "stored JPEG frames", True)
    assert addition.config["landmarks"] == manifest.config.landmarks == "dlib"
    assert "sha256:" in addition.provenance["landmark_model"] and "dlib" in manifest.provenance
    card = (added / CARD).read_text()
    assert "- landmarks: computed from stored JPEG frames" in card and "| `landmarks` | dlib |" in card
    assert "iBUG 300-W" in card


@pytest.mark.slow
def test_any_number_of_workers_writes_the_same_bytes(out: Path, added: Path) -> None:
    assert build.main([*add_args(out), "--workers", "2"]) == 0
    assert tree(out) == tree(added)
    assert not (out / ".work").exists()


def test_a_later_build_requires_the_new_config(added: Path, videos: Path, tmp_path: Path, capsys: Any) -> None:
    out = Path(shutil.copytree(added, tmp_path / "data"))
    assert build.main(build_args(videos, out, "--landmarks", "none")) == 2
    assert "landmarks: dlib -> none" in capsys.readouterr().err
    more = Path(shutil.copytree(videos, tmp_path / "more"))
    target = more / "dev/mp4/id90009/latevideo00/00001.mp4"
    target.parent.mkdir(parents=True)
    shutil.copy(next((videos / "dev/mp4").rglob("*.mp4")), target)
    assert build.main(build_args(more, out, "--landmarks", "dlib")) == 0
    assert verify.verify(out).faults == ()
    assert sorted(entry.added for entry in Manifest.read(out).shards)[:2] == [(), (1,)]
    assert build.main(add_args(out, "quality")) == 0
    assert {entry.added for entry in Manifest.read(out).shards} == {(2,), (1, 2)}
    assert verify.verify(out).faults == ()


def test_quality_is_measured_again_on_the_stored_frames(added: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(added, tmp_path / "data"))
    assert build.main(add_args(out, "quality")) == 0
    assert verify.verify(out).faults == () and jpegs(out) == jpegs(added)
    before, after = rows(added), rows(out)
    changed = {name for key in before for name in before[key] if repr(before[key][name]) != repr(after[key][name])}
    assert changed - {"members"} <= {name for one in QUALITY for name in (one, f"frame_{one}")}
    assert {"frame_blur", "frame_brightness"} <= changed, "they differ slightly between JPEGs and decoded frames"
    assert not {"frame_yaw_deg", "frame_face_size_px", "frame_faces"} & changed, "faces are unchanged"
    for key in before:
        np.testing.assert_allclose(after[key]["frame_brightness"], before[key]["frame_brightness"], atol=1)
    assert Manifest.read(out).config == Manifest.read(added).config
    assert build.main(add_args(out, "quality")) == 0, "it can be repeated"
    assert [addition.number for addition in Manifest.read(out).additions] == [1, 2, 3] and tree(out)[INDEX]


def test_existing_data_is_not_added_again(added: Path, tmp_path: Path, capsys: Any) -> None:
    out = Path(shutil.copytree(added, tmp_path / "data"))
    before = (tree(out), (out / DATASET_JSON).read_bytes())
    assert build.main([*add_args(out, "landmarks", "--landmarks", "dlib"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["clips_rewritten"] == 0
    assert build.main(add_args(out, "landmarks", "--landmarks", "fan")) == 2
    assert "already has landmarks (dlib)" in capsys.readouterr().err
    assert (tree(out), (out / DATASET_JSON).read_bytes()) == before


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--add", "smiles"], "--add"),
        (["--add", "landmarks", "--size", "64"], "--size cannot be used here"),
        (["--add=landmarks", "--frames=7"], "--frames cannot be used here"),
        (["--add", "landmarks", "--landmarks", "none"], "--landmarks"),
        (
            ["--add", "landmarks", "--source", "fashion"],
            "--source fashion does not match the dataset, which was built from voxceleb2",
        ),
        (["--add", "landmarks", "--workers", "0"], '"0" for --workers. Must be > 0'),
        (["--add", "landmarks", "--limt", "3"], "--limt"),
        (["--add", "landmarks", "--output", "/nowhere/at/all"], "does not exist"),
    ],
)
def test_invalid_arguments_exit_with_2_and_one_line(out: Path, capsys: Any, extra: list[str], message: str) -> None:
    before = tree(out)
    status = build.main(["--output", str(out), "--quiet", *extra])
    printed = capsys.readouterr()
    assert (status, printed.out) == (2, "") and message in printed.err and printed.err.count("\n") == 1
    assert tree(out) == before and Dataset.open(out)


def test_additions_need_a_finished_dataset_and_exclusive_access(out: Path, videos: Path, capsys: Any) -> None:
    with only_writer(out):
        assert build.main(add_args(out)) == 2
    assert "is writing to" in capsys.readouterr().err
    entry = Manifest.read(out).shards[0]
    marker_path(out, entry.split, entry.name).unlink()
    assert build.main(add_args(out)) == 2
    assert "the build is unfinished; run it again, then add to it" in capsys.readouterr().err
    assert build.main(build_args(videos, out, "--landmarks", "none")) == 0
    assert build.main(add_args(out)) == 0
