"""Reconstruction with small networks, frame by frame and in batches."""

import pytest
import torch
from conformance import fill, image
from fomm_inputs import small

from motionshards.dataset.index import Sample
from motionshards.trainers.evaluation.reconstruction import Choice, as_images
from motionshards.trainers.fomm.evaluate import FommReconstructor
from motionshards.trainers.fomm.fold import FoldedNetworks
from motionshards.trainers.fomm.generator import OcclusionAwareGenerator
from motionshards.trainers.fomm.keypoints import KPDetector


@pytest.mark.parametrize("batch", [1, 4])
def test_frames_are_reconstructed_from_the_first_by_their_keypoints(batch: int) -> None:
    detector, generator = KPDetector(small()), OcclusionAwareGenerator(small())
    fill(detector, "detector").eval(), fill(generator, "generator").eval()
    pixels = (image("evaluate", 5, 3, 64, 8) * 255).byte().permute(0, 2, 3, 1).numpy()
    sample = Sample("a", pixels, None, None, {})
    model = FommReconstructor(FoldedNetworks(detector, generator), 64)
    assert model.choose(sample) == Choice((0,), (1, 2, 3, 4))
    with torch.inference_mode():
        reconstruct = model.prepare(sample, (0,))
        reconstructed = torch.cat([reconstruct([*range(start, min(start + batch, 5))]) for start in range(1, 5, batch)])
        frames = as_images(pixels, "cpu")
        points = detector(frames)
        for number in range(1, 5):
            driving = points[number : number + 1]
            expected = generator(frames[:1], source_keypoints=points[:1], driving_keypoints=driving).prediction
            torch.testing.assert_close(reconstructed[number - 1 : number], expected, rtol=0, atol=1e-4)
