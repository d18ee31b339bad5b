"""The log of a training run: metrics.jsonl, image grids, and TensorBoard files if tensorboard is installed."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import simplejpeg
from torch import Tensor

from motionshards.trainers.grid import Pixels, grid

METRICS = "metrics.jsonl"
RATE = "lr_"
"""Prefix of the names of learning rates, before the name of the optimizer."""
NOT_LOSSES = frozenset({"skipped", "unfit", "without_face"})
"""Entries of a step's losses that count samples which could not be used."""
_TIMES = frozenset({"epoch", "images_per_s", "waiting"})
_QUALITY = 95


class _Board(Protocol):
    def add_scalar(self, tag: str, value: float, step: int) -> None: ...

    def add_image(self, tag: str, image: Pixels, step: int, *, dataformats: str) -> None: ...

    def flush(self) -> None: ...


class Log:
    """Scalars and images of one run. Deletes lines after `step`, which a killed run wrote after its last checkpoint.

    board: whether TensorBoard files are written, too
    """

    def __init__(self, run: Path, step: int) -> None:
        self._metrics = run / METRICS
        self._images = run / "images"
        lines = [line for line in _lines(self._metrics) if json.loads(line)["step"] <= step]
        self._metrics.write_text("".join(f"{line}\n" for line in lines))
        self._board = _board(run, step)
        self.board = self._board is not None

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Append a line of metrics. NaN and infinity are written as null, since JSON has neither."""
        shown = {name: value if math.isfinite(value) else None for name, value in values.items()}
        with self._metrics.open("a") as stream:
            stream.write(json.dumps({"step": step, **shown}) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(tag(name), value, step)

    def images(self, step: int, columns: Mapping[str, Tensor]) -> None:
        """Write a grid with a labeled column for each entry, float [B,3,H,W] in [0, 1], as a JPEG in RUN/images."""
        self._images.mkdir(exist_ok=True)
        drawn = grid({label: _pixels(images) for label, images in columns.items()})
        (self._images / f"{step:08d}.jpg").write_bytes(simplejpeg.encode_jpeg(drawn, _QUALITY, "RGB", "444"))
        if self._board is not None:
            self._board.add_image("images/samples", drawn, step, dataformats="HWC")
            self._board.flush()


def tag(name: str) -> str:
    """Return the TensorBoard tag of a scalar; TensorBoard groups scalars by the part before the slash."""
    if name.startswith(RATE):
        return f"lr/{name.removeprefix(RATE)}"
    return f"{'time' if name in _TIMES else 'data' if name in NOT_LOSSES else 'loss'}/{name}"


def last_scalars(run: Path) -> dict[str, float]:
    """Read the last line of a run's metrics; empty if there is none."""
    lines = _lines(run / METRICS)
    return json.loads(lines[-1]) if lines else {}


def _pixels(images: Tensor) -> Pixels:
    return (images.detach().float().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def _lines(path: Path) -> list[str]:
    """Return the complete lines; the last line of a killed run may be incomplete."""
    text = path.read_text() if path.exists() else ""
    return text.splitlines()[: text.count("\n")]


def _board(run: Path, step: int) -> _Board | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    writer: Any = SummaryWriter
    board: _Board = writer(str(run / "tensorboard"), purge_step=step + 1)
    return board
