"""Horizontal flip and time reversal: inverses, and flipped faces."""

import numpy as np
import pytest
import torch
from torch import Tensor

from motionshards.transforms.augment.drawing import landmark_images
from motionshards.transforms.augment.flip import MIRROR_68, mirror_frames, mirror_landmarks, mirror_pose, reverse_time
from motionshards.transforms.extract.quality.face_model import FACE_68_MM
from motionshards.transforms.extract.quality.face_model import MIRROR_68 as MEASURED
from motionshards.transforms.extract.quality.pose import head_pose

SIDE = 128
SOME = torch.tensor([True, False, True])
ALL = torch.ones(3, dtype=torch.bool)


def faces() -> Tensor:
    """float32 [3,2,68,2], pixels of a 128x128 image: an asymmetric mean face, different in each frame; one has no face."""
    noise = np.random.default_rng(0).normal(0, 2, (3, 2, 68, 2))
    points = torch.from_numpy(64 + 0.6 * FACE_68_MM[:, :2] + noise).float()
    points[1, 1] = torch.nan
    return points


def test_the_table_is_its_own_inverse() -> None:
    assert [MIRROR_68[other] for other in MIRROR_68] == list(range(68))


def test_the_table_matches_the_face_model() -> None:
    assert list(MIRROR_68) == MEASURED.tolist()


def test_the_table_swaps_opposite_landmarks_of_a_mean_face() -> None:
    across = np.linalg.norm(FACE_68_MM[:, None] * [-1, 1, 1] - FACE_68_MM[None], axis=2)
    assert across.argmin(axis=1).tolist() == list(MIRROR_68)


def test_two_flips_are_the_identity() -> None:
    frames = torch.randint(0, 256, (3, 2, 8, 6, 3), dtype=torch.uint8)
    assert torch.equal(mirror_frames(mirror_frames(frames, SOME), SOME), frames)
    assert torch.equal(reverse_time(reverse_time(frames, SOME), SOME), frames)
    again = mirror_landmarks(mirror_landmarks(faces(), SIDE, SOME), SIDE, SOME)
    torch.testing.assert_close(again, faces(), rtol=0, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("chosen", [[True, False, True], [True, True, True], [False, False, False]])
def test_only_the_chosen_change(chosen: list[bool]) -> None:
    frames, mask = torch.randint(0, 256, (3, 4, 8, 6, 3), dtype=torch.uint8), torch.tensor(chosen)
    for clip, flipped in enumerate(chosen):
        mirrored, backwards = mirror_frames(frames, mask)[clip], reverse_time(frames, mask)[clip]
        assert torch.equal(mirrored, torch.from_numpy(frames[clip].numpy()[:, :, ::-1].copy()) if flipped else frames[clip])
        assert torch.equal(backwards, torch.from_numpy(frames[clip].numpy()[::-1].copy()) if flipped else frames[clip])


def test_landmarks_follow_the_pixels() -> None:
    points = faces()[:1, :1].round().clamp(0, SIDE - 1)
    mirrored = mirror_landmarks(points, SIDE, ALL[:1]).long()
    for landmark, (x, y) in enumerate(points[0, 0].long()):
        frames = torch.zeros(1, 1, SIDE, SIDE, 3, dtype=torch.uint8)
        frames[0, 0, y, x] = 255
        new_x, new_y = mirrored[0, 0, MIRROR_68[landmark]]
        assert mirror_frames(frames, ALL[:1])[0, 0, new_y, new_x, 0] == 255


def test_a_drawing_of_mirrored_landmarks_is_the_mirrored_drawing() -> None:
    points = faces()[0]
    points[:, 36:] = torch.nan  # the lines around eyes and mouth are open at one end
    mirrored = mirror_landmarks(points[None], SIDE, ALL[:1])[0]
    torch.testing.assert_close(landmark_images(mirrored, SIDE), landmark_images(points, SIDE).flip(-1), rtol=0, atol=1e-4)


def test_pose_matches_the_mirrored_landmarks() -> None:
    points = faces()
    pose = torch.from_numpy(head_pose(points.flatten(0, 1).numpy(), (SIDE, SIDE))).view(3, 2, 3)
    mirrored = mirror_landmarks(points, SIDE, SOME)
    expected = torch.from_numpy(head_pose(mirrored.flatten(0, 1).numpy(), (SIDE, SIDE))).view(3, 2, 3)
    assert (pose[0].abs() > 0.1).all()  # otherwise a wrong sign would not be noticed
    torch.testing.assert_close(mirror_pose(pose, SOME), expected, rtol=0, atol=1e-3, equal_nan=True)


def test_frames_without_a_face_remain_nan() -> None:
    mirrored = mirror_landmarks(faces(), SIDE, ALL)
    assert mirrored[1, 1].isnan().all() and mirrored[1, 0].isfinite().all()
    assert mirror_pose(torch.full((3, 2, 3), torch.nan), ALL).isnan().all()
