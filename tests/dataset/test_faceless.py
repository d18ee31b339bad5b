"""Clips without a face: kept in corpora of bodies, rejected in others, and excluded by views that need landmarks."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from in_process import in_this_process
from videos import ffmpeg

from motionshards.dataset import build, preview, verify
from motionshards.dataset.index import Dataset
from motionshards.dataset.report.__main__ import main as report
from motionshards.dataset.sequential import TarStream
from motionshards.dataset.stream import ClipStream, KPlusOne, Pairs, PosePairs, View
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.manifest import Manifest

pytestmark = pytest.mark.usefixtures("quick")

WHAT = ["--landmarks", "dlib", "--size", "128", "--frames", "4", "--workers", "1", "--quiet"]


def run(source: str, videos: Path, out: Path, *more: str) -> int:
    return build.main(["--source", source, "--input", str(videos), "--output", str(out), *WHAT, *more])


@pytest.fixture(scope="module")
def videos(demo_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/face.mp4, and train/none.mp4: the same video with the face covered."""
    folder = tmp_path_factory.mktemp("bodies") / "train"
    folder.mkdir()
    face = sorted(demo_videos.rglob("*.mp4"))[0]
    shutil.copy(face, folder / "face.mp4")
    cover = ["-vf", "drawbox=t=fill:color=gray", "-an"]
    ffmpeg("-i", face, *cover, folder / "none.mp4")
    return folder.parent


@pytest.fixture(scope="module")
def kept(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of `fashion` with default options, of both clips."""
    out = tmp_path_factory.mktemp("bodies") / "data"
    with in_this_process():
        assert run("fashion", videos, out) == 0
    return out


def test_a_corpus_of_bodies_keeps_and_marks_clips_without_a_face(kept: Path) -> None:
    assert verify.verify(kept).faults == ()
    assert Manifest.read(kept).config.no_face == "keep" and Manifest.read(kept).counts["rejected"] == {}
    face, none = sorted(Dataset.open(kept).samples(), key=lambda sample: sample.key)
    assert face.landmarks is not None and np.isfinite(face.landmarks).all() and min(face.meta["faces"]) >= 1
    assert none.landmarks is not None and np.isnan(none.landmarks).all()
    assert none.landmark_scores is not None and not none.landmark_scores.any()
    assert none.meta["boxes_px"] == [[None] * 4] * 4 and none.meta["faces"] == [0.0] * 4
    assert none.meta["yaw_deg"] == [None] * 4


@pytest.mark.parametrize(
    ("view", "clips"),
    [(Pairs(2), 2), (KPlusOne(2), 2), (KPlusOne(2, landmarks=True), 1), (PosePairs(90, 0, 90), 1)],
    ids=str,
)
def test_views_that_need_landmarks_read_only_clips_that_have_them(kept: Path, view: View, clips: int) -> None:
    stream = ClipStream(kept, view, global_batch_size=1)
    assert stream.slots == clips and sum(stream.excluded.values()) == 2 - clips
    batches = list(stream)
    assert {batch.keys[0].split("/")[0] for batch in batches} == ({"face", "none"} if clips == 2 else {"face"})
    read = list(TarStream(sorted(kept.glob("train/*.tar")), view, batch_size=1))
    assert sorted(batch.keys[0] for batch in read) == sorted(batch.keys[0] for batch in batches)


def test_each_excluded_clip_is_counted_once(kept: Path) -> None:
    with pytest.raises(ConfigError, match=r"no clip satisfies the requirements of .*: fewer than 10 frames$"):
        ClipStream(kept, KPlusOne(9, landmarks=True), global_batch_size=1)
    assert not list(TarStream(sorted(kept.glob("train/*.tar")), KPlusOne(9, landmarks=True), batch_size=1))


def test_report_and_preview_show_clips_without_a_face(kept: Path, tmp_path: Path) -> None:
    assert report([str(kept), "--output", str(tmp_path / "report.html")]) == 0
    assert preview.main([str(kept), "--output", str(tmp_path / "sheet.png")]) == 0
    assert (tmp_path / "sheet.png").stat().st_size > 10_000


def test_talking_head_corpora_reject_clips_without_a_face_by_default(videos: Path, tmp_path: Path) -> None:
    assert run("folder", videos, tmp_path / "folder") == 0
    assert Manifest.read(tmp_path / "folder").counts["rejected"] == {"no_face": 1}
    assert run("folder", videos, tmp_path / "kept", "--no-face", "keep") == 0
    assert Manifest.read(tmp_path / "kept").counts["kept"] == 2
    assert run("fashion", videos, tmp_path / "strict", "--no-face", "reject") == 0
    (lost,) = pq.read_table(tmp_path / "strict/rejections.parquet").to_pylist()
    assert (lost["key"], lost["reason"]) == ("none/none/video", "no_face")


def test_tubes_always_have_a_face(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("folder", videos, tmp_path / "out", "--recipe", "track", "--no-face", "keep") == 2
    assert "cannot keep clips without one: no_face is 'keep'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("source", ["taichi", "fashion"])
def test_corpora_of_bodies_build_with_default_options(source: str, corpus: Path, tmp_path: Path) -> None:
    assert run(source, corpus / source, tmp_path / "out", "--limit", "1") == 0
    assert Manifest.read(tmp_path / "out").counts["kept"] == 1
    assert verify.verify(tmp_path / "out").faults == ()
