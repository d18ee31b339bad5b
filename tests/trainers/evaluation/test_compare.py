"""Comparison of two evaluations, and refusal of incomparable ones."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from motionshards.schemas.errors import ConfigError
from motionshards.trainers.evaluation.compare import VERSION, Difference, compare

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """write("A", l1=0.5, split="train") -> a directory with an evaluation of one clip."""

    def written(name: str, l1: float | None = 0.5, **changes: Any) -> Path:
        scores = {"l1": {"mean": l1, "frames": 2}, **changes.pop("more", {})}
        content = {
            "version": VERSION,
            "dataset_sha256": 64 * "a",
            "split": "test",
            "size_px": 32,
            "landmarks": "dlib",
            "provenance": {"landmark_model": "one"},
            "clips": 1,
            "frames": 2,
            "model_scores": scores,
            "copy_scores": {metric: {"mean": 0.75, "frames": 2} for metric in scores},
            "per_clip": [{"key": "a", "frames": {"given": [0], "targets": [1, 2]}}],
            **changes,
        }
        (tmp_path / name).mkdir()
        (tmp_path / name / "evaluation.json").write_text(json.dumps(content))
        return tmp_path / name

    return written


def test_differences_are_second_minus_first(write: Write) -> None:
    aed = {"aed": {"mean": 0.25, "frames": 1}}
    found = compare(write("A"), write("B", l1=0.375, more=aed, provenance={"identity_model": "two"}))
    assert found.metrics == {"l1": Difference(0.5, 0.375, -0.125, 0.75), "aed": Difference(None, 0.25, None, 0.75)}
    lines = str(found).splitlines()
    assert lines[2:4] == ["2 frames of 1 clips", "           A        B     B - A     copy   better is"]
    assert lines[4].split() == ["L1", "0.5000", "0.3750", "-0.1250", "0.7500", "lower"]
    assert lines[5].split() == ["AED", "-", "0.2500", "-", "0.7500", "lower"]


def test_many_missing_faces_are_a_warning(write: Write) -> None:
    few, many = ({"missing": {"mean": mean, "frames": 2}} for mean in (0.05, 0.5))
    lines = str(compare(write("A", more=few), write("B", more=many))).splitlines()
    assert [line for line in lines if line.startswith("warning")] == [lines[-1]]
    assert "no face is found in 50% of the reconstructions of B" in lines[-1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset_sha256": 64 * "b"}, "their datasets differ"),
        ({"split": "train"}, r"their splits differ \(test and train\)"),
        ({"size_px": 64}, r"their sizes differ \(32 and 64\)"),
        ({"landmarks": "fan"}, r"their landmark models differ \(dlib and fan\)"),
        ({"provenance": {"landmark_model": "two"}}, "they were measured with a different landmark_model"),
        ({"per_clip": [{"key": "a", "frames": {"given": [0], "targets": [1]}}]}, "they reconstruct different frames in 1 clips"),
        ({"per_clip": []}, "they reconstruct different frames in 1 clips"),
        ({"version": 1}, r"B/evaluation\.json is of another version"),
    ],
    ids=["data", "split", "size", "landmarks", "provenance", "frames", "clips", "version"],
)
def test_incomparable_evaluations_are_refused_in_one_line(write: Write, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        compare(write("A"), write("B", **changes))
    assert "\n" not in str(raised.value)


def test_a_directory_without_an_evaluation_is_refused(write: Write, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere/evaluation\.json cannot be read: No such file"):
        compare(write("A"), tmp_path / "nowhere")
    (write("B") / "evaluation.json").write_text("{")
    with pytest.raises(ConfigError, match="is not JSON"):
        compare(tmp_path / "A", tmp_path / "B")
