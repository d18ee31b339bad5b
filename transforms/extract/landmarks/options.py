"""Options for running a face model; those that affect landmarks are recorded in the dataset's config and provenance, too."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Options of face models; dlib has none.

    detector: detector of face-alignment, for FAN
    precision: arithmetic of the networks; below fp32 by autocast
    weights: directory that is searched first
    device: name of a torch device
    compile: compile FAN with torch.compile, which takes a minute and needs a C++ compiler
    """

    detector: str = "sfd"
    precision: str = "fp32"
    weights: Path | None = None
    device: str = "cpu"
    compile: bool = False
