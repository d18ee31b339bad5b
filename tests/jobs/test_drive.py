"""The drive command: rendered landmarks, and the output video."""

import json
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from checkout import ROOT
from skimage import data
from videos import ffmpeg

from motionshards.jobs.drive import main, paint
from motionshards.trainers.faces import find_landmarks
from motionshards.trainers.talking_heads.adapt import Adaptation
from motionshards.trainers.talking_heads.architecture import Architecture
from motionshards.trainers.talking_heads.config import Config
from motionshards.trainers.talking_heads.generator import Generator
from motionshards.trainers.talking_heads.person import Person, SavedPerson, load_person, save_person
from motionshards.trainers.talking_heads.portraits import Poses, face_model
from motionshards.trainers.video import Driving, Rgb, write

SIZE = 64


RATE = Fraction(30000, 1001)


CONFIG = Config(name="small", architecture=Architecture(size=SIZE, width=4, halvings=4, residuals=1))


BLANK = np.full((160, 160, 3), 90, np.uint8)


Drive = Callable[..., tuple[int, str, str]]


def face(shift: int = 0) -> Rgb:
    """The face of a photo, shifted to the right."""
    return np.ascontiguousarray(np.roll(data.astronaut()[0:200, 130:330], shift, axis=1)[20:180, 20:180])


FRAMES = [BLANK, face(), face(8), BLANK, BLANK, face(-8)]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """person.pt, and driving.mp4 with sound; three of its six frames, including the first, have no face."""
    home = tmp_path_factory.mktemp("drive")
    torch.manual_seed(3)
    generator = Generator(CONFIG.architecture)
    person = Person(generator, torch.randn(1, generator.styles))
    with torch.no_grad():
        for _ in range(5):
            person(torch.rand(2, 3, SIZE, SIZE))
    points = 20 + 20 * torch.rand(3, 68, 2)
    save_person(home / "person.pt", SavedPerson(config=CONFIG, person=person, landmarks_px=points), {"steps": 0})
    write(home / "silent.mp4", FRAMES, 160, RATE)
    tone = ["-f", "lavfi", "-i", "sine=frequency=440:duration=0.2"]
    ffmpeg("-i", home / "silent.mp4", *tone, "-c:v", "copy", "-c:a", "aac", home / "driving.mp4")
    return home


@pytest.fixture
def drive(inputs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Drive:
    """drive("--adapt", driving=...) -> exit status, stdout, stderr; the output is tmp_path/out.mp4."""

    def run(*flags: str, **changes: Path) -> tuple[int, str, str]:
        usual = {"checkpoint": inputs / "person.pt", "driving": inputs / "driving.mp4", "output": tmp_path / "out.mp4"}
        words = [str(word) for name, value in {**usual, **changes}.items() for word in (f"--{name}", value)]
        capfd.readouterr()
        return main([*words, "--device", "cpu", *flags]), *capfd.readouterr()

    return run


def assert_shows(path: Path, frames: list[Rgb]) -> None:
    found = np.array([frame.copy() for frame in Driving.at(path).frames(SIZE)]).astype(float)
    assert found.shape == (len(frames), SIZE, SIZE, 3)
    own, other = (np.square(found - np.array(order)).mean() for order in (frames, frames[::-1]))
    assert own < 300 and own < other / 2, "a video of 64 px loses colors"


def test_frames_without_a_face_keep_the_landmarks_before_them(inputs: Path) -> None:
    poses = Poses(Driving.at(inputs / "driving.mp4"), face_model("dlib"), SIZE, "face")
    assert poses.probes_px.shape == (3, 68, 2) and 0 < poses.probes_px.min() < poses.probes_px.max() < SIZE
    found = list(poses.landmarks([True] * len(FRAMES)))
    for number, expected in enumerate((0, 0, 1, 1, 1, 2)):
        np.testing.assert_array_equal(found[number], poses.probes_px[expected])
    assert poses.without_face == 3
    assert found[5][:, 0].mean() < found[1][:, 0].mean() < found[2][:, 0].mean()


def test_whole_frames_are_not_cropped(inputs: Path) -> None:
    video, model = Driving.at(inputs / "driving.mp4"), face_model("dlib")
    points = find_landmarks(list(video.whole_frames())[1], model)
    assert points is not None
    found = Poses(video, model, SIZE, "none").probes_px[0]
    np.testing.assert_allclose(found, (points + 0.5) * (SIZE / 160) - 0.5, atol=1e-4)


@pytest.mark.parametrize("adapted", [False, True])
def test_the_complete_command(drive: Drive, inputs: Path, tmp_path: Path, adapted: bool) -> None:
    status, out, _ = drive("--json", "--batch", "4", *(["--adapt"] if adapted else []))
    report = json.loads(out)
    assert status == 0 and report.pop("seconds") > 0
    assert report == {
        "output": str(tmp_path / "out.mp4"),
        "frames": 6,
        "rate_hz": pytest.approx(30000 / 1001),
        "size_px": SIZE,
        "audio": ["aac"],
        "without_face": 3,
    }
    result = Driving.at(tmp_path / "out.mp4")
    assert (result.rate, result.audio) == (RATE, ("aac",))
    known = load_person(inputs / "person.pt")
    poses = Poses(Driving.at(inputs / "driving.mp4"), face_model("dlib"), SIZE, "face")
    points = poses.landmarks([True] * 6)
    if adapted:
        points = map(Adaptation.between(poses.probes_px, known.landmarks_px.numpy()), points)
    assert_shows(tmp_path / "out.mp4", list(paint(known.person, points, SIZE, 1)))


def test_adapted_landmarks_have_the_position_and_size_of_the_person() -> None:
    random = np.random.default_rng(0)
    driving = (random.random((5, 68, 2)) * [40, 60] + [3, 9]).astype(np.float32)
    person = (random.random((3, 68, 2)) * 25 + [30, 20]).astype(np.float32)
    adapt = Adaptation.between(driving, person)
    shape, goal = (points.mean(axis=0) for points in (adapt(driving), person))
    np.testing.assert_allclose(shape.mean(axis=0), goal.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(np.square(shape - shape.mean(axis=0)).sum(), np.square(goal - goal.mean(axis=0)).sum(), rtol=1e-4)
    one, other = adapt(driving[0]), adapt(driving[1])
    np.testing.assert_allclose(one - other, adapt.scale * (driving[0] - driving[1]), atol=1e-3)
    np.testing.assert_allclose(Adaptation.between(person, person)(person), person, atol=1e-4)


def test_a_face_of_size_zero_has_finite_landmarks() -> None:
    point = np.full((2, 68, 2), 7, np.float32)
    assert np.isfinite(Adaptation.between(point, np.random.default_rng(0).random((2, 68, 2)).astype(np.float32))(point)).all()


def test_persons_round_trip_through_files(inputs: Path) -> None:
    known = load_person(inputs / "person.pt")
    assert known.config == CONFIG and known.landmarks_px.shape == (3, 68, 2)
    with pytest.raises(ValueError, match="of one person"):
        known.person.generator.style(torch.zeros(1, 32))


def test_no_audio(drive: Drive, tmp_path: Path) -> None:
    status, out, _ = drive("--no-audio", "--quiet")
    assert status == 0 and "6 frames of 64 px at 29.97 Hz, without sound, 3 frames without a face; " in out
    assert Driving.at(tmp_path / "out.mp4").audio == ()


def test_invalid_arguments_are_refused_in_one_line(drive: Drive, inputs: Path, tmp_path: Path) -> None:
    write(tmp_path / "blank.mp4", [BLANK] * 2, 160, Fraction(25))
    torch.save({"E_state_dict": {}, "motionshards": {"model": "talking_heads"}}, tmp_path / "training.pt")
    (tmp_path / "text.pt").write_text("no weights")
    torch.save({**torch.load(inputs / "person.pt", weights_only=True), "person": {}}, tmp_path / "half.pt")
    for flags, changes, message in (
        ((), {"driving": tmp_path / "blank.mp4"}, "no face was found in any"),
        ((), {"driving": tmp_path / "none.mp4"}, "unreadable"),
        ((), {"checkpoint": tmp_path / "training.pt"}, "is not a person; create one from a checkpoint"),
        ((), {"checkpoint": tmp_path / "text.pt"}, "cannot be read as a checkpoint"),
        ((), {"checkpoint": tmp_path / "half.pt"}, "person has another architecture: missing: "),
        ((), {"output": tmp_path / "out.avi"}, "must have the suffix .mp4"),
        ((), {"output": inputs / "driving.mp4"}, "driving.mp4 is also an input"),
        (("--batch", "0"), {}, "--batch. Must be > 0"),
    ):
        status, out, err = drive(*flags, **changes)
        assert (status, out, err.count("\n"), message in err) == (2, "", 1, True), err
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.slow
def test_the_module_runs_as_a_command(inputs: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jobs.drive", "--checkpoint", inputs / "person.pt", "--driving", inputs / "driving.mp4"]
    done = subprocess.run([*command, "--output", tmp_path / "out.mp4"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(Driving.at(tmp_path / "out.mp4")) == 6
