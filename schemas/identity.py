"""The face descriptor of a clip: biometric data, which a build stores only on request."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

NUMBERS = 128
"""Numbers of a descriptor."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a clip shows.

    embedding: float32 [128], the mean of the descriptors of a few frames, see `transforms.extract.identity`; NaN where none has a
        face
    spread: the largest distance between two of them; None where no frame has a face
    """

    embedding: NDArray[np.float32] = field(repr=False)
    spread: float | None

    def __post_init__(self) -> None:
        if self.embedding.shape != (NUMBERS,) or self.embedding.dtype != np.float32:
            raise ValueError(f"embedding is {self.embedding.dtype} {list(self.embedding.shape)}, must be float32 [{NUMBERS}]")
