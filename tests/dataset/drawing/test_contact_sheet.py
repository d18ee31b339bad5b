"""Contact sheets: the source frame with the outline of the crop, and the stored frames."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from moving import seen_in
from PIL import Image
from sheets import LOOK, first, frame_at, has_color, pixels, run

from motionshards.dataset.drawing.motion import read_clip
from motionshards.dataset.drawing.source_frames import source_frames
from motionshards.dataset.index import Dataset
from motionshards.dataset.plotting import overlay


def test_corners_of_the_crop_are_the_inverse_of_the_affine() -> None:
    affine = np.array([[0.5, 0.1, -30.0], [-0.1, 0.5, 12.0]])
    corners = overlay.crop_corners(affine.tolist(), 128)
    np.testing.assert_allclose(
        corners @ affine[:, :2].T + affine[:, 2], [[-0.5, -0.5], [127.5, -0.5], [127.5, 127.5], [-0.5, 127.5]]
    )


def test_the_outline_is_at_the_edge_of_the_crop() -> None:
    shown = np.full((100, 200, 3), 200, np.uint8)
    corners = np.array([[49.5, 19.5], [109.5, 19.5], [109.5, 79.5], [49.5, 79.5]])  # pixels 50 to 109, 20 to 79
    drawn = np.asarray(overlay.crop_in_source(shown, (400, 400), corners)).astype(int)
    assert drawn.shape == (200, 400, 3)
    assert (drawn[60:140, 120:200] == 200).all()
    assert (drawn[:30, :80] < 150).all()
    for x, y in ([100, 100], [219, 100], [160, 40], [160, 159]):
        assert has_color(drawn[y - 1 : y + 2, x - 1 : x + 2], overlay.CROP)


def test_a_crop_that_leaves_the_frame_is_shown_completely() -> None:
    shown = np.full((100, 100, 3), 200, np.uint8)
    corners = np.array([[-20.5, 9.5], [59.5, 9.5], [59.5, 89.5], [-20.5, 89.5]])
    drawn = np.asarray(overlay.crop_in_source(shown, (240, 1000), corners)).astype(int)
    assert drawn.shape == (200, 240, 3)
    assert (drawn[100, 2:40] == overlay.PANEL).all()  # the padding, 20 px of the source
    assert (drawn[100, 40:158] == 200).all()
    assert np.flatnonzero(np.abs(drawn[100, 100:] - overlay.CROP).max(-1) < 20).tolist() == [59, 60]
    absurd = np.asarray(overlay.crop_in_source(shown, (200, 200), corners * 1e6))
    assert absurd.shape == (150, 200, 3)  # half a frame is added on each side, and no more


def test_the_sheet_shows_source_and_frames_of_a_clip(faces: Path, tmp_path: Path) -> None:
    row, sample = first(faces)
    out = tmp_path / "sheet.png"
    assert run(faces, "--key", row["key"], "--no-landmarks", "--output", out) == 0
    sheet = pixels(out)
    assert sheet.shape == (LOOK.height(9), LOOK.width, 3)
    for number, frame in enumerate(sample.frames):
        np.testing.assert_array_equal(frame_at(sheet, number), frame)
    place = (sample.meta["span"][4], sample.meta["frame_index"][4])
    (source,) = source_frames(faces.parent, row["spans"], [place], 224)
    side = LOOK.source_px
    shown = sheet[LOOK.head : LOOK.head + side, LOOK.gap : LOOK.gap + side]
    expected = np.asarray(Image.fromarray(source).resize((side, side), Image.Resampling.LANCZOS)).astype(int)
    assert np.median(np.abs(shown - expected)) == 0  # except for the outlines; the crop is the whole frame
    assert has_color(shown[:6], overlay.CROP)
    drawn = tmp_path / "drawn.png"
    assert run(faces, "--key", row["key"], "--output", drawn) == 0
    assert 0.02 < (np.abs(frame_at(pixels(drawn), 0) - sample.frames[0]).max(-1) > 20).mean() < 0.4


def test_input_may_be_an_archive_instead_of_its_directory(faces: Path, tmp_path: Path) -> None:
    key = first(faces)[0]["key"]
    sheets = [tmp_path / name for name in ("recorded.png", "directory.png", "archive.png")]
    for sheet, options in zip(sheets, ([], ["--input", faces.parent], ["--input", faces.parent / "test.zip"]), strict=True):
        assert run(faces, "--key", key, "--output", sheet, *options) == 0
    assert sheets[0].read_bytes() == sheets[1].read_bytes() == sheets[2].read_bytes()


@pytest.mark.parametrize("damage", ["gone", "empty", "another"])
def test_a_missing_source_is_noted_on_the_sheet(faces: Path, tmp_path: Path, damage: str) -> None:
    place = tmp_path / "videos"
    place.mkdir()
    if damage != "gone":
        (place / "test.zip").write_bytes(b"" if damage == "empty" else b"no archive" * 100_000)
    without, whole = tmp_path / "without.png", tmp_path / "whole.png"
    assert run(faces, "--count", 1, "--input", place, "--output", without) == 0
    assert run(faces, "--count", 1, "--output", whole) == 0
    sheet = pixels(without)
    assert has_color(sheet[LOOK.head : LOOK.head + 100, : LOOK.left], overlay.WARNING)
    np.testing.assert_array_equal(sheet[:, LOOK.left :], pixels(whole)[:, LOOK.left :])


def test_a_block_for_each_clip_in_the_order_of_the_keys(
    noise_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = Dataset.open(noise_clips).index(["key"])["key"].to_pylist()
    one, other, both = (tmp_path / name for name in ("one.png", "other.png", "both.png"))
    for out, chosen in ((one, [keys[7]]), (other, [keys[3]]), (both, [keys[7], keys[3], keys[7]])):
        assert run(noise_clips, *(word for key in chosen for word in ("--key", key)), "--output", out) == 0
    assert "both.png: 2 clips, 16 frames" in capsys.readouterr().out
    np.testing.assert_array_equal(pixels(both), np.concatenate([pixels(one), pixels(other)]))


def test_the_selection_depends_on_seed_and_condition(
    noise_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def sheet(*more: object) -> bytes:
        assert run(noise_clips, "--frame-px", 64, "--output", tmp_path / "sheet.png", *more) == 0
        return (tmp_path / "sheet.png").read_bytes()

    assert sheet("--count", 2, "--seed", 3) == sheet("--count", 2, "--seed", 3)
    assert len({sheet("--count", 2, "--seed", seed) for seed in range(3)}) > 1
    assert sheet("--where", 'identity == "id003"', "--count", 99) == sheet("--where", 'identity == "id003"', "--count", 5)
    assert "4 clips" in capsys.readouterr().out.splitlines()[-1]  # there are no more of this person


def test_a_sheet_can_be_a_jpeg(noise_clips: Path, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.JPEG"):
        assert run(noise_clips, "--count", 1, "--output", tmp_path / name) == 0
        with Image.open(tmp_path / name) as image:
            assert image.format == "JPEG"


def test_a_sheet_of_stored_video_shows_measured_frames_or_stills_and_the_waveform(moving: Path, tmp_path: Path) -> None:
    data = Dataset.open(moving)
    keys = [row["key"] for row in data.index(["key"]).to_pylist()]
    out = tmp_path / "sheet.png"
    shown = ["--key", keys[0], "--key", keys[1], "--frame-px", 64, "--frames", 5, "--no-landmarks"]
    assert run(moving, *shown, "--output", out) == 0
    sheet = pixels(out)
    layout = replace(LOOK, frame_px=64, moving=True)
    step, block = layout.frame_px + layout.gap, layout.height(5)
    assert len(sheet) == 2 * block
    left = sheet.shape[1] - 5 * step
    frames = [sheet[block + layout.head :, left + number * step :][:64, :64] for number in range(5)]
    if not data.manifest.config.stores_stills:
        assert [seen_in(frame) for frame in frames] == [(1, 0), (1, 10), (1, 20), (1, 30), (1, 40)]
    top = block - layout.gap - 64 // 4  # the waveform, which the first clip lacks
    assert not has_color(sheet[top : top + 16, left:], overlay.BOX)
    strip = sheet[block + top : block + top + 16, left : sheet.shape[1] - layout.gap]
    marks = np.flatnonzero((np.abs(strip - np.array(overlay.BOX)).max(-1) < 5).all(axis=0)) / strip.shape[1]
    sample, motion = read_clip(data, data.index().to_pylist()[1], 5)
    assert motion is not None
    places = zip(sample.meta["span"], sample.meta["frame_index"], strict=True)
    np.testing.assert_allclose(marks, np.unique([motion.share_of(*place) for place in places]), atol=0.01)
