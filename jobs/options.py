"""Options that several jobs share, and checks of their outputs."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from cyclopts import Group, Parameter
from cyclopts.types import PositiveInt

from motionshards.dataset.commandline import COMPUTATION, DeviceOption
from motionshards.schemas.errors import ConfigError, either

TRAINING = Group("Training", sort_key=7)
BACKGROUND_HELP = Parameter(metavar="COLOR", help="Color behind transparent pixels: a name or #rrggbb.")


@dataclass(frozen=True, kw_only=True)
class BatchOption(DeviceOption):
    """Options of a job that computes images in batches."""

    batch: Annotated[PositiveInt | None, Parameter(group=COMPUTATION)] = None
    """Images computed at a time; by default 1 on a CPU, which is fastest there, and 16 on a GPU."""

    def batch_size(self, device: torch.device) -> int:
        """Choose the batch size on a device."""
        return self.batch or (1 if device.type == "cpu" else 16)


@dataclass(frozen=True, kw_only=True)
class AlignCornersOption:
    """Option of a job that runs a trained First Order Motion Model."""

    align_corners: Annotated[Literal["true", "false"] | None, Parameter(group=COMPUTATION)] = None
    """How the networks sample images (align_corners of PyTorch's grid_sample); by default as in the checkpoint's settings,
    which is true for the published ones. Weights trained with the original code under PyTorch 1.3 or later need false."""

    def aligned(self) -> bool | None:
        """Return --align-corners as a bool; None if it is absent."""
        return None if self.align_corners is None else self.align_corners == "true"


@dataclass(frozen=True, kw_only=True)
class PerceptualLossOptions:
    """Options of a job that trains with perceptual losses."""

    vgg: Annotated[str | None, Parameter(group=TRAINING, metavar="FILE|none")] = None
    """File of VGG19 weights (face_rotator: VGG16), or `none` to disable that loss; by default from torch hub's cache."""
    vggface: Annotated[str | None, Parameter(group=TRAINING, metavar="FILE|none")] = None
    """File of VGGFace weights (talking_heads), or `none` to disable that loss; by default from torch hub's cache."""


def named_in(configs: Iterable[str]) -> Parameter:
    """Annotation of an option for the settings of a checkpoint; `configs` are the names of published ones."""
    return Parameter(
        metavar="NAME|FILE", help=f"Settings of a checkpoint that does not contain its own: {', '.join(configs)}, or a YAML file."
    )


@contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Raise ConfigError if the block cannot write to an output directory."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{directory} cannot be written: {error.strerror}") from error


def check_output(output: Path, inputs: Iterable[Path | None], suffixes: Iterable[str] = ()) -> None:
    """Raise ConfigError for an output that is a directory or an input, or has none of the suffixes."""
    if output.is_dir():
        raise ConfigError(f"--output {output} is a directory, must be a file")
    if suffixes and output.suffix.lower() not in suffixes:
        raise ConfigError(f"--output {output} must have the suffix {either(suffixes)}")
    if output.exists() and any(path is not None and path.exists() and output.samefile(path) for path in inputs):
        raise ConfigError(f"--output {output} is also an input")
