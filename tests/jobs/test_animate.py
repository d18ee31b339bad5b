"""The animate command with small networks, a real face detector, videos with sound, and unusable input."""

import json
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkout import ROOT
from motion_networks import SIZE, architecture, networks, save
from PIL import Image
from skimage import data
from videos import ffmpeg

from motionshards.jobs.animate import main
from motionshards.trainers.fomm.animate import Animator, Movement
from motionshards.trainers.fomm.config import Config
from motionshards.trainers.fomm.export import export
from motionshards.trainers.fomm.fold import FoldedNetworks
from motionshards.trainers.fomm.restore import restore
from motionshards.trainers.images import read_square
from motionshards.trainers.video import Driving, Rgb, write

TONE = ("-f", "lavfi", "-i", "sine=frequency=440:duration=0.4")

Animate = Callable[..., tuple[int, str, str]]


def face(shift: int = 0, turn: bool = False) -> Rgb:
    """The face of a photo, shifted to the right or mirrored."""
    cropped = np.roll(data.astronaut()[0:200, 130:330], shift, axis=1)[20:180, 20:180]
    return np.ascontiguousarray(cropped[:, ::-1] if turn else cropped)


_BLANK = np.full((SIZE, SIZE, 3), 90, np.uint8)

_TURNED = [face(shift, turn=True) for shift in (0, -12, 24, -24, 15, 36, -6, 30)]

# The second shows no face; only the fifth faces the same side as the source.
FRAMES = [_TURNED[0], _BLANK, *_TURNED[1:3], face(3), *_TURNED[3:]]


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """last.pt, face.png, and driving.mp4 with sound."""
    home = tmp_path_factory.mktemp("animate")
    shape = architecture()
    save(home / "last.pt", shape, {"model": "fomm", "config": Config(architecture=shape).to_json()})
    Image.fromarray(face()).save(home / "face.png")
    write(home / "silent.mp4", FRAMES, SIZE, Fraction(30000, 1001))
    ffmpeg("-i", home / "silent.mp4", *TONE, "-c:v", "copy", "-c:a", "aac", home / "driving.mp4")
    return home


@pytest.fixture
def animate(inputs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Animate:
    """animate("--relative", image=...) -> exit status, stdout and stderr; writes tmp_path/out.mp4."""

    def run(*flags: str, **changes: Any) -> tuple[int, str, str]:
        named = {
            "checkpoint": inputs / "last.pt",
            "image": inputs / "face.png",
            "driving": inputs / "driving.mp4",
            "output": tmp_path / "out.mp4",
            **changes,
        }
        capfd.readouterr()
        words = [part for name, value in named.items() for part in (f"--{name}", str(value))]
        return main([*words, "--device", "cpu", *flags]), *capfd.readouterr()

    return run


def expected(inputs: Path, movement: Movement, first: int) -> np.ndarray:
    frames = [frame.copy() for frame in Driving.at(inputs / "driving.mp4").frames(SIZE)]
    built = networks(architecture())
    animator = Animator(
        FoldedNetworks(built["kp_detector"], built["generator"]), read_square(inputs / "face.png", SIZE), movement
    )
    return np.array([*animator.animate(frames, first=frames[first])])


def assert_shows(path: Path, frames: np.ndarray) -> None:
    """Check that each frame of the video is closest to the same one of `frames`, with a small error."""
    found = np.array([frame.copy() for frame in Driving.at(path).frames(SIZE)]).astype(float)
    assert found.shape == frames.shape
    off = np.square(found[:, None] - frames[None]).mean(axis=(2, 3, 4))
    np.testing.assert_array_equal(off.argmin(axis=1), np.arange(len(frames)))
    assert off.diagonal().max() < 60, "of at most 65025"


def test_the_complete_command(animate: Animate, inputs: Path, tmp_path: Path) -> None:
    status, out, _ = animate("--relative", "--adapt-scale", "--best-frame", "--json")
    report = json.loads(out)
    seconds = report.pop("seconds")
    assert status == 0 and seconds > 0
    assert report == {
        "output": str(tmp_path / "out.mp4"),
        "frames": 10,
        "rate_hz": pytest.approx(30000 / 1001),
        "size_px": SIZE,
        "audio": ["aac"],
        "first": 4,
    }
    animated = Driving.at(tmp_path / "out.mp4")
    assert (animated.rate, animated.audio) == (Fraction(30000, 1001), ("aac",))
    assert_shows(tmp_path / "out.mp4", expected(inputs, Movement(adapt_scale=True), 4))


@pytest.mark.parametrize(("flags", "movement"), [((), Movement()), (("--absolute", "--batch", "4"), Movement(relative=False))])
def test_relative_and_absolute_motion(
    animate: Animate, inputs: Path, tmp_path: Path, flags: tuple[str, ...], movement: Movement
) -> None:
    status, out, _ = animate(*flags)
    assert status == 0
    assert out.startswith(f"{tmp_path / 'out.mp4'}: 10 frames of 160 px at 29.97 Hz, with sound (aac); ") and out.count("\n") == 1
    assert_shows(tmp_path / "out.mp4", expected(inputs, movement, 0))


@pytest.mark.parametrize("flags", [("--batch", "4"), ("--fps", "15")])
def test_image_driving_frame_and_result_side_by_side(animate: Animate, tmp_path: Path, flags: tuple[str, ...]) -> None:
    """The third column is the output without the option."""
    assert animate("--no-audio", *flags)[0] == 0
    alone = np.array([frame.copy() for frame in Driving.at(tmp_path / "out.mp4").frames(SIZE)]).astype(float)
    status, out, _ = animate("--side-by-side", *flags)
    assert status == 0 and "160 px" in out and "with sound (aac)" in out
    animated = Driving.at(tmp_path / "out.mp4")
    assert animated.timeline.display_px == (3 * SIZE, SIZE) and animated.audio == ("aac",)
    found = np.array([frame.copy() for frame in animated.whole_frames()]).astype(float)
    shown = FRAMES if flags == ("--batch", "4") else FRAMES[::2]
    assert len(found) == len(alone) == len(shown)
    image, driving, result = np.split(found, 3, axis=2)
    assert np.abs(image - face()).mean() < 6
    off = np.square(driving[:, None] - np.array(shown)[None]).mean(axis=(2, 3, 4))
    np.testing.assert_array_equal(off.argmin(axis=1), np.arange(len(shown)))
    assert np.abs(result - alone).mean() < 6 and np.abs(result - driving).mean() > 20


def test_align_corners_option(animate: Animate, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare with the networks of the checkpoint, whose setting is true, with either value in each call of grid_sample."""
    assert animate("--align-corners", "false")[0] == 0
    found = np.array([frame.copy() for frame in Driving.at(tmp_path / "out.mp4").frames(SIZE)]).astype(float)
    original, off = torch.nn.functional.grid_sample, {}
    for each in (False, True):

        def sample(*args: Any, each: bool = each, **options: Any) -> torch.Tensor:
            return original(*args, **{**options, "align_corners": each})

        monkeypatch.setattr(torch.nn.functional, "grid_sample", sample)
        off[each] = np.square(found - expected(inputs, Movement(), 0)).mean(axis=(1, 2, 3))
    assert off[False].max() < 60 and (off[False] < off[True] - 10).all()


@pytest.mark.parametrize("backend", ["onnx", "litert"])
def test_exported_graphs_have_their_own_sampling(animate: Animate, tmp_path: Path, backend: str) -> None:
    (tmp_path / "export.json").write_text(json.dumps({"format": backend}))
    for given in ((), ("--backend", backend)):  # without, that of the export
        status, _, err = animate(*given, "--align-corners", "true", checkpoint=tmp_path)
        assert status == 2 and f"give it to export-model, not with --backend {backend}" in err and err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnx", "litert"])
def test_exported_graphs_animate_like_the_networks(animate: Animate, inputs: Path, tmp_path: Path, backend: str) -> None:
    if backend == "litert":
        pytest.importorskip("litert_torch", reason="the extra litert is not installed")
    config, detector, generator = restore(inputs / "last.pt")
    export(detector, generator, config, tmp_path / "graphs", backend)
    assert animate("--adapt-scale", checkpoint=tmp_path / "graphs")[0] == 0
    assert_shows(tmp_path / "out.mp4", expected(inputs, Movement(adapt_scale=True), 0))


def test_other_rates_and_no_sound(animate: Animate, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    status, out, err = animate("--fps", "15", "--no-audio")
    assert status == 0 and "5 frames of 160 px at 15 Hz, without sound" in out
    assert f"next: motionshards export-model --checkpoint {inputs / 'last.pt'}" in err
    made = Driving.at(tmp_path / "out.mp4")
    assert (len(made), made.rate, made.audio) == (5, 15, ())


def test_a_driving_video_of_one_frame_prints_a_note(animate: Animate, tmp_path: Path) -> None:
    write(tmp_path / "one.mp4", FRAMES[:1], SIZE, Fraction(25))
    status, out, err = animate("--relative", "--adapt-scale", "--best-frame", driving=tmp_path / "one.mp4")
    assert status == 0 and "1 frames" in out and "has only one frame, so the output has one, too" in err
    assert len(Driving.at(tmp_path / "out.mp4")) == 1


def test_checkpoints_of_the_authors_require_config(animate: Animate, tmp_path: Path) -> None:
    theirs = save(tmp_path / "theirs.pth.tar", architecture(), None)
    status, _, err = animate(checkpoint=theirs)
    assert (
        status == 2
        and "does not contain its settings; pass --config with the name of a published one" in err
        and err.count("\n") == 1
    )
    narrow = "{blocks: 2, block_expansion: 4, max_features: 16}"
    settings = f"size: {SIZE}, keypoints: 4, detector: {narrow}, dense_motion: {narrow}"
    text = f"architecture: {{{settings}, generator: {{bottleneck_blocks: 1, block_expansion: 4, max_features: 16}}}}"
    (tmp_path / "narrow.yaml").write_text(text)
    assert animate("--config", str(tmp_path / "narrow.yaml"), checkpoint=theirs)[0] == 0


def test_a_checkpoint_with_other_settings_is_refused_naming_the_keys(animate: Animate, tmp_path: Path) -> None:
    wrong = Config(architecture=architecture(keypoints=5)).to_json()
    status, _, err = animate(checkpoint=save(tmp_path / "a.pt", architecture(), {"model": "fomm", "config": wrong}))
    assert status == 2 and err.count("\n") == 1
    assert "kp_detector has another architecture: shapes: jacobian.bias is [16], not [20]" in err
    status, _, err = animate("--config", "vox-256")
    assert status == 2 and "kp_detector has another architecture: missing: predictor.decoder.up_blocks.2" in err


def test_unusable_checkpoints(animate: Animate, inputs: Path, tmp_path: Path) -> None:
    other = save(tmp_path / "other.pt", architecture(), {"model": "ganimation", "config": {}})
    (tmp_path / "text.pt").write_text("no weights")
    later = save(tmp_path / "later.pt", architecture(), {"model": "fomm", "config": {"name": "x", "depth": 3}})
    torch.save({"generator": {}, "motionshards": {"model": "fomm", "config": Config().to_json()}}, tmp_path / "half.pt")
    for name, form in (("program", '"torch"'), ("broken", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "export.json").write_text(f'{{"format": {form}}}')
    (tmp_path / "empty").mkdir()
    for path, message in {
        inputs: f"{inputs} is a directory; did you mean {inputs / 'last.pt'}?",
        tmp_path / "empty": "empty is a directory, not a checkpoint",
        tmp_path / "program": "is an export of format 'torch', which animate does not run; export with --format onnx",
        tmp_path / "broken": "export.json is invalid",
        other: "a checkpoint of ganimation, not of fomm",
        tmp_path / "text.pt": "cannot be read as a checkpoint",
        tmp_path / "absent.pt": "checkpoint not found",
        tmp_path / "half.pt": "has no kp_detector",
        later: "settings are of another version: depth is not a setting",
    }.items():
        status, out, err = animate(checkpoint=path)
        assert (status, out, err.count("\n")) == (2, "", 1) and message in err


def test_invalid_images_and_videos(animate: Animate, inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("neither image nor video\n" * 99)
    (tmp_path / "cut.mp4").write_bytes((inputs / "driving.mp4").read_bytes()[:3000])
    Image.fromarray(_BLANK).save(tmp_path / "blank.png")
    for changes, flags, message in (
        ({"image": tmp_path / "absent.png"}, (), "does not exist"),
        ({"image": tmp_path / "text.txt"}, (), "cannot be read as an image"),
        ({"image": tmp_path / "blank.png"}, ("--best-frame",), "no face was found in the source"),
        ({"driving": tmp_path / "absent.mp4"}, (), "unreadable"),
        ({"driving": tmp_path / "text.txt"}, (), "not_a_video"),
        ({"driving": tmp_path / "blank.png"}, (), "blank.png is an image, and a video is needed"),
        ({"driving": tmp_path / "cut.mp4"}, (), "corrupt"),
        ({"output": inputs / "driving.mp4"}, (), "driving.mp4 is also an input"),
        ({"output": tmp_path / "out.avi"}, (), "must have the suffix .mp4"),
        ({}, ("--absolute", "--best-frame"), "apply to relative motion, not to --absolute"),
        ({}, ("--absolute", "--relative"), "Mutually exclusive arguments: {--relative, --absolute}"),
        ({}, ("--batch", "0"), "--batch. Must be > 0"),
        ({}, ("--fps", "fast"), "must be keep or frames per second"),
    ):
        status, out, err = animate(*flags, **changes)
        assert (status, out, err.count("\n")) == (2, "", 1), err
        assert message in err
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


def test_the_best_frame_is_found_for_a_small_face_in_a_large_source(animate: Animate, tmp_path: Path) -> None:
    large = np.full((720, 1280, 3), 110, np.uint8)
    large[200:490, 500:790] = np.asarray(Image.fromarray(face()).resize((290, 290)))
    Image.fromarray(large).save(tmp_path / "large.png")
    status, out, _ = animate("--relative", "--best-frame", image=tmp_path / "large.png")
    assert status == 0 and "measured from frame 4" in out


def test_an_output_that_cannot_be_written_is_an_error(animate: Animate, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    status, _, err = animate(output=tmp_path / "file" / "out.mp4")
    assert status == 1 and err.startswith("error: ") and err.count("\n") == 1


def test_the_module_runs_as_a_command(inputs: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jobs.animate", "--checkpoint", inputs / "last.pt", "--image", inputs / "face.png"]
    command += ["--driving", inputs / "driving.mp4", "--output", tmp_path / "out.mp4", "--best-frame"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (0, "skipped 1 of 10 frames without a face in the search for the best frame\n")
    assert "measured from frame 4" in done.stdout
    assert len(Driving.at(tmp_path / "out.mp4")) == 10
