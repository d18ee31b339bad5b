"""Variants and damage of OpenFace's csv: valid rows, and refused files."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from checkout import SHARED
from openface_program import INTENSITIES, PRESENCES, as_csv, confidence, intensities, presences, row

from motionshards.schemas import action_units
from motionshards.schemas.action_units import MIN_CONFIDENCE
from motionshards.transforms.extract.action_units.choose import as_action_units, face_of, is_usable
from motionshards.transforms.extract.action_units.rows import CsvLines, Row, read_rows

GENUINE = SHARED / "openface"


def rows_of(text: str, *needed: str) -> list[Row]:
    return list(read_rows(text.splitlines(keepends=True), needed))


def one_row(**changes: Any) -> Row:
    """A row of a face in the middle of an image of 64 px."""
    return replace(rows_of(as_csv([row(1, b"a", 64, {})], {}))[0], **changes)


def test_the_order_of_names_matches_openface() -> None:
    assert list(action_units.INTENSITIES) == INTENSITIES
    assert list(action_units.PRESENCES) == PRESENCES
    assert (len(INTENSITIES), len(PRESENCES)) == (17, 18)


@pytest.mark.parametrize("orders", [{"separator": ", "}, {"separator": ","}, {"reverse": True}, {"separator": " ,  "}], ids=str)
def test_columns_are_found_by_name_in_any_spelling_and_order(orders: dict[str, Any]) -> None:
    text = as_csv([row(1, b"a", 64, {}), row(2, b"b", 64, {})], orders)
    for content in (text, "\ufeff" + text, text.replace("\n", "\r\n"), "\n" + text + "\n"):
        first, second = rows_of(content, "face_id", "frame")
        assert first.intensity == tuple(intensities(b"a")) and second.intensity == tuple(intensities(b"b"))
        assert second.presence == tuple(presences(b"b"))
        assert (first.frame, second.frame, first.success, first.confidence) == (1, 2, True, 0.92)
        assert first.points_px is not None and first.points_px.shape == (68, 2) and first.points_px.min() == 10


def test_optional_columns_may_be_missing() -> None:
    (only,) = rows_of(as_csv([row(1, b"a", 64, {})], {"without": ["frame", "timestamp", "face_id", "x_0"]}))
    assert only.points_px is None and only.intensity == tuple(intensities(b"a"))


@pytest.mark.parametrize("name", ["AU45_r", "AU28_c", "AU01_r", "confidence", "success", "frame"])
def test_a_missing_column_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"columns are missing: {name}$"):
        rows_of(as_csv([row(1, b"a", 64, {})], {"without": [name]}), "frame")


@pytest.mark.parametrize(
    ("text", "message"), [("", "empty"), ("\n\n", "empty"), ("<html>\n", "confidence, success, AU01_r, AU02_r and 33 more")]
)
def test_files_that_are_not_a_csv_of_openface_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rows_of(text)


def test_damaged_lines_are_named_by_number() -> None:
    header, first, second = as_csv([row(1, b"a", 64, {}), row(2, b"b", 64, {})], {}).splitlines(keepends=True)
    with pytest.raises(ValueError, match=r"line 4 has \d+ columns, the header has 176"):
        rows_of(header + first + "\n" + second[:40])
    with pytest.raises(ValueError, match="line 2: could not convert string to float: ' x'"):
        rows_of(header + first.replace("0.92", "x") + second)
    with pytest.raises(ValueError, match="it has a header but no rows"):
        rows_of(header)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("frame", "nan", "frame is nan, must be a whole number"),
        ("frame", "1.5", "frame is 1.5, must be a whole number"),
        ("frame", "-1", "frame is -1, must be a whole number"),
        ("face_id", "inf", "face_id is inf, must be a whole number"),
        ("success", "2", "success is 2, must be 0 or 1"),
        ("success", "nan", "success is nan, must be 0 or 1"),
        ("confidence", "92.0", "confidence is 92, must be 0 to 1"),
        ("AU04_r", "-0.78", "AU04_r is -0.78, must be 0 to 5, as in the csv of a completed run"),
        ("AU45_r", "5.01", "AU45_r is 5.01, must be 0 to 5"),
        ("AU45_r", "-inf", "AU45_r is -inf, must be 0 to 5"),
        ("AU28_c", "0.5", "AU28_c is 0.5, must be 0 or 1"),
    ],
)
def test_a_value_out_of_range_is_an_error(column: str, value: str, message: str) -> None:
    text = as_csv([row(1, b"a", 64, {}), {**row(2, b"b", 64, {}), column: value}], {})
    with pytest.raises(ValueError, match=f"^line 3: {message}"):
        rows_of(text)


@pytest.mark.parametrize("spelling", ["nan", "-nan", "NaN", "-nan(ind)", "1.#IND", "-1.#QNAN"])
def test_nan_makes_a_row_unusable_without_an_error(spelling: str) -> None:
    for column in ("AU12_r", "AU12_c", "confidence"):
        text = as_csv([{**row(1, b"a", 64, {}), column: spelling}], {})
        assert not is_usable(rows_of(text)[0])
        assert is_usable(rows_of(text.replace(spelling, "1.0"))[0])


def test_values_out_of_range_by_rounding_are_clamped() -> None:
    (only,) = rows_of(as_csv([{**row(1, b"a", 64, {}), "AU01_r": "-1e-7", "AU02_r": "5.004"}], {}))
    assert only.intensity[:2] == (0.0, 5.0) and is_usable(only)


def test_a_row_is_usable_if_openface_computed_action_units() -> None:
    assert is_usable(one_row()) and is_usable(one_row(confidence=MIN_CONFIDENCE)) and is_usable(one_row(confidence=1.0))
    for low in (0.68, 0.72, 0.7499, np.nan):
        assert not is_usable(one_row(confidence=low))
    nothing, neutral = (0.0,) * 17, (0.0,) * 18
    assert not is_usable(one_row(success=False)) and not is_usable(one_row(intensity=nothing, presence=neutral))
    assert is_usable(one_row(intensity=nothing)) and is_usable(one_row(presence=neutral))


def test_validity_in_real_files_matches_openface() -> None:
    """Stills and videos measured by FeatureExtraction 2.0.6, built from source."""
    if not GENUINE.is_dir():
        pytest.skip("the files of a genuine OpenFace are not beside this checkout")

    def found(name: str) -> tuple[int, list[bool], list[float]]:
        rows = list(read_rows(CsvLines(GENUINE / f"{name}.csv"), ("frame", "face_id")))
        units = as_action_units([face_of([one], None, None, same_crop=True) for one in rows], [[one] for one in rows])
        return len(rows), units.valid.tolist(), [round(each, 2) for each in units.confidence.tolist()]

    assert found("still_static_ok") == (1, [True], [0.98])
    count, valid, (sure,) = found("still_static_no_face")
    assert (count, valid) == (1, [False]) and np.isnan(sure), "no face is detected, so there is no confidence"
    for name in ("068", "072"):
        assert found(f"still_static_success1_conf{name}_aus_all_zero")[1] == [False]
    assert found("video_dynamic_2Dfp_aus_60rows")[:2] == (60, [True] * 60)
    assert found("video_dynamic_gaze_pose_2Dfp_aus_40rows")[:2] == (40, [True] * 40)
    with pytest.raises(ValueError, match=r"line 2: AU04_r is -0.78, must be 0 to 5, as in the csv of a completed run"):
        found("video_killed_before_postprocessing_12rows")


def test_the_imitation_writes_what_openface_writes() -> None:
    """The same header, spelling and digits, so that tests with it apply to the real program."""
    if not GENUINE.is_dir():
        pytest.skip("the files of a genuine OpenFace are not beside this checkout")
    faceless = next(name for name in (b"%d" % n for n in range(99)) if not confidence(name, 1))
    no_face, found = ((GENUINE / f"still_static_{name}.csv").read_text().splitlines() for name in ("no_face", "ok"))
    assert as_csv([row(1, faceless, 64, {"lost_every": 1})], {}).splitlines() == no_face
    imitated = as_csv([row(1, b"a", 64, {})], {}).splitlines()
    whole = (GENUINE / "video_dynamic_gaze_pose_2Dfp_aus_40rows.csv").read_text().splitlines()[0]
    assert as_csv([], {}, ("-aus", "-pose", "-gaze", "-2Dfp")).splitlines() == [whole]
    digits = [[len(cell.partition(".")[2]) for cell in line.split(", ")] for line in (imitated[1], found[1])]
    assert imitated[0] == found[0] and digits[0] == digits[1]


def test_without_a_box_or_landmarks_the_highest_confidence_is_selected() -> None:
    sure, unsure = one_row(confidence=0.9), one_row(confidence=0.8)
    box = np.array([10, 10, 54, 54], np.float32)
    assert face_of([unsure, sure], None, None, same_crop=True) is sure
    assert face_of([unsure, replace(sure, points_px=None)], box, None, same_crop=True) is not unsure
    assert face_of([replace(sure, success=False), unsure], box, None, same_crop=True) is unsure
    assert face_of([], box, None, same_crop=True) is None
    assert face_of([replace(sure, success=False)], None, None, same_crop=True) is None


def test_overlap_is_measured_in_the_crop() -> None:
    """The image was twice as large as the crop, which started at (100, 40) of it."""
    points = one_row().points_px
    assert points is not None
    to_crop = np.array([[0.5, 0, -50], [0, 0.5, -20]])
    near, far = one_row(confidence=0.8, points_px=points * 2 + [100, 40]), one_row(confidence=0.9, points_px=points)
    box = np.array([8, 8, 56, 56], np.float32)
    assert face_of([far, near], box, to_crop, same_crop=False) is near
    assert face_of([far], box, to_crop, same_crop=False) is far, "the only face may be in other coordinates"
    assert face_of([far, near], box, None, same_crop=True) is far
    assert face_of([near], box, None, same_crop=True) is None and face_of([far], box, to_crop, same_crop=True) is None


def test_inconsistent_records_are_refused() -> None:
    good = as_action_units([one_row(), None], [[one_row()], [one_row(success=False, confidence=0.2)]])
    np.testing.assert_allclose(good.confidence, [0.92, 0.2], rtol=1e-6)
    assert good.presence is not None and good.intensity.dtype == good.presence.dtype == np.float32
    assert (good.valid.tolist(), good.share) == ([True, False], 0.5)
    np.testing.assert_array_equal(good.intensity[0], np.array(intensities(b"a"), np.float32))
    for name, value in (("intensity", 0.0), ("presence", np.nan), ("intensity", 5.5), ("valid", True)):
        broken = getattr(good, name).copy()
        broken[int(name != "presence")] = value
        with pytest.raises(ValueError, match=r"must be 0 to"):
            replace(good, **{name: broken})
    with pytest.raises(ValueError, match="intensity has shape"):
        replace(good, intensity=good.intensity[:, :16])
