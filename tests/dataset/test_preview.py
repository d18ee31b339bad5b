"""Contact sheets and GIFs: what is drawn is where it should be, the crop where it was cut; wrong arguments are told in a line."""

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import in_this_process
from made import make_dataset
from PIL import Image

import motionshards.dataset.build
from motionshards.dataset import preview
from motionshards.dataset.drawing import overlay
from motionshards.dataset.drawing.contact_sheet import Look
from motionshards.dataset.drawing.overlay import Marks
from motionshards.dataset.drawing.source_frames import source_frames
from motionshards.dataset.index import Dataset, Sample
from motionshards.schemas.action_units import INTENSITIES
from motionshards.schemas.layout import tar_path
from motionshards.transforms.extract.quality.face_model import FACE_68_MM
from motionshards.transforms.extract.quality.pose import FOCAL_PER_SIDE, head_pose

ROOT = Path(__file__).resolve().parents[2]
LOOK = Look(frame_px=192, columns=5, drawn=True, aus=False, source_px=396)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty clips of noise with landmarks and action units, whose video never was; read it only."""
    return make_dataset(tmp_path_factory.mktemp("preview-made") / "data", 30, aus=True)


@pytest.fixture(scope="session")
def faces(demo_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four utterances of a face, built from a zip archive; read it only."""
    root = tmp_path_factory.mktemp("preview-faces")
    with zipfile.ZipFile(root / "test.zip", "w") as archive:
        for path in sorted((demo_videos / "test").rglob("*.mp4")):
            archive.write(path, path.relative_to(demo_videos))
    order = ["--source", "voxceleb2", "--input", str(root / "test.zip"), "--output", str(root / "data"), "--size", "192"]
    with in_this_process():
        assert motionshards.dataset.build.main([*order, "--workers", "1", "--quiet"]) == 0
    return root / "data"


def first(out: Path) -> tuple[dict[str, Any], Sample]:
    """The row and the sample of the first clip."""
    data = Dataset.open(out)
    row = data.index().slice(0, 1).to_pylist()[0]
    return row, data.read(row)


def run(*arguments: object) -> int:
    """The exit status of the command."""
    return preview.main([str(argument) for argument in arguments])


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def frame_at(sheet: np.ndarray, number: int, top: int = 0) -> np.ndarray:
    """The pixels of a frame of a block, [192,192,3]."""
    down, across = divmod(number, LOOK.columns)
    y, x = top + LOOK.head + down * LOOK.cell, LOOK.left + across * (LOOK.frame_px + LOOK.gap)
    return sheet[y : y + LOOK.frame_px, x : x + LOOK.frame_px]


def has_colour(picture: np.ndarray, colour: Sequence[int]) -> bool:
    return bool((np.abs(picture - np.array(colour)).max(-1) < 40).any())


# What is drawn


def test_a_point_is_drawn_where_it_is() -> None:
    for place in ([31.5, 31.5], [7.25, 50.0], [0.0, 0.0]):
        points = np.tile(np.array(place), (68, 1))
        drawn = np.asarray(overlay.marked(np.zeros((64, 64, 3), np.uint8), 256, Marks(points)))
        y, x = np.nonzero(drawn.max(-1) > 60)
        expected = (np.array(place) + 0.5) * 4 - 0.5
        if place != [0.0, 0.0]:  # that one is cut off by the edge
            np.testing.assert_allclose([x.mean(), y.mean()], expected, atol=0.6)
        assert np.hypot(x - expected[0], y - expected[1]).max() < 4


def test_lines_connect_the_points_of_a_part_and_nothing_else_is_touched() -> None:
    points = np.full((68, 2), 200.0)
    points[:17] = np.stack([np.linspace(20, 180, 17), np.full(17, 40.0)], -1)
    drawn = np.asarray(overlay.marked(np.zeros((256, 256, 3), np.uint8), 256, Marks(points))).max(-1)
    assert (drawn[40, 20:181] > 60).all()
    rest = drawn.copy()
    rest[34:47, 14:187], rest[190:211, 190:211] = 0, 0
    assert not rest.any()


def test_a_box_and_what_is_missing() -> None:
    grey = np.full((64, 64, 3), 40, np.uint8)
    bare = np.asarray(overlay.marked(grey, 128))
    drawn = np.asarray(overlay.marked(grey, 128, Marks(box_px=[10, 20, 40, 50])))
    assert drawn[round(20.5 * 2), 40].min() > 90
    assert drawn[70, round(40.5 * 2) - 1].min() > 90
    np.testing.assert_array_equal(drawn[50:90, 30:70], bare[50:90, 30:70])
    nothing = Marks(np.full((68, 2), np.nan), [None] * 4, [None, 1.0, 2.0])
    np.testing.assert_array_equal(np.asarray(overlay.marked(grey, 128, nothing)), bare)
    far = Marks(np.full((68, 2), 1e6), [-1e6, -1e6, 1e6, 1e6], [720.0, -400.0, 1e4])
    assert overlay.marked(grey, 128, far).size == (128, 128)


@pytest.mark.parametrize("angles", [(0, 0, 0), (40, 0, 0), (0, 25, 0), (0, 0, -30), (-35, 15, 20)])
def test_the_axes_are_those_of_the_stored_angles(angles: tuple[float, float, float]) -> None:
    """Turned as the axes say, the model's face has the pose that `quality.pose` measures."""
    right, up, forward = overlay.head_axes(*angles)
    placed = FACE_68_MM @ np.stack([right, -up, -forward]) + [0, 0, 800.0]
    image = placed[:, :2] / placed[:, 2:] * FOCAL_PER_SIDE * 256 + 127.5
    np.testing.assert_allclose(head_pose(image[None], (256, 256))[0], angles, atol=0.5)


def test_bars_are_as_high_as_the_action_units_are_strong() -> None:
    values = np.linspace(0, 5, len(INTENSITIES))
    bars = np.asarray(overlay.au_bars(values, (340, 100))).astype(int)
    middles = (np.arange(17) * 20 + 10).tolist()
    heights = [int((np.abs(bars[:, x] - bars[0, middles[0]]).max(-1) > 60)[:80].sum()) for x in middles]
    assert heights == sorted(heights)
    assert heights[0] < 3
    assert heights[8] == pytest.approx(heights[16] / 2, abs=2)
    none = np.asarray(overlay.au_bars(np.full(17, np.nan), (340, 100))).astype(int)
    assert has_colour(none, overlay.WARNING)
    assert not has_colour(bars, overlay.WARNING)


def test_names_in_any_script_can_be_written() -> None:
    for words in ("id1/clip·1", "人/\n\x00/ü", "\udcff", "", "x" * 1000):
        picture = Image.new("RGB", (200, 30))
        overlay.text_line(picture, (5, 20), words, 12)
        assert (np.asarray(picture).any()) == bool(words)


# The crop in its source


def test_corners_of_the_crop_are_the_inverse_of_the_affine() -> None:
    affine = np.array([[0.5, 0.1, -30.0], [-0.1, 0.5, 12.0]])
    corners = overlay.crop_corners(affine.tolist(), 128)
    np.testing.assert_allclose(
        corners @ affine[:, :2].T + affine[:, 2], [[-0.5, -0.5], [127.5, -0.5], [127.5, 127.5], [-0.5, 127.5]]
    )


def test_the_outline_stands_at_the_edge_of_the_crop() -> None:
    shown = np.full((100, 200, 3), 200, np.uint8)
    corners = np.array([[49.5, 19.5], [109.5, 19.5], [109.5, 79.5], [49.5, 79.5]])  # pixels 50 to 109, 20 to 79
    drawn = np.asarray(overlay.crop_in_source(shown, (400, 400), corners)).astype(int)
    assert drawn.shape == (200, 400, 3)
    assert (drawn[60:140, 120:200] == 200).all()
    assert (drawn[:30, :80] < 150).all()
    for x, y in ([100, 100], [219, 100], [160, 40], [160, 159]):
        assert has_colour(drawn[y - 1 : y + 2, x - 1 : x + 2], overlay.CROP)


def test_a_crop_that_leaves_the_frame_is_seen_whole() -> None:
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
    there = sheet[LOOK.head : LOOK.head + side, LOOK.gap : LOOK.gap + side]
    expected = np.asarray(Image.fromarray(source).resize((side, side), Image.Resampling.LANCZOS)).astype(int)
    assert np.median(np.abs(there - expected)) == 0  # but for the outlines; the crop is the whole frame
    assert has_colour(there[:6], overlay.CROP)
    drawn = tmp_path / "drawn.png"
    assert run(faces, "--key", row["key"], "--output", drawn) == 0
    assert 0.02 < (np.abs(frame_at(pixels(drawn), 0) - sample.frames[0]).max(-1) > 20).mean() < 0.4


def test_an_archive_may_be_named_in_place_of_its_directory(faces: Path, tmp_path: Path) -> None:
    key = first(faces)[0]["key"]
    sheets = [tmp_path / name for name in ("recorded.png", "directory.png", "archive.png")]
    for sheet, given in zip(sheets, ([], ["--input", faces.parent], ["--input", faces.parent / "test.zip"]), strict=True):
        assert run(faces, "--key", key, "--output", sheet, *given) == 0
    assert sheets[0].read_bytes() == sheets[1].read_bytes() == sheets[2].read_bytes()


@pytest.mark.parametrize("damage", ["gone", "empty", "another"])
def test_a_sheet_without_its_source_says_so(faces: Path, tmp_path: Path, damage: str) -> None:
    place = tmp_path / "videos"
    place.mkdir()
    if damage != "gone":
        (place / "test.zip").write_bytes(b"" if damage == "empty" else b"no archive" * 100_000)
    without, whole = tmp_path / "without.png", tmp_path / "whole.png"
    assert run(faces, "--count", 1, "--input", place, "--output", without) == 0
    assert run(faces, "--count", 1, "--output", whole) == 0
    sheet = pixels(without)
    assert has_colour(sheet[LOOK.head : LOOK.head + 100, : LOOK.left], overlay.WARNING)
    np.testing.assert_array_equal(sheet[:, LOOK.left :], pixels(whole)[:, LOOK.left :])


# Which clips


def test_a_block_for_each_clip_in_the_order_of_the_keys(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = Dataset.open(made).index(["key"])["key"].to_pylist()
    one, other, both = (tmp_path / name for name in ("one.png", "other.png", "both.png"))
    for out, chosen in ((one, [keys[7]]), (other, [keys[3]]), (both, [keys[7], keys[3], keys[7]])):
        assert run(made, *(word for key in chosen for word in ("--key", key)), "--output", out) == 0
    assert "both.png: 2 clips, 16 frames" in capsys.readouterr().out
    np.testing.assert_array_equal(pixels(both), np.concatenate([pixels(one), pixels(other)]))


def test_a_choice_is_that_of_its_seed_and_condition(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def sheet(*more: object) -> bytes:
        assert run(made, "--frame-px", 64, "--output", tmp_path / "sheet.png", *more) == 0
        return (tmp_path / "sheet.png").read_bytes()

    assert sheet("--count", 2, "--seed", 3) == sheet("--count", 2, "--seed", 3)
    assert len({sheet("--count", 2, "--seed", seed) for seed in range(3)}) > 1
    assert sheet("--where", 'identity == "id003"', "--count", 99) == sheet("--where", 'identity == "id003"', "--count", 5)
    assert "4 clips" in capsys.readouterr().out.splitlines()[-1]  # there are no more of this person


def test_a_sheet_can_be_a_jpeg(made: Path, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.JPEG"):
        assert run(made, "--count", 1, "--output", tmp_path / name) == 0
        with Image.open(tmp_path / name) as picture:
            assert picture.format == "JPEG"


# GIF


def test_a_gif_has_all_frames_and_their_times(faces: Path, tmp_path: Path) -> None:
    row, sample = first(faces)
    out = tmp_path / "clip.gif"
    assert run(faces, "--key", row["key"], "--gif", out, "--no-landmarks") == 0
    with Image.open(out) as gif:
        assert (gif.n_frames, gif.size, gif.info["loop"]) == (9, (192, 192), 0)
        for number, delay in enumerate(preview.delays_ms(sample.meta)):
            gif.seek(number)
            assert gif.info["duration"] == delay
            assert np.abs(np.asarray(gif.convert("RGB")).astype(int) - sample.frames[number]).mean() < 10
    drawn = tmp_path / "drawn.gif"
    assert run(faces, "--key", row["key"], "--gif", drawn, "--gif-px", 100, "--output", tmp_path / "too.png") == 0
    with Image.open(drawn) as gif:
        assert (gif.n_frames, gif.size) == (9, (100, 100))
    assert (tmp_path / "too.png").exists()


@pytest.mark.parametrize(
    ("times", "spans", "delays"),
    [
        ([0.0, 0.1, 0.3, 0.36], [0, 0, 0, 0], [100, 200, 60, 100]),
        ([0.0, 0.01, 5.0], [0, 0, 0], [40, 500, 500]),
        ([0.0, 0.2, 0.0, 0.2], [0, 0, 1, 1], [200, 200, 200, 200]),
        ([0.0, 0.0], [0, 1], [200, 200]),
        ([3.0], [0], [200]),
    ],
)
def test_delays(times: list[float], spans: list[int], delays: list[int]) -> None:
    assert preview.delays_ms({"pts_s": times, "span": spans}) == delays


def test_a_gif_keeps_the_colours_of_the_marks(faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "clip.gif"
    assert run(faces, "--count", 1, "--gif", out) == 0
    with Image.open(out) as gif:
        colours = {colour for _, colour in gif.convert("RGB").getcolors() or []}
    assert colours >= set(overlay.DRAWN)


def test_a_gif_of_one_colour(tmp_path: Path) -> None:
    grey = [Image.new("RGB", (64, 64), (90, 90, 90))] * 2
    assert grey[0].quantize(palette=preview._shared_colours(grey)).convert("RGB").getcolors() == [(64 * 64, (90, 90, 90))]


def test_a_gif_that_would_not_fit_in_memory(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(preview, "_MOST_PX", 1000)
    assert run(made, "--count", 1, "--gif", tmp_path / "clip.gif", "--gif-px", 100) == 2
    assert "ask for a smaller --gif-px" in capsys.readouterr().err


# What goes wrong


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--count", "1"], "nothing is asked for"),
        (["--output", "sheet.bmp"], "must be called *.png or *.jpg"),
        (["--output", "sheet"], "must be called"),
        (["--gif", "clip.png", "--count", "1"], "must be called *.gif"),
        (["--output", "nowhere/sheet.png"], "there is no directory"),
        (["--output", "folder.png"], "is a directory"),
        (["--gif", "clip.gif", "--count", "2"], "--gif shows one clip, and 2 are chosen"),
        (["--output", "s.png", "--key", "id003/video0/clip0003"], "near it are id003/video0/clip00003"),
        (["--output", "s.png", "--key", "\udcff\n"], "it holds what is no text"),
        (["--output", "s.png", "--key", ""], "there is no clip ''"),
        (["--output", "s.png", "--key", "x" * 5000], "there is no clip"),
        (["--output", "s.png", "--key", "a", "--count", "2"], "give one or the other"),
        (["--output", "s.png", "--where", "yaw_deg > 1000"], "no clip matches"),
        (["--output", "s.png", "--where", "yaw > 3"], "there is no column yaw; did you mean"),
        (["--output", "s.png", "--where", ""], "the condition is empty"),
        (["--output", "s.png", "--count", "0"], '"0" for --count. Must be >= 1'),
        (["--output", "s.png", "--seed", "-1"], '"-1" for --seed. Must be >= 0'),
        (["--output", "s.png", "--frame-px", "1000000"], '"1000000" for --frame-px. Must be <= 1024'),
        (["--output", "s.png", "--frame-px", "1024", "--columns", "1", "--count", "30"], "is too large: ask for fewer clips"),
        (["--output", "s.png", "--columns", "0"], '"0" for --columns. Must be >= 1'),
        (["--output", "s.png", "--input", "nowhere"], "--input nowhere is not there"),
        (["--output", "s3://bucket/s.png"], "is in an object store"),
        (["--output", "s.png", "--count", "many"], '"many" into int'),
    ],
)
def test_arguments_that_mean_nothing(
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.png").mkdir()
    assert run(made, *arguments) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.startswith("error: ") and said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]


def test_a_key_that_is_nothing_like_the_others(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(made, "--key", "0", "--output", tmp_path / "s.png") == 2
    assert "of 30 the first is " in capsys.readouterr().err


def test_what_is_no_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--output", tmp_path / "s.png") == 2
    assert "holds no data set" in capsys.readouterr().err


def test_a_damaged_shard_leaves_the_old_sheet(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = Path(shutil.copytree(made, tmp_path / "data"))
    row, _ = first(copy)
    path = tar_path(copy, row["split"], row["shard"])
    path.write_bytes(path.read_bytes()[:2000])
    sheet = tmp_path / "sheet.png"
    sheet.write_bytes(b"old")
    assert run(copy, "--key", row["key"], "--output", sheet) == 1
    assert "cut short" in capsys.readouterr().err
    assert sheet.read_bytes() == b"old"


def test_a_sheet_that_cannot_be_written_leaves_the_old_one(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheet.png"
    sheet.write_bytes(b"old")

    def full(path: Path, content: bytes) -> int:
        path.open("wb").close()
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert run(made, "--count", 1, "--output", sheet) == 1
    assert "No space left" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
    assert sheet.read_bytes() == b"old"


def test_an_interruption_is_told(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(preview, "draw_block", interrupted)
    assert run(made, "--count", 1, "--output", tmp_path / "s.png") == 130
    assert not list(tmp_path.iterdir())


def test_neither_beam_nor_torch_is_needed() -> None:
    heavy = ("apache_beam", "torch", "dlib", "cv2")
    program = f"import sys, motionshards.dataset.preview; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"
