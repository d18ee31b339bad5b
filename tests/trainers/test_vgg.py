"""VGG networks: layers with torchvision's names, taps, and messages for missing or wrong weight files."""

from pathlib import Path

import pytest
import torch
from conformance import fill
from torch import Tensor, nn

from motionshards.schemas.errors import ConfigError
from motionshards.trainers import vgg
from motionshards.trainers.vgg import VGG16, VGG19, VGGFACE, Net, Vgg

CONVOLUTIONS = [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]


def stored(taps: tuple[int, ...] = (1,)) -> dict[str, Tensor]:
    """A file's content: the layers that the taps need, and others that they do not."""
    weights = fill(Vgg(VGG19, taps), "vgg19").state_dict()
    return {**weights, "classifier.6.bias": torch.zeros(1000), "features.34.bias": torch.zeros(512)}


def test_names_and_shapes_are_torchvision_s() -> None:
    with torch.device("meta"):
        weights = Vgg(VGG19, (36,)).state_dict()
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 256, *[512] * 8]
    expected = {}
    for number, inside, outside in zip(CONVOLUTIONS, widths, widths[1:], strict=False):
        expected[f"features.{number}.weight"] = (outside, inside, 3, 3)
        expected[f"features.{number}.bias"] = (outside,)
    assert {name: tuple(tensor.shape) for name, tensor in weights.items()} == expected
    assert sum(tensor.numel() for tensor in weights.values()) == 20_024_384


@pytest.mark.parametrize("net", [VGG16, VGGFACE], ids=lambda net: net.name)
def test_networks_of_sixteen_layers(net: Net) -> None:
    with torch.device("meta"):
        weights = Vgg(net, (30,)).state_dict()
    numbers = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    assert list(weights) == [f"features.{number}.{part}" for number in numbers for part in ("weight", "bias")]
    assert sum(tensor.numel() for tensor in weights.values()) == 14_714_688


def test_files_that_name_convolutions_by_stage_are_read(tmp_path: Path) -> None:
    """Files of VGGFace, whose images are not scaled."""
    stored = fill(Vgg(VGGFACE, (11,)), "vgg16").state_dict()
    names = ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1")
    names_by_stage = [f"{name}.{part}" for name in names for part in ("weight", "bias")]
    torch.save({**dict(zip(names_by_stage, stored.values(), strict=True)), "fc6.bias": torch.zeros(1)}, tmp_path / "face.pth")
    model = vgg.load(str(tmp_path / "face.pth"), VGGFACE, (11,))
    assert model is not None
    assert all(torch.equal(tensor, stored[name]) for name, tensor in model.state_dict().items())
    first = Vgg(VGGFACE, (0,))
    first.load_state_dict({name: stored[name] for name in first.state_dict()})
    image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    shifted = image * 255 - torch.tensor([129.1863, 104.7624, 93.5940]).view(3, 1, 1)
    expected = nn.functional.conv2d(shifted, stored["features.0.weight"], stored["features.0.bias"], padding=1)
    torch.testing.assert_close(first(image)[0], expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("net", "parts"), [(VGG16, ("VGG16", "vgg16-397923af.pth", "--vgg PATH")), (VGGFACE, ("VGGFace", "--vggface none"))]
)
def test_missing_parts_are_named(net: Net, parts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        vgg.load("here.pth", net, (1,))
    assert all(part in str(caught.value) for part in parts)


def test_layers_end_with_the_last_tap() -> None:
    with torch.device("meta"):
        assert [len(Vgg(VGG19, taps).features) for taps in ((1,), vgg.RELU_N_1, (3, 9))] == [2, 30, 10]


def test_any_layer_can_be_tapped() -> None:
    """Convolutions, ReLUs and poolings: each output is its layer applied to the previous output, also before an in-place ReLU."""
    model = fill(Vgg(VGG19, range(11)), "vgg19")
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = ((images.movedim(1, -1) - mean) / std).movedim(-1, 1)
    weights = model.state_dict()
    found = model(images)
    assert len(found) == 11
    for number, tensor in enumerate(found):
        if number in CONVOLUTIONS:
            x = nn.functional.conv2d(x, weights[f"features.{number}.weight"], weights[f"features.{number}.bias"], padding=1)
            assert (x < 0).any()
        else:
            x = nn.functional.max_pool2d(x, 2) if number in (4, 9) else x.clamp(min=0)
        torch.testing.assert_close(tensor, x)


def test_a_tap_is_the_same_whatever_else_is_tapped() -> None:
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    several, one = (fill(Vgg(VGG19, taps), "vgg19")(images) for taps in ((0, 2, 6), (6,)))
    assert torch.equal(several[2], one[0])


def test_it_is_frozen_and_stays_in_evaluation_while_gradients_pass() -> None:
    model = Vgg(VGG19, (1,)).train()
    assert not model.training and not [p for p in model.parameters() if p.requires_grad]
    images = torch.rand(1, 3, 8, 8, requires_grad=True)
    model(images)[0].sum().backward()
    assert images.grad is not None and images.grad.any()


@pytest.mark.parametrize("taps", [(), (6, 1), (1, 1), (-1,), (37,)])
def test_invalid_taps_are_refused(taps: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="taps are"):
        Vgg(VGG19, taps)


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_are_loaded_from_torchvision_s_file(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(stored(), path, _use_new_zipfile_serialization=zipped)
    model = vgg.load(str(path), taps=(1,))
    assert model is not None and model.taps == (1,)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, stored()[name])


def test_weights_are_found_where_torch_hub_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    torch.save(stored(), tmp_path / "checkpoints" / "vgg19-dcbb9e9d.pth")
    assert isinstance(vgg.load(None, taps=(1,)), Vgg)


def test_the_message_for_missing_weights_has_the_remedies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    for choice, place in ((None, tmp_path / "checkpoints" / "vgg19-dcbb9e9d.pth"), ("here.pth", "here.pth")):
        with pytest.raises(ConfigError) as caught:
            vgg.load(choice)
        message = str(caught.value)
        assert message.startswith(f"{place} does not exist") and "\n" not in message
        assert all(remedy in message for remedy in ("vgg19-dcbb9e9d.pth", "--vgg PATH", "--vgg none"))


def test_none_means_no_network() -> None:
    assert vgg.load("none") is None


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("was-run"),))


@pytest.mark.parametrize("content", ["text", "list", "too few", "another shape", "not tensors", "code"])
def test_wrong_files_are_refused(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    contents = {
        "list": [1, 2],
        "too few": {"features.0.weight": torch.zeros(64, 3, 3, 3)},
        "another shape": {**stored(), "features.0.bias": torch.zeros(32)},
        "not tensors": {**stored(), "features.0.bias": "bias"},
        "code": {"features.0.weight": Evil()},
    }
    if content == "text":
        path.write_text("<html>not found</html>")
    else:
        torch.save(contents[content], path)
    with pytest.raises(ConfigError) as caught:
        vgg.load(str(path), taps=(1,))
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    assert not (tmp_path / "was-run").exists()
