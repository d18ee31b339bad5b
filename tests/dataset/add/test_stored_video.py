"""Additions to datasets with stored video need no source videos: frames are decoded from the shards."""

import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from additions import add_args, rows
from aus_csv import write_csv
from moving import image, mp4_of, seen_in
from moving_builds import VIDEO, build_into, same_shards

from motionshards.dataset import build, verify
from motionshards.dataset.index import Dataset
from motionshards.pipeline.shards.tar import ShardReader
from motionshards.schemas.layout import tar_path
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.records import Clip
from motionshards.schemas.samples.restore import restore_clip
from motionshards.transforms.extract.encode import decode_frames

pytestmark = pytest.mark.usefixtures("quick")

MOVING = ("--landmarks", "none", "--store", "both")


def clips(out: Path) -> list[Clip]:
    """The samples restored to the clips that were written."""
    found = []
    for row in Dataset.open(out).index().to_pylist():
        with ShardReader(tar_path(out, row["split"], row["shard"])) as reader:
            found.append(restore_clip(row, reader.sample(row["key"], row["members"])))
    return found


def extend(out: Path, frames: int, *more: str) -> int:
    return build.main(["--output", str(out), "--extend-frames", str(frames), "--workers", "1", "--quiet", *more])


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    """A video of 30 frames per second whose frames show their numbers."""
    path = tmp_path / "videos/anna/0.mp4"
    path.parent.mkdir(parents=True)
    path.write_bytes(mp4_of([image(0, number) for number in range(40)], Fraction(30)))
    return tmp_path / "videos"


def test_stills_are_decoded_from_stored_video_if_it_shows_them(
    numbered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 25 fps, stored video shows five of six source frames; the others need --input."""
    out = build_into(numbered, tmp_path / "data", *MOVING, "--fit", "squash")
    (before,) = clips(out)
    assert extend(out, 30) == 0
    assert "have fewer, because stored video does not show all" in capsys.readouterr().out
    (clip,) = clips(out)
    assert clip.video.mp4 == before.video.mp4 and set(before.jpegs) <= set(clip.jpegs)
    shown = set(before.video.source.index.tolist())
    assert [seen_in(rgb)[1] for rgb in decode_frames(clip.jpegs)] == clip.placement.index.tolist()
    assert Manifest.read(out).additions[0].pixels == "stored video" and verify.verify(out).faults == ()
    assert extend(out, 30, "--input", str(numbered)) == 0
    (whole,) = clips(out)
    fresh = build_into(numbered, tmp_path / "fresh", *MOVING, "--fit", "squash", "--frames", "30", "--min-frames", "3")
    (rebuilt,) = clips(fresh)
    assert whole.placement.index.tolist() == rebuilt.placement.index.tolist()
    assert set(clip.placement.index) == set(before.placement.index) | (set(rebuilt.placement.index) & shown)
    assert 20 < len(clip) < len(whole) == 30
    np.testing.assert_allclose(whole.placement.pts_s, rebuilt.placement.pts_s, atol=1e-6)


def test_stills_decoded_from_the_source_match_a_build(spoken: Path, spoken_both: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(spoken_both, tmp_path / "data"))
    assert extend(out, 6, "--input", str(spoken)) == 0
    assert same_shards(out, build_into(spoken, tmp_path / "fresh", *MOVING, *VIDEO, "--frames", "6", "--min-frames", "3"))


@pytest.mark.parametrize("store", ["both", pytest.param("video", marks=pytest.mark.slow)])
def test_landmarks_of_stored_frames_match_a_build_within_a_few_pixels(spoken: Path, tmp_path: Path, store: str) -> None:
    what = ("--store", store, "--limit", "1", *VIDEO)
    out = build_into(spoken, tmp_path / "data", *what, "--landmarks", "none")
    assert build.main(add_args(out, "landmarks", "--landmarks", "dlib")) == 0
    fresh = build_into(spoken, tmp_path / "fresh", *what, "--landmarks", "dlib")
    assert verify.verify(out).faults == ()
    assert Manifest.read(out).additions[0].pixels == {"both": "stored JPEG frames and video", "video": "stored video"}[store]
    (ours,), (theirs,) = clips(out), clips(fresh)
    pairs = [(ours, theirs)] if store == "video" else [(ours, theirs), (ours.video.measured, theirs.video.measured)]
    for one, other in pairs:
        assert np.abs(one.landmarks.points_px - other.landmarks.points_px).max() <= 3
        np.testing.assert_array_equal(one.quality.blur, other.quality.blur)
        assert np.isfinite(one.quality.yaw_deg).all()
    assert ours.video.mp4 == theirs.video.mp4 and ours.jpegs == theirs.jpegs


@pytest.mark.slow
def test_quality_and_descriptors_are_computed_from_stored_video(spoken: Path, tmp_path: Path) -> None:
    out = build_into(spoken, tmp_path / "data", "--store", "video", "--limit", "1", "--landmarks", "dlib")
    (before,) = clips(out)
    assert build.main(add_args(out, "quality")) == 0 and build.main(add_args(out, "identity")) == 0
    assert verify.verify(out).faults == ()
    (after,) = clips(out)
    assert after.embedding is not None and np.isfinite(after.embedding).all()
    assert (after.quality.blur != before.quality.blur).all(), "blur is that of encoded frames"
    np.testing.assert_array_equal(after.quality.yaw_deg, before.quality.yaw_deg)


@pytest.mark.parametrize("store", ["both", "video"])
@pytest.mark.parametrize("every", [False, True], ids=["sampled", "all"])
def test_action_units_match_a_build(spoken: Path, tmp_path: Path, store: str, every: bool) -> None:
    what = ("--landmarks", "none", "--limit", "1", "--store", store)
    out = build_into(spoken, tmp_path / "data", *what)
    (row,) = rows(out).values()
    write_csv(tmp_path / f"csv/anna/anna/{row['spans'][0]['uri'].rpartition('/')[2]}.csv", row["source_frames"])
    aus = ["--aus", f"csv:{tmp_path / 'csv'}", *(["--aus-frames", "all"] if every else [])]
    assert build.main(add_args(out, "aus", *aus, *(["--input", str(spoken)] if every else []))) == 0
    assert same_shards(out, build_into(spoken, tmp_path / "fresh", *what, *aus))


@pytest.mark.parametrize(
    ("store", "extra", "message"),
    [
        ("video", ["--extend-frames", "6"], "stores no stills that could be extended"),
        ("video", ["--add", "aus", "--aus", "openface-still", "--openface", "sh"], "needs stills, but store is 'video'"),
    ],
)
def test_impossible_additions_are_refused_in_one_line(
    spoken: Path, tmp_path: Path, capsys: Any, store: str, extra: list[str], message: str
) -> None:
    out = build_into(spoken, tmp_path / "data", "--landmarks", "none", "--limit", "1", "--store", store)
    capsys.readouterr()
    assert build.main(["--output", str(out), "--quiet", *extra]) == 2
    output = capsys.readouterr()
    assert message in output.err and output.err.count("\n") == 1
