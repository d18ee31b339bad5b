"""The networks of talking heads: published keys and sizes, and independent computations of their outputs."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from motionshards.schemas.errors import ConfigError
from motionshards.trainers import settings
from motionshards.trainers.models import plan
from motionshards.trainers.talking_heads.architecture import Architecture
from motionshards.trainers.talking_heads.blocks import Attention, Conv, ResDown, ResUp, adain
from motionshards.trainers.talking_heads.config import CONFIGS, Config
from motionshards.trainers.talking_heads.discriminator import Discriminator
from motionshards.trainers.talking_heads.embedder import Embedder, averaged
from motionshards.trainers.talking_heads.generator import Generator

SMALL = Architecture(size=32, width=4, halvings=4, residuals=2)
SPECTRAL = ("bias", "weight_orig", "weight_u", "weight_v")


def noise(*shape: int, seed: int = 0) -> Tensor:
    """float64, 0 to 1."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def create(kind: type[nn.Module], *arguments: object, seed: int = 0) -> nn.Module:
    """A float64 network in evaluation mode, with weights large enough for each to be significant."""
    torch.manual_seed(seed)
    network = kind(*arguments).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(10)
    return network


def shapes(kind: type[nn.Module], *arguments: object) -> dict[str, list[int]]:
    with torch.device("meta"):
        return {name: [*tensor.shape] for name, tensor in kind(*arguments).state_dict().items()}


def test_published_counts_of_parameters_and_keys() -> None:
    with torch.device("meta"):
        networks = [Embedder(Architecture()), Generator(Architecture()), Discriminator(Architecture(), 10)]
    counts = [(sum(p.numel() for p in network.parameters()), len(network.state_dict())) for network in networks]
    assert counts == [(14_907_265, 79), (59_778_242, 223), (19_634_562, 94)]


def test_all_convolutions_start_as_published() -> None:
    """All convolutions from N(0, 0.02), also those of attention; their biases as PyTorch draws them."""
    torch.manual_seed(0)
    shape = Architecture(size=64, width=32, halvings=4)
    for network in (Embedder(shape), Generator(shape), Discriminator(shape, 3)):
        attention = {f"{name}_conv" for name in ("query", "key", "value")}
        for name, convolution in network.named_modules():
            if not isinstance(convolution, nn.Conv2d):
                continue
            drawn = dict(convolution.named_parameters())
            weight = drawn["weight" if name.rpartition(".")[2] in attention else "weight_orig"]
            assert weight.mean().abs() < 5 * 0.02 / weight.numel() ** 0.5, name
            assert weight.std().item() == pytest.approx(0.02, rel=5 / (2 * weight.numel()) ** 0.5), name
            assert drawn["bias"].any() and drawn["bias"].abs().max() <= weight[0].numel() ** -0.5, name


def test_published_keys_and_shapes() -> None:
    widths = [64, 128, 256, 512, 512, 512]
    found = {
        "E": shapes(Embedder, Architecture()),
        "G": shapes(Generator, Architecture()),
        "D": shapes(Discriminator, Architecture(), 7),
    }
    for name, inside in (("E", 6), ("G", 3), ("D", 6)):
        for number, (one, other) in enumerate(pairwise([inside, *widths]), 1):
            assert [key for key in found[name] if key.startswith(f"conv{number}.conv_r1.")] == [
                f"conv{number}.conv_r1.conv2d.{part}" for part in SPECTRAL
            ]
            assert found[name][f"conv{number}.conv_r1.conv2d.weight_orig"] == [other, one, 3, 3]
            assert found[name][f"conv{number}.conv_r2.conv2d.weight_orig"] == [other, other, 3, 3]
            assert found[name][f"conv{number}.conv_l.conv2d.weight_orig"] == [other, one, 1, 1]
    for number, (other, one) in enumerate(pairwise([3, *widths]), 1):
        assert found["G"][f"deconv{number}.conv_r1.conv2d.weight_orig"] == [other, one, 3, 3]
        assert found["G"][f"in{number}_d.weight"] == [other]
        assert found["G"][f"in{number}_e.bias"] == [one]
    assert found["E"]["att.gamma"] == [1] and found["D"]["att.query_conv.weight"] == [32, 256, 1, 1]
    assert found["G"]["projection"] == [17158, 512]
    assert found["G"]["att1.value_conv.weight"] == [256, 256, 1, 1] and found["G"]["att2.key_conv.bias"] == [16]
    assert [key for key in found["G"] if key.startswith("res5.conv2.")] == [f"res5.conv2.conv2d.{part}" for part in SPECTRAL]
    assert [found["D"][name] for name in ("W", "w_0", "b", "res_block.in2.weight")] == [[512, 7], [512, 1], [1], [512]]


def test_a_convolution_has_reflection_padding_and_spectral_norm() -> None:
    conv, x = create(Conv, 3, 4, 3), noise(1, 3, 6, 5)
    conv.train()
    for _ in range(200):
        conv(x)
    conv.eval()
    weight = conv.conv2d.weight_orig
    expected = F.conv2d(
        F.pad(x, (1,) * 4, mode="reflect"), weight / torch.linalg.matrix_norm(weight.flatten(1), 2), conv.conv2d.bias
    )
    torch.testing.assert_close(conv(x), expected, rtol=1e-9, atol=1e-9)


def test_styled_features_have_the_given_means_and_deviations() -> None:
    mean, std = noise(2, 3, seed=1), noise(2, 3, seed=2)
    found = adain(noise(2, 3, 5, 4), mean, std)
    torch.testing.assert_close(found.mean(dim=(2, 3)), mean)
    torch.testing.assert_close(found.std(dim=(2, 3)), std, rtol=1e-4, atol=0)


def test_constant_features_have_finite_gradients() -> None:
    """A frame without a face has a white landmark image."""
    white = torch.full((1, 1, 4, 4), 0.3, requires_grad=True)
    found = adain(white, torch.ones(1, 1), torch.ones(1, 1))
    found.square().sum().backward()
    torch.testing.assert_close(found, torch.ones(1, 1, 4, 4), rtol=0, atol=0.1)
    assert white.grad is not None and white.grad.isfinite().all()


def test_a_downsampling_block() -> None:
    block, x = create(ResDown, 3, 4), noise(2, 3, 8, 8) - 0.5
    inner = block.conv_r2(block.conv_r1(x.relu()).relu())
    expected = F.avg_pool2d(inner + block.conv_l(x), 2)
    torch.testing.assert_close(block(x), expected)


def test_an_upsampling_block() -> None:
    block, x = create(ResUp, 3, 4), noise(2, 3, 4, 4) - 0.5
    styles = [noise(2, width, seed=seed) for seed, width in enumerate((3, 3, 4, 4))]
    double = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    first = adain(x, *styles[:2]).relu().repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = block.conv_r2(adain(block.conv_r1(first), *styles[2:]).relu()) + block.conv_l(double)
    torch.testing.assert_close(block(x, *styles), expected)


def test_attention_over_all_positions_with_unscaled_scores() -> None:
    attention, x = create(Attention, 16), noise(2, 16, 3, 5)
    query, key, value = (conv(x).flatten(2) for conv in (attention.query_conv, attention.key_conv, attention.value_conv))
    weights = torch.softmax(query.mT @ key, dim=-1)
    expected = attention.gamma * torch.einsum("bcj,bij->bci", value, weights).view_as(x) + x
    assert (expected - x).abs().max() > 0.01
    torch.testing.assert_close(attention(x), expected, rtol=1e-10, atol=1e-12)


def by_hand(generator: Generator, landmarks: Tensor, style: Tensor, *, compat: bool) -> Tensor:
    """Compute the generator of SMALL with its 4, 8, 16 and 32 channels block by block."""
    widths = [32, 32, 32, 32] * 2 + [32, 32, 16, 16] + [16, 16, 8, 8] + [8, 8, 4, 4] + [4, 4, 3, 3]
    parts = torch.split(style, widths, dim=1)
    x = generator.in2_e(generator.conv2(generator.in1_e(generator.conv1(landmarks))))
    x = generator.in4_e(generator.conv4(generator.att1(generator.in3_e(generator.conv3(x)))))
    for number, residual in enumerate((generator.res1, generator.res2)):
        mean1, std1, mean2, std2 = parts[4 * number : 4 * number + 4]
        second = (mean1, std1) if compat else (mean2, std2)
        x = x + adain(residual.conv2(adain(residual.conv1(x), mean1, std1).relu()), *second)
    x = generator.in4_d(generator.deconv4(x, *parts[8:12]))
    x = generator.att2(generator.in3_d(generator.deconv3(x, *parts[12:16])))
    x = generator.in2_d(generator.deconv2(x, *parts[16:20]))
    return torch.sigmoid(generator.in1_d(generator.deconv1(x, *parts[20:24])))


@pytest.mark.parametrize("compat", [False, True])
def test_the_generator_block_by_block(compat: bool) -> None:
    generator = create(Generator, SMALL)
    generator.compat = compat
    landmarks, embedding = noise(2, 3, 32, 32), noise(2, 32, seed=1)
    style = embedding @ generator.projection.T
    expected = by_hand(generator, landmarks, style, compat=compat)
    torch.testing.assert_close(generator(landmarks, embedding), expected, rtol=1e-9, atol=1e-9)
    other = by_hand(generator, landmarks, style, compat=not compat)
    assert (expected - other).abs().max() > 1e-3, "the two arithmetics differ"


def test_state_dicts_record_the_arithmetic(tmp_path: Path) -> None:
    """Weights without a record are those of the published code."""
    plain, compat = Generator(SMALL), Generator(replace(SMALL, compat=True))
    for source, expected in ((plain, False), (compat, True)):
        torch.save({"G": source.state_dict()}, tmp_path / "a.pt")
        for target in (Generator(SMALL), Generator(replace(SMALL, compat=True))):
            target.load_state_dict(torch.load(tmp_path / "a.pt", weights_only=True)["G"])
            assert target.compat is expected
    plain.load_state_dict(dict(compat.state_dict()))
    assert plain.compat is True


def test_an_embedding_is_the_rectified_maximum_of_the_last_features() -> None:
    embedder, frames, landmarks = create(Embedder, SMALL), noise(2, 3, 32, 32), noise(2, 3, 32, 32, seed=1)
    x = embedder.att(embedder.conv3(embedder.conv2(embedder.conv1(torch.cat([frames, landmarks], dim=1)))))
    torch.testing.assert_close(embedder(frames, landmarks), embedder.conv4(x).amax(dim=(2, 3)).relu())


def test_the_mean_embedding_excludes_frames_without_a_face() -> None:
    each = noise(3, 4, 5)
    faces = torch.tensor([[True] * 4, [True, False, True, False], [False] * 4])
    found = averaged(each, faces)
    torch.testing.assert_close(found, torch.stack([each[0].mean(0), (each[1, 0] + each[1, 2]) / 2, each[2].mean(0)]))


@pytest.mark.parametrize("compat", [False, True])
def test_a_score_depends_on_image_and_video(compat: bool) -> None:
    discriminator = create(Discriminator, replace(SMALL, compat=compat), 5)
    images, landmarks = noise(2, 3, 32, 32), noise(2, 3, 32, 32, seed=1)
    found = discriminator(images, landmarks, torch.tensor([3, 1]))
    x = torch.cat([images, landmarks], dim=1)
    features = []
    for block in (discriminator.conv1, discriminator.conv2, discriminator.conv3, discriminator.att, discriminator.conv4):
        x = block(x)
        features.append(x)
    residual = discriminator.res_block
    features.append(x + residual.in2(residual.conv2(residual.in1(residual.conv1(x)).relu())))
    pooled = features[-1].amax(dim=(2, 3)).relu()
    vectors = discriminator.W[:, [3, 1]] + discriminator.w_0
    expected = torch.stack([pooled[row] @ vectors[:, row] + discriminator.b[0] for row in range(2)])
    torch.testing.assert_close(found.score, expected.sigmoid() if compat else expected)
    for one, other in zip(found.features, features, strict=True):
        torch.testing.assert_close(one, other)


def test_initialization_is_as_published() -> None:
    torch.manual_seed(0)
    generator, discriminator = Generator(Architecture(size=64, width=16, halvings=4)), Discriminator(SMALL, 2000)
    drawn = [generator.res1.conv1.conv2d.weight_orig, generator.projection, discriminator.W]
    for tensor in drawn:
        assert tensor.mean().item() == pytest.approx(0, abs=1e-3)
        assert tensor.std().item() == pytest.approx(0.02, rel=0.05)
    scales = torch.cat([generator.in4_e.weight, generator.in3_e.weight, generator.in4_d.weight])
    assert scales.mean().item() == pytest.approx(1, abs=0.01) and scales.std().item() == pytest.approx(0.02, rel=0.3)
    assert not generator.in4_e.bias.any() and generator.res1.conv1.conv2d.bias.any()
    assert 0 < generator.att1.gamma.abs().item() < 0.1


def test_under_autocast_styles_statistics_and_scores_are_not_rounded() -> None:
    torch.manual_seed(1)  # of twelve seeds, two or three give networks that amplify the rounding of bf16 to above 0.02
    networks = Embedder(SMALL), Generator(SMALL), Discriminator(SMALL, 2)
    frames, landmarks = noise(2, 3, 32, 32).float(), noise(2, 3, 32, 32, seed=1).float()

    def run() -> list[Tensor]:
        embedding = networks[0](frames, landmarks)
        style = networks[1].style(embedding)
        rendered = networks[1](landmarks, embedding)
        return [embedding, style, rendered, networks[2](rendered, landmarks, torch.tensor([0, 1])).score]

    run()  # power iteration of the spectral norms starts from random vectors
    for network in networks:
        network.eval()
    exact = run()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = run()
        assert networks[0].conv1(torch.cat([frames, landmarks], dim=1)).dtype == torch.bfloat16
    for one, other in zip(rounded, exact, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).abs().mean() < 0.02 * max(1, other.abs().max())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 6}, "width must be a multiple of 4"),
        ({"halvings": 3}, "halvings must be at least 4"),
        ({"size": 64}, "size must be a multiple of 64, for halvings, and at least 128"),
        ({"size": 200}, "size must be a multiple of 64"),
        ({"residuals": -1}, "residuals must not be negative"),
    ],
)
def test_invalid_architectures_are_refused(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Architecture(**wrong)


def test_configs_round_trip_through_checkpoints() -> None:
    assert [*CONFIGS] == ["vox-256", "vox-256-compat"]
    for name, config in CONFIGS.items():
        assert Config.from_json(config.to_json()) == config == settings.load(name, CONFIGS)
        assert config.architecture.compat == (name == "vox-256-compat")


def test_invalid_settings_are_reported_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    for text, message in (
        ("training: {frames: 0}", "at least 1"),
        ("training: {betas: [0.9]}", "betas must be two numbers"),
        ("training: {learning_rate: 0}", "learning_rate must be above 0"),
        ("training: {losses: {match: -1}}", "weights must not be negative"),
        ("training: {losses: {vgg19: 0, vggface: 0, pixel: 0}}", "one of vgg19, vggface and pixel"),
        ("training: {frame: 3}", "did you mean frames"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            plan("talking_heads", str(path))
    expected = plan("talking_heads", "vox-256", epochs=2, batch=6)
    assert (
        expected.config.training.epochs,
        expected.config.training.repeats,
        expected.config.training.global_batch_size,
        expected.config.architecture.size,
    ) == (2, 1, 6, 256)
    assert (expected.view.n, expected.config.training.augment().flip) == (9, 0)
