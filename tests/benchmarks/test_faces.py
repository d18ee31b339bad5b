"""The goals of `benchmarks.faces` on a few frames of each clip."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2")
from benchmarks.faces import FacesOptions
from benchmarks.faces_doubt import rank_wrong_landmarks
from benchmarks.faces_false import false_faces
from benchmarks.faces_found import Corpus, find_faces, model
from benchmarks.faces_framing import framing_spread
from benchmarks.faces_people import separate_people
from benchmarks.faces_pose import compare_with_pnp
from benchmarks.faces_scenes import scenes, textures
from benchmarks.faces_sheet import Sheet
from benchmarks.faces_turn import turned
from benchmarks.faces_yaw import find_by_yaw
from benchmarks.faces_yield import detect, find_by_size
from benchmarks.report import Report
from motionshards.transforms.extract.quality.pose import fitted_pose


@pytest.fixture(scope="module")
def examined(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return find_faces(corpus / "voxceleb2", frames=2, work=tmp_path_factory.mktemp("work"))


@pytest.fixture
def report() -> Report:
    return Report("test", FacesOptions())


def test_real_faces_have_the_angles_of_pnp(report: Report, examined: Corpus) -> None:
    figures = compare_with_pnp(report, examined, Sheet())
    assert abs(figures["pitch_offset_deg"]) < 2 and abs(figures["roll_offset_deg"]) < 1
    assert figures["yaw_r"] > 0.95 and 0.85 < figures["yaw_slope"] < 1.15


def test_wrong_landmarks_are_beyond_the_95th_percentile_and_the_least_reliable_frames_are_drawn(
    report: Report, examined: Corpus
) -> None:
    assert len(examined.found) > 30
    sheet = Sheet()
    assert rank_wrong_landmarks(report, examined, sheet)["wrong_found"] >= 0.95
    assert sheet.image().size == (6 * 224, 4 * 240)


def test_a_build_finds_faces_that_are_too_small_in_the_stored_frame(examined: Corpus) -> None:
    images = textures(examined.elsewhere)["photographs"]
    detections = [detect(scene, examined.work / "one.mp4") for scene in scenes(examined.found, images, 160, (1280, 720), 3)]
    assert [(one.finds("build"), one.finds("stored")) for one in detections] == [(True, False)] * 3
    (scene,) = scenes(examined.found, images, 40, (1280, 720), 1)
    assert detect(scene, examined.work / "one.mp4").reason == "face_too_small"


def test_rotated_heads_change_yaw_in_the_right_direction(examined: Corpus) -> None:
    frame = int(np.argmin(np.abs(examined.found.pose_deg[:, 0])))
    yaws = []
    for angle in (-15, 0, 15):
        image = turned(examined.found.rgb[frame], examined.found.points_px[frame], angle)
        found = model().landmarks(image[None], examined.found.boxes_px[frame : frame + 1])
        yaws.append(float(fitted_pose(found.points_px, (256, 256))[0][0, 0]))
    assert yaws[0] < yaws[1] - 5 and yaws[1] + 5 < yaws[2]


@pytest.mark.slow
def test_the_other_goals_hold_on_few_frames(report: Report, examined: Corpus) -> None:
    sheet = Sheet()
    assert find_by_size(report, examined, sheet)["yield_goal_met"]
    turned_15 = find_by_yaw(report, examined, sheet)["found_turned_15"]
    assert turned_15 == 1 and false_faces(report, examined, sheet)["false_per_1000"] == 0
    assert framing_spread(report, examined, sheet)["framing_goal_met"]
    assert separate_people(report, examined, sheet)["identity_auc"] > 0.99
