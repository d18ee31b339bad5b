"""The labeled image grid of an evaluation: source, real frame, reconstruction and difference of some clips."""

from collections.abc import Sequence

import numpy as np

from motionshards.trainers.evaluation.scores import Example, Pixels
from motionshards.trainers.grid import grid


def sheet(examples: Sequence[Example], title: str) -> Pixels:
    """Draw a row for each example below its caption: uint8 [H,W,3]. Differences are absolute; black means none."""
    columns = {
        "source": [each.given for each in examples],
        "real frame": [each.real for each in examples],
        "reconstruction": [each.reconstructed for each in examples],
        "difference": [_difference(each) for each in examples],
    }
    captions = [f"{each.key}   source frame {each.source}, real frame {each.target}   L1 {each.l1:.4f}" for each in examples]
    return grid(columns, title, captions)


def _difference(example: Example) -> Pixels:
    difference: Pixels = np.abs(example.real.astype(np.int16) - example.reconstructed).astype(np.uint8)
    return difference
