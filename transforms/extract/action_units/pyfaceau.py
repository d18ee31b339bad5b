"""pyfaceau, an independent reimplementation of OpenFace 2.2 in Python, for machines without the binary; an extra.

It reports 17 intensities per frame and whether a face was measured, but neither presences nor a confidence: every measured
frame is valid. It runs in a separate process (`pyfaceau_program`).
"""

import csv
import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.action_units import INTENSITIES, MOST, ActionUnits, AuSequence
from motionshards.schemas.errors import ClipRejected, ConfigError
from motionshards.transforms.extract.action_units.program import Program, all_images
from motionshards.transforms.extract.action_units.source import IMAGES, StoredClip

# Each package downloads its own models.
_PACKAGES = ("pyfaceau", "pyclnf", "pymtcnn")
_DECIDING = (*_PACKAGES, "pyfhog", "onnxruntime", "opencv-python")
_MODULE = f"{__name__}_program"
_MAX_FRAMES = 5_000
_START_S, _FRAME_S = 600.0, 5.0

Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PyFaceAU:
    """pyfaceau as a source of action units."""

    @classmethod
    def checked(cls) -> "PyFaceAU":
        """The source. Raises ConfigError: packages or weights are missing on this machine."""
        if missing := [name for name in (*_PACKAGES, "pyfhog") if importlib.util.find_spec(name) is None]:
            remedy = "pip install 'motionshards[pyfaceau]'"
            raise ConfigError(f"--aus pyfaceau: {', '.join(missing)} is not installed ({remedy})")
        if missing := [name for name in _PACKAGES if not importlib.import_module(f"{name}.models").models_ready()]:
            remedy = "run pyfaceau-download-models, which asks you to accept OpenFace's license"
            raise ConfigError(f"--aus pyfaceau: the weights of {', '.join(missing)} are missing: {remedy}")
        return cls()

    @property
    def name(self) -> str:
        """See AuSource."""
        return "pyfaceau"

    @property
    def reads_images(self) -> bool:
        """See AuSource."""
        return True

    @property
    def batch_frames(self) -> int:
        """Frames per process."""
        return _MAX_FRAMES

    def action_units(self, clips: Sequence[StoredClip], scratch: Path | None) -> list[ActionUnits | ClipRejected]:
        """See AuSource."""
        program = Program("pyfaceau", (sys.executable, "-m", _MODULE), (), _START_S, _FRAME_S, all_images, intensities_of)
        found = program.run(clips, scratch)
        return [rows if isinstance(rows, ClipRejected) else _of_clip(clip, rows) for clip, rows in zip(clips, found, strict=True)]

    def provenance(self) -> dict[str, str]:
        """See AuSource. The models are always those of OpenFace 2.2.0; pyfaceau checks their hashes."""
        versions = {f"pyfaceau_{name}": importlib.metadata.version(name) for name in _DECIDING if name != "pyfaceau"}
        return {"pyfaceau_version": importlib.metadata.version("pyfaceau"), **versions, "pyfaceau_input": IMAGES}


def intensities_of(path: Path, frames: int) -> list[Values]:
    """The intensities of each frame, float32 [17], NaN without a face. Raises ValueError: a column or value is missing."""
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        columns = reader.fieldnames or []
        if "success" not in columns:
            raise ValueError("the column success is missing")
        # If no frame has a face, the columns of action units are absent.
        return [_values(row) for row in reader]


def _values(row: dict[str, str]) -> Values:
    if row["success"] != "True":
        return np.full(len(INTENSITIES), np.nan, np.float32)
    values = np.array([float(row.get(f"{name}_r") or "nan") for name in INTENSITIES], np.float32)
    if not ((values >= 0) & (values <= MOST)).all():
        raise ValueError(f"intensities of frame {row.get('frame')} are not within 0 to {MOST:g}")
    return values


def _of_clip(clip: StoredClip, rows: list[Values]) -> ActionUnits:
    assert clip.every is not None, "a build knows all frames of a clip"
    every, row = np.stack(rows), clip.every.rows(clip.span, clip.index)
    sequence = AuSequence(every, clip.every.pts_s, row) if clip.keep_every else None
    valid = np.isfinite(every[row, 0])  # a row is NaN as a whole or not at all
    return ActionUnits(every[row], None, valid, np.full(len(row), np.nan, np.float32), sequence=sequence)
