"""The command: GIFs, invalid arguments, and sheets that cannot be written."""

import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from checkout import ROOT
from moving import make_moving_dataset, seen_in
from PIL import Image
from sheets import first, run

from motionshards.dataset import preview
from motionshards.dataset.drawing import animation
from motionshards.dataset.index import Dataset
from motionshards.dataset.plotting import overlay
from motionshards.schemas.layout import tar_path


def test_a_gif_has_all_frames_and_their_times(faces: Path, tmp_path: Path) -> None:
    row, sample = first(faces)
    out = tmp_path / "clip.gif"
    assert run(faces, "--key", row["key"], "--gif", out, "--no-landmarks") == 0
    with Image.open(out) as gif:
        assert (gif.n_frames, gif.size, gif.info["loop"]) == (9, (192, 192), 0)
        for number, delay in enumerate(animation.delays_ms(sample.meta)):
            gif.seek(number)
            assert gif.info["duration"] == delay
            assert np.abs(np.asarray(gif.convert("RGB")).astype(int) - sample.frames[number]).mean() < 10
    drawn = tmp_path / "drawn.gif"
    assert run(faces, "--key", row["key"], "--gif", drawn, "--gif-px", 100, "--output", tmp_path / "too.png") == 0
    with Image.open(drawn) as gif:
        assert (gif.n_frames, gif.size) == (9, (100, 100))
    assert (tmp_path / "too.png").exists()


def test_a_gif_keeps_the_colors_of_the_marks(faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "clip.gif"
    assert run(faces, "--count", 1, "--gif", out) == 0
    with Image.open(out) as gif:
        colors = {color for _, color in gif.convert("RGB").getcolors() or []}
    assert colors >= set(overlay.DRAWN)


@pytest.mark.parametrize(("sort", "largest_first"), [("landmark_residual", True), ("-least_landmark_score", False)])
def test_sort_chooses_clips_with_extreme_measures(faces: Path, tmp_path: Path, sort: str, largest_first: bool) -> None:
    column = sort.removeprefix("-")
    rows = Dataset.open(faces).index(["key", column]).to_pylist()
    rows.sort(key=lambda row: row[column], reverse=largest_first)
    assert run(faces, f"--sort={sort}", "--count", "2", "--output", tmp_path / "sorted.png") == 0
    keys = [argument for row in rows[:2] for argument in ("--key", row["key"])]
    assert run(faces, *keys, "--output", tmp_path / "named.png") == 0
    by_measure, named = (np.asarray(Image.open(tmp_path / name)).astype(int) for name in ("sorted.png", "named.png"))
    differing = np.flatnonzero((by_measure != named).any(axis=(1, 2)))
    block = len(named) // 2
    assert {row // block for row in differing} == {0, 1}, "the value is in the header of each clip"
    assert max(row % block for row in differing) < 0.2 * block, "everything else is identical"


def test_a_gif_that_would_not_fit_in_memory(
    noise_clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(animation, "_MOST_PX", 1000)
    assert run(noise_clips, "--count", 1, "--gif", tmp_path / "clip.gif", "--gif-px", 100) == 2
    assert "use a smaller --gif-px" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "1"], "no output requested"),
        (["--output", "sheet.bmp"], "must end in .png, .jpg or .jpeg"),
        (["--output", "sheet"], "must end in"),
        (["--gif", "clip.png", "--count", "1"], "must end in .gif"),
        (["--output", "nowhere/sheet.png"], "the directory nowhere does not exist"),
        (["--output", "folder.png"], "is a directory"),
        (["--gif", "clip.gif", "--count", "2"], "--gif shows one clip, but 2 are chosen"),
        (["--output", "s.png", "--key", "id003/video0/clip0003"], "similar keys: id003/video0/clip00003"),
        (["--output", "s.png", "--key", "\udcff\n"], "it has unprintable characters"),
        (["--output", "s.png", "--key", ""], "there is no clip ''"),
        (["--output", "s.png", "--key", "x" * 5000], "there is no clip"),
        (["--output", "s.png", "--key", "a", "--count", "2"], "--key cannot be combined with"),
        (["--output", "s.png", "--key", "a", "--sort", "blur"], "--key cannot be combined with"),
        (["--output", "s.png", "--sort", "identity"], "there is no measure 'identity'"),
        (["--output", "s.png", "--sort", "key"], "there is no measure 'key'"),
        (["--output", "s.png", "--sort", "identity_spread"], "no clip has a value of identity_spread"),
        (["--output", "s.png", "--where", "yaw_deg > 1000"], "no clip matches"),
        (["--output", "s.png", "--where", "yaw > 3"], "unknown column yaw; did you mean"),
        (["--output", "s.png", "--where", ""], "the condition is empty"),
        (["--output", "s.png", "--count", "0"], '"0" for --count. Must be >= 1'),
        (["--output", "s.png", "--seed", "-1"], '"-1" for --seed. Must be >= 0'),
        (["--output", "s.png", "--frame-px", "1000000"], '"1000000" for --frame-px. Must be <= 1024'),
        (["--output", "s.png", "--frame-px", "1024", "--per-row", "1", "--count", "30"], "is too large: choose fewer clips"),
        (["--output", "s.png", "--per-row", "0"], '"0" for --per-row. Must be >= 1'),
        (["--output", "s.png", "--input", "nowhere"], "--input nowhere does not exist"),
        (["--output", "s3://bucket/s.png"], "is in an object store"),
        (["--mp4", "nowhere/clips", "--count", "1"], "is not a directory and cannot be created"),
        (["--mp4", "clips", "--count", "1"], "this dataset has only stills"),
        (["--output", "s.png", "--frames", "0"], '"0" for --frames. Must be >= 1'),
        (["--output", "s.png", "--count", "many"], '"many" into int'),
    ],
)
def test_options_that_cannot_be_combined(
    noise_clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.png").mkdir()
    assert run(noise_clips, *arguments) == 2
    output = capsys.readouterr().err
    assert message in output
    assert output.startswith("error: ") and output.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]


def test_a_key_without_similar_keys(noise_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(noise_clips, "--key", "0", "--output", tmp_path / "s.png") == 2
    assert "the first of 30 is " in capsys.readouterr().err


def test_a_missing_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--output", tmp_path / "s.png") == 2
    assert "holds no dataset" in capsys.readouterr().err


def test_a_damaged_shard_leaves_the_old_sheet(noise_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = Path(shutil.copytree(noise_clips, tmp_path / "data"))
    row, _ = first(copy)
    path = tar_path(copy, row["split"], row["shard"])
    path.write_bytes(path.read_bytes()[:2000])
    sheet = tmp_path / "sheet.png"
    sheet.write_bytes(b"old")
    assert run(copy, "--key", row["key"], "--output", sheet) == 1
    assert "cut short" in capsys.readouterr().err
    assert sheet.read_bytes() == b"old"


def test_a_sheet_that_cannot_be_written_leaves_the_old_one(
    noise_clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheet.png"
    sheet.write_bytes(b"old")

    def full(path: Path, content: bytes) -> int:
        path.open("wb").close()
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert run(noise_clips, "--count", 1, "--output", sheet) == 1
    assert "No space left" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
    assert sheet.read_bytes() == b"old"


def test_an_interruption_is_reported(noise_clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(preview, "draw_block", interrupted)
    assert run(noise_clips, "--count", 1, "--output", tmp_path / "s.png") == 130
    assert not list(tmp_path.iterdir())


def test_neither_beam_nor_torch_is_needed() -> None:
    heavy = ("apache_beam", "torch", "dlib", "cv2")
    program = f"import sys, motionshards.dataset.preview; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"


def test_stored_video_plays_with_its_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, clips = make_moving_dataset(tmp_path / "data", 3, sound=lambda clip: clip), tmp_path / "clips"
    assert run(out, "--sort=-audio_silence", "--count", 2, "--mp4", clips, "--gif", tmp_path / "a.gif") == 2
    assert "--gif shows one clip" in capsys.readouterr().err
    assert run(out, "--sort", "audio_level_db", "--mp4", clips) == 0
    names = ["id001.video1.clip00001.mp4", "id002.video2.clip00002.mp4"]  # the others have no level
    assert sorted(path.name for path in clips.iterdir()) == names
    assert f"{clips / names[0]}: 45 frames of 64 px, 1.8 s" in capsys.readouterr().out
    with av.open(clips / names[1]) as file:
        assert [stream.type for stream in file.streams] == ["video", "audio"]
        assert [seen_in(frame.to_ndarray(format="rgb24")) for frame in file.decode(video=0)] == [(2, n) for n in range(50)]
    gif = tmp_path / "clip.gif"
    assert run(out, "--key", "id001/video1/clip00001", "--gif", gif, "--gif-px", 128, "--no-landmarks") == 0
    with Image.open(gif) as moving:
        assert (moving.n_frames, moving.size) == (23, (128, 160))
        for number in range(23):
            moving.seek(number)
            assert moving.info["duration"] == (80 if number < 22 else 40)
            assert seen_in(np.asarray(moving.convert("RGB"))[:128]) == (1, 2 * number)
