"""The choice of source and targets in evaluations of GANimation, and their reconstruction."""

from dataclasses import replace

import numpy as np
import torch

from motionshards.dataset.index import Sample
from motionshards.trainers.evaluation.reconstruction import Choice
from motionshards.trainers.ganimation.architecture import Architecture
from motionshards.trainers.ganimation.evaluate import GanimationReconstructor
from motionshards.trainers.ganimation.networks import Generator

SHAPE = Architecture(size=32, width=4, residuals=1)


def sample() -> Sample:
    """Five frames, of which numbers 0 and 3 have no valid action units."""
    rng = np.random.default_rng(0)
    aus = rng.uniform(0, 5, (5, 17)).astype(np.float32)
    aus[[0, 3]] = np.nan
    return Sample("a", rng.integers(0, 256, (5, 32, 32, 3), np.uint8), None, None, {}, aus)


def test_a_frame_is_edited_to_the_action_units_of_the_others() -> None:
    torch.manual_seed(0)
    generator, clip = Generator(SHAPE), sample()
    model = GanimationReconstructor(generator, 32)
    assert model.choose(clip) == Choice((1,), (2, 4))
    with torch.inference_mode():
        reconstructed = model.prepare(clip, (1,))([2, 4])
        for place, number in enumerate((2, 4)):
            signed = torch.from_numpy(clip.frames[[1]]).permute(0, 3, 1, 2) / 127.5 - 1
            edited = generator(signed, torch.from_numpy(clip.aus[[number]]) / 5).over(signed)
            torch.testing.assert_close(reconstructed[place : place + 1], (edited + 1) / 2)


def test_clips_without_two_valid_frames_are_not_evaluated() -> None:
    model, clip = GanimationReconstructor(Generator(SHAPE), 32), sample()
    assert model.choose(replace(clip, aus=None)) == "no action units"
    assert model.choose(replace(clip, aus=clip.aus[[0, 1, 3]])) == "fewer than 2 frames with valid action units"
