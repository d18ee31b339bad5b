"""The training loop with a model of one parameter that can fail at a chosen step."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from made import make_dataset
from torch import Tensor, nn

from motionshards.dataset.loader import make_loader
from motionshards.dataset.reading.batch import Batch
from motionshards.dataset.stream import ClipStream, Pairs
from motionshards.schemas.errors import ConfigError, TrainingFailed
from motionshards.trainers.checkpoint import LAST, Progress, load_networks, resume
from motionshards.trainers.log import Log
from motionshards.trainers.loop import Run, train
from motionshards.transforms.weight_file import read


class OneNumber:
    """Learns the mean gray level; from step `bad` on its loss or weight is NaN or infinite."""

    name = "one"

    def __init__(self, bad: int | None = None, where: str = "loss", names: Sequence[str] = ("a", "b", "c")) -> None:
        self.config: dict[str, Any] = {"of": "one"}
        self._network = nn.Linear(1, 1)
        nn.init.zeros_(self._network.weight)
        nn.init.zeros_(self._network.bias)
        self.networks: Mapping[str, nn.Module] = {"network": self._network}
        adam = torch.optim.Adam(self._network.parameters(), 0.01)
        self.optimizers: Mapping[str, torch.optim.Optimizer] = {"optimizer_network": adam}
        self.schedulers = {"optimizer_network": torch.optim.lr_scheduler.StepLR(adam, 1, 0.5)}
        self._bad, self._where, self.steps, self.ended = bad, where, 0, 0
        self.drawn: list[float] = []
        self.numbers: list[int] = []
        self.names: Mapping[str, Sequence[str]] = {"videos": names}

    def load_weights(self, content: Mapping[str, Any], path: Path) -> None:
        load_networks(content, self.networks, path)

    def step(self, batch: Batch, rng: torch.Generator, number: int) -> dict[str, Tensor]:
        self.numbers.append(number)
        self.drawn.append(float(torch.rand(1, generator=rng)))
        gray = batch.frames.float().mean(dim=(1, 2, 3, 4))[:, None] / 255
        loss = (self._network(torch.ones_like(gray)) - gray).square().mean()
        loss.backward()
        adam = self.optimizers["optimizer_network"]
        adam.step()
        adam.zero_grad()
        self.steps += 1
        if self.steps == self._bad:
            if self._where == "weight":
                nn.init.constant_(self._network.bias, float("nan"))
            else:
                return {"fine": loss.detach(), "gray": loss.detach() * float("inf")}
        return {"fine": loss.detach(), "gray": loss.detach()}

    def images(self) -> dict[str, Tensor] | None:
        return {"gray": torch.full((2, 3, 16, 16), self.steps / 100)} if self.steps else None

    def end_epoch(self) -> None:
        self.ended += 1
        self.schedulers["optimizer_network"].step()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("loop"), 20)


def run(data: Path, out: Path, task: OneNumber, progress: Progress | None = None, **options: Any) -> Progress:
    out.mkdir(exist_ok=True)
    stream = ClipStream(data, Pairs(2), global_batch_size=4)
    with make_loader(stream, processes=1) as loader:
        progress = progress or Progress(0, 0, loader.state_dict())
        loader.load_state_dict(progress.loader)
        settings = {"epochs": 3, "log_every": 2, "save_every": 4, "images_every": 5, "quiet": True, **options}
        return train(task, loader, Run(directory=out, **settings), progress)


@pytest.mark.parametrize(("where", "step", "message"), [("loss", 7, "gray"), ("weight", 8, "weights of network")])
def test_nan_or_infinity_ends_the_run_and_keeps_the_last_checkpoint(
    data: Path, tmp_path: Path, where: str, step: int, message: str
) -> None:
    with pytest.raises(TrainingFailed, match=f"{message}.*last.pt has step 5"):
        run(data, tmp_path, OneNumber(step, where), log_every=100)
    content = read(tmp_path / LAST)
    assert content["motionshards"]["step"] == 5
    assert torch.isfinite(content["network"]["bias"]).all()


def test_nan_before_the_first_checkpoint(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="by step 1; no checkpoint has been saved yet"):
        run(data, tmp_path, OneNumber(1))
    assert not (tmp_path / LAST).exists()


@pytest.mark.parametrize(("cut", "epoch"), [(7, 1), (10, 2)])
def test_randomness_depends_on_the_step_only(data: Path, tmp_path: Path, cut: int, epoch: int) -> None:
    """Step 10 is the last of an epoch, after which schedulers have stepped and the loader is at the next epoch."""
    whole, first, second = OneNumber(), OneNumber(), OneNumber()
    end = run(data, tmp_path / "whole", whole)
    assert (end.epoch, end.step) == (3, 15)
    run(data, tmp_path / "parts", first, stop_after=cut)
    progress = resume(tmp_path / "parts" / LAST, second, torch.device("cpu"))
    assert (progress.epoch, progress.step) == (epoch, cut)
    run(data, tmp_path / "parts", second, progress)
    assert first.drawn + second.drawn == whole.drawn
    assert first.numbers + second.numbers == whole.numbers == list(range(15))
    assert len(set(whole.drawn)) == 15
    assert torch.equal(second._network.bias, whole._network.bias)
    assert first.ended + second.ended == whole.ended == 3


@pytest.mark.filterwarnings("ignore:Detected call of")  # no optimizer steps in this process
def test_checkpoints_of_0_1_at_the_end_of_an_epoch(data: Path, tmp_path: Path) -> None:
    """They have the epoch of the last step; schedulers stepped only when the run was resumed."""
    progress = run(data, tmp_path, OneNumber(), stop_after=5)
    resumed = OneNumber()
    end = run(data, tmp_path, resumed, Progress(0, 5, progress.loader), epochs=1)
    assert (end.epoch, end.step, resumed.ended, resumed.steps) == (1, 5, 1, 0)
    assert resumed.optimizers["optimizer_network"].param_groups[0]["lr"] == 0.005


def test_the_bar_shows_the_sum_of_mean_losses(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Known(OneNumber):
        def step(self, batch: Batch, rng: torch.Generator, number: int) -> dict[str, Tensor]:
            super().step(batch, rng, number)
            return {"one": torch.tensor(float(number)), "other": torch.tensor(2.0), "skipped": torch.tensor(100.0)}

    run(data, tmp_path, Known(), log_every=5, quiet=False)
    shown = capsys.readouterr().err
    assert (
        all(f"loss={loss}," in shown for loss in (2, 4.5, 9, 14))
        and "samples/s=" in shown
        and "100%" in shown
        and "inf" not in shown
    )


def test_the_first_and_the_last_step_are_logged(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    often = {"log_every": 100, "images_every": 100, "save_every": 100, "quiet": False}

    def logged(name: str) -> tuple[list[int], list[str]]:
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["step"] for line in lines], sorted(path.stem for path in (tmp_path / name / "images").iterdir())

    place = run(data, tmp_path / "part", OneNumber(), stop_after=7, **often)
    assert logged("part") == ([1, 7], ["00000007"]) and "7/7" in capsys.readouterr().err, "the bar ends where the run stops"
    again = OneNumber()
    assert run(data, tmp_path / "part", again, place, stop_after=7, **often).step == 7 and again.steps == 0
    run(data, tmp_path / "whole", OneNumber(), **often)
    assert logged("whole") == ([1, 15], ["00000015"])


def test_lines_after_the_checkpoint_are_deleted_when_a_run_resumes(tmp_path: Path) -> None:
    log = Log(tmp_path, 0)
    for step in (2, 4, 6):
        log.scalars(step, {"a": step / 3, "b": float("nan")})
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 8, "a"')  # cut by a crash
    Log(tmp_path, 4).scalars(6, {"a": 1.0})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": 2, "a": 2 / 3, "b": None}, {"step": 4, "a": 4 / 3, "b": None}, {"step": 6, "a": 1.0}]


def test_a_run_does_not_resume_with_other_names(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path, OneNumber(), stop_after=1)
    for names, message in ((("a", "c", "d"), "1 missing: b; 1 new: d"), (("b", "a", "c"), "their order differs")):
        with pytest.raises(ConfigError, match=f"trained on other videos: {message}. Use --init"):
            resume(tmp_path / LAST, OneNumber(names=names), torch.device("cpu"))


def test_a_loss_of_some_steps_is_averaged_over_those(data: Path, tmp_path: Path) -> None:
    class Seldom(OneNumber):
        def step(self, batch: Batch, rng: torch.Generator, number: int) -> dict[str, Tensor]:
            super().step(batch, rng, number)
            always = {"always": torch.tensor(float(number))}
            return always | ({"seldom": torch.tensor(number + 0.5)} if number % 3 == 0 else {})

    run(data, tmp_path, Seldom(), log_every=5)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["always"], line["seldom"]) for line in lines] == [(0.0, 0.5), (2.5, 3.5), (7.0, 8.0), (12.0, 12.5)]


def test_checkpoints_without_training_state_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save({"network": OneNumber().networks["network"].state_dict(), "epoch": 3}, path)
    with pytest.raises(ConfigError, match="--init to start from its weights"):
        resume(path, OneNumber(), torch.device("cpu"))
    torch.save([1, 2], path)
    with pytest.raises(ConfigError, match="it contains a list"):
        read(path)
    torch.save({"network": OneNumber()}, path)  # a pickled object, which could run code when it is loaded
    with pytest.raises(ConfigError, match="cannot be read as a checkpoint"):
        read(path)
