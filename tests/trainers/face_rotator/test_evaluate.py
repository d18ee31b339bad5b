"""The choice of source and targets in evaluations of the face rotator, and their reconstruction."""

from dataclasses import replace

import numpy as np
import torch

from motionshards.dataset.index import Sample
from motionshards.trainers.evaluation.reconstruction import Choice, as_images
from motionshards.trainers.face_rotator.architecture import Architecture
from motionshards.trainers.face_rotator.color import to_frames, to_images
from motionshards.trainers.face_rotator.evaluate import FaceRotatorReconstructor
from motionshards.trainers.face_rotator.networks import make_networks
from motionshards.trainers.face_rotator.pose import expression

SHAPE = Architecture(size=32, width=4, blocks=1)
YAW_DEG = [2.5, -1.0, 14.5, 13.0, None, 0.0]


def sample() -> Sample:
    """Six frames: 1 is the most frontal one with landmarks, 2 is too far from it, 4 has no pose and 5 no landmarks."""
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 32, (6, 68, 2)).astype(np.float32)
    points[5] = np.nan
    meta = {"yaw_deg": YAW_DEG, "pitch_deg": [0.5, -0.5, 0, 3, None, 0], "roll_deg": [0, 0, 0, -2, None, 0]}
    return Sample("a", rng.integers(0, 256, (6, 32, 32, 3), np.uint8), points, None, meta)


def test_the_most_frontal_frame_is_rotated_to_those_within_15_degrees() -> None:
    model, clip = FaceRotatorReconstructor(make_networks(SHAPE), 32), sample()
    assert model.choose(clip) == Choice((1,), (0, 3))
    turned = replace(clip, meta={**clip.meta, "pitch_deg": [4, 3.5, 4, 4, 4, 4]})
    assert model.choose(turned) == "no frame within 3 degrees of frontal"
    assert FaceRotatorReconstructor(make_networks(SHAPE), 32, 5).choose(turned) == Choice((1,), (0, 3))
    alone = replace(clip, meta={**clip.meta, "roll_deg": [16, 0, 16, 16, 0, 0]})
    assert model.choose(alone) == "no other frame within 15 degrees"
    assert model.choose(replace(clip, landmarks=None)) == "no landmarks"


def test_the_networks_receive_expression_and_change_of_pose() -> None:
    torch.manual_seed(0)
    networks, clip = make_networks(SHAPE, still=False), sample()
    with torch.inference_mode():
        reconstructed = FaceRotatorReconstructor(networks, 32).prepare(clip, (1,))([0, 3])
        source = to_images(as_images(clip.frames[[1]], "cpu"))
        # Pitch, yaw and roll of the target less those of the source, by 15 degrees.
        for place, (number, change) in enumerate({0: (1.0, 3.5, 0.0), 3: (3.5, 14.0, -2.0)}.items()):
            pose = torch.tensor([change]) / 15
            morphed = networks["morpher"](source, expression(torch.from_numpy(clip.landmarks[[number]]))).image
            rotated = networks["rotator"](morphed, pose)
            expected = to_frames(networks["combiner"](rotated.painted, rotated.moved, pose).image)
            torch.testing.assert_close(reconstructed[place : place + 1], expected, rtol=0, atol=1e-3)
        del networks["morpher"]
        unmorphed = FaceRotatorReconstructor(networks, 32).prepare(clip, (1,))([0, 3])
    assert (reconstructed - unmorphed).abs().max() > 0.01
