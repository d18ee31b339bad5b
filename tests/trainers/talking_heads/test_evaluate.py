"""The choice of source and target frames in evaluations of talking heads, and their reconstruction."""

from dataclasses import replace

import numpy as np
import torch

from motionshards.dataset.index import Sample
from motionshards.trainers.evaluation.reconstruction import Choice, as_images
from motionshards.trainers.talking_heads.architecture import Architecture
from motionshards.trainers.talking_heads.embedder import Embedder
from motionshards.trainers.talking_heads.episodes import draw
from motionshards.trainers.talking_heads.evaluate import TalkingHeadsReconstructor
from motionshards.trainers.talking_heads.generator import Generator

SHAPE = Architecture(size=32, width=4, halvings=4, residuals=1)


def model(k: int) -> TalkingHeadsReconstructor:
    torch.manual_seed(0)
    return TalkingHeadsReconstructor(Embedder(SHAPE), Generator(SHAPE), 32, k)


def sample() -> Sample:
    """Seven frames; number 2 has no landmarks."""
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 32, (7, 68, 2)).astype(np.float32)
    points[2] = np.nan
    return Sample("a", rng.integers(0, 256, (7, 32, 32, 3), np.uint8), points, None, {})


def test_given_frames_are_evenly_spaced_over_those_with_landmarks() -> None:
    assert model(3).choose(sample()) == Choice((0, 3, 5), (1, 4, 6))
    assert model(1).choose(sample()) == Choice((0,), (1, 3, 4, 5, 6))
    assert model(5).choose(sample()) == Choice((0, 1, 3, 4, 5), (6,))
    assert model(6).choose(sample()) == "fewer than 7 frames with landmarks"
    assert model(1).choose(replace(sample(), landmarks=None)) == "no landmarks"


def test_frames_are_rendered_from_landmarks_in_the_style_of_the_given_ones() -> None:
    clip, reconstructor = sample(), model(2)
    torch.manual_seed(0)
    embedder, generator = Embedder(SHAPE).eval(), Generator(SHAPE).eval()
    with torch.inference_mode():
        reconstructed = reconstructor.prepare(clip, (0, 4))([1, 6])
        drawn = draw(torch.from_numpy(clip.landmarks), 32)
        embedding = embedder(as_images(clip.frames[[0, 4]], "cpu"), drawn[[0, 4]]).mean(dim=0, keepdim=True)
        torch.testing.assert_close(reconstructed, generator(drawn[[1, 6]], embedding.expand(2, -1)))
