"""Training steps of the face rotator: usable pairs, trained networks, and losses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conformance import fill
from face_rotator_inputs import batch, face
from torch import Tensor

from motionshards.dataset.reading.batch import Batch
from motionshards.dataset.reading.world import World
from motionshards.schemas.errors import ConfigError
from motionshards.trainers import settings
from motionshards.trainers.face_rotator.architecture import Architecture
from motionshards.trainers.face_rotator.color import to_images
from motionshards.trainers.face_rotator.config import CONFIGS, Config
from motionshards.trainers.face_rotator.losses import TAPS, PerceptualDistance, pixel_distance
from motionshards.trainers.face_rotator.networks import NAMES, is_trained, make_networks
from motionshards.trainers.face_rotator.training import FaceRotatorTask
from motionshards.trainers.task import Runtime
from motionshards.trainers.vgg import VGG16, Vgg

TINY = Architecture(size=8, width=4, halvings=1, blocks=1)
STEPS = 5
"""Steps per epoch."""


def config(stage: str, **training: Any) -> Config:
    return Config(architecture=TINY, training=replace(CONFIGS[stage].training, **training))


def runtime(**changes: Any) -> Runtime:
    return Runtime(**{"world": World(), "device": torch.device("cpu"), "vgg": "none", **changes})


def task(stage: str, weights: dict[str, dict[str, Tensor]] | None = None, **changes: Any) -> FaceRotatorTask:
    torch.manual_seed(3)
    created = FaceRotatorTask(config(stage), runtime(**changes), STEPS)
    if weights is not None:
        created.load_weights(weights, Path("given.pt"))
    return created


def step(trained: FaceRotatorTask, samples: Batch, number: int = 1) -> dict[str, Tensor]:
    return trained.step(samples, torch.Generator(), number)


def weights(trained: FaceRotatorTask) -> dict[str, dict[str, Tensor]]:
    return {name: {key: value.clone() for key, value in net.state_dict().items()} for name, net in trained.networks.items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[key], other[key]) for key in one)


ALIKE, OTHER = (face(), face()), (face(), face(left=0.2, mouth=0.3))


def batch_of(*pairs: tuple[Tensor, Tensor]) -> Batch:
    return batch([pair[0] for pair in pairs], [pair[1] for pair in pairs], 9.0)


FITTING = {"morpher": OTHER, "rotator": ALIKE, "combiner": ALIKE}


@pytest.fixture
def vgg(tmp_path: Path) -> str:
    torch.save(fill(Vgg(VGG16, TAPS), "vgg16").state_dict(), tmp_path / "vgg16.pth")
    return str(tmp_path / "vgg16.pth")


@pytest.mark.parametrize("stage", NAMES)
def test_a_stage_trains_one_network_and_keeps_the_others_bit_identical(stage: str) -> None:
    trained = task(stage)
    before = weights(trained)
    for number in (1, 2):
        step(trained, batch_of(FITTING[stage], FITTING[stage]), number)
    after = weights(trained)
    assert [name for name in NAMES if not same(before[name], after[name])] == [stage]
    assert [*trained.optimizers] == [f"optimizer_{stage}"]
    moved = [key for key in after[stage] if not torch.equal(after[stage][key], before[stage][key])]
    assert len(moved) == len(after[stage]), "all of its weights are trained"


@pytest.mark.parametrize("stage", ["morpher", "rotator"])
def test_pairs_that_do_not_match_have_no_effect(stage: str) -> None:
    """Four pairs, two of them usable, lead to the same weights as the two usable ones alone."""
    fitting, unfit = FITTING[stage], (ALIKE if stage == "morpher" else OTHER)
    four = batch_of(fitting, unfit, fitting, unfit)
    changed = replace(four, frames=four.frames.clone())
    changed.frames[[1, 3]] = 1 - changed.frames[[1, 3]]
    two = batch_of(fitting, fitting)
    two.frames[:] = four.frames[[0, 2]]
    results = []
    for samples in (four, changed, two):
        trained = task(stage)
        losses = step(trained, samples)
        results.append(({name: loss for name, loss in losses.items() if name != "unfit"}, weights(trained)[stage]))
        assert losses["unfit"].item() == (0 if samples is two else 0.5)
    assert results[0][0] == results[1][0]
    assert same(results[0][1], results[1][1])
    for name, loss in results[0][0].items():
        torch.testing.assert_close(loss, results[2][0][name], rtol=1e-6, atol=0)


@pytest.mark.parametrize("stage", ["morpher", "rotator"])
def test_a_batch_without_usable_pairs_changes_no_weights(stage: str) -> None:
    trained = task(stage)
    before = weights(trained)[stage]
    losses = step(trained, batch_of(*[ALIKE if stage == "morpher" else OTHER] * 2))
    assert losses.pop("unfit") == 1 and not any(loss.any() for loss in losses.values())
    assert same(weights(trained)[stage], before)


@pytest.mark.parametrize("stage", NAMES)
def test_a_batch_in_parts_is_the_whole_batch(stage: str) -> None:
    pairs = batch_of(FITTING[stage], (face(), torch.full((68, 2), float("nan"))), FITTING[stage], FITTING[stage])
    whole, parts = task(stage), task(stage, accumulate=3)
    for name, loss in step(whole, pairs).items():
        torch.testing.assert_close(step(task(stage, accumulate=3), pairs)[name], loss, rtol=1e-5, atol=1e-7)
    step(parts, pairs)
    for key, value in weights(whole)[stage].items():
        assert (value - weights(parts)[stage][key]).abs().max() <= 2.1e-4, key


def test_the_loss_is_the_mean_difference_of_light_without_alpha() -> None:
    trained = task("morpher")
    pairs = batch_of(OTHER, OTHER)
    networks = make_networks(TINY)
    networks["morpher"].load_state_dict(trained.networks["morpher"].state_dict())
    source, target = (to_images(pairs.frames[:, number]) for number in (0, 1))
    morphed = networks["morpher"](source, torch.tensor([[0.5, 0, 0.6]] * 2)).image
    losses = step(trained, pairs)
    assert losses["pixel_morphed"].item() == pytest.approx((morphed - target)[:, :3].abs().mean().item(), rel=1e-5)
    assert torch.equal(pixel_distance(target + torch.tensor([0, 0, 0, 1.0]).view(4, 1, 1), target), torch.zeros(2))


def test_the_perceptual_loss_takes_over_after_half_an_epoch(vgg: str) -> None:
    trained = task("rotator", vgg=vgg)
    names = [sorted(step(trained, batch_of(ALIKE, ALIKE), number)) for number in range(5)]
    pixel, perceptual = ["pixel_moved", "pixel_painted", "unfit"], ["perceptual_moved", "perceptual_painted", "unfit"]
    assert names == [pixel, pixel, pixel, perceptual, perceptual], "3 of 5 steps"
    without = task("rotator")
    assert sorted(step(without, batch_of(ALIKE, ALIKE), 4)) == pixel, "without VGG16, the pixel loss remains"


def test_only_rotator_and_combiner_need_vgg() -> None:
    assert "pixel_morphed" in step(task("morpher", vgg="nowhere.pth"), batch_of(OTHER, OTHER), 9)
    with pytest.raises(ConfigError, match="VGG16"):
        task("rotator", vgg="nowhere.pth")


def test_the_perceptual_distance_is_of_each_pair_alone_and_blind_to_alpha() -> None:
    distance = PerceptualDistance(fill(Vgg(VGG16, TAPS), "vgg16"))
    one, other = torch.rand(3, 4, 16, 16) * 2 - 1, torch.rand(3, 4, 16, 16) * 2 - 1
    other[1] = one[1]
    other[1, 3] = 1
    found = distance(one, other)
    assert found[1] == 0 and (found[[0, 2]] > 0).all()
    torch.testing.assert_close(distance(one[2:], other[2:]), found[2:])


def test_a_combiner_requires_a_trained_rotator() -> None:
    pairs = batch_of(ALIKE, ALIKE)
    with pytest.raises(ConfigError, match="--init"):
        step(task("combiner"), pairs, 0)
    rotator = task("rotator")
    with pytest.raises(ConfigError, match="never trained"):
        step(task("combiner", weights(rotator)), pairs, 0)
    step(rotator, pairs, 0)
    assert "pixel_combined" in step(task("combiner", weights(rotator)), pairs, 0)
    assert "pixel_combined" in step(task("combiner"), pairs, 1), "a resumed run has the weights of its checkpoint"


def test_init_loads_own_checkpoints_and_published_files() -> None:
    published = {name: network.state_dict() for name, network in make_networks(TINY, still=False).items()}
    for name in NAMES:
        initialized = task("rotator", published[name])  # type: ignore[arg-type]
        fresh = weights(task("rotator"))
        assert same(weights(initialized)[name], published[name])
        assert all(same(weights(initialized)[other], fresh[other]) for other in NAMES if other != name)
    combiner = task("combiner", {name: published[name] for name in NAMES[:2]})
    assert same(weights(combiner)["rotator"], published["rotator"]) and same(weights(combiner)["morpher"], published["morpher"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"generator": {}, "epoch": 3}, "given.pt has none of morpher, rotator, combiner; it has epoch, generator"),
        ({"rotator": {}}, "rotator has another architecture: missing: "),
        ({"zhou_grid_change.weight": torch.zeros(2, 9, 7, 7)}, "rotator has another architecture: missing: "),
    ],
)
def test_unusable_init_files_are_refused(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        task("rotator", content)


def test_images_show_the_outputs_of_a_stage() -> None:
    expected = {"morpher": ["morphed"], "rotator": ["painted", "moved"], "combiner": ["painted", "moved", "combined"]}
    for stage, columns in expected.items():
        trained = task(stage)
        assert trained.images() is None
        step(trained, batch_of(FITTING[stage], FITTING[stage]))
        grid = trained.images()
        assert grid is not None and [*grid] == ["source", "target", *columns]
        for images in grid.values():
            assert images.shape == (2, 3, 8, 8) and images.min() >= 0 and images.max() <= 1
    torch.testing.assert_close(grid["target"], batch_of(ALIKE, ALIKE).frames[:, 1], rtol=0, atol=1e-4)


def test_precision_and_memory_format_train_alike() -> None:
    plain = step(task("rotator"), batch_of(ALIKE, ALIKE))
    for options in ({"precision": "bf16"}, {"channels_last": True}):
        trained = task("rotator", **options)
        found = step(trained, batch_of(ALIKE, ALIKE))
        assert found.keys() == plain.keys() and is_trained(trained.networks["rotator"])
        for name, loss in found.items():
            torch.testing.assert_close(loss, plain[name], rtol=0.02, atol=1e-6)


@pytest.mark.slow
def test_compiled_networks_learn_the_same() -> None:
    plain, compiled = task("rotator"), task("rotator", compiled=True)
    for number in (1, 2):
        one, other = (step(trained, batch_of(ALIKE, ALIKE), number) for trained in (plain, compiled))
        for name, loss in one.items():
            torch.testing.assert_close(other[name], loss, rtol=1e-3, atol=1e-5)


def test_settings_of_the_stages() -> None:
    assert [*CONFIGS] == ["morpher", "rotator", "combiner"] == [each.training.stage for each in CONFIGS.values()]
    schedules = {name: (each.training.epochs, each.training.global_batch_size) for name, each in CONFIGS.items()}
    assert schedules == {"morpher": (6, 25), "rotator": (6, 8), "combiner": (3, 8)}
    for each in CONFIGS.values():
        assert each.training.learning_rate == 1e-4 and each.training.betas == (0.5, 0.999)
        assert each.architecture == Architecture()
        assert Config.from_json(each.to_json()) == each


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("training: {stage: painter}", "stage must be morpher, rotator or combiner"),
        ("training: {most_deg: 20}", "most_deg must be at most 15"),
        ("training: {least_deg: 5}", "frontal_deg must be positive"),
        ("training: {alike: 0}", "alike must be above 0"),
        ("training: {flip: 2}", "probabilities"),
        ("training: {epochs: 0}", "at least 1"),
        ("architecture: {size: 100}", "multiple of 8"),
        ("architecture: {sise: 64}", "did you mean size"),
    ],
)
def test_invalid_settings_are_reported_by_name(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(line)
    with pytest.raises(ConfigError, match=message):
        settings.load(str(path), CONFIGS)


def test_a_file_overrides_settings_of_a_stage(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("base: combiner\narchitecture: {size: 64}\n")
    found = settings.load(str(path), CONFIGS)
    assert found.training == CONFIGS["combiner"].training
    assert (found.name, found.architecture) == ("mine", Architecture(size=64))
    with pytest.raises(ConfigError, match="mover is neither"):
        settings.load("mover", CONFIGS)
