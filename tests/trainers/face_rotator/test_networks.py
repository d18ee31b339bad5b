"""The networks of the face rotator: published keys and sizes, and independent computations of their outputs."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from motionshards.trainers.face_rotator.architecture import Architecture
from motionshards.trainers.face_rotator.blocks import with_pose
from motionshards.trainers.face_rotator.networks import is_trained, make_networks, still_flow, warp

TINY = Architecture(size=16, width=4, halvings=2, blocks=1)


def noise(*shape: int, seed: int = 0) -> Tensor:
    """float64, 0 to 1."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def networks(shape: Architecture = TINY, *, still: bool = False) -> dict[str, nn.Module]:
    return {name: network.double() for name, network in make_networks(shape, still=still).items()}


@pytest.fixture(scope="module")
def published() -> Mapping[str, nn.Module]:
    """Networks on the meta device, for names and shapes."""
    with torch.device("meta"):
        return make_networks(Architecture())


def shapes(network: nn.Module) -> dict[str, list[int]]:
    return {name: [*tensor.shape] for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "count"), [("morpher", (33_878_720, 59)), ("rotator", (33_884_992, 60)), ("combiner", (34_960_704, 63))]
)
def test_published_counts_of_parameters_and_keys(published: Mapping[str, nn.Module], name: str, count: tuple[int, int]) -> None:
    network = published[name]
    assert (sum(p.numel() for p in network.parameters()), len(network.state_dict())) == count


@pytest.mark.parametrize("name", ["morpher", "rotator"])
def test_published_keys_and_shapes_of_the_body(published: Mapping[str, nn.Module], name: str) -> None:
    found = shapes(published[name])
    body = "main_body.module_list"
    assert found[f"{body}.0.0.weight"] == [64, 7, 7, 7]
    downs, ups = [(64, 128), (128, 256), (256, 512)], [(512, 256), (256, 128), (128, 64)]
    for number, (inside, outside) in enumerate(downs, 1):
        assert found[f"{body}.{number}.0.weight"] == [outside, inside, 4, 4]
    for number in range(4, 10):
        assert found[f"{body}.{number}.conv1.weight"] == found[f"{body}.{number}.conv2.weight"] == [512, 512, 3, 3]
        assert found[f"{body}.{number}.norm1.bias"] == found[f"{body}.{number}.norm2.weight"] == [512]
    for number, (inside, outside) in enumerate(ups, 10):
        assert found[f"{body}.{number}.0.weight"] == [inside, outside, 4, 4], "transposed"
        assert found[f"{body}.{number}.1.weight"] == found[f"{body}.{number}.1.bias"] == [outside]
    heads = {key: shape for key, shape in found.items() if not key.startswith("main_body")}
    expected = {
        "morpher": {"color_change.0.weight": [4, 64, 7, 7], "alpha_mask.0.weight": [4, 64, 7, 7]},
        "rotator": {
            "pumarola_color_change.0.weight": [4, 64, 7, 7],
            "pumarola_alpha_mask.0.weight": [4, 64, 7, 7],
            "zhou_grid_change.weight": [2, 64, 7, 7],
        },
    }
    assert heads == expected[name]


def test_published_keys_and_shapes_of_the_combiner(published: Mapping[str, nn.Module]) -> None:
    found = shapes(published["combiner"])
    convolutions = {key.removeprefix("main_body."): shape for key, shape in found.items() if len(shape) == 4}
    assert convolutions == {
        "downward_modules.0.0.weight": [64, 11, 7, 7],
        "downward_modules.1.0.weight": [128, 64, 4, 4],
        "downward_modules.2.0.weight": [256, 128, 4, 4],
        "downward_modules.3.0.weight": [512, 256, 4, 4],
        **{f"bottleneck_modules.{i}.conv{j}.weight": [512, 512, 3, 3] for i in range(6) for j in (1, 2)},
        "upsampling_modules.0.0.weight": [64, 128, 7, 7],
        "upsampling_modules.1.0.weight": [256, 64, 4, 4],
        "upsampling_modules.2.0.weight": [512, 128, 4, 4],
        "upsampling_modules.3.0.weight": [512, 256, 4, 4],
        "combine_alpha_mask.0.weight": [4, 64, 7, 7],
        "retouch_alpha_mask.0.weight": [4, 64, 7, 7],
        "retouch_color_change.0.weight": [4, 64, 7, 7],
    }


@pytest.mark.parametrize("shape", [TINY, Architecture(size=8, width=2, halvings=1, blocks=2)])
def test_outputs_have_the_size_of_the_image(shape: Architecture) -> None:
    by_name, source, pose = networks(shape), noise(2, 4, shape.size, shape.size), noise(2, 3)
    rotated = by_name["rotator"](source, pose)
    assert by_name["morpher"](source, pose).image.shape == source.shape
    assert by_name["combiner"](rotated.painted, rotated.moved, pose).image.shape == source.shape
    assert rotated.flow.shape == (2, shape.size, shape.size, 2)


def test_the_identity_flow_moves_no_pixel() -> None:
    source = noise(2, 4, 16, 16) * 2 - 1
    rotated = networks(still=True)["rotator"](source, noise(2, 3))
    assert not rotated.change.any()
    torch.testing.assert_close(rotated.flow, still_flow(source).expand(2, -1, -1, -1))
    torch.testing.assert_close(rotated.moved, source, rtol=0, atol=1e-12)
    assert (networks(still=False)["rotator"](source, noise(2, 3)).change.abs() > 0.01).any(), "as published"


def test_a_flow_has_source_coordinates_with_border_padding() -> None:
    images = noise(1, 4, 5, 7)
    right = still_flow(images) + torch.tensor([2 / 6, 0], dtype=torch.float64)
    below = still_flow(images) + torch.tensor([0, 2 / 4], dtype=torch.float64)
    torch.testing.assert_close(warp(images, right)[..., :-1], images[..., 1:])
    torch.testing.assert_close(warp(images, right)[..., -1], images[..., -1])
    torch.testing.assert_close(warp(images, below)[..., :-1, :], images[..., 1:, :])


def test_masks_are_weights_of_the_source() -> None:
    by_name, source, pose = networks(), noise(2, 4, 16, 16) * 2 - 1, noise(2, 3)
    morphed = by_name["morpher"](source, pose)
    torch.testing.assert_close(morphed.image, morphed.mask * source + (1 - morphed.mask) * morphed.color)
    rotated = by_name["rotator"](source, pose)
    torch.testing.assert_close(rotated.painted, rotated.mask * source + (1 - rotated.mask) * rotated.color)
    torch.testing.assert_close(rotated.moved, warp(source, rotated.flow))
    combined = by_name["combiner"](rotated.painted, rotated.moved, pose)
    blend = combined.mask * rotated.painted + (1 - combined.mask) * rotated.moved
    torch.testing.assert_close(combined.blend, blend)
    torch.testing.assert_close(combined.image, combined.retouch * blend + (1 - combined.retouch) * combined.color)
    for result in (morphed.image, rotated.painted, rotated.moved, combined.image):
        assert result.abs().max() <= 1


def test_a_pose_reaches_every_pixel() -> None:
    inputs = with_pose(noise(2, 4, 3, 5), torch.tensor([[1.0, 2, 3], [4, 5, 6]]))
    assert inputs.shape == (2, 7, 3, 5) and inputs.dtype == torch.float64
    assert (inputs[1, 4:] == torch.tensor([4.0, 5, 6]).view(3, 1, 1)).all()


def test_bounded_outputs_are_float32_under_autocast() -> None:
    rotator = make_networks(TINY, still=False)["rotator"]
    with torch.autocast("cpu", torch.bfloat16):
        rotated = rotator(noise(1, 4, 16, 16).float(), torch.zeros(1, 3))
    assert {tensor.dtype for tensor in rotated} == {torch.float32}


def test_is_trained_after_one_step() -> None:
    for name, network in make_networks(TINY).items():
        assert not is_trained(network), name
        image, pose = torch.rand(1, 4, 16, 16), torch.rand(1, 3)
        result = network(image, image, pose) if name == "combiner" else network(image, pose)
        result[0].sum().backward()
        torch.optim.Adam(network.parameters(), 1e-4).step()
        assert is_trained(network), name


@pytest.mark.parametrize("wrong", [{"size": 20}, {"size": 8}, {"width": 0}, {"blocks": 0}, {"halvings": 0}])
def test_invalid_architectures_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"size must be a multiple of 8|at least 1"):
        Architecture(**wrong)
