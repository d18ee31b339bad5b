"""How a face model is to run; what of it decides the landmarks stands in the data set's config and provenance as well."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Options of face models; dlib has none.

    detector: of face-alignment, for FAN
    precision: of the networks' arithmetic; less than fp32 by autocast
    weights: directory that is looked into first
    device: as torch names it
    compile: compile FAN with torch.compile, which takes a minute and needs a C++ compiler
    """

    detector: str = "sfd"
    precision: str = "fp32"
    weights: Path | None = None
    device: str = "cpu"
    compile: bool = False
