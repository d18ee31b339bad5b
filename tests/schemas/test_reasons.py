"""Reason codes and the failures that carry them."""

import ast
import pickle
import re
from typing import Any

import pytest
from checkout import ROOT

from motionshards.schemas import errors, reasons
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.reasons import REASONS, advice
from motionshards.transforms.extract.landmarks.dlib68 import Dlib68
from motionshards.transforms.extract.landmarks.fan.model import Fan


def test_every_reason_has_a_valid_code_stage_and_meaning() -> None:
    for code, reason in REASONS.items():
        assert code.isidentifier() and code == code.lower()
        assert reason.stage.isidentifier() and len(reason.meaning) > 10
        assert not reason.meaning.endswith(".")


def test_damage_is_not_retryable_but_kills_are() -> None:
    retryable = {code for code, reason in REASONS.items() if reason.retryable}
    assert retryable == {
        *("unreadable", "decode_timeout", "decoder_killed", "too_much_memory"),
        *("aus_failed", "bad_aus_csv", "killed_worker"),
    }


def test_code_uses_exactly_the_listed_reasons() -> None:
    used: set[str] = set()
    for package in ("transforms", "pipeline"):
        for path in (ROOT / package).rglob("*.py"):
            tree = ast.parse(path.read_text())
            strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
            used |= strings & set(REASONS)
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ClipRejected":
                    code = node.args[0]
                    assert not isinstance(code, ast.Constant) or code.value in REASONS, f"{path}: {ast.unparse(node)}"
    assert used == set(REASONS)


def test_troubleshooting_page_lists_every_reason() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    assert not [code for code in REASONS if f"`{code}`" not in page]


def test_many_clips_without_a_face_get_advice() -> None:
    config = BuildConfig(source="folder")
    assert advice(82, {"no_face": 38}, config) == [
        "38 of 120 clips have no detected face: try --recipe face, which searches every frame, or --landmarks fan, "
        "which finds faces from 32 px"
    ]
    assert advice(90, {"no_face": 10, "corrupt": 0}, config) == advice(0, {"corrupt": 5}, config) == advice(0, {}, config) == []


@pytest.mark.parametrize(
    ("settings", "remedies"),
    [
        ({}, ["--landmarks fan"]),
        ({"detect_min_px": 120}, ["--detect-min-px", "--landmarks fan"]),
        ({"recipe": "face"}, ["--landmarks fan"]),
        ({"recipe": "track"}, ["--tube-min-px", "--landmarks fan"]),
        ({"landmarks": "fan"}, ["--detect-min-px"]),
        ({"landmarks": "fan", "detect_min_px": 32}, []),
    ],
)
def test_advice_lists_only_options_that_can_help(settings: dict[str, Any], remedies: list[str]) -> None:
    (sentence,) = advice(82, {"tube_too_small": 12, "face_too_small": 26}, BuildConfig(source="folder", **settings))
    assert "26 of 120" in sentence
    assert re.findall(r"--[a-z-]+(?: fan)?", sentence) == remedies


def test_smallest_faces_match_the_models() -> None:
    assert (Fan.least_face_px, Dlib68.least_face_px) == (reasons._FAN_PX, reasons._DLIB_PX)


@pytest.mark.parametrize("code", ["", "Corrupt", "corrupt ", "no such thing"])
def test_unknown_codes_are_refused(code: str) -> None:
    with pytest.raises(ValueError, match="unknown reason"):
        errors.ClipRejected(code)


@pytest.mark.parametrize("code", sorted(REASONS))
def test_rejections_can_be_pickled(code: str) -> None:
    back = pickle.loads(pickle.dumps(errors.ClipRejected(code, "détail\n")))
    assert isinstance(back, errors.ClipRejected) and (back.reason, back.detail) == (code, "détail\n")


def test_every_expected_failure_has_the_project_base_class() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(classes) == 8 and all(issubclass(kind, errors.MotionShardsError) for kind in classes)
    assert not any(issubclass(kind, ValueError | OSError) for kind in classes)
