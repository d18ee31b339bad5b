"""The rotate command with photos with and without a face, drawings with transparency, and unusable input."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from motionshards.jobs.rotate import main
from motionshards.trainers.face_rotator.architecture import Architecture
from motionshards.trainers.face_rotator.config import Config
from motionshards.trainers.face_rotator.networks import make_networks
from motionshards.trainers.face_rotator.puppet import Pose, Puppet
from motionshards.trainers.face_rotator.restore import Restored

SIZE = 64
SHAPE = Architecture(size=SIZE, width=4, halvings=2, blocks=1)
Rotate = Callable[..., tuple[int, str, str]]


def networks() -> dict[str, torch.nn.Module]:
    """Seeded; the rotator shifts the source by 8 pixels to the left for a yaw of 15 degrees, and the combiner returns that."""
    torch.manual_seed(3)
    result = make_networks(SHAPE)
    for network in result.values():
        torch.nn.init.constant_(next(p for name, p in network.named_parameters() if name.endswith(".bias")), 0.01)
    return result


class Shift(torch.nn.Module):
    """A rotator whose flow is proportional to the yaw, and which records its poses."""

    def __init__(self, rotator: Any) -> None:
        super().__init__()
        self.rotator = rotator

    def forward(self, source: torch.Tensor, pose: torch.Tensor) -> Any:
        result = self.rotator(source, pose)
        flow = result.flow.clone()
        flow[..., 0] += pose[:, 1].view(-1, 1, 1) * 16 / (SIZE - 1)
        moved = torch.nn.functional.grid_sample(source, flow, padding_mode="border", align_corners=True)
        return result._replace(moved=moved, flow=flow)


class TakeMoved(torch.nn.Module):
    """A combiner that returns the warped image."""

    def forward(self, painted: torch.Tensor, moved: torch.Tensor, pose: torch.Tensor) -> Any:
        return make_networks(SHAPE)["combiner"](painted, moved, pose)._replace(image=moved)


def puppet(image: np.ndarray, *, matte: bool) -> Puppet:
    result = networks()
    known = {**result, "rotator": Shift(result["rotator"]), "combiner": TakeMoved()}
    return Puppet(Restored(SHAPE, known, matte), image, None, "cpu")


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """last.pt; rotator.pt, without a morpher; face.png, wall.png without a face, cut.png with transparency."""
    home = tmp_path_factory.mktemp("rotate")
    result = {name: network.state_dict() for name, network in networks().items()}
    ours = {"motionshards": {"model": "face_rotator", "config": Config(architecture=SHAPE).to_json()}, "epoch": 1}
    torch.save({**result, **ours}, home / "last.pt")
    morpher = make_networks(SHAPE)["morpher"].state_dict()
    torch.save({**result, **ours, "morpher": morpher}, home / "combiner.pt")
    new = {name: network.state_dict() for name, network in make_networks(SHAPE).items()}
    torch.save({**new, **ours}, home / "new.pt")
    photo = data.astronaut()[0:260, 80:400]
    Image.fromarray(photo).save(home / "face.png")
    Image.fromarray(np.full((120, 120, 3), 90, np.uint8)).save(home / "wall.png")
    round_ = np.hypot(*np.mgrid[-1:1:260j, -1:1:320j]) < 0.9
    Image.fromarray(np.dstack([photo, 255 * round_.astype(np.uint8)])).save(home / "cut.png")
    return home


@pytest.fixture
def rotate(inputs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Rotate:
    """rotate("--sheet", image=...) -> exit status, stdout and stderr; the output is tmp_path/out.png."""

    def run(*flags: str, **changes: Any) -> tuple[int, str, str]:
        named = {"checkpoint": inputs / "last.pt", "image": inputs / "face.png", "output": tmp_path / "out.png", **changes}
        capfd.readouterr()
        words = [part for name, value in named.items() for part in (f"--{name}", str(value))]
        return main([*words, "--device", "cpu", *flags]), *capfd.readouterr()

    return run


def written(tmp_path: Path) -> np.ndarray:
    return np.asarray(Image.open(tmp_path / "out.png"))


def test_the_face_of_a_photo_is_cropped_and_rotated(rotate: Rotate, tmp_path: Path) -> None:
    assert rotate("--pose", "yaw=10,pitch=-5")[:2] == (0, f"{tmp_path / 'out.png'}: 64 x 64 px\n")
    framed = written(tmp_path)
    assert framed.shape == (SIZE, SIZE, 3)
    assert rotate("--pose", "yaw=10,pitch=-5", "--crop", "none")[0] == 0
    assert (written(tmp_path) != framed).any()
    assert rotate("--pose", "yaw=-10")[0] == 0
    assert (written(tmp_path) != framed).any(), "the pose has an effect"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.png"]


def test_eyes_and_mouth_are_morphed_on_request(rotate: Rotate, tmp_path: Path) -> None:
    images = []
    for flags in ((), ("--eyes", "1,0"), ("--eyes", "0,1"), ("--eyes", "1,0", "--mouth", "0.9"), ("--mouth", "0")):
        assert rotate(*flags)[0] == 0
        images.append(written(tmp_path).tobytes())
    assert len(set(images)) == 5


def test_a_sheet_is_a_grid_of_poses(rotate: Rotate, tmp_path: Path) -> None:
    status, output, _ = rotate("--sheet", "--pose", "roll=5", "--json")
    done = json.loads(output)
    assert status == 0 and done.pop("seconds") > 0
    assert done == {"output": str(tmp_path / "out.png"), "width_px": 5 * SIZE, "height_px": 5 * SIZE, "transparent": False}
    sheet = written(tmp_path)
    assert sheet.shape == (5 * SIZE, 5 * SIZE, 3)
    assert rotate("--pose", "yaw=7.5,pitch=15,roll=5")[0] == 0
    assert np.array_equal(written(tmp_path), sheet[:SIZE, 3 * SIZE : 4 * SIZE]), "looking up is at the top, right at the right"


def test_transparency_is_kept(rotate: Rotate, inputs: Path, tmp_path: Path) -> None:
    status, output, _ = rotate("--pose", "yaw=0", image=inputs / "cut.png")
    assert status == 0 and "with transparency" in output
    result = written(tmp_path)
    assert result.shape == (SIZE, SIZE, 4)
    assert result[0, 0].tolist() == [0, 0, 0, 0] and result[SIZE // 2, SIZE // 2, 3] == 255


def test_networks_of_several_files_are_combined_without_untrained_ones(rotate: Rotate, inputs: Path) -> None:
    assert rotate("--eyes", "1,1", checkpoint=inputs / "combiner.pt")[0] == 2
    files = ["--checkpoint", str(inputs / "last.pt"), str(inputs / "combiner.pt")]
    assert rotate("--eyes", "1,1", *files)[0] == 0, "the last file with a network is used"


@pytest.mark.parametrize("matte", [False, True])
def test_transparency_is_warped_with_the_image(matte: bool) -> None:
    image = np.zeros((SIZE, SIZE, 4), np.uint8)
    image[16:48, 24:40] = (200, 90, 30, 255)
    image[:, :8] = (255, 255, 255, 0)  # hidden by transparency
    still = puppet(image, matte=matte).posed(Pose())
    assert np.abs(still[16:48, 24:40].astype(int) - [200, 90, 30, 255]).max() <= 1
    assert not still[:, :16].any(), "hidden colors do not appear"
    moved = puppet(image, matte=matte).posed(Pose(yaw=15))
    assert np.abs(moved[:, :-8].astype(int) - still[:, 8:]).max() <= 2, "taken from 8 pixels to the right"


def test_colors_at_transparent_edges_are_not_darkened() -> None:
    """Linear light is warped instead of sRGB, and black from outside is not mixed in."""
    image = np.zeros((SIZE, SIZE, 4), np.uint8)
    image[:, 20:] = (200, 90, 30, 255)
    moved = puppet(image, matte=False).posed(Pose(yaw=15 / 16))  # by half a pixel
    edge = moved[32, 19]
    assert edge[3] == pytest.approx(128, abs=2)
    assert np.abs(edge[:3].astype(int) - [200, 90, 30]).max() <= 2


@pytest.mark.parametrize("angle", ["yaw=15.1", "pitch=-16", "roll=nan"])
def test_angles_out_of_range_are_refused_in_one_line(rotate: Rotate, angle: str) -> None:
    status, _, message = rotate("--pose", angle)
    assert (status, message.count("\n")) == (2, 1)
    assert "must be from -15 to 15 degrees" in message


@pytest.mark.parametrize(
    ("flags", "changes", "message"),
    [
        (("--pose", "jaw=3"), {}, "must be degrees, such as yaw=10,pitch=-5,roll=0"),
        (("--pose", "yaw=much"), {}, "must be degrees"),
        (("--pose", "yaw"), {}, "must be degrees"),
        (("--eyes", "1"), {}, "must be two numbers from 0 to 1"),
        (("--eyes", "1,2"), {}, "must be from 0 to 1"),
        (("--mouth", "wide"), {}, "must be from 0 to 1"),
        (("--sheet", "--pose", "yaw=5"), {}, "--sheet has its own yaws and pitches"),
        ((), {"output": "out.jpg"}, "must have the suffix .png"),
        ((), {"image": "nowhere.png"}, "nowhere.png does not exist"),
        ((), {"checkpoint": "nowhere.pt"}, "checkpoint not found: nowhere.pt"),
        ((), {"image": "wall.png"}, "no face was found"),
        ((), {"checkpoint": "new.pt"}, "no trained rotator; train it with jobs.train --config rotator"),
        (("--mouth", "1"), {"checkpoint": "combiner.pt"}, "no trained morpher which --eyes and --mouth need"),
    ],
)
def test_invalid_arguments_are_refused_in_one_line(
    rotate: Rotate, inputs: Path, tmp_path: Path, flags: tuple[str, ...], changes: dict[str, str], message: str
) -> None:
    arguments = {name: inputs / value if (inputs / value).exists() else value for name, value in changes.items()}
    status, _, output = rotate(*flags, **arguments)
    assert (status, message in output, output.count("\n")) == (2, True, 1), output
    assert not (tmp_path / "out.png").exists()


def test_inputs_are_not_overwritten(rotate: Rotate, inputs: Path) -> None:
    before = (inputs / "face.png").read_bytes()
    status, _, message = rotate(output=inputs / "face.png")
    assert status == 2 and "is also an input" in message
    assert (inputs / "face.png").read_bytes() == before
