"""All frames of clips as temporary image files, for programs that compute action units from sequences.

They are written while a clip is decoded, and deleted once its action units are computed or it is rejected.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.errors import BuildFailed, ClipRejected
from motionshards.schemas.layout import planned_key
from motionshards.transforms.extract.action_units.png import png
from motionshards.transforms.extract.action_units.source import MAX_IMAGE_PX, AuSource
from motionshards.transforms.extract.crop import Window
from motionshards.transforms.extract.output_images import AllFrames
from motionshards.transforms.extract.timeline import Timeline

# Workers read a few clips ahead, so their scratch directory must hold several times this size.
MAX_IMAGES_BYTES = 2_000_000_000
_BYTES_PER_PIXEL, _MIN_PX = 3, 16


@contextmanager
def sequences_for(aus: AuSource | None, scratch: Path | None) -> Iterator["Sequences | None"]:
    """A temporary directory for the frames of clips; None if the action unit source does not read images.

    scratch: its parent directory; None for the system's default
    """
    if aus is None or not aus.reads_images:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="sequences-", dir=scratch, ignore_cleanup_errors=True) as top:
        yield Sequences(Path(top))


@dataclass(frozen=True, slots=True)
class Sequences:
    """Directories with the frames of clips, by key. Thread-safe and picklable."""

    top: Path

    def images(self, key: str) -> Path:
        """The directory of a clip, with files SPAN-FRAME.png in the order of its frames."""
        planned = planned_key(key)
        return self.top / _digest(planned) / (_digest(key) if key != planned else "whole")

    def bytes_of(self, key: str) -> int:
        """Total size of the files of a clip, in bytes."""
        return sum(path.stat().st_size for path in self.images(key).glob("*.png"))

    def forget(self, key: str) -> None:
        """Delete the frames of a clip; for a planned clip, also those of its tubes."""
        shutil.rmtree(self.images(key) if key != planned_key(key) else self.images(key).parent, ignore_errors=True)

    def sink(self, key: str, frames: NDArray[np.int64], size_px: tuple[int, int], span: int = 0) -> AllFrames:
        """A sink that writes all `frames` of a span, int64 [F], during the pass that decodes the stored ones."""
        return AllFrames(frames, size_px, _Directory(self.images(key), f"{span:04d}"))


@dataclass(slots=True)
class _Directory:
    """Writes frames as PNG files whose names begin with `prefix`."""

    path: Path
    prefix: str
    _count: int = field(default=0, init=False)

    def begin(self) -> None:
        """See FrameSink."""
        self.path.mkdir(parents=True, exist_ok=True)
        for old in self.path.glob(f"{self.prefix}-*.png"):
            old.unlink()
        self._count = 0

    def take(self, image: NDArray[np.uint8]) -> None:
        """See FrameSink."""
        try:
            (self.path / f"{self.prefix}-{self._count:07d}.png").write_bytes(png(image))
        except OSError as error:
            where = f"the temporary directory {self.path.parents[1]}"
            raise BuildFailed(
                f"cannot write frames for action units to {where}: {error.strerror}; set TMPDIR to another directory"
            ) from error
        self._count += 1


def image_size_px(window: Window | None, line: Timeline, frames: int) -> tuple[int, int]:
    """Width and height of the images of a clip with `frames` frames, with square pixels and at most the source's resolution.

    OpenFace does not benefit from upscaling, and needs no more than a few hundred pixels across a face.

    Raises:
        ClipRejected: aus_failed, the images would take too much disk space
    """
    x0, y0, x1, y1 = window or (0, 0, *line.size_px)
    width, height = (x1 - x0) * float(line.pixel_aspect), y1 - y0
    scale = min(1.0, MAX_IMAGE_PX / max(width, height))
    size_px = max(_MIN_PX, round(width * scale)), max(_MIN_PX, round(height * scale))
    if (needed := frames * size_px[0] * size_px[1] * _BYTES_PER_PIXEL) > MAX_IMAGES_BYTES:
        limit = f"more than {MAX_IMAGES_BYTES / 1e9:g} GB"
        raise ClipRejected("aus_failed", f"{frames} frames of {size_px[0]}x{size_px[1]} px take {needed / 1e9:.1f} GB, {limit}")
    return size_px


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:20]
