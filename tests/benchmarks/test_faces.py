"""The goals of `benchmarks.faces` on a few frames of each clip: zero of the pitch, and wrong landmarks that stand out."""

from pathlib import Path

import pytest

pytest.importorskip("cv2")
from benchmarks.faces import FacesOptions
from benchmarks.faces_doubt import draw_worst, rank_wrong_landmarks
from benchmarks.faces_found import Found, find_faces
from benchmarks.faces_pose import compare_with_pnp
from benchmarks.report import Report


@pytest.fixture(scope="module")
def found(corpus: Path) -> Found:
    return find_faces(corpus / "voxceleb2", frames=2)


@pytest.fixture
def report() -> Report:
    return Report("test", FacesOptions())


def test_real_faces_have_the_angles_of_pnp(report: Report, found: Found) -> None:
    figures = compare_with_pnp(report, found)
    assert abs(figures["pitch_offset_deg"]) < 2 and abs(figures["roll_offset_deg"]) < 1
    assert figures["yaw_r"] > 0.95 and 0.85 < figures["yaw_slope"] < 1.15


def test_wrong_landmarks_are_beyond_the_95th_percentile(report: Report, found: Found) -> None:
    assert len(found) > 30
    assert rank_wrong_landmarks(report, found)["wrong_found_least"] >= 0.95


def test_the_most_doubtful_frames_are_drawn(found: Found) -> None:
    assert draw_worst(found).size == (6 * 224, 4 * 240)
