"""Exports the graphs of `trainers.fomm.graphs` as ONNX, LiteRT or torch.export files, and compares them with the networks."""

import itertools
import json
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from motionshards.schemas.atomic import replacing, write_whole
from motionshards.schemas.errors import ConfigError
from motionshards.trainers.fomm.architecture import Architecture
from motionshards.trainers.fomm.config import Config
from motionshards.trainers.fomm.export_litert import write_litert
from motionshards.trainers.fomm.exported.litert import BATCHES
from motionshards.trainers.fomm.exported.model import EXPORT_JSON, GRAPHS, RUNTIMES, VERSION, sha256
from motionshards.trainers.fomm.generator import OcclusionAwareGenerator
from motionshards.trainers.fomm.graphs import Graph, graphs
from motionshards.trainers.fomm.keypoints import KPDetector

FORMATS = {"litert": ".tflite", "onnx": ".onnx", "torch": ".pt2"}
OPSET = 20
_PACKAGES: dict[str, tuple[str, ...]] = {
    "litert": ("litert-torch", "ai-edge-litert", "ai-edge-quantizer"),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "torch": (),
}
_EXTRAS = {"litert": "litert", "onnx": "export"}
_SWITCH = (False, True)

Run = Callable[..., tuple[Any, ...]]


LIMITS = {"fp32": 1e-3, "fp16": 0.02, "int8": 0.15}
"""Largest relative difference of an accepted graph, by precision of the weights."""
_MIN_CONTRAST = 1 / 255  # for constant outputs, whose differences below one level of 8 bits do not matter


@dataclass(frozen=True, slots=True)
class Difference:
    """Difference between the outputs of two graphs. Infinite if shapes differ or a value is NaN.

    largest_difference, mean_difference: absolute differences; outputs beyond [-1, 1] are divided by their greatest magnitude
    relative_difference: root mean square, divided by the standard deviation of the first graph's output: 1 for an output that is
        the mean everywhere, 1.4 for one that is independent of the input
    """

    largest_difference: float
    mean_difference: float
    relative_difference: float


@dataclass(frozen=True, slots=True)
class Check(Difference):
    """Difference between a written graph and the networks, see `differences`.

    relative_limit: largest relative difference of an accepted graph
    ms_per_frame: time per frame in the largest of BATCHES, on this machine
    """

    relative_limit: float
    ms_per_frame: float

    @property
    def accepted(self) -> bool:
        """Whether the graph agrees with the networks."""
        return self.relative_difference <= self.relative_limit


def export(
    detector: KPDetector, generator: OcclusionAwareGenerator, config: Config, out: Path, form: str, precision: str = "fp32"
) -> dict[str, Check]:
    """Write the graphs of networks on the CPU into the directory `out`, and compare them with the networks.

    form: one of FORMATS
    precision: precision of the weights, one of LIMITS; other than `fp32` only for `litert`

    Returns the check of each graph. export.json, without which no backend loads the graphs, is written only if all are accepted.

    Raises:
        ConfigError: a package is missing; the message says what to install
    """
    _require_packages(form)
    eager, files = graphs(detector, generator), {name: out / f"{name}{FORMATS[form]}" for name in GRAPHS}
    out.mkdir(parents=True, exist_ok=True)
    (out / EXPORT_JSON).unlink(missing_ok=True)
    with torch.no_grad():
        _write_all(eager, config.architecture, files, form, precision)
        written = {name: _reader(file, form) for name, file in files.items()}
        found, spent = differences(eager, written, config.architecture), _frame_ms(eager, written, config.architecture)
    weighted = {name: any(True for _ in graph.module.parameters()) for name, graph in eager.items()}
    limits = {name: LIMITS[precision if weighted[name] else "fp32"] for name in GRAPHS}
    checks = {name: Check(**asdict(found[name]), relative_limit=limits[name], ms_per_frame=spent[name]) for name in GRAPHS}
    if all(check.accepted for check in checks.values()):
        described = _described(eager, files, config, form) | {"precision": precision}
        described["checks"] = {name: asdict(check) for name, check in checks.items()}
        write_whole(out, out / EXPORT_JSON, json.dumps(described, indent=1).encode() + b"\n")
    return checks


def differences(eager: Mapping[str, Run], written: Mapping[str, Run], architecture: Architecture) -> dict[str, Difference]:
    """Compare `written` graphs with those in eager PyTorch, for noise and for smooth images, BATCHES of them.

    Returns for each graph the maximum of each figure over all inputs and outputs.
    """
    found: dict[str, list[Difference]] = {name: [] for name in GRAPHS}
    for count in BATCHES:
        for name, inputs in _cases(eager, architecture, count):
            pairs = zip(eager[name](*inputs), written[name](*inputs), strict=True)
            found[name] += [_difference(expected, torch.as_tensor(output)) for expected, output in pairs]
    return {name: Difference(*map(max, zip(*map(astuple, some), strict=True))) for name, some in found.items()}


def _frame_ms(eager: Mapping[str, Run], written: Mapping[str, Run], architecture: Architecture) -> dict[str, float]:
    """Time one call of each graph, per frame, after a warm-up call."""
    spent, count = {}, max(BATCHES)
    for name, inputs in dict(_cases(eager, architecture, count)).items():
        written[name](*inputs)
        start = time.perf_counter()
        written[name](*inputs)
        spent[name] = round((time.perf_counter() - start) * 1e3 / count, 3)
    return spent


def _difference(expected: Tensor, found: Tensor) -> Difference:
    if expected.shape != found.shape:
        return Difference(torch.inf, torch.inf, torch.inf)
    expected = expected.double()
    apart = (expected - found.double()).abs()
    scale, contrast = expected.abs().max().clamp(min=1), expected.std(correction=0).clamp(min=_MIN_CONTRAST)
    figures = (apart.max() / scale, apart.mean() / scale, apart.square().mean().sqrt() / contrast)
    return Difference(*torch.stack(figures).nan_to_num(nan=torch.inf, posinf=torch.inf).tolist())


def _cases(eager: Mapping[str, Run], architecture: Architecture, count: int) -> Iterator[tuple[str, tuple[Tensor, ...]]]:
    """Yield inputs of all graphs for `count` rows: detected and random keypoints, and all combinations of switches."""
    rng = torch.Generator().manual_seed(count)
    for smooth in (False, True):
        images = _images(architecture, count + 1, smooth, rng)
        yield "kp_detector", (images[1:],)
        for kp, jacobian in (eager["kp_detector"](images), _keypoints(architecture.keypoints, count + 1, rng)):
            driving, first, source = ((kp[row], jacobian[row]) for row in (slice(1, None), slice(1, 2), slice(1)))
            yield "generator", (images[:1], *source, *driving)
            for switches in itertools.product(_SWITCH, repeat=2):
                yield "process_kp_driving", (*driving, *first, *source, *map(torch.tensor, switches))


def _images(architecture: Architecture, count: int, smooth: bool, rng: torch.Generator) -> Tensor:
    """Generate images [count,C,size,size] in [0, 1]: noise, or smooth blobs of color that change gradually."""
    channels, size = architecture.channels, architecture.size
    if not smooth:
        return torch.rand(count, channels, size, size, generator=rng)
    changing = torch.rand(count, channels, 8, 8, generator=rng).cumsum(dim=0) / count
    coarse = 0.7 * torch.rand(1, channels, 8, 8, generator=rng) + 0.3 * changing
    return F.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1)


def _keypoints(keypoints: int, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    value = 2 * torch.rand(count, keypoints, 2, generator=rng) - 1
    return value, torch.eye(2) + 0.4 * torch.rand(count, keypoints, 2, 2, generator=rng) - 0.2


def _write_all(
    eager: Mapping[str, Graph], architecture: Architecture, files: Mapping[str, Path], form: str, precision: str
) -> None:
    counts = BATCHES if form == "litert" else (2,)
    inputs = {count: dict(_cases(eager, architecture, count)) for count in counts}
    for name, graph in eager.items():
        with replacing(files[name].parent, files[name]) as temporary:
            if form == "litert":
                write_litert(graph.module, {count: inputs[count][name] for count in counts}, temporary, precision)
            else:
                _write(graph, inputs[2][name], temporary, form)


def _write(graph: Graph, inputs: tuple[Tensor, ...], path: Path, form: str) -> None:
    rows = torch.export.Dim("batch", min=1)
    shapes = tuple({0: rows} if name in graph.batched else None for name in graph.inputs)
    # Strict, since otherwise len() of a tensor is a constant instead of B.
    program = torch.export.export(graph.module, inputs, dynamic_shapes=shapes, strict=True)
    if form == "torch":
        with path.open("wb") as stream:  # a path would have to end in .pt2
            torch.export.save(program, stream)
        return
    with _quiet():
        onnx_program = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=graph.inputs,
            output_names=graph.outputs,
            dynamic_shapes=shapes,  # for the name of the dimension; the program has the shapes
            verbose=False,
        )
    assert onnx_program is not None
    onnx_program.save(path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's messages on optional packages, and warnings on its own use of PyTorch."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for kind in (FutureWarning, DeprecationWarning):
                warnings.simplefilter("ignore", kind)
            warnings.filterwarnings("ignore", "# The axis name")
            yield
    finally:
        logger.setLevel(level)


def _reader(path: Path, form: str) -> Run:
    if form in RUNTIMES:
        return RUNTIMES[form](path, "cpu", 0)
    module = torch.export.load(path).module()

    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        result = module(*inputs)
        return (result,) if isinstance(result, Tensor) else tuple(result)

    return run


def _described(eager: Mapping[str, Graph], files: Mapping[str, Path], config: Config, form: str) -> dict[str, Any]:
    """Return the contents of export.json."""
    return {
        "version": VERSION,
        "model": "fomm",
        "format": form,
        "opset": OPSET if form == "onnx" else None,
        "config": config.to_json(),
        "graphs": {
            name: {
                "file": files[name].name,
                "bytes": files[name].stat().st_size,
                "sha256": sha256(files[name]),
                "inputs": graph.inputs,
                "outputs": graph.outputs,
            }
            for name, graph in eager.items()
        },
        "versions": {name: metadata.version(name) for name in ("torch", *_PACKAGES[form])},
    }


def _require_packages(form: str) -> None:
    missing = [name for name in _PACKAGES[form] if util.find_spec(name.replace("-", "_")) is None]
    if missing:
        raise ConfigError(f"--format {form} needs {', '.join(missing)}; pip install 'motionshards[{_EXTRAS[form]}]'")
