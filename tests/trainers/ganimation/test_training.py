"""Training steps: trained networks, unusable rows, and independence of parts and processes."""

import copy
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkout import ROOT
from torch import Tensor

from motionshards.dataset.reading.batch import Batch
from motionshards.dataset.reading.world import World
from motionshards.dataset.views import Singles
from motionshards.trainers.ganimation.architecture import Architecture
from motionshards.trainers.ganimation.config import Config, TrainingConfig
from motionshards.trainers.ganimation.losses import gradient_penalty
from motionshards.trainers.ganimation.training import GanimationPlan, GanimationTask
from motionshards.trainers.task import Runtime

SIZE = 16
CRITIC = {"d_real", "d_fake", "d_condition", "d_penalty"}
GENERATOR = {
    "g_fake",
    "g_condition",
    "g_cycle",
    "g_attention",
    "g_attention_back",
    "g_smoothness",
    "g_smoothness_back",
}
TINY = Config(architecture=Architecture(size=SIZE, width=4, residuals=1), training=TrainingConfig(learning_rate=1e-3))


def batch(rows: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Batch:
    """The first rows of a fixed larger batch."""
    random = torch.Generator().manual_seed(seed)
    frames, aus, target = (torch.rand(8, *shape, generator=random) for shape in ((1, 3, SIZE, SIZE), (1, 17), (17,)))
    return Batch(
        frames=frames[:rows].to(dtype),
        landmarks=None,
        aus=5 * aus[:rows].to(dtype),
        pose=torch.zeros(rows, 1, 3),
        number=torch.zeros(rows, 1, dtype=torch.int64),
        row=torch.arange(rows),
        identity=torch.zeros(rows, dtype=torch.int64),
        padded=torch.zeros(rows, dtype=torch.bool),
        target_aus=5 * target[:rows].to(dtype),
        keys=tuple(map(str, range(rows))),
    )


def without_aus(whole: Batch, rows: list[int]) -> Batch:
    """Every second row has no target, the others no action units of their own."""
    assert whole.aus is not None and whole.target_aus is not None
    aus, target = whole.aus.clone(), whole.target_aus.clone()
    aus[rows[::2]], target[rows[1::2]] = torch.nan, torch.nan
    return replace(whole, aus=aus, target_aus=target)


def task(config: Config = TINY, dtype: torch.dtype = torch.float64, steps: int = 1000, **runtime: object) -> GanimationTask:
    torch.manual_seed(0)
    created = GanimationTask(config, Runtime(world=World(), device=torch.device("cpu"), **runtime), "csv", steps)
    for network in created.networks.values():
        network.to(dtype)
    return created


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def weights(trained: GanimationTask) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value.clone()
        for name, network in trained.networks.items()
        for key, value in network.state_dict().items()
    }


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Return which networks changed."""
    return {key.partition(".")[0] for key in before if not before[key].equal(after[key])}


def train(trained: GanimationTask, batches: list[Batch]) -> list[dict[str, float]]:
    losses = [trained.step(each, rng(number), number) for number, each in enumerate(batches)]
    return [{name: loss.item() for name, loss in each.items()} for each in losses]


def test_the_generator_is_trained_in_every_fifth_step() -> None:
    trained = task()
    for number in range(11):
        before = weights(trained)
        losses = trained.step(batch(3), rng(number), number)
        fifth = number in (4, 9)
        assert changed(before, weights(trained)) == ({"G", "D"} if fifth else {"D"}), number
        assert losses.keys() == CRITIC | {"skipped"} | (GENERATOR if fifth else set())
        assert all(loss.isfinite() and not loss.requires_grad for loss in losses.values())


@pytest.mark.parametrize(("steps", "turns"), [(7, [4, 11, 18]), (5, [4, 9, 14, 19]), (3, [2, 5, 8, 11, 14, 17, 20])])
def test_generator_steps_are_counted_within_the_epoch(steps: int, turns: list[int]) -> None:
    """As published; in epochs of fewer than five steps the last one trains the generator."""
    trained = task(steps=steps)
    assert [number for number in range(21) if "g_fake" in trained.step(batch(1), rng(number), number)] == turns


def test_the_penalty_is_that_of_the_critic_after_its_first_step() -> None:
    trained, spied = task(), task()
    with torch.no_grad():
        for parameter in [*trained.networks["D"].parameters(), *spied.networks["D"].parameters()]:
            parameter.mul_(4)  # at initialization, gradients are tiny
    before = copy.deepcopy(trained.networks["D"])
    step = spied.optimizers["optimizer_D"].step
    states: list[dict[str, Tensor]] = []

    def record() -> None:
        step()
        states.append({name: value.clone() for name, value in spied.networks["D"].state_dict().items()})

    spied.optimizers["optimizer_D"].step = record  # type: ignore[method-assign]
    train(spied, [batch(3)])
    losses = train(trained, [batch(3)])[0]
    assert len(states) == 2
    part = trained._shown
    assert part is not None
    fake = trained.networks["G"](part.real, part.desired).over(part.real).detach()
    penalties = {}
    for name, state in (("before", before.state_dict()), ("between", states[0]), ("after", states[1])):
        before.load_state_dict(state)
        penalties[name] = gradient_penalty(TINY.training.losses, before, part, fake).item()
    assert losses["d_penalty"] == pytest.approx(penalties["between"], rel=1e-9)
    assert penalties["before"] != pytest.approx(penalties["between"], rel=1e-3) != penalties["after"]


def test_a_step_without_action_units_in_some_rows_is_one_without_these_rows() -> None:
    masked, few = task(), task()
    first = train(masked, [without_aus(batch(5, seed), [3, 4]) for seed in range(10)])
    second = train(few, [batch(3, seed) for seed in range(10)])
    assert [losses.pop("skipped") for losses in first] == [2] * 10 and [losses.pop("skipped") for losses in second] == [0] * 10
    for one, other in zip(first, second, strict=True):
        assert one == pytest.approx(other, rel=1e-9)
    torch.testing.assert_close(weights(masked), weights(few), rtol=1e-6, atol=1e-8)


def test_a_step_without_action_units_changes_nothing() -> None:
    trained = task()
    train(trained, [batch(3)] * 5)
    before, states = weights(trained), copy.deepcopy([one.state_dict() for one in trained.optimizers.values()])
    losses = trained.step(without_aus(batch(3), [0, 1, 2]), rng(), 4)
    assert {name: loss.item() for name, loss in losses.items()} == {"skipped": 3}
    assert not changed(before, weights(trained))
    for now, then in zip(trained.optimizers.values(), states, strict=True):
        assert all(
            torch.equal(entry["exp_avg"], then["state"][number]["exp_avg"]) for number, entry in now.state_dict()["state"].items()
        )


@pytest.mark.parametrize("parts", [2, 5])
def test_parts_of_a_batch_equal_the_whole_batch(parts: int) -> None:
    """Also if a part has no row with action units."""
    whole, split = task(), task(accumulate=parts)
    batches = [without_aus(batch(5, seed), [0, 3]) for seed in range(10)]
    for one, other in zip(train(whole, batches), train(split, batches), strict=True):
        assert one == pytest.approx(other, rel=1e-9)
    torch.testing.assert_close(weights(whole), weights(split), rtol=1e-6, atol=1e-8)


def test_a_batch_of_one_trains() -> None:
    trained, before = task(dtype=torch.float32), weights(task(dtype=torch.float32))
    losses = train(trained, [batch(1, dtype=torch.float32)] * 5)
    assert losses[-1].keys() == CRITIC | GENERATOR | {"skipped"}
    assert changed(before, weights(trained)) == {"G", "D"}
    shown = trained.images()
    assert shown is not None and all(images.shape == (1, 3, SIZE, SIZE) for images in shown.values())


def test_desired_action_units_are_those_of_another_clip_with_noise() -> None:
    trained = task()
    one = batch(8)
    train(trained, [one])
    part = trained._shown
    assert part is not None and one.aus is not None and one.target_aus is not None
    torch.testing.assert_close(part.condition, one.aus[:, 0] / 5)
    noise = part.desired - one.target_aus / 5
    assert noise.abs().max() <= 0.1 and noise.min() < -0.08 and noise.max() > 0.08
    assert part.mix.min() >= 0 and part.mix.max() < 1 and len(part.mix.unique()) == 8
    torch.testing.assert_close(part.real, 2 * one.frames[:, 0] - 1)


def test_images_show_rows_with_action_units() -> None:
    trained = task(dtype=torch.float32)
    assert trained.images() is None
    train(trained, [without_aus(batch(3, dtype=torch.float32), [0])])
    shown = trained.images()
    assert shown is not None and [*shown] == ["source", "color", "attention", "prediction", "restored"]
    for images in shown.values():
        assert images.shape == (2, 3, SIZE, SIZE) and images.min() >= 0 and images.max() <= 1
    torch.testing.assert_close(shown["source"], batch(3, dtype=torch.float32).frames[1:, 0])


def test_bf16_and_channels_last_train_alike() -> None:
    plain, rounded = task(dtype=torch.float32), task(dtype=torch.float32, precision="bf16", channels_last=True)
    batches = [batch(4, seed, torch.float32) for seed in range(5)]
    for one, other in zip(train(plain, batches), train(rounded, batches), strict=True):
        assert one == pytest.approx(other, rel=0.1, abs=0.05)
    assert {value.dtype for value in weights(rounded).values()} == {torch.float32}


@pytest.mark.slow
def test_compiled_networks_train_alike() -> None:
    plain, compiled = task(dtype=torch.float32), task(dtype=torch.float32, compiled=True)
    batches = [batch(4, seed, torch.float32) for seed in range(5)]
    for one, other in zip(train(plain, batches), train(compiled, batches), strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-4)
    assert not [key for key in weights(compiled) if "_orig_mod" in key]


def test_the_plan_requires_single_frames_with_action_units() -> None:
    plan = GanimationPlan(TINY)
    augment = plan.config.training.augment()
    assert plan.view == Singles() and (augment.flip, augment.time_flip) == (0.5, 0)


RANK = """
import sys
from pathlib import Path
import torch
import torch.distributed as dist
from motionshards.dataset.reading.world import World
from tests.trainers.ganimation.test_training import TINY, GanimationTask, Runtime, batch, train, weights, without_aus
torch.set_num_threads(1)
rank = int(sys.argv[1])
dist.init_process_group("gloo", rank=rank, world_size=2)
torch.manual_seed(rank)  # the first rank's weights are to be those of both
if not rank:
    torch.manual_seed(0)
task = GanimationTask(TINY, Runtime(world=World(rank, 2), device=torch.device("cpu")), "csv", 1000)
for network in task.networks.values():
    network.double()
from dataclasses import replace
def part(whole):
    rows = slice(2 * rank, 2 * rank + 2)
    names = ("frames", "aus", "pose", "number", "row", "identity", "padded", "target_aus", "keys")
    return replace(whole, **{name: getattr(whole, name)[rows] for name in names})
batches = [without_aus(batch(4, seed), [0, 1, 2, 3] if seed == 7 else [2, 3]) for seed in range(10)]
losses = train(task, [part(whole) for whole in batches])
torch.save({"weights": weights(task), "losses": losses}, sys.argv[2])
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_equal_one_if_one_has_no_action_units(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    environment = {**os.environ, "PYTHONPATH": paths, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    files = [tmp_path / f"{rank}.pt" for rank in range(2)]
    ranks = [
        subprocess.Popen([sys.executable, "-c", RANK, str(rank), str(file)], env=environment) for rank, file in enumerate(files)
    ]
    assert [rank.wait(120) for rank in ranks] == [0, 0]
    alone = task()
    batches = [without_aus(batch(4, seed), [0, 1, 2, 3] if seed == 7 else [2, 3]) for seed in range(10)]
    expected = train(alone, batches)
    found = [torch.load(file, weights_only=True) for file in files]
    for one, (first, second) in zip(expected, zip(*(each["losses"] for each in found), strict=True), strict=True):
        assert one == pytest.approx({name: (first[name] + second[name]) / 2 for name in first}, rel=1e-6)
    for each in found:
        torch.testing.assert_close(each["weights"], weights(alone), rtol=1e-6, atol=1e-9)
