"""The finetune command: choice of frames, training, and output."""

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from motionshards.jobs.finetune import main
from motionshards.trainers.faces import find_landmarks
from motionshards.trainers.images import read_square
from motionshards.trainers.talking_heads.architecture import Architecture
from motionshards.trainers.talking_heads.config import Config, LossWeights, TrainingConfig
from motionshards.trainers.talking_heads.discriminator import Discriminator
from motionshards.trainers.talking_heads.embedder import Embedder
from motionshards.trainers.talking_heads.finetune import create_person, finetune, restore
from motionshards.trainers.talking_heads.generator import Generator
from motionshards.trainers.talking_heads.losses import ImageLoss
from motionshards.trainers.talking_heads.person import load_person
from motionshards.trainers.talking_heads.portraits import evenly_spaced_frames, face_model, of_images, of_video
from motionshards.trainers.video import Driving, Rgb, write

SIZE = 64
CONFIG = Config(
    name="small",
    architecture=Architecture(size=SIZE, width=4, halvings=4, residuals=1),
    training=TrainingConfig(learning_rate=2e-3, discriminator_learning_rate=1e-3),
)
BLANK = np.full((160, 160, 3), 90, np.uint8)
CPU = torch.device("cpu")

Run = Callable[..., tuple[int, str, str]]


def face(shift: int = 0) -> Rgb:
    """The face of a photo, shifted to the right."""
    return np.ascontiguousarray(np.roll(data.astronaut()[0:200, 130:330], shift, axis=1)[20:180, 20:180])


def save_checkpoint(path: Path, *, ours: bool = True, videos: int = 3) -> Path:
    """Trained for a few steps, so that spectral norms have converged."""
    torch.manual_seed(3)
    shape = CONFIG.architecture
    embedder, generator, judge = Embedder(shape), Generator(shape), Discriminator(shape, videos)
    images = torch.rand(2, 3, SIZE, SIZE)
    with torch.no_grad():
        for _ in range(5):
            judge(generator(images, embedder(images, images)), images, torch.tensor([0, 1]))
    content: dict[str, Any] = {"E_state_dict": embedder.state_dict(), "G_state_dict": generator.state_dict()}
    content["D_state_dict"] = judge.state_dict()
    own = {"model": "talking_heads", "config": CONFIG.to_json(), "names": {"videos": [f"v{n}" for n in range(videos)]}}
    if not ours:
        for state in content.values():
            vars(state).pop("_metadata")
    torch.save({**content, "epoch": 1} | ({"motionshards": own} if ours else {}), path)
    return path


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """last.pt, three images, one without a face, and a video of five frames, the third without a face."""
    home = tmp_path_factory.mktemp("finetune")
    save_checkpoint(home / "last.pt")
    for name, image in (("a.png", face()), ("b.png", face(9)), ("blank.png", BLANK)):
        Image.fromarray(image).save(home / name)
    write(home / "me.mp4", [face(), face(6), BLANK, face(12), face(-6)], 160, Fraction(25))
    return home


@pytest.fixture
def run(inputs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """run("--steps", "2", ...) -> exit status, stdout, stderr; the output is tmp_path/person.pt."""

    def call(*flags: object, **changes: object) -> tuple[int, str, str]:
        named = {"checkpoint": inputs / "last.pt", "output": tmp_path / "person.pt", "vgg": "none", "vggface": "none", **changes}
        words = [str(word) for name, value in named.items() for word in (f"--{name}", value)]
        capfd.readouterr()
        return main([*words, "--device", "cpu", *map(str, flags)]), *capfd.readouterr()

    return call


def test_frames_are_spread_evenly_over_a_video(inputs: Path) -> None:
    video = Driving.at(inputs / "me.mp4")
    frames = list(video.whole_frames())
    for count, expected in ((1, [0]), (2, [0, 4]), (3, [0, 2, 4]), (5, [0, 1, 2, 3, 4]), (99, [0, 1, 2, 3, 4])):
        found = list(evenly_spaced_frames(video, count))
        assert len(found) == len(expected)
        assert all(np.array_equal(one, frames[number]) for one, number in zip(found, expected, strict=True))


def test_portraits_of_images_and_of_a_video(inputs: Path) -> None:
    model = face_model("dlib")
    images = of_images([inputs / "a.png", inputs / "b.png"], model, SIZE, "face")
    assert images.images.shape == (2, SIZE, SIZE, 3) and images.landmarks_px.shape == (2, 68, 2)
    np.testing.assert_allclose(*images.landmarks_px, atol=3, err_msg="each in a window of its own")
    video = of_video(Driving.at(inputs / "me.mp4"), 5, model, SIZE, "face")
    assert len(video.images) == 4, "one frame has no face"
    moved = video.landmarks_px.mean(axis=(1, 2))
    assert moved[3] < moved[0] < moved[1] < moved[2], "the face moves within a fixed window"
    whole = of_images([inputs / "a.png"], model, SIZE, "none")
    np.testing.assert_array_equal(whole.images[0], read_square(inputs / "a.png", SIZE))
    points = find_landmarks(face(), model)
    assert points is not None
    np.testing.assert_allclose(whole.landmarks_px[0], (points + 0.5) * (SIZE / 160) - 0.5, atol=1e-4)


def test_the_complete_command(run: Run, tmp_path: Path, inputs: Path, caplog: pytest.LogCaptureFixture) -> None:
    status, out, _ = run("--input", inputs / "me.mp4", "--t", 5, "--steps", 3, "--json", "--quiet")
    report = json.loads(out)
    assert (status, report["frames"], report["steps"]) == (0, 4, 3) and "skipped 1 of 5 images without a face" in caplog.text
    assert report["first"].keys() == report["last"].keys() == {"pixel", "adversarial", "feature_matching", "discriminator"}
    content = torch.load(tmp_path / "person.pt", weights_only=True)
    assert content.keys() == {"person", "landmarks", "motionshards"}
    assert content["landmarks"].shape == (4, 68, 2)
    assert "style" in content["person"] and not [name for name in content["person"] if "projection" in name]
    known = load_person(tmp_path / "person.pt")
    assert known.config == CONFIG and not known.person.training and known.person.generator.compat is False


def test_the_same_seed_gives_the_same_person(run: Run, tmp_path: Path, inputs: Path) -> None:
    images = ("--images", inputs / "a.png", inputs / "b.png", "--batch", 1, "--steps", 2)
    people = []
    for seed in (0, 0, 1):
        assert run(*images, "--seed", seed)[0] == 0
        people.append(load_person(tmp_path / "person.pt").person.state_dict())
    assert all(torch.equal(people[0][name], people[1][name]) for name in people[0])
    assert not torch.equal(people[0]["style"], people[2]["style"]), "another seed changes the order of frames"


def test_without_steps_the_person_is_the_embedding(run: Run, tmp_path: Path, inputs: Path) -> None:
    assert run("--images", inputs / "a.png", inputs / "b.png", "--steps", 0)[0] == 0
    trained = restore(inputs / "last.pt", None, CPU)
    goals = of_images([inputs / "a.png", inputs / "b.png"], face_model("dlib"), SIZE, "face").targets(CPU)
    trained.embedder.eval()
    trained.generator.eval()
    with torch.no_grad():
        embedding = trained.embedder(goals.frames, goals.landmarks).mean(dim=0, keepdim=True)
        expected = trained.generator(goals.landmarks, embedding.expand(2, -1))
        found = load_person(tmp_path / "person.pt").person(goals.landmarks)
    torch.testing.assert_close(found, expected)


def test_the_discriminators_vector_starts_at_the_embedding_and_is_trained_alone(inputs: Path) -> None:
    trained = restore(inputs / "last.pt", None, CPU)
    stored = torch.load(inputs / "last.pt", weights_only=True)["D_state_dict"]
    goals = of_images([inputs / "a.png"], face_model("dlib"), SIZE, "face").targets(CPU)
    person, judge = create_person(trained, goals), trained.discriminator
    with torch.no_grad():
        torch.testing.assert_close(judge.W.T, trained.embedder(goals.frames, goals.landmarks))
    assert torch.equal(judge.w_0, stored["w_0"])
    before = judge.W.detach().clone()
    loss = ImageLoss(LossWeights(), None, None)
    assert len(list(finetune(person, judge, goals, loss, CONFIG.training, steps=1, batch=8, seed=0))) == 1
    assert torch.equal(judge.w_0, stored["w_0"]) and not torch.equal(judge.W, before)


@pytest.mark.slow
def test_a_person_is_learned(inputs: Path) -> None:
    trained = restore(inputs / "last.pt", None, CPU)
    goals = of_images([inputs / "a.png", inputs / "b.png"], face_model("dlib"), SIZE, "face").targets(CPU)
    settings = replace(CONFIG.training, learning_rate=1e-2)
    person, loss = create_person(trained, goals), ImageLoss(settings.losses, None, None)
    losses = list(finetune(person, trained.discriminator, goals, loss, settings, steps=40, batch=2, seed=0))
    assert losses[-1]["pixel"] < 0.7 * losses[0]["pixel"]
    assert not person.training


def test_checkpoints_of_the_authors_require_config(run: Run, tmp_path: Path, inputs: Path) -> None:
    theirs = save_checkpoint(tmp_path / "theirs.tar", ours=False, videos=5)
    status, _, err = run("--images", inputs / "a.png", "--steps", 0, checkpoint=theirs)
    assert status == 2 and "does not contain its settings; pass --config" in err
    (tmp_path / "small.yaml").write_text(f"architecture: {{size: {SIZE}, width: 4, halvings: 4, residuals: 1}}")
    assert run("--images", inputs / "a.png", "--steps", 1, checkpoint=theirs, config=tmp_path / "small.yaml")[0] == 0
    assert load_person(tmp_path / "person.pt").person.generator.compat is True, "with the authors' arithmetic"


def test_invalid_arguments_are_refused_in_one_line(run: Run, tmp_path: Path, inputs: Path) -> None:
    image = ("--images", inputs / "a.png")
    (tmp_path / "text.png").write_text("no image")
    for flags, changes, message in (
        ((), {}, "Exactly 1 of {--input, --images} must be specified"),
        ((*image, "--input", inputs / "me.mp4"), {}, "Exactly 1 of {--input, --images} must be specified"),
        ((*image, "--steps", -1), {}, "--steps. Must be >= 0"),
        ((*image, "--batch", 0), {}, "--batch. Must be > 0"),
        (("--images", inputs / "blank.png"), {}, "no face was found in any"),
        (("--images", tmp_path / "text.png"), {}, "cannot be read as an image"),
        (("--input", tmp_path / "none.mp4"), {}, "unreadable"),
        (image, {"checkpoint": tmp_path / "none.pt"}, "checkpoint not found"),
        (image, {"config": "vox-256"}, "has another architecture"),
        (image, {"output": inputs / "a.png"}, "a.png is also an input"),
        (image, {"output": tmp_path}, "is a directory"),
        (image, {"vgg": tmp_path / "none.pth"}, "none.pth does not exist"),
    ):
        status, out, err = run(*flags, **changes)
        assert (status, out, err.count("\n"), message in err) == (2, "", 1, True), err
    assert not (tmp_path / "person.pt").exists()
