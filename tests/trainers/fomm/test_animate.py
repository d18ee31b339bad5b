"""Animation with small random networks: the stream must equal the paper's loop over all frames."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from conformance import fill
from fomm_inputs import small
from skimage import data
from torch import Tensor

from motionshards.schemas.errors import ConfigError
from motionshards.trainers.fomm.animate import Animator, Movement
from motionshards.trainers.fomm.architecture import Architecture
from motionshards.trainers.fomm.best_frame import face_shape, find_best_frame
from motionshards.trainers.fomm.fold import FoldedNetworks
from motionshards.trainers.fomm.generator import OcclusionAwareGenerator
from motionshards.trainers.fomm.keypoints import Keypoints, KPDetector
from motionshards.trainers.fomm.normalize import normalize_keypoints
from motionshards.trainers.video import Rgb
from motionshards.transforms.extract.landmarks import models

Trained = tuple[KPDetector, OcclusionAwareGenerator]


def trained(architecture: Architecture | None = None) -> Trained:
    """Random networks with Jacobians close to the identity, like those of a trained detector."""
    architecture = architecture or small()
    detector, generator = KPDetector(architecture), OcclusionAwareGenerator(architecture)
    for network in (detector, generator):
        fill(network, "animate").eval().requires_grad_(False)
    if detector.jacobian is not None:
        detector.jacobian.weight.mul_(0.1)
        detector.jacobian.bias.copy_(torch.tensor([1.0, 0, 0, 1]).repeat(architecture.keypoints))
    return detector, generator


def images(count: int, seed: int = 0, size: int = 64) -> list[Rgb]:
    """Smooth random images that change gradually."""
    rng = torch.Generator().manual_seed(seed)
    cells = torch.rand(1, 3, 8, 8, generator=rng) + 0.2 * torch.randn(count, 3, 8, 8, generator=rng).cumsum(dim=0)
    smooth = torch.nn.functional.interpolate(cells, size=(size, size), mode="bicubic").clamp(0, 1)
    return [*(smooth * 255).byte().permute(0, 2, 3, 1).numpy()]


def tensor(frames: list[Rgb]) -> Tensor:
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255


def loop(networks: Trained, source: Rgb, frames: list[Rgb], first: Rgb, *, relative: bool, adapt: bool) -> list[Rgb]:
    """The loop of the paper, without folding and caching."""
    detector, generator = networks
    still, start, animated = detector(tensor([source])), detector(tensor([first])), []
    for frame in frames:
        moved = detector(tensor([frame]))
        moved = normalize_keypoints(still, moved, start, adapt_scale=adapt, relative_movement=relative)
        animated.append(generator(tensor([source]), source_keypoints=still, driving_keypoints=moved).prediction[0])
    return [*(torch.stack(animated) * 255).round().byte().permute(0, 2, 3, 1).numpy()]


def animated(networks: Trained, source: Rgb, frames: list[Rgb], movement: Movement | None = None, **how: object) -> np.ndarray:
    animator = Animator(FoldedNetworks(*networks), source, movement or Movement())
    return np.array([*animator.animate(frames, **how)])  # type: ignore[arg-type]


def assert_like(found: np.ndarray, expected: list[Rgb]) -> None:
    """Assert equality, except for rounding of a few values."""
    assert found.shape == np.shape(expected) and found.dtype == np.uint8
    assert np.ptp(found, axis=0).max() > 10 or len(found) == 1, "the frames differ from each other"
    assert np.abs(found.astype(int) - np.array(expected)).max() <= 1
    assert (found == np.array(expected)).mean() > 0.98


@pytest.mark.parametrize(("relative", "adapt"), [(True, False), (True, True), (False, False)])
def test_frames_equal_those_of_the_plain_loop(relative: bool, adapt: bool) -> None:
    networks, source, frames = trained(), images(1, seed=9)[0], images(5)
    found = animated(networks, source, frames, Movement(relative=relative, adapt_scale=adapt))
    assert_like(found, loop(networks, source, frames, frames[0], relative=relative, adapt=adapt))


def test_relative_and_absolute_motion_differ() -> None:
    networks, source, frames = trained(), images(1, seed=9)[0], images(5)
    variants = [
        animated(networks, source, frames, movement)[-1].astype(int)
        for movement in (Movement(), Movement(adapt_scale=True), Movement(relative=False))
    ]
    assert min(np.abs(variants[i] - variants[j]).max() for i, j in ((0, 1), (0, 2), (1, 2))) > 5


@pytest.mark.parametrize("batch", [2, 3, 7])
def test_batches_give_the_same_frames(batch: int) -> None:
    networks, source, frames = trained(), images(1, seed=9)[0], images(7)
    one, more = animated(networks, source, frames), animated(networks, source, frames, batch=batch)
    assert_like(more, [*one])


@pytest.mark.parametrize("best", [0, 2, 4])
def test_a_best_frame_equals_animating_forward_and_backward_from_it(best: int) -> None:
    networks, source, frames = trained(), images(1, seed=9)[0], images(5)
    forward = animated(networks, source, frames[best:])
    backward = animated(networks, source, frames[best::-1])
    joined = [*backward[::-1][:-1], *forward]
    np.testing.assert_array_equal(animated(networks, source, frames, first=frames[best]), joined)


def test_zeroth_order_networks_animate() -> None:
    networks, source, frames = trained(small(jacobians=False)), images(1, seed=9)[0], images(3)
    assert_like(animated(networks, source, frames), loop(networks, source, frames, frames[0], relative=True, adapt=False))


@pytest.mark.parametrize("batch", [1, 3])
def test_at_most_one_batch_of_frames_is_in_memory(batch: int) -> None:
    given = 0

    def driving() -> Iterator[Rgb]:
        nonlocal given
        for frame in images(12):
            given += 1
            yield frame

    animator = Animator(FoldedNetworks(*trained()), images(1, seed=9)[0], Movement())
    for yielded, _ in enumerate(animator.animate(driving(), batch=batch), 1):
        assert given - yielded < batch
    assert yielded == given == 12


def test_a_video_without_frames() -> None:
    assert len(animated(trained(), images(1)[0], [])) == 0


def test_keypoints_with_singular_jacobians_are_not_rotated(caplog: pytest.LogCaptureFixture) -> None:
    """The result is that of a detector whose Jacobians are the identity."""
    broken, upright, source, frames = trained(), trained(), images(1, seed=9)[0], images(4)
    for (detector, _), identity in ((broken, 0.0), (upright, 1.0)):
        detector.jacobian.weight.zero_()
        detector.jacobian.bias.copy_(torch.tensor([identity, 0, 0, identity]).repeat(3))
    for movement in (Movement(), Movement(relative=False)):
        caplog.clear()
        found = animated(broken, source, frames, movement)
        messages = [record.getMessage() for record in caplog.records]
        assert messages[0].startswith("3 keypoints of the source have singular Jacobians")
        assert messages[-1].endswith("not rotated in 4 of 4 frames") and len(messages) == 2 + movement.relative
        assert_like(found, [*animated(upright, source, frames, movement)])


class Broken(FoldedNetworks):
    """Has a singular Jacobian in frames whose first pixel is black."""

    def kp_detector(self, frames: Tensor) -> Keypoints:
        found = super().kp_detector(frames)
        jacobian = found.jacobian.clone()
        jacobian[(frames[:, :, 0, 0] == 0).all(dim=1), 1] = torch.tensor([[1.0, 2.0], [2.0, 4.0]])
        return replace(found, jacobian=jacobian)


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("broken", [0, 2])
def test_only_the_singular_jacobian_is_replaced(broken: int, relative: bool, caplog: pytest.LogCaptureFixture) -> None:
    networks, source, frames = trained(), images(1, seed=9)[0].copy(), [frame.copy() for frame in images(4)]
    source[0, 0] = 255
    for number, frame in enumerate(frames):
        frame[0, 0] = 255 * (number != broken)
    found = np.array([*Animator(Broken(*networks), source, Movement(relative=relative)).animate(frames)])
    detector, generator = networks
    still, start, expected = detector(tensor([source])), detector(tensor(frames[:1])), []
    for number, frame in enumerate(frames):
        moved = normalize_keypoints(still, detector(tensor([frame])), start, relative_movement=relative)
        if number == broken or (relative and broken == 0):
            moved.jacobian[:, 1] = still.jacobian[:, 1]
        expected.append(generator(tensor([source]), source_keypoints=still, driving_keypoints=moved).prediction[0])
    assert_like(found, [*(torch.stack(expected) * 255).round().byte().permute(0, 2, 3, 1).numpy()])
    assert "keypoints with singular Jacobians are not rotated in 1 of 4 frames" in caplog.text
    assert ("1 keypoints of the first frame" in caplog.text) == (relative and broken == 0)


def test_regular_jacobians_cause_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    animated(trained(), images(1, seed=9)[0], images(3), Movement(adapt_scale=True))
    assert not caplog.records


def test_keypoints_on_a_line_disable_scaling_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Two keypoints are always on a line."""
    networks, source, frames = trained(small(keypoints=2)), images(1, seed=9)[0], images(4)
    found = animated(networks, source, frames, Movement(adapt_scale=True))
    assert [record.getMessage() for record in caplog.records] == [
        "motion is not scaled, since keypoints of the source or of the first frame are on a line"
    ]
    assert_like(found, [*animated(networks, source, frames)])


def face(shift: int = 0, turn: int = 0) -> Rgb:
    """The face of a photo, 160 px, shifted to the right or mirrored."""
    cropped = np.roll(data.astronaut()[0:200, 130:330], shift, axis=1)[20:180, 20:180]
    return np.ascontiguousarray(cropped[:, ::-1] if turn else cropped)


BLANK = np.full((160, 160, 3), 90, np.uint8)


def test_the_best_frame_has_the_most_similar_face(caplog: pytest.LogCaptureFixture) -> None:
    model = models.load("dlib")
    assert model is not None
    found = find_best_frame(face(), [BLANK, face(turn=1), face(shift=9), face(turn=1), BLANK], model)
    assert (found.frame, found.without_face) == (2, 2)
    np.testing.assert_array_equal(found.image, face(shift=9))
    shapes = [face_shape(image, model) for image in (face(), face(turn=1))]
    assert found.distance < 0.2 * float(np.square(shapes[0] - shapes[1]).sum(axis=1).mean())
    assert "skipped 2 of 5 frames without a face" in caplog.text


def test_face_shapes_are_independent_of_position_and_size() -> None:
    model = models.load("dlib")
    assert model is not None
    small_face = face_shape(face(), model)
    large_face = face_shape(face().repeat(2, axis=0).repeat(2, axis=1), model)
    assert small_face is not None and large_face is not None
    np.testing.assert_allclose(small_face.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(small_face, large_face, atol=0.06)
    assert face_shape(BLANK, model) is None


def test_the_first_of_equal_frames_is_the_best() -> None:
    model = models.load("dlib")
    assert model is not None
    found = find_best_frame(face(), [face(turn=1), face(), face()], model)
    assert (found.frame, found.distance) == (1, 0)


def test_without_a_face_there_is_no_best_frame() -> None:
    model = models.load("dlib")
    assert model is not None
    with pytest.raises(ConfigError, match="no face was found in the source"):
        find_best_frame(BLANK, [face()], model)
    with pytest.raises(ConfigError, match="in any of the 2 frames"):
        find_best_frame(face(), [BLANK, BLANK], model)


def test_source_images_may_be_read_only() -> None:
    """Images from a pipe are read-only."""
    source, frames = images(1, seed=9)[0].copy(), [frame.copy() for frame in images(2)]
    for image in (source, *frames):
        image.setflags(write=False)
    assert len(animated(trained(replace(small(), align_corners=False)), source, frames)) == 2
