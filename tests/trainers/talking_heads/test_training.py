"""Training of talking heads: trained parameters, frames without a face, and initialization."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.spectral_norm import SpectralNorm

from motionshards.dataset.reading.batch import Batch
from motionshards.dataset.reading.world import World
from motionshards.schemas.errors import ConfigError
from motionshards.trainers.checkpoint import METADATA_KEY, Progress, save
from motionshards.trainers.parallel import update
from motionshards.trainers.talking_heads import training
from motionshards.trainers.talking_heads.architecture import Architecture
from motionshards.trainers.talking_heads.config import CONFIGS, Config, LossWeights, TrainingConfig
from motionshards.trainers.talking_heads.discriminator import DiscriminatorOutput
from motionshards.trainers.talking_heads.embedder import Embedder, averaged
from motionshards.trainers.talking_heads.episodes import Targets, draw, episodes, video_of
from motionshards.trainers.talking_heads.generator import Generator
from motionshards.trainers.talking_heads.losses import ImageLoss, hinge_loss
from motionshards.trainers.talking_heads.training import TalkingHeadsTask
from motionshards.trainers.task import Runtime
from motionshards.trainers.vgg import VGG19, Vgg
from motionshards.transforms.augment.drawing import landmark_images

SMALL = Architecture(size=32, width=4, halvings=4, residuals=1)
VIDEOS = ("id0/a", "id0/b", "id1/a")


def task(
    videos: tuple[str, ...] = VIDEOS, *, accumulate: int = 1, seed: int = 0, compat: bool = False, **losses: float
) -> TalkingHeadsTask:
    torch.manual_seed(seed)
    config = Config(
        name="small", architecture=replace(SMALL, compat=compat), training=TrainingConfig(frames=2, losses=LossWeights(**losses))
    )
    runtime = Runtime(world=World(0, 1), device=torch.device("cpu"), accumulate=accumulate, vgg="none", vggface="none")
    return TalkingHeadsTask(config, runtime, videos)


def settled(trained: TalkingHeadsTask) -> TalkingHeadsTask:
    """With converged spectral norms, so that the number of further iterations does not matter."""
    for network in trained.networks.values():
        for module in network.modules():
            for hook in module._forward_pre_hooks.values():
                assert isinstance(hook, SpectralNorm)
                for _ in range(30):
                    hook.compute_weight(module, do_power_iteration=True)
    return trained


def batch(videos: tuple[str, ...] = VIDEOS, seed: int = 0) -> Batch:
    """Two frames and a target of each video, all different."""
    rng, count = torch.Generator().manual_seed(seed), len(videos)
    return Batch(
        frames=torch.rand(count, 3, 3, 32, 32, generator=rng),
        landmarks=32 * torch.rand(count, 3, 68, 2, generator=rng),
        aus=None,
        pose=torch.zeros(count, 3, 3),
        number=torch.zeros(count, 3, dtype=torch.int64),
        row=torch.arange(count),
        identity=torch.zeros(count, dtype=torch.int64),
        padded=torch.zeros(count, dtype=torch.bool),
        target_aus=None,
        keys=tuple(f"{video}/00001" for video in videos),
    )


def state(networks: Mapping[str, nn.Module]) -> dict[str, dict[str, Tensor]]:
    return {name: {key: tensor.clone() for key, tensor in net.state_dict().items()} for name, net in networks.items()}


def gradients(monkeypatch: pytest.MonkeyPatch, trained: TalkingHeadsTask, samples: Batch) -> list[dict[str, Tensor]]:
    """Record the gradients of the updates in order: of E and G together, and twice of D."""
    recorded: list[dict[str, Tensor]] = []

    def record(networks: tuple[nn.Module, ...], optimizer: torch.optim.Optimizer) -> None:
        named = {f"{type(net).__name__}.{name}": parameter for net in networks for name, parameter in net.named_parameters()}
        recorded.append({name: parameter.grad.clone() for name, parameter in named.items() if parameter.grad is not None})
        update(networks, optimizer)

    monkeypatch.setattr(training, "update", record)
    trained.step(samples, torch.Generator(), 0)
    return recorded


def test_one_generator_step_and_two_discriminator_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = task()
    before = state(trained.networks)
    steps = gradients(monkeypatch, trained, batch())
    assert len(steps) == 3
    assert {name.partition(".")[0] for name in steps[0]} == {"Embedder", "Generator"}
    own = {f"Discriminator.{name}" for name, _ in trained.networks["D_state_dict"].named_parameters()}
    assert steps[1].keys() == steps[2].keys() == own
    after = state(trained.networks)
    for name, network in trained.networks.items():
        # Biases may stay: within the hinge's margins, real and rendered images contribute opposite gradients.
        for key in (key for key, parameter in network.named_parameters() if parameter.ndim > 1 and key != "w_0"):
            assert not torch.equal(before[name][key], after[name][key]), f"{name} {key}"


@pytest.mark.parametrize(("compat", "accumulate"), [(False, 1), (True, 2)])
def test_inputs_of_the_discriminator(monkeypatch: pytest.MonkeyPatch, compat: bool, accumulate: int) -> None:
    """Both steps use the images rendered before the generator's step; with compat, the second uses images rendered again by the
    updated generator, from the same embeddings."""
    trained, inputs = settled(task(compat=compat, accumulate=accumulate)), list[Tensor]()

    def record(discriminator: nn.Module, rendered: Tensor, targets: Targets) -> Tensor:
        inputs.append(rendered)
        return hinge_loss(discriminator, rendered, targets)

    monkeypatch.setattr(training, "hinge_loss", record)
    for number in range(2):
        samples = batch(seed=number)
        expected = episodes(samples, {name: number for number, name in enumerate(VIDEOS)})
        networks = {
            "E_state_dict": Embedder(replace(SMALL, compat=compat)),
            "G_state_dict": Generator(replace(SMALL, compat=compat)),
        }
        for name, network in networks.items():
            network.load_state_dict(trained.networks[name].state_dict())
        inputs.clear()
        trained.step(samples, torch.Generator(), number)
        assert len(inputs) == 2 * accumulate
        first, second = (torch.cat(inputs[start : start + accumulate]) for start in (0, accumulate))
        embedder, generator = networks.values()
        each = embedder(expected.frames.flatten(0, 1), expected.landmarks.flatten(0, 1))
        embeddings = averaged(each.view(*expected.faces.shape, -1), expected.faces)
        before = generator(expected.targets.landmarks, embeddings)
        generator.load_state_dict(trained.networks["G_state_dict"].state_dict())
        updated = generator(expected.targets.landmarks, embeddings)
        torch.testing.assert_close(first, before, rtol=0, atol=1e-3)
        torch.testing.assert_close(second, updated if compat else before, rtol=0, atol=1e-3)
        assert (updated - before).abs().max() > 1e-2 and not second.requires_grad


def test_compat_has_no_feature_matching() -> None:
    """The paper has it, the published code does not."""
    paper, code = (CONFIGS[name].training.losses for name in ("vox-256", "vox-256-compat"))
    assert replace(code, feature_matching=paper.feature_matching) == paper
    assert (paper.feature_matching, code.feature_matching) == (10, 0)
    losses = task(feature_matching=code.feature_matching).step(batch(), torch.Generator(), 0)
    assert losses.keys() == {"pixel", "adversarial", "match", "discriminator", "without_face"}


def test_the_score_trains_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the published code the gradients of the score for G and D cancel."""
    trained = task(pixel=0.0, feature_matching=0.0, match=0.0)
    first, *_ = gradients(monkeypatch, trained, batch())
    assert first["Generator.projection"].abs().max() > 0 and first["Generator.conv1.conv_r1.conv2d.weight_orig"].abs().max() > 0
    assert all(gradient.isfinite().all() for gradient in first.values())


def test_the_match_moves_embedder_and_vectors_to_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the first discriminator step only, and only vectors of the videos in the batch."""
    with_match, without = (gradients(monkeypatch, task(match=match), batch(VIDEOS[:2])) for match in (80.0, 0.0))
    difference = with_match[1]["Discriminator.W"] - without[1]["Discriminator.W"]
    # |W - e| is 80 times a mean over 32 entries and 2 videos; tolerant, as the first Adam step has changed E and G.
    torch.testing.assert_close(difference[:, :2].abs(), torch.full((32, 2), 80 / 64), rtol=0.2, atol=0)
    assert not difference[:, 2].any()
    last = "Embedder.conv4.conv_l.conv2d.bias"
    assert (with_match[0][last] - without[0][last]).abs().max() > 0.01


def test_parts_of_a_batch_equal_the_whole_batch() -> None:
    """Except for the vectors of spectral norms, which iterate with every part."""
    videos = (*VIDEOS, "id2/a")
    whole, parted = settled(task(videos)), settled(task(videos, accumulate=2))
    one, other = (each.step(batch(videos), torch.Generator(), 0) for each in (whole, parted))
    assert {name: value.item() for name, value in one.items()} == pytest.approx(
        {name: value.item() for name, value in other.items()}, rel=0.01
    )


def test_frames_without_a_face_have_no_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = batch()
    assert samples.landmarks is not None
    samples.landmarks[0, -1] = torch.nan  # the target
    samples.landmarks[1, :-1] = torch.nan  # all input frames of the embedder
    samples.landmarks[2, 0] = torch.nan  # one of two input frames
    found = episodes(samples, {name: number for number, name in enumerate(VIDEOS)})
    assert found.targets.counts.tolist() == [0, 0, 1]
    assert found.faces.tolist() == [[True, True], [False, False], [False, True]]
    assert (found.targets.landmarks[0] == 1).all() and not (found.targets.landmarks[2] == 1).all()
    trained = task()
    steps = gradients(monkeypatch, trained, samples)
    assert all(gradient.isfinite().all() for step in steps for gradient in step.values())
    assert not steps[1]["Discriminator.W"][:, :2].any() and steps[1]["Discriminator.W"][:, 2].any()
    assert trained.step(samples, torch.Generator(), 1)["without_face"].item() == pytest.approx(2 / 3)


def test_landmark_images_look_the_same_in_every_size() -> None:
    """The fraction covered by lines is the same."""
    points = 64 * torch.rand(1, 68, 2, generator=torch.Generator().manual_seed(1))
    ink = [(1 - draw(2**level * (points + 0.5) - 0.5, 64 * 2**level)).mean(dim=(2, 3)) for level in range(3)]
    assert ink[2].min() > 0.01
    torch.testing.assert_close(ink[0], ink[2], rtol=0.05, atol=0)
    torch.testing.assert_close(ink[1], ink[2], rtol=0.05, atol=0)
    published = landmark_images(4 * points, 256)
    assert torch.equal(draw(4 * points, 256), published)


def test_videos_of_keys() -> None:
    assert video_of("id00012/21Uxsk56VDQ/00001") == video_of("id00012/21Uxsk56VDQ/video") == "id00012/21Uxsk56VDQ"


class Score(nn.Module):
    """A discriminator whose score is 4 times the mean of an image."""

    def forward(self, images: Tensor, landmarks: Tensor, video: Tensor) -> DiscriminatorOutput:
        return DiscriminatorOutput(score=4 * images.flatten(1).mean(1), features=[images, 2 * images])


def test_losses_by_hand() -> None:
    targets = Targets(
        frames=torch.tensor([0.5, 1.0]).view(2, 1, 1, 1).expand(2, 3, 4, 4),
        landmarks=torch.ones(2, 3, 4, 4),
        video=torch.tensor([0, 1]),
        counts=torch.tensor([1.0, 0.0]),
    )
    rendered = torch.full((2, 3, 4, 4), 0.125)
    losses = ImageLoss(LossWeights(), None, None)(Score(), rendered, targets)
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(
        {"pixel": 10 * 0.375 / 2, "adversarial": -0.5 / 2, "feature_matching": 10 * (0.375 + 0.75) / 2}
    )
    assert hinge_loss(Score(), rendered, targets).item() == pytest.approx((1.5 + 0) / 2)


def test_perceptual_networks_replace_the_pixel_loss() -> None:
    torch.manual_seed(0)
    network, targets = Vgg(VGG19, (1, 6)), episodes(batch(), dict.fromkeys(VIDEOS, 0)).targets
    rendered = targets.frames.flip(0).requires_grad_()
    weights = LossWeights(adversarial=0, feature_matching=0)
    both = ImageLoss(weights, network, network)(Score(), rendered, targets)
    expected = sum((a - b).abs().mean() for a, b in zip(network(rendered), network(targets.frames), strict=True))
    assert both.keys() == {"vgg19", "vggface"}
    torch.testing.assert_close(both["vgg19"], 1e-2 * expected)
    torch.testing.assert_close(both["vggface"], 2e-3 * expected)
    assert torch.autograd.grad(both["vgg19"], rendered)[0].any()
    assert ImageLoss(weights, network, None)(Score(), rendered, targets).keys() == {"vgg19"}


@pytest.mark.parametrize("legacy", [False, True])
def test_init_loads_checkpoints_of_the_authors(tmp_path: Path, legacy: bool) -> None:
    """The generator adopts their arithmetic and keeps it in checkpoints; W fits the same number of videos only."""
    published = {name: network.state_dict() for name, network in task(seed=1).networks.items()}
    for name in published:
        vars(published[name]).pop("_metadata")
    torch.save({**published, "epoch": 3}, tmp_path / "model.tar", _use_new_zipfile_serialization=not legacy)
    content = torch.load(tmp_path / "model.tar", weights_only=True)
    mine = task()
    mine.load_weights(content, tmp_path)
    loaded = {name: net.state_dict() for name, net in mine.networks.items()}
    assert all(torch.equal(tensor, published[name][key]) for name in loaded for key, tensor in loaded[name].items())
    generator: Any = mine.networks["G_state_dict"]
    assert generator.compat is True
    save(tmp_path / "last.pt", mine, Progress(0, 0, {}))
    again: Any = task()
    again.load_weights(torch.load(tmp_path / "last.pt", weights_only=True), tmp_path)
    assert again.networks["G_state_dict"].compat is True
    more = task((*VIDEOS, "id2/c"))
    own = more.networks["D_state_dict"].state_dict()["W"].clone()
    more.load_weights(content, tmp_path)
    assert torch.equal(more.networks["D_state_dict"].state_dict()["W"], own)


def test_vectors_of_common_videos_are_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Only videos that are not in the checkpoint are reported."""
    first = task()
    save(tmp_path / "last.pt", first, Progress(0, 0, {}))
    content = torch.load(tmp_path / "last.pt", weights_only=True)
    for videos in (VIDEOS, VIDEOS[:2]):
        task(videos, seed=1).load_weights(content, tmp_path)
    assert not caplog.messages
    second = task(("id0/b", "id1/a", "id9/z"), seed=1)
    own = second.networks["D_state_dict"].state_dict()["W"].clone()
    second.load_weights(content, tmp_path)
    assert caplog.messages == ["the checkpoint has no discriminator vectors for 1 of the 3 videos; these start at random"]
    stored, found = (each.networks["D_state_dict"].state_dict()["W"] for each in (first, second))
    assert torch.equal(found[:, :2], stored[:, 1:]) and torch.equal(found[:, 2], own[:, 2])
    assert second.networks["G_state_dict"].compat is False


def test_other_checkpoints_are_refused() -> None:
    for content, message in (
        ({}, "has no E_state_dict"),
        ({**state(task().networks), "D_state_dict": {"W": torch.zeros(7, 3)}}, "D_state_dict has another architecture"),
        ({**state(task().networks), "D_state_dict": 3}, "D_state_dict has another architecture: it is a int"),
    ):
        with pytest.raises(ConfigError, match=message):
            task().load_weights(content, Path("a.pt"))
    assert METADATA_KEY == "motionshards"
