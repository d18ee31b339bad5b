"""The edit command with a real face in a larger image, all options, and unusable input."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from openface_program import as_csv, row
from PIL import Image
from skimage import data

from motionshards.jobs.edit import main
from motionshards.schemas.action_units import INTENSITIES
from motionshards.trainers.ganimation.architecture import Architecture
from motionshards.trainers.ganimation.config import Config
from motionshards.trainers.ganimation.edit import Editor, apply_painting, au_name
from motionshards.trainers.ganimation.networks import Generator, Painting
from motionshards.trainers.images import read_image
from motionshards.trainers.video import Rgb

SHAPE = Architecture(size=64, width=4, residuals=1)
Edit = Callable[..., tuple[int, str, str]]


def generator() -> Generator:
    """Seeded, with weights large enough for action units to have a visible effect."""
    torch.manual_seed(2)
    result = Generator(SHAPE).eval()
    with torch.no_grad():
        for parameter in result.parameters():
            parameter.mul_(8 if parameter.ndim > 1 else 1)
    return result


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """last.pt, and face.png: a photo surrounded by noise."""
    home = tmp_path_factory.mktemp("edit")
    ours = {"model": "ganimation", "config": Config(architecture=SHAPE).to_json()}
    torch.save({"G": generator().state_dict(), "motionshards": ours}, home / "last.pt")
    frame = data.astronaut()[:240, 90:330]
    image = np.random.default_rng(0).integers(0, 256, (len(frame) + 100, frame.shape[1] + 140, 3), np.uint8)
    image[40 : 40 + len(frame), 60 : 60 + frame.shape[1]] = frame
    Image.fromarray(image).save(home / "face.png")
    return home


@pytest.fixture
def edit(inputs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Edit:
    """edit("--au", "AU12=1", image=...) -> exit status, stdout and stderr; the output is tmp_path/out.png."""

    def run(*flags: str, **changes: Any) -> tuple[int, str, str]:
        named = {"checkpoint": inputs / "last.pt", "image": inputs / "face.png", "output": tmp_path / "out.png", **changes}
        capfd.readouterr()
        words = [part for name, value in named.items() for part in (f"--{name}", str(value))]
        return main([*words, "--device", "cpu", *flags]), *capfd.readouterr()

    return run


def aus(**values: float) -> np.ndarray:
    expected = np.zeros(17, np.float32)
    for name, value in values.items():
        expected[INTENSITIES.index(name)] = value
    return expected


def test_only_the_face_is_edited(edit: Edit, inputs: Path, tmp_path: Path) -> None:
    status, out, err = edit("--au", "AU12=1.0", "--au", "au4=0.5", "--json")
    assert (status, err) == (0, "")
    report = json.loads(out)
    before, after = read_image(inputs / "face.png"), read_image(tmp_path / "out.png")
    assert (report["height_px"], report["width_px"]) == before.shape[:2] == after.shape[:2]
    assert {name: value for name, value in report["aus"].items() if value} == {"AU12": 1.0, "AU04": 0.5}
    x0, y0, x1, y1 = report["window"]
    assert 0 < x0 < x1 < before.shape[1] and 0 < y0 < y1 < before.shape[0] and x1 - x0 == y1 - y0
    outside = np.ones(before.shape[:2], bool)
    outside[y0:y1, x0:x1] = False
    np.testing.assert_array_equal(after[outside], before[outside])
    inner = slice(y0 + 30, y1 - 30), slice(x0 + 30, x1 - 30)
    assert np.abs(after[inner].astype(int) - before[inner]).mean() > 5
    expected = Editor(generator(), 64).edit(before, tuple(report["window"]), aus(AU12=1, AU04=0.5))
    np.testing.assert_array_equal(after, expected)
    assert edit("--au", "AU12=0", "--au", "au4=0.5")[0] == 0
    assert np.abs(read_image(tmp_path / "out.png").astype(int) - after).max() > 2, "action units change the result"


def test_an_image_that_is_already_cropped(edit: Edit, inputs: Path, tmp_path: Path) -> None:
    status, out, _ = edit("--au", "AU12=1", "--crop", "none")
    before, after = read_image(inputs / "face.png"), read_image(tmp_path / "out.png")
    height, width = before.shape[:2]
    assert status == 0 and out.startswith(
        f"{tmp_path / 'out.png'}: {width} x {height} px, face in (0, 0, {width}, {height}); AU12 1.00"
    )
    assert after.shape == before.shape
    np.testing.assert_array_equal(after, Editor(generator(), 64).edit(before, (0, 0, width, height), aus(AU12=1)))


def test_a_strip_shows_each_intensity_and_its_mask(edit: Edit, inputs: Path, tmp_path: Path) -> None:
    status, out, _ = edit("--strip", "AU12=0.2:0.8:3", "--au", "AU04=0.5", "--crop", "none", "--json")
    report = json.loads(out)
    assert status == 0 and "AU12" not in report["aus"] and report["aus"]["AU04"] == 0.5
    sheet = read_image(tmp_path / "out.png")
    top = sheet.shape[0] - 2 * 64 - 2
    assert sheet.shape[1] == 4 * 66 - 2 and top >= 12
    editor, image = Editor(generator(), 64), read_image(inputs / "face.png")
    face = editor.face(image, (0, 0, image.shape[1], image.shape[0]))
    np.testing.assert_array_equal(sheet[top : top + 64, :64], face)
    for number, value in enumerate((0.2, 0.5, 0.8), 1):
        (painting,) = editor.paint(face, [aus(AU12=value, AU04=0.5)])
        signed = torch.tensor(face).permute(2, 0, 1)[None] / 127.5 - 1
        result = ((painting.over(signed)[0] + 1) * 127.5).permute(1, 2, 0).numpy()
        column = sheet[top:, 66 * number : 66 * number + 64].astype(float)
        np.testing.assert_allclose(column[:64], result, atol=0.51)
        np.testing.assert_allclose(column[66:, :, 0], painting.attention[0, 0].numpy() * 255, atol=0.51)
        assert (sheet[:top, 66 * number : 66 * number + 64] < 128).any(), "a label is drawn"


def test_a_strip_has_seven_steps_from_0_to_1(edit: Edit, tmp_path: Path) -> None:
    assert edit("--strip", "AU12", "--crop", "none")[0] == 0
    assert read_image(tmp_path / "out.png").shape[1] == 8 * 66 - 2


def test_other_action_units_keep_the_intensities_of_openface(edit: Edit, tmp_path: Path) -> None:
    """The face of higher confidence is used; a row without success is ignored."""
    faces = [row(1, b"unsure", 64, {}), row(1, b"sure", 64, {}), row(1, b"lost", 64, {})]
    faces[0] |= {"confidence": 0.6, "AU45_r": 1.0}
    faces[1] |= {"confidence": 0.9, "AU45_r": 2.5, "AU12_r": 5.0}
    faces[2] |= {"confidence": 1.0, "success": 0}
    (tmp_path / "face.csv").write_text(as_csv(faces, {"separator": ", "}))
    status, out, err = edit("--au", "AU12=0.25", "--crop", "none", "--json", current=tmp_path / "face.csv")
    assert status == 0, err
    found = json.loads(out)["aus"]
    assert (found["AU45"], found["AU12"]) == (0.5, 0.25)
    assert found["AU01"] == pytest.approx(float(faces[1]["AU01_r"]) / 5, abs=1e-4)


def test_csvs_of_single_images_have_no_success_column(edit: Edit, tmp_path: Path) -> None:
    """As written by FaceLandmarkImg."""
    names = ["face", "confidence", *(f"{name}_r" for name in INTENSITIES)]
    lines = [names, ["0", "0.7", *["1.5"] * 17], ["1", "0.9", *["3.5"] * 17], ["2", "0.95", "nan", *["1"] * 16]]
    (tmp_path / "face.csv").write_text("\n".join(", ".join(line) for line in lines))
    status, out, err = edit("--au", "AU12=0", "--crop", "none", "--json", current=tmp_path / "face.csv")
    assert status == 0, err
    assert json.loads(out)["aus"] == {name: 0 if name == "AU12" else 0.7 for name in INTENSITIES}


@pytest.mark.parametrize("window", [(10, 5, 74, 69), (-20, -8, 60, 72), (40, 30, 140, 130), (0, 0, 100, 80)])
def test_kept_regions_are_bit_identical(window: tuple[int, int, int, int]) -> None:
    image: Rgb = np.random.default_rng(1).integers(0, 256, (80, 100, 3), np.uint8)
    color = torch.full((1, 3, 32, 32), -0.5)
    np.testing.assert_array_equal(apply_painting(image, Painting(color, torch.ones(1, 1, 32, 32)), window), image)
    painted = apply_painting(image, Painting(color, torch.zeros(1, 1, 32, 32)), window)
    y, x = (max(window[1], 0) + min(window[3], 80)) // 2, (max(window[0], 0) + min(window[2], 100)) // 2
    assert painted[y, x].tolist() == [64, 64, 64]


@pytest.mark.parametrize(("text", "name"), [("AU12", "AU12"), ("AU4", "AU04"), ("au04", "AU04"), ("45", "AU45")])
def test_spellings_of_action_units(text: str, name: str) -> None:
    assert au_name(text) == name


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "pass --au or --strip"),
        (("--au", "AU13=1"), "unknown action unit AU13; choose from AU01, AU02, AU04"),
        (("--au", "AU12"), "--au AU12 must be of the form AU12=1.0"),
        (("--au", "AU12=5"), "'5' must be an intensity from 0 to 1, which is OpenFace's 0 to 5 divided by 5"),
        (("--au", "AU12=-0.1"), "'-0.1' must be an intensity"),
        (("--au", "AU12=nan"), "'nan' must be an intensity"),
        (("--au", "AU12=much"), "'much' must be an intensity"),
        (("--au", "AU12=1", "--au", "AU12=0"), "AU12 is given twice"),
        (("--strip", "AU12", "--au", "AU12=0"), "AU12 is given twice"),
        (("--strip", "AU12=0:1"), "must be of the form AU12=0:1:7"),
        (("--strip", "AU12=0:1:1"), "2 to 50 steps"),
        (("--strip", "AU12=0:2:3"), "'2' must be an intensity"),
        (("--strip", "smile"), "unknown action unit smile"),
        (("--au", "AU12=1", "--crop", "body"), '"body" for --crop'),
        (("--au", "AU12=1", "--config", "nowhere.yaml"), "nowhere.yaml"),
    ],
)
def test_invalid_arguments(edit: Edit, tmp_path: Path, flags: tuple[str, ...], message: str) -> None:
    status, out, err = edit(*flags)
    assert (status, out, err.count("\n")) == (2, "", 1) and message in err, err
    assert not [*tmp_path.iterdir()]


def test_invalid_files(edit: Edit, inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("neither image nor checkpoint\n" * 99)
    Image.fromarray(np.full((200, 200, 3), 90, np.uint8)).save(tmp_path / "blank.png")
    (tmp_path / "lost.csv").write_text(as_csv([{**row(1, b"", 64, {}), "success": 0}], {"separator": ","}))
    zeros = {name: 0 for name in row(1, b"", 64, {}) if name.startswith("AU")}
    for name, changes in (("unsure", {"confidence": 0.72}), ("zeros", zeros)):
        (tmp_path / f"{name}.csv").write_text(as_csv([{**row(1, b"", 64, {}), **changes}], {}))
    torch.save(generator().state_dict(), tmp_path / "net_epoch_30_id_G.pth")
    for changes, message in (
        ({"image": tmp_path / "absent.png"}, "does not exist"),
        ({"image": tmp_path / "text.txt"}, "cannot be read as an image"),
        ({"image": tmp_path / "blank.png"}, f"no face was found in {tmp_path / 'blank.png'}; --crop none uses the whole image"),
        ({"checkpoint": tmp_path / "absent.pt"}, "checkpoint not found"),
        ({"checkpoint": tmp_path / "text.txt"}, "cannot be read as a checkpoint"),
        ({"checkpoint": tmp_path / "net_epoch_30_id_G.pth"}, "does not contain its settings; pass --config"),
        ({"current": tmp_path / "absent.csv"}, "No such file"),
        ({"current": tmp_path / "text.txt"}, "has no column AU01_r"),
        *(
            ({"current": tmp_path / f"{name}.csv"}, "no row has a face with confidence 0.75 or more")
            for name in ("lost", "unsure", "zeros")
        ),
        ({"output": tmp_path / "out.gif"}, "must have the suffix .png"),
        ({"output": inputs / "face.png"}, "face.png is also an input"),
    ):
        status, out, err = edit("--au", "AU12=1", **changes)
        assert (status, out, err.count("\n")) == (2, "", 1), err
        assert message in err, err
    assert not (tmp_path / "out.png").exists()


def test_an_output_that_cannot_be_written_is_an_error(edit: Edit, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    status, _, err = edit("--au", "AU12=1", "--crop", "none", output=tmp_path / "file" / "out.png")
    assert status == 1 and err.startswith("error: ") and err.count("\n") == 1
