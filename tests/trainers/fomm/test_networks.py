"""The networks of the first order motion model: published keys and sizes, and independent computations of their outputs."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from conformance import fill, image
from fomm_inputs import noise, rng, small
from torch import nn

from motionshards.trainers.fomm.architecture import Architecture, DiscriminatorConfig
from motionshards.trainers.fomm.blocks import AntiAliasDown, coordinate_grid, gaussian, resized, warp
from motionshards.trainers.fomm.config import CONFIGS
from motionshards.trainers.fomm.discriminator import MultiScaleDiscriminator, scale_name
from motionshards.trainers.fomm.generator import Generated, OcclusionAwareGenerator
from motionshards.trainers.fomm.keypoints import Keypoints, KPDetector, inverse_2x2, product_2x2
from motionshards.trainers.fomm.motion import heat_difference, sparse_motions


def keypoints(count: int = 2, k: int = 3, seed: int = 0) -> Keypoints:
    jacobian = torch.eye(2, dtype=torch.float64) + 0.4 * (noise(count, k, 2, 2, seed=seed + 1) - 0.5)
    return Keypoints(value=noise(count, k, 2, seed=seed) - 0.5, jacobian=jacobian)


def on_meta(kind: type[nn.Module], architecture: Architecture) -> nn.Module:
    """A network on the meta device, for names and shapes."""
    with torch.device("meta"):
        return kind(architecture)


def counts(network: nn.Module) -> tuple[int, int]:
    return sum(p.numel() for p in network.parameters()), len(network.state_dict())


@pytest.mark.parametrize("name", CONFIGS)
def test_published_counts_of_parameters_and_keys(name: str) -> None:
    architecture = CONFIGS[name].architecture
    assert counts(on_meta(KPDetector, architecture)) == (14_215_368, 75)
    generator = on_meta(OcclusionAwareGenerator, architecture)
    assert counts(generator) == (45_575_391, 196)
    assert counts(generator.dense_motion_network)[0] == 37_730_268
    discriminators = {"vox-256": (2_758_849, 26), "vox-adv-256": (2_769_089, 16)}
    assert counts(on_meta(MultiScaleDiscriminator, architecture)) == discriminators.get(name, (2_758_849, 16))


def test_published_keys_and_shapes_of_the_detector() -> None:
    shapes = {name: [*tensor.shape] for name, tensor in on_meta(KPDetector, Architecture()).state_dict().items()}
    widths = [3, 64, 128, 256, 512, 1024]
    for i, (inside, outside) in enumerate(itertools.pairwise(widths)):
        assert shapes[f"predictor.encoder.down_blocks.{i}.conv.weight"] == [outside, inside, 3, 3]
    for i, (inside, outside) in enumerate([(1024, 512), (1024, 256), (512, 128), (256, 64), (128, 32)]):
        assert shapes[f"predictor.decoder.up_blocks.{i}.conv.weight"] == [outside, inside, 3, 3]
        assert shapes[f"predictor.decoder.up_blocks.{i}.norm.running_var"] == [outside]
    assert shapes["kp.weight"] == [10, 35, 7, 7]
    assert shapes["jacobian.weight"] == [40, 35, 7, 7]
    assert shapes["down.weight"] == [3, 1, 13, 13]


def test_published_keys_and_shapes_of_the_generator() -> None:
    shapes = {name: [*tensor.shape] for name, tensor in on_meta(OcclusionAwareGenerator, Architecture()).state_dict().items()}
    motion = "dense_motion_network."
    for i, (inside, outside) in enumerate(itertools.pairwise([44, 128, 256, 512, 1024, 1024])):
        assert shapes[f"{motion}hourglass.encoder.down_blocks.{i}.conv.weight"] == [outside, inside, 3, 3]
    for i, (inside, outside) in enumerate([(1024, 1024), (2048, 512), (1024, 256), (512, 128), (256, 64)]):
        assert shapes[f"{motion}hourglass.decoder.up_blocks.{i}.conv.weight"] == [outside, inside, 3, 3]
    assert shapes[f"{motion}mask.weight"] == [11, 108, 7, 7]
    assert shapes[f"{motion}occlusion.weight"] == [1, 108, 7, 7]
    assert shapes[f"{motion}down.weight"] == [3, 1, 13, 13]
    assert shapes["first.conv.weight"] == [64, 3, 7, 7]
    assert [shapes[f"down_blocks.{i}.conv.weight"][:2] for i in range(2)] == [[128, 64], [256, 128]]
    assert [shapes[f"up_blocks.{i}.conv.weight"][:2] for i in range(2)] == [[128, 256], [64, 128]]
    assert [shapes[f"bottleneck.r{i}.conv2.weight"] for i in range(6)] == [[256, 256, 3, 3]] * 6
    assert shapes["final.weight"] == [3, 64, 7, 7]


def test_parameters_have_the_published_order_of_optimizer_states() -> None:
    names = [name for name, _ in on_meta(OcclusionAwareGenerator, Architecture()).named_parameters()]
    tops = [key for key, _ in itertools.groupby(name.split(".")[0] for name in names)]
    assert tops == ["dense_motion_network", "first", "down_blocks", "up_blocks", "bottleneck", "final"]
    inner = [name.removeprefix("bottleneck.r0.") for name in names if name.startswith("bottleneck.r0.")]
    assert inner == [f"{part}.{kind}" for part in ("conv1", "conv2", "norm1", "norm2") for kind in ("weight", "bias")]
    motion = [key for key, _ in itertools.groupby(name.split(".")[1] for name in names if name.startswith("dense_motion"))]
    assert motion == ["hourglass", "mask", "occlusion"]
    detector = [name for name, _ in on_meta(KPDetector, Architecture()).named_parameters()]
    assert [key for key, _ in itertools.groupby(name.split(".")[0] for name in detector)] == ["predictor", "kp", "jacobian"]
    discriminator = list(on_meta(MultiScaleDiscriminator, Architecture()).state_dict())
    assert discriminator[:4] == [f"discs.1.down_blocks.0.conv.{kind}" for kind in ("bias", "weight_orig", "weight_u", "weight_v")]
    assert discriminator[-4:] == [f"discs.1.conv.{kind}" for kind in ("bias", "weight_orig", "weight_u", "weight_v")]


def test_a_single_map_of_jacobians_serves_all_keypoints() -> None:
    architecture = small(detector=replace(small().detector, single_jacobian_map=True))
    detector = KPDetector(architecture).eval()
    assert detector.jacobian is not None and detector.jacobian.weight.shape[0] == 4
    assert detector(torch.rand(2, 3, 64, 64)).jacobian.shape == (2, 3, 2, 2)


def test_without_jacobians_motions_are_translations() -> None:
    detector = KPDetector(small(jacobians=False))
    assert not [name for name in detector.state_dict() if name.startswith("jacobian")]
    found = detector(torch.rand(2, 3, 64, 64))
    assert found.jacobian is None
    motions = sparse_motions(found[:1], found[1:], (5, 5))
    shift = (found.value[0] - found.value[1])[:, None, None].expand(-1, 5, 5, -1)
    torch.testing.assert_close(motions[0, 1:] - coordinate_grid((5, 5), motions), shift, rtol=0, atol=1e-6)


def test_training_starts_with_the_identity_for_jacobians() -> None:
    found = KPDetector(small())(torch.rand(2, 3, 64, 64, generator=rng()))
    torch.testing.assert_close(found.jacobian, torch.eye(2).expand(2, 3, 2, 2), rtol=0, atol=1e-5)


def test_keypoints_are_means_over_normalized_heatmaps() -> None:
    """Computed with loops over the pixels of the maps."""
    detector = KPDetector(small()).double().eval()
    with torch.no_grad():
        detector.jacobian.weight.copy_(0.01 * noise(*detector.jacobian.weight.shape) - 0.005)
    images = noise(1, 3, 64, 64)
    features = detector.predictor(detector.down(images))
    logits, maps = detector.kp(features)[0], detector.jacobian(features)[0]
    found, (rows, columns) = detector(images), logits.shape[1:]
    for k in range(3):
        heat = torch.exp(logits[k] / 0.1 - (logits[k] / 0.1).max())
        heat = heat / heat.sum()
        x = sum(heat[i, j] * (2 * j / (columns - 1) - 1) for i in range(rows) for j in range(columns))
        y = sum(heat[i, j] * (2 * i / (rows - 1) - 1) for i in range(rows) for j in range(columns))
        torch.testing.assert_close(found.value[0, k], torch.stack([x, y]), rtol=0, atol=1e-12)
        jacobian = torch.stack([(heat * maps[4 * k + entry]).sum() for entry in range(4)]).view(2, 2)
        torch.testing.assert_close(found.jacobian[0, k], jacobian, rtol=0, atol=1e-12)


def test_coordinates_run_from_corner_to_corner_x_first() -> None:
    grid = coordinate_grid((3, 5), torch.zeros(1, dtype=torch.float64))
    assert grid.shape == (3, 5, 2)
    for row, column in itertools.product(range(3), range(5)):
        assert grid[row, column].tolist() == pytest.approx([2 * column / 4 - 1, 2 * row / 2 - 1], abs=1e-15)


def test_gaussians_fall_with_the_distance() -> None:
    points = torch.tensor([[[0.5, -1.0]]], dtype=torch.float64)
    heat = gaussian(points, (5, 9), 0.02)
    assert heat[0, 0, 0, 6] == 1
    assert heat[0, 0, 1, 4].item() == pytest.approx(math.exp(-(0.5**2 + 0.5**2) / 0.04))


@pytest.mark.parametrize(("scale", "side"), [(0.5, 5), (0.25, 13), (0.125, 29)])
def test_downsampling_blurs_and_keeps_every_nth_pixel(scale: float, side: int) -> None:
    down, images = AntiAliasDown(3, scale).double(), noise(2, 3, 48, 40)
    sigma, center = (1 / scale - 1) / 2, (side - 1) // 2
    kernel = torch.tensor(
        [[math.exp(-((i - center) ** 2 + (j - center) ** 2) / (2 * sigma**2)) for j in range(side)] for i in range(side)]
    ).double()
    kernel /= kernel.sum()
    assert down.weight.shape == (3, 1, side, side)
    torch.testing.assert_close(down.weight[2, 0], kernel, rtol=0, atol=1e-7)
    padded = nn.functional.pad(images, (center,) * 4)
    whole = sum(kernel[i, j] * padded[:, :, i : i + 48, j : j + 40] for i in range(side) for j in range(side))
    step = round(1 / scale)
    torch.testing.assert_close(down(images), whole[:, :, ::step, ::step], rtol=0, atol=1e-6)


def test_small_matrices_are_multiplied_and_inverted() -> None:
    one, other = noise(4, 5, 2, 2) + 0.1 * torch.eye(2), noise(4, 5, 2, 2, seed=1)
    torch.testing.assert_close(product_2x2(one, other), one @ other, rtol=1e-14, atol=1e-15)
    torch.testing.assert_close(inverse_2x2(one), torch.linalg.inv(one), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_singular_matrix_has_a_finite_inverse_with_finite_gradients(dtype: torch.dtype) -> None:
    matrices = torch.tensor([[[0, 0], [0, 0]], [[1, 2], [2, 4]], [[1e-9, 0], [0, -1e-9]]], dtype=dtype, requires_grad=True)
    inverse = inverse_2x2(matrices)
    inverse.square().sum().backward()
    assert inverse.isfinite().all() and matrices.grad is not None and matrices.grad.isfinite().all()
    assert inverse[2, 0, 0] > 0 > inverse[1, 0, 1]
    assert inverse.dtype == dtype


def test_motions_are_affine_around_each_keypoint_and_the_background_does_not_move() -> None:
    source, driving = keypoints(seed=0), keypoints(seed=7)
    found = sparse_motions(source, driving, (4, 6))
    assert source.jacobian is not None and driving.jacobian is not None
    for b, k, row, column in itertools.product(range(2), range(3), range(4), range(6)):
        z = torch.tensor([2 * column / 5 - 1, 2 * row / 3 - 1], dtype=torch.float64)
        affine = source.jacobian[b, k] @ torch.linalg.inv(driving.jacobian[b, k])
        expected = affine @ (z - driving.value[b, k]) + source.value[b, k]
        torch.testing.assert_close(found[b, k + 1, row, column], expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(found[b, 0, row, column], z, rtol=0, atol=1e-15)


def test_heat_is_driving_minus_source() -> None:
    source, driving = keypoints(seed=0), keypoints(seed=7)
    heat = heat_difference(source, driving, (8, 8), 0.01)
    assert heat.shape == (2, 4, 8, 8) and not heat[:, 0].any()
    torch.testing.assert_close(heat[:, 1:], gaussian(driving.value, (8, 8), 0.01) - gaussian(source.value, (8, 8), 0.01))


def test_equal_keypoints_do_not_move_the_source() -> None:
    generator, source, points = OcclusionAwareGenerator(small()).double().eval(), noise(2, 3, 64, 64), keypoints()
    found = generator(source, source_keypoints=points, driving_keypoints=points)
    torch.testing.assert_close(found.motion.flow, coordinate_grid((16, 16), source).expand(2, -1, -1, -1), rtol=0, atol=1e-12)
    reduced = generator.dense_motion_network.down(source)
    for motion in range(4):
        torch.testing.assert_close(found.motion.sparse_deformed[:, motion], reduced, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.motion.mask.sum(dim=1), torch.ones(2, 16, 16).double())


def test_warping_pads_with_black() -> None:
    frames = 1 + noise(1, 3, 5, 5)
    flow = coordinate_grid((5, 5), frames)[None] + torch.tensor([0.5, 0]).double()
    moved = warp(frames, flow, align_corners=True)
    torch.testing.assert_close(moved[..., :4], frames[..., 1:], rtol=0, atol=1e-12)
    assert not moved[..., 4].any()


def test_maps_of_another_size_are_resized_by_the_edges_of_pixels() -> None:
    maps = torch.tensor([[[[0.0, 1.0]]]])
    assert resized(maps, (1, 4)).flatten().tolist() == [0, 0.25, 0.75, 1]
    assert resized(maps, (1, 2)) is maps


def test_features_of_a_source_are_reused_for_driving_images() -> None:
    generator, source = OcclusionAwareGenerator(small()).double().eval(), noise(1, 3, 64, 64)
    arguments = {"source_keypoints": keypoints(1, seed=0), "driving_keypoints": keypoints(1, seed=7)}
    motion = generator.dense_motion_network(source, **arguments)
    torch.testing.assert_close(generator.decode(generator.encode(source), motion), generator(source, **arguments).prediction)


def test_without_an_occlusion_map_nothing_is_masked() -> None:
    generator = OcclusionAwareGenerator(small(generator=replace(small().generator, occlusion=False))).double().eval()
    found = generator(noise(1, 3, 64, 64), source_keypoints=keypoints(1), driving_keypoints=keypoints(1, seed=7))
    assert found.motion.occlusion is None and found.prediction.shape == (1, 3, 64, 64)
    assert not [name for name in generator.state_dict() if "occlusion" in name]


def test_a_singular_keypoint_causes_no_nan() -> None:
    generator, source, driving = OcclusionAwareGenerator(small()).double().eval(), keypoints(1), keypoints(1, seed=7)
    assert driving.jacobian is not None
    driving.jacobian[:, 1] = 0
    found = generator(noise(1, 3, 64, 64), source_keypoints=source, driving_keypoints=driving)
    assert found.prediction.isfinite().all() and found.motion.flow.isfinite().all()


def test_a_discriminator_per_scale_with_published_names() -> None:
    architecture = small(discriminator=DiscriminatorConfig(block_expansion=8, max_features=32, blocks=2, scales=(1.0, 0.5)))
    discriminator = MultiScaleDiscriminator(architecture).double()
    assert {name.split(".")[1] for name in discriminator.state_dict()} == {"1", "0-5"}
    assert scale_name(1) == scale_name(1.0) == "1"
    images = noise(2, 3, 64, 64)
    outputs = discriminator({1: images, 0.5: images[..., ::2, ::2]}, keypoints())
    # 64 - 3 = 61, halved 30, then 30 - 3 = 27 and not halved; of 32 pixels 29, 14 and 11.
    assert [[*feature.shape[1:]] for feature in outputs[0].features] == [[16, 30, 30], [32, 27, 27]]
    assert [verdict.score.shape for verdict in outputs] == [(2, 1, 27, 27), (2, 1, 11, 11)]


def test_a_discriminator_with_keypoints_depends_on_them() -> None:
    seeing = small(discriminator=replace(small().discriminator, keypoints=True))
    for architecture, sees in ((small(), False), (seeing, True)):
        discriminator, images = MultiScaleDiscriminator(architecture).double().eval(), noise(2, 3, 64, 64)
        scores = [discriminator({1.0: images}, keypoints(seed=seed))[0].score for seed in (0, 7)]
        assert torch.equal(*scores) != sees


def test_batch_norms_are_converted_for_training_on_several_devices() -> None:
    for kind in (KPDetector, OcclusionAwareGenerator):
        network = kind(small()).eval()
        arguments = {} if kind is KPDetector else {"source_keypoints": keypoints(1), "driving_keypoints": keypoints(1, seed=7)}
        keys, images = list(network.state_dict()), torch.rand(1, 3, 64, 64)
        before = network(images, **arguments)
        converted = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        assert list(converted.state_dict()) == keys
        assert not [module for module in converted.modules() if type(module) is nn.BatchNorm2d]
        after = converted(images, **arguments)
        name = "value" if kind is KPDetector else "prediction"
        torch.testing.assert_close(getattr(after, name), getattr(before, name))


def test_under_autocast_only_features_are_rounded() -> None:
    detector = fill(KPDetector(small()), "detector").eval()
    generator = fill(OcclusionAwareGenerator(small()), "generator").eval()
    images = image("autocast", 2, 3, 64, 8).float()

    def run() -> tuple[Keypoints, Generated]:
        points = detector(images)
        return points, generator(images[:1], source_keypoints=points[:1], driving_keypoints=points[1:])

    exact_points, exact = run()
    with torch.autocast("cpu", torch.bfloat16):
        assert [level.dtype for level in detector.predictor.encoder(images)] == [torch.float32, torch.bfloat16, torch.bfloat16]
        points, rounded = run()
    kept = (points.value, points.jacobian, rounded.motion.flow, rounded.motion.mask, rounded.motion.occlusion, rounded.prediction)
    assert [tensor.dtype for tensor in kept] == [torch.float32] * 6
    torch.testing.assert_close(points.value, exact_points.value, rtol=0, atol=2e-2)
    torch.testing.assert_close(points.jacobian, exact_points.jacobian, rtol=0, atol=2e-2)
    torch.testing.assert_close(rounded.motion.flow, exact.motion.flow, rtol=0, atol=5e-2)
    torch.testing.assert_close(rounded.prediction, exact.prediction, rtol=0, atol=5e-2)
