"""The networks that losses run and train, and losses with weight 0."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from motionshards.trainers.fomm.architecture import Architecture
from motionshards.trainers.fomm.blocks import AntiAliasDown
from motionshards.trainers.fomm.config import CONFIGS, Config, LossWeights
from motionshards.trainers.fomm.discriminator import DiscriminatorOutput, MultiScaleDiscriminator
from motionshards.trainers.fomm.generator import OcclusionAwareGenerator
from motionshards.trainers.fomm.keypoints import KPDetector
from motionshards.trainers.fomm.losses import DiscriminatorLoss, GeneratorLoss, GeneratorResult
from motionshards.transforms.augment.tps import Warp


def small(**losses: object) -> Config:
    narrow = {"block_expansion": 4, "max_features": 8}
    usual = Architecture()
    architecture = Architecture(
        size=64,
        keypoints=3,
        detector=replace(usual.detector, blocks=1, **narrow),
        dense_motion=replace(usual.dense_motion, blocks=1, **narrow),
        generator=replace(usual.generator, bottleneck_blocks=1, **narrow),
        discriminator=replace(usual.discriminator, blocks=2, scales=(1.0, 0.5), **narrow),
    )
    weights = LossWeights(feature_matching=(10.0, 10.0), **losses)
    return Config(architecture=architecture, training=replace(CONFIGS["vox-256"].training, losses=weights))


def networks(config: Config) -> tuple[nn.Module, nn.Module, nn.Module]:
    return tuple(kind(config.architecture) for kind in (KPDetector, OcclusionAwareGenerator, MultiScaleDiscriminator))


def image(seed: int) -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def run(config: Config, trained: tuple[nn.Module, ...]) -> GeneratorResult:
    warp = Warp.draw(2, torch.Generator().manual_seed(2))
    result: GeneratorResult = GeneratorLoss(config, None)(*trained, source=image(0), driving=image(1), transform=warp)
    return result


class MustNotRun(nn.Module):
    def forward(self, *_: object) -> None:
        raise AssertionError("the discriminator must not be called")


def test_without_an_adversarial_loss_the_discriminator_is_not_run() -> None:
    config = small()
    detector, generator, _ = networks(config)
    losses = run(config, (detector, generator, MustNotRun())).losses
    assert losses.keys() == {"pixel", "equivariance_value", "equivariance_jacobian"}


def test_without_vgg_pixels_are_compared_at_all_scales() -> None:
    config = small()
    result = run(config, networks(config))
    expected = torch.zeros(())
    for scale in config.training.losses.scales:
        reduce = nn.Identity() if scale == 1 else AntiAliasDown(3, scale)
        expected += 10 * (reduce(result.generated.prediction) - reduce(image(1))).abs().mean()
    torch.testing.assert_close(result.losses["pixel"], expected)


def test_losses_with_weight_0_are_not_computed() -> None:
    config = small(equivariance_value=0.0, equivariance_jacobian=0.0)
    trained = networks(config)
    result = run(config, trained)
    assert result.losses.keys() == {"pixel"}
    assert result.transformed is None and result.transformed_keypoints is None
    counters = [buffer for name, buffer in trained[0].named_buffers() if name.endswith("num_batches_tracked")]
    assert {int(counter) for counter in counters} == {2}


def test_the_detector_runs_three_times_and_the_discriminator_twice() -> None:
    config = small(generator_gan=1.0)
    trained = networks(config)
    requires_grad: list[bool] = []
    trained[2].register_forward_hook(lambda module, arguments, _: requires_grad.append(arguments[0][1.0].requires_grad))
    losses = run(config, trained).losses
    assert {"gen_gan", "feature_matching"} < losses.keys()
    assert requires_grad == [True, False]
    assert int(trained[0].predictor.encoder.down_blocks[0].norm.num_batches_tracked) == 3


def test_losses_are_scaled_by_their_weights() -> None:
    once, twice = (
        small(generator_gan=1.0),
        small(generator_gan=2.0, pixel=20.0, equivariance_value=20.0, equivariance_jacobian=20.0),
    )
    trained = networks(once)
    # Spectral norm and batch norm update their state in every call in training mode.
    first, second = (run(config, tuple(network.eval() for network in trained)).losses for config in (once, twice))
    for name in ("gen_gan", "pixel", "equivariance_value", "equivariance_jacobian"):
        torch.testing.assert_close(second[name], 2 * first[name])


def test_the_discriminator_s_loss_trains_nothing_else() -> None:
    config = small(generator_gan=1.0)
    trained = networks(config)
    result = run(config, trained)
    losses = DiscriminatorLoss(config)(trained[2], result.generated.prediction, image(1), result.driving_keypoints)
    losses["disc_gan"].backward()
    assert not [parameter for network in trained[:2] for parameter in network.parameters() if parameter.grad is not None]
    assert all(parameter.grad is not None for parameter in trained[2].parameters())


def test_a_perfect_discriminator_has_no_loss() -> None:
    class Perfect(nn.Module):
        """Knows the real image by its first pixel."""

        def forward(self, pyramid: dict[float, Tensor], _: object) -> list[DiscriminatorOutput]:
            return [DiscriminatorOutput(features=[], score=image[:, :1, :1, :1]) for image in pyramid.values()]

    loss, points = DiscriminatorLoss(small()), KPDetector(small().architecture)(image(0))
    real, fake = torch.ones(2, 3, 64, 64), torch.zeros(2, 3, 64, 64)
    reduced = AntiAliasDown(3, 0.5)(real)[0, 0, 0, 0].item()
    assert loss(Perfect(), fake, real, points)["disc_gan"].item() == pytest.approx((1 - reduced) ** 2, abs=1e-6)
    assert loss(Perfect(), real, fake, points)["disc_gan"].item() == pytest.approx(2 + 1 + reduced**2, abs=1e-5)


def test_all_of_generator_and_detector_learn_without_the_discriminator() -> None:
    config = small()
    trained = networks(config)
    torch.stack(list(run(config, trained).losses.values())).sum().backward()
    for network in trained[:2]:
        assert not [name for name, parameter in network.named_parameters() if parameter.grad is None]


def test_a_step_under_autocast_gives_float32_losses_and_finite_gradients() -> None:
    config = small(generator_gan=1.0)
    trained = networks(config)
    with torch.autocast("cpu", torch.bfloat16):
        losses = run(config, trained).losses
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    torch.stack(list(losses.values())).sum().backward()
    for network in trained:
        assert all(parameter.grad.isfinite().all() for parameter in network.parameters() if parameter.grad is not None)
