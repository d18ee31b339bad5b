"""Output of the real OpenFace for two videos of the corpus, joined to clips built from them."""

import sys
from pathlib import Path

import numpy as np
import pytest
from checkout import SHARED

from motionshards.pipeline.clips.action_units import with_action_units
from motionshards.pipeline.clips.clip import build_clip
from motionshards.pipeline.clips.sequences import sequences_for
from motionshards.schemas.action_units import MIN_CONFIDENCE
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.records import Clip, ClipSpec, Rejected, Span
from motionshards.transforms.extract.action_units.openface import OpenFace
from motionshards.transforms.extract.action_units.rows import CsvLines, read_rows
from motionshards.transforms.extract.landmarks import models

GENUINE = SHARED / "openface"
CONFIG = BuildConfig(source="voxceleb2", size=128, frames=9, aus="openface", aus_frames="all")
# A program that returns the recorded output of the real one.
REPLAY = "import shutil, sys; shutil.copy(sys.argv[1], sys.argv[sys.argv.index('-out_dir') + 1] + '/0000.csv')"
RUNS = [
    ("dev/mp4/id90009/liveD20aaaa/00001.mp4", "video_dynamic_2Dfp_aus_60rows", 60),
    ("dev/mp4/id90006/liveD14aaaa/00001.mp4", "video_dynamic_gaze_pose_2Dfp_aus_40rows", 40),
]


def outcome(video: Path, csv: Path, frames: int, scratch: Path) -> Clip | Rejected:
    span = Span(video.name, 0.0, frames / 25)
    spec = ClipSpec("i/v/c", "voxceleb2", "train", "i", "v", (span,), 1.0)
    aus = OpenFace((sys.executable, "-c", REPLAY, str(csv)))
    with sequences_for(aus, scratch) as sequences:
        built = build_clip(spec, video.parent, models.load("dlib"), CONFIG, sequences)
        ((found,),) = with_action_units(iter([built]), aus, CONFIG, scratch, sequences)
    return found


@pytest.mark.parametrize(("video", "name", "frames"), RUNS, ids=lambda one: str(one))
def test_rows_are_assigned_to_the_faces_of_their_frames(corpus: Path, tmp_path: Path, video: str, name: str, frames: int) -> None:
    """OpenFace landmarks, in video pixels, overlap with dlib boxes, in crop pixels."""
    if not GENUINE.is_dir():
        pytest.skip("../shared/openface is missing")
    found = outcome(corpus / "voxceleb2" / video, GENUINE / f"{name}.csv", frames, tmp_path)
    assert isinstance(found, Clip) and found.aus is not None and found.aus.valid.all() and found.aus.sequence is not None
    expected = np.array([row.intensity for row in read_rows(CsvLines(GENUINE / f"{name}.csv"))], np.float32)
    np.testing.assert_array_equal(found.aus.sequence.intensity, expected)
    np.testing.assert_array_equal(found.aus.intensity, expected[found.placement.index])
    assert found.aus.confidence.min() >= MIN_CONFIDENCE


def test_results_of_another_video_or_a_killed_run_are_refused(corpus: Path, tmp_path: Path) -> None:
    if not GENUINE.is_dir():
        pytest.skip("../shared/openface is missing")
    (video, _, frames), other = RUNS[0], RUNS[1][1]
    shorter = outcome(corpus / "voxceleb2" / video, GENUINE / f"{other}.csv", frames, tmp_path)
    assert isinstance(shorter, Rejected) and shorter.detail.startswith("a result has 40 of 60 frames")
    killed = outcome(corpus / "voxceleb2" / video, GENUINE / "video_killed_before_postprocessing_12rows.csv", frames, tmp_path)
    assert isinstance(killed, Rejected) and "AU04_r is -0.78" in killed.detail
