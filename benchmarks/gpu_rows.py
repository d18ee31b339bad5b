"""The rows of `benchmarks.gpu`: benchmarks with their settings, time limits and goals."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path

import yaml

from benchmarks.inputs import make_dataset, write_random_vgg19
from benchmarks.learn_models import COURSES, SIZE_PX
from benchmarks.report import ROOT

MODULES = ("landmarks", "augment", "train", "loader", "animate")
_SIZE_PX, _CLIPS, _STILLS = 256, 160, 16
_DRY_CLIPS, _DRY_STILLS = 16, 9


@dataclass(frozen=True, slots=True)
class Goal:
    """A lower or upper bound that a figure of a row should satisfy."""

    figure: str
    least: float | None = None
    most: float | None = None

    def is_met(self, found: float) -> bool:
        """Whether a figure satisfies the bound."""
        return (self.least is None or found >= self.least) and (self.most is None or found <= self.most)

    def __str__(self) -> str:
        return f"≥ {self.least:g}" if self.least is not None else f"≤ {self.most:g}"


@dataclass(frozen=True, slots=True)
class Row:
    """A benchmark to run.

    module: in benchmarks/, or `pytest`
    arguments: arguments of its command line
    limit_s: seconds after which it is killed
    threads: number of torch's CPU threads; None leaves it to torch
    """

    name: str
    heading: str
    module: str
    arguments: tuple[str, ...]
    limit_s: float
    threads: int | None
    goals: tuple[Goal, ...] = ()


@dataclass(frozen=True, slots=True)
class _Plan:
    """A row before its input exists.

    arguments: may contain {data}, {vgg}, {tests}
    dry: its arguments on a CPU, which may also contain a model's narrow config as {MODEL}; empty if another row covers it
    """

    heading: str
    module: str
    limit_s: float
    arguments: str
    dry: str
    goals: tuple[Goal, ...] = ()


def _model(title: str, name: str, more: str = "") -> _Plan:
    return _Plan(
        f"Training step of {title}",
        "train",
        40,
        f"--data {{data}} --model {name} --eager --batch 16 --steps 5 --rounds 2 {more}",
        f"--data {{data}} --model {name} --config {{{name}}} --batch 2 --steps 1 --warm 1 --rounds 1",
    )


_FAN = (Goal("times", least=8),)
_WARP = (Goal("copies", most=2.5), Goal("times_plain", least=20))
_STEP = (Goal("times_plain", least=2.5), Goal("waiting", most=0.02))
_PLANS = {
    "tests": _Plan("Tests marked `gpu`", "pytest", 75, "-q -m gpu {tests}", "-q -m gpu --collect-only {tests}"),
    "landmarks": _Plan(
        "FAN on batches, both sides eager",
        "landmarks",
        75,
        "--eager --frames 128 --rounds 2",
        "--eager --frames 1 --size 64 --rounds 1",
        _FAN,
    ),
    "warp": _Plan(
        "The random warp of 64 images, and augmentation",
        "augment",
        40,
        "--images 64",
        "--images 2 --size 64 --rounds 1",
        _WARP,
    ),
    "fomm": _Plan(
        "Training step of the First Order Motion Model, compiled",
        "train",
        140,
        "--data {data} --model fomm --vgg {vgg} --batch 32 --steps 6 --rounds 3",
        "--data {data} --model fomm --config {fomm} --batch 2 --steps 1 --warm 1 --rounds 1",
        _STEP,
    ),
    "loader": _Plan(
        "Loading to the device",
        "loader",
        60,
        "--data {data} --only device --rounds 2 --seconds 3",
        f"--data {{data}} --only device --rounds 1 --seconds 0.5 --batch 2 --size {SIZE_PX}",
        (Goal("times_pinned", least=1),),
    ),
    "animate": _Plan("Animation", "animate", 40, "--frames 60", "--frames 3 --config {fomm}", (Goal("times", least=1.5),)),
    "warp-large": _Plan("The random warp of 512 images, and augmentation", "augment", 30, "--images 512 --rounds 3", "", _WARP),
    "talking-heads": _model("talking heads, eager", "talking_heads", "--vgg {vgg}"),
    "ganimation": _model("GANimation, eager", "ganimation"),
    "face-rotator": _model("the face rotator, eager", "face_rotator"),
    "landmarks-compiled": _Plan("FAN on batches, compiled", "landmarks", 150, "--frames 128 --rounds 2", "", _FAN),
}


def names() -> tuple[str, ...]:
    """The names of all rows, in the order in which they run."""
    return tuple(_PLANS)


def prepare(work: Path, device: str) -> list[Row]:
    """Write the inputs of the rows below `work`; returns the rows, on a CPU at their smallest size."""
    dry = device == "cpu"
    given = _dry_inputs(work) if dry else _inputs(work)
    given["tests"] = " ".join(tests())
    rows = []
    for name, plan in _PLANS.items():
        arguments = (plan.dry if dry else plan.arguments).format_map(given).split()
        if plan.module != "pytest":
            arguments += ["--device", device]
        if plan.dry or not dry:
            # Waiting OpenMP threads spin, which takes minutes if other processes use the cores.
            limit_s, threads = (inf, 1) if dry else (plan.limit_s, None)
            rows.append(Row(name, plan.heading, plan.module, tuple(arguments), limit_s, threads, plan.goals))
    return rows


def tests() -> list[str]:
    """Files with tests marked `gpu`: collecting only these needs few packages."""
    marked = re.compile(r"^@pytest\.mark\.gpu$", re.MULTILINE)
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [file.relative_to(ROOT).as_posix() for file in files if marked.search(file.read_text(encoding="utf-8"))]


def _inputs(work: Path) -> dict[str, str]:
    data, vgg = make_dataset(work / "data", _CLIPS, _STILLS, _SIZE_PX), write_random_vgg19(work / "random-vgg19.pth")
    return {"data": str(data), "vgg": str(vgg)}


def _dry_inputs(work: Path) -> dict[str, str]:
    given = {"data": str(make_dataset(work / "data", _DRY_CLIPS, _DRY_STILLS, SIZE_PX))}
    return given | {model: str(_narrow(work / f"{model}.yaml", course.stages[0].settings)) for model, course in COURSES.items()}


def _narrow(path: Path, settings: Mapping[str, object]) -> Path:
    path.write_text(yaml.safe_dump(dict(settings)), encoding="utf-8")
    return path
