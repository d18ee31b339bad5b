"""OpenFace's csv in its spellings and states of damage, and csv files joined to frames by time."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openface_program import INTENSITIES, PRESENCES, as_csv, intensities, presences, row

from schemas import action_units
from schemas.action_units import ActionUnits, AuFile
from schemas.errors import ClipRejected
from transforms.extract.action_units.choose import LEAST_CONFIDENCE, as_action_units, face_of, is_usable
from transforms.extract.action_units.csv_folder import CsvFolder
from transforms.extract.action_units.rows import Row, read_rows
from transforms.extract.action_units.source import StoredClip

RATE = 25.0
KEY = "id1/video/00001"


def rows_of(text: str, *needed: str) -> list[Row]:
    return list(read_rows(text.splitlines(keepends=True), needed))


def one_row(**changes: Any) -> Row:
    """A row of a face in the middle of a picture of 64 px."""
    return replace(rows_of(as_csv([row(1, b"a", 64, {})], {}))[0], **changes)


def test_the_order_of_names_is_openfaces() -> None:
    assert list(action_units.INTENSITIES) == INTENSITIES
    assert list(action_units.PRESENCES) == PRESENCES
    assert (len(INTENSITIES), len(PRESENCES)) == (17, 18)


@pytest.mark.parametrize("orders", [{}, {"separator": ","}, {"reverse": True}, {"separator": " ,  "}], ids=str)
def test_columns_are_found_by_name_in_any_spelling_and_order(orders: dict[str, Any]) -> None:
    text = as_csv([row(1, b"a", 64, {}), row(2, b"b", 64, {})], orders)
    for content in (text, "\ufeff" + text, text.replace("\n", "\r\n"), "\n" + text + "\n"):
        first, second = rows_of(content, "timestamp", "frame")
        assert first.intensity == tuple(intensities(b"a")) and second.intensity == tuple(intensities(b"b"))
        assert second.presence == tuple(presences(b"b"))
        assert (first.frame, second.frame, first.success, first.confidence) == (1, 2, True, 0.93)
        assert first.points_px is not None and first.points_px.shape == (68, 2) and first.points_px.min() == 10


def test_what_is_not_needed_may_be_missing() -> None:
    (only,) = rows_of(as_csv([row(1, b"a", 64, {})], {"without": ["frame", "timestamp", "face_id", "x_0"]}))
    assert only.points_px is None and only.intensity == tuple(intensities(b"a"))


@pytest.mark.parametrize("name", ["AU45_r", "AU28_c", "AU01_r", "confidence", "success", "timestamp"])
def test_a_missing_column_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"columns are missing: {name}$"):
        rows_of(as_csv([row(1, b"a", 64, {})], {"without": [name]}), "timestamp")


@pytest.mark.parametrize(
    ("text", "said"), [("", "empty"), ("\n\n", "empty"), ("<html>\n", "confidence, success, AU01_r, AU02_r and 33 more")]
)
def test_what_is_no_csv_of_openface_is_told(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        rows_of(text)


def test_damaged_lines_are_told_by_number() -> None:
    header, first, second = as_csv([row(1, b"a", 64, {}), row(2, b"b", 64, {})], {}).splitlines(keepends=True)
    with pytest.raises(ValueError, match=r"line 3 has \d+ columns, the header has 176"):
        rows_of(header + first + second[:40])
    with pytest.raises(ValueError, match="line 2: could not convert string to float: 'x'"):
        rows_of(header + first.replace("0.93", "x") + second)
    with pytest.raises(ValueError, match="line 2"):
        rows_of(header + first.replace("1,0,0,", "nan,0,0,") + second)


@pytest.mark.parametrize("spelling", ["nan", "-nan", "NaN", "-nan(ind)", "1.#IND", "-1.#QNAN", "inf", "5.01", "-0.1"])
def test_values_that_mean_nothing_make_a_row_unusable_and_no_error(spelling: str) -> None:
    text = as_csv([{**row(1, b"a", 64, {}), "AU12_r": spelling}], {})
    assert not is_usable(rows_of(text)[0])
    assert is_usable(rows_of(text.replace(spelling, "5.0"))[0])


def test_a_row_is_usable_with_success_and_confidence_only() -> None:
    assert is_usable(one_row()) and is_usable(one_row(confidence=LEAST_CONFIDENCE)) and is_usable(one_row(confidence=1.0))
    for confidence in (0.49, np.nan, 93.0):
        assert not is_usable(one_row(confidence=confidence))
    assert not is_usable(one_row(success=False)) and not is_usable(one_row(presence=(0.5,) * 18))


def test_without_a_box_or_landmarks_the_surest_face_is_taken() -> None:
    sure, unsure = one_row(confidence=0.9), one_row(confidence=0.8)
    box = np.array([10, 10, 54, 54], np.float32)
    assert face_of([unsure, sure], None, None) is sure
    assert face_of([unsure, replace(sure, points_px=None)], box, None) is not unsure
    assert face_of([replace(sure, success=False), unsure], box, None) is unsure
    assert face_of([], box, None) is None and face_of([replace(sure, success=False)], None, None) is None


def test_overlap_is_measured_in_the_crop() -> None:
    """The picture was twice as large as the crop, which began at (100, 40) of it."""
    points = one_row().points_px
    assert points is not None
    to_crop = np.array([[0.5, 0, -50], [0, 0.5, -20]])
    near, far = one_row(confidence=0.6, points_px=points * 2 + [100, 40]), one_row(confidence=0.9, points_px=points)
    box = np.array([8, 8, 56, 56], np.float32)
    assert face_of([far, near], box, to_crop) is near
    assert face_of([far], box, to_crop) is far, "the only face may be of another frame of reference"
    assert face_of([far, near], box, None) is far and face_of([near], box, None) is None


def test_the_record_keeps_itself_consistent() -> None:
    good = as_action_units([one_row(), None], [[one_row()], [one_row(success=False, confidence=0.2)]])
    np.testing.assert_allclose(good.confidence, [0.93, 0.2], rtol=1e-6)
    assert good.intensity.dtype == good.presence.dtype == np.float32
    assert (good.valid.tolist(), good.share) == ([True, False], 0.5)
    np.testing.assert_array_equal(good.intensity[0], np.array(intensities(b"a"), np.float32))
    for name, value in (("intensity", 0.0), ("presence", np.nan), ("intensity", 5.5), ("valid", True)):
        broken = getattr(good, name).copy()
        broken[int(name != "presence")] = value
        with pytest.raises(ValueError, match=r"must be 0 to"):
            replace(good, **{name: broken})
    with pytest.raises(ValueError, match="intensity has the shape"):
        replace(good, intensity=good.intensity[:, :16])


def stored(
    frames: list[int], key: str = KEY, uris: tuple[str, ...] = ("dev/a.mp4",), span: list[int] | None = None
) -> StoredClip:
    """A clip of these frames of videos of 25 frames a second."""
    t = len(frames)
    affine = np.tile(np.eye(2, 3), (t, 1, 1))
    spans = np.array(span or [0] * t, np.int32)
    return StoredClip(key, uris, (b"",) * t, None, spans, np.array(frames) / RATE, affine, 1 / RATE)


def write(path: Path, frames: range | list[int], name: str = "", **changes: Any) -> Path:
    """A csv of these frames, from 0, with values by the number of the frame; milliseconds are rounded as OpenFace prints them."""
    rows = [
        {**row(number + 1, f"{name}{number}".encode(), 64, {}), "timestamp": round(number / RATE, 3), **changes}
        for number in frames
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(as_csv(rows, {}))
    return path


def joined(folder: Path, clip: StoredClip) -> ActionUnits:
    (found,) = CsvFolder(folder).action_units([clip], None)
    assert isinstance(found, ActionUnits), found
    return found


def refused(folder: Path) -> str:
    (found,) = CsvFolder(folder).action_units([stored([3, 9])], None)
    assert isinstance(found, ClipRejected) and found.reason == "bad_aus_csv"
    return found.detail


def numbers(found: ActionUnits, name: str = "", most: int = 100) -> list[int | None]:
    """Which frame each row of values is of."""
    known = {tuple(np.array(intensities(f"{name}{number}".encode()), np.float32)): number for number in range(most)}
    return [known[tuple(values)] if valid else None for values, valid in zip(found.intensity, found.valid, strict=True)]


def test_rows_are_joined_by_time_and_not_by_their_number(tmp_path: Path) -> None:
    path = write(tmp_path / f"{KEY}.csv", range(40))
    found = joined(tmp_path, stored([0, 7, 8, 39]))
    assert numbers(found) == [0, 7, 8, 39]
    assert found.files == (AuFile(f"{KEY}.csv", hashlib.sha256(path.read_bytes()).hexdigest()),)
    write(path, [*range(20, 40), *range(20)])
    assert numbers(joined(tmp_path, stored([0, 7, 39]))) == [0, 7, 39], "in any order"


def test_frames_more_than_half_a_frame_away_from_any_row_are_not_valid(tmp_path: Path) -> None:
    path = write(tmp_path / f"{KEY}.csv", [0, 10, 20])
    found = joined(tmp_path, stored([0, 1, 9, 10, 11, 20, 30]))
    assert numbers(found) == [0, None, None, 10, None, 20, None]
    assert np.isnan(found.confidence[1]) and np.isnan(found.presence[1]).all()
    lines = path.read_text().splitlines(keepends=True)
    for away, expected in ((0.019, 10), (-0.019, 10), (0.0215, None), (-0.0215, None)):
        path.write_text("".join(lines).replace(",0.4,", f",{0.4 + away},"))
        assert numbers(joined(tmp_path, stored([10]))) == [expected], away


def test_the_nearest_of_several_rows_counts(tmp_path: Path) -> None:
    rows = [{**row(1, str(n).encode(), 64, {}), "timestamp": time} for n, time in enumerate((0.385, 0.395, 0.403, 0.41))]
    for order in (rows, rows[::-1], rows[2:] + rows[:2]):
        (tmp_path / "id1/video").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{KEY}.csv").write_text(as_csv(order, {}))
        assert numbers(joined(tmp_path, stored([10]))) == [2]


def test_a_file_is_found_by_key_flat_key_and_name_of_the_video(tmp_path: Path) -> None:
    for place in (f"{KEY}.csv", f"{KEY.replace('/', '_')}.csv", "id1/video/a.csv"):
        folder = tmp_path / place.replace("/", "-")
        write(folder / place, range(10))
        found = joined(folder, stored([3]))
        assert numbers(found) == [3] and found.files[0] is not None and found.files[0].path == place
    odd = stored([3], key="id%2E1/vi%40d/00%2E1")
    write(tmp_path / "plain/id.1/vi@d/00.1.csv", range(10))
    write(tmp_path / "escaped/id%2E1_vi%40d_00%2E1.csv", range(10))
    assert numbers(joined(tmp_path / "plain", odd)) == numbers(joined(tmp_path / "escaped", odd)) == [3]
    write(tmp_path / "tubes" / f"{KEY}.csv", range(10))
    assert numbers(joined(tmp_path / "tubes", stored([3], key=f"{KEY}@000002"))) == [3], "a tube's file is that of its video"


def test_a_key_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "secret/00001.csv", range(10))
    (tmp_path / "folder/in").mkdir(parents=True)
    found = joined(tmp_path / "folder/in", stored([3], key="%2E%2E/%2E%2E/secret%2F00001"))
    assert found.files == (None,)


def test_a_sample_of_several_files_takes_the_csv_of_each(tmp_path: Path) -> None:
    write(tmp_path / "id1/video/00001.csv", range(10), "a")
    write(tmp_path / "id1/video/00003.csv", range(10), "c")
    clip = stored([2, 5, 2, 2], "id1/video/video", ("x/00001.mp4", "x/00002.mp4", "x/00003.mp4"), [0, 0, 1, 2])
    found = joined(tmp_path, clip)
    assert found.valid.tolist() == [True, True, False, True]
    assert [file and file.path for file in found.files] == ["id1/video/00001.csv", None, "id1/video/00003.csv"]
    values = [intensities(name) for name in (b"a2", b"a5", b"c2")]
    np.testing.assert_array_equal(found.intensity[found.valid], np.array(values, np.float32))


def test_a_clip_without_a_file_has_no_valid_frame(tmp_path: Path) -> None:
    found = joined(tmp_path, stored([1, 2]))
    assert not found.valid.any() and found.files == (None,) and np.isnan(found.intensity).all()


def test_the_last_line_of_a_file_that_was_cut_short_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / f"{KEY}.csv", range(10))
    whole = path.read_bytes()
    for cut in (1, 2, 20, 300):
        path.write_bytes(whole[:-cut])
        found = joined(tmp_path, stored([8, 9]))
        assert numbers(found) == [8, None]
        assert found.files == (AuFile(f"{KEY}.csv", hashlib.sha256(whole[:-cut]).hexdigest()),)


def test_frames_of_no_success_stay_empty_and_several_faces_are_told_apart(tmp_path: Path) -> None:
    path = write(tmp_path / f"{KEY}.csv", range(10))
    faces = [{**row(4, b"3", 64, {}), "timestamp": 0.12}, {**row(4, b"x", 64, {}, bystander=True), "timestamp": 0.12}]
    lost = {**row(8, b"7", 64, {}), "timestamp": 0.28, "success": 0}
    path.write_text(as_csv([faces[1], faces[0], lost], {}))
    boxes = np.tile(np.array([10, 10, 54, 54], np.float32), (2, 1))
    assert numbers(joined(tmp_path, replace(stored([3, 7]), boxes_px=boxes))) == [3, None]
    assert joined(tmp_path, stored([3])).confidence == np.float32(0.99), "without a box the surest"


def test_files_that_cannot_be_used_lose_their_clip_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / f"{KEY}.csv"
    write(path, range(20), timestamp=0)
    assert refused(tmp_path) == f"{KEY}.csv: all timestamps are the same: it was computed from pictures, not from the video"
    path.write_text(as_csv([row(1, b"a", 64, {})], {"without": ["timestamp", "AU06_c"]}))
    assert refused(tmp_path) == f"{KEY}.csv: columns are missing: timestamp, AU06_c"
    path.write_bytes(b"")
    assert refused(tmp_path) == f"{KEY}.csv: it is empty"
    path.write_bytes(b"\xff\xfe\x00\n\n\x00")
    assert "columns are missing" in refused(tmp_path)
