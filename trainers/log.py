"""What a training run leaves to read: metrics.jsonl, pictures, and TensorBoard's files where tensorboard is installed."""

import json
import math
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import simplejpeg
from torch import Tensor

METRICS = "metrics.jsonl"
_QUALITY = 95


class _Board(Protocol):
    def add_scalar(self, tag: str, value: float, step: int) -> None: ...

    def add_image(self, tag: str, picture: Tensor, step: int) -> None: ...

    def flush(self) -> None: ...


class Log:
    """Scalars and pictures of one run. Lines behind `step` are of a run that was killed before it saved, and go.

    board: whether TensorBoard's files are written too
    """

    def __init__(self, run: Path, step: int) -> None:
        self._metrics = run / METRICS
        self._pictures = run / "pictures"
        kept = [line for line in _lines(self._metrics) if json.loads(line)["step"] <= step]
        self._metrics.write_text("".join(f"{line}\n" for line in kept))
        self._board = _board(run, step)
        self.board = self._board is not None

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """One line of metrics. JSON has no infinity, so what is not finite is null."""
        shown = {name: value if math.isfinite(value) else None for name, value in values.items()}
        with self._metrics.open("a") as stream:
            stream.write(json.dumps({"step": step, **shown}) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def picture(self, step: int, picture: Tensor) -> None:
        """A picture, float [3,H,W] in [0, 1], as a JPEG in RUN/pictures."""
        self._pictures.mkdir(exist_ok=True)
        bytes_hwc = (picture.float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(bytes_hwc), _QUALITY, "RGB", "444")
        (self._pictures / f"{step:08d}.jpg").write_bytes(jpeg)
        if self._board is not None:
            self._board.add_image("pictures", picture.float().clamp(0, 1).cpu(), step)
            self._board.flush()


def last_scalars(run: Path) -> dict[str, float]:
    """Read the last line of a run's metrics; empty where there is none."""
    lines = _lines(run / METRICS)
    return json.loads(lines[-1]) if lines else {}


def _lines(path: Path) -> list[str]:
    """Whole lines; the last of a killed run may be cut."""
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
