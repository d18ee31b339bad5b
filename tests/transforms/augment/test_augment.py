"""Complete augmentation: clips depend on their own row of the draws only, and labels follow their frames."""

from collections import Counter
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from motionshards.transforms.augment.augment import FOMM, FOMM_FASHION, Augment
from motionshards.transforms.augment.clips import Clips
from motionshards.transforms.augment.draws import Draws
from motionshards.transforms.augment.flip import MIRROR_68

EVERYTHING = Augment(flip=0.5, time_flip=0.5, brightness=0.3, contrast=0.3, saturation=0.3, hue=0.2, crop=0.6, size=40)
COUNT, N, SIDE = 9, 3, 48


@dataclass(frozen=True, kw_only=True, eq=False)
class Named(Clips):
    keys: tuple[str, ...]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips(seed: int = 0) -> Named:
    """Noise; the second frame of the third clip has no face and no action units."""
    random = generator(seed)
    created = Named(
        frames=torch.randint(0, 256, (COUNT, N, SIDE, SIDE, 3), dtype=torch.uint8, generator=random),
        landmarks=torch.rand(COUNT, N, 68, 2, generator=random) * SIDE,
        aus=torch.rand(COUNT, N, 17, generator=random) * 5,
        pose=torch.randn(COUNT, N, 3, generator=random) * 20,
        number=torch.arange(N).repeat(COUNT, 1) * 2,
        keys=tuple("abcdefghi"),
    )
    for field in (created.landmarks, created.aus, created.pose):
        assert field is not None
        field[2, 1] = torch.nan
    return created


def rows(found: Clips, part: slice) -> dict[str, Tensor]:
    return {field.name: getattr(found, field.name)[part] for field in fields(Clips)}


def same(a: Any, b: Any) -> bool:
    return all(torch.equal(a[name].nan_to_num(-99.0), b[name].nan_to_num(-99.0)) for name in rows(clips(), slice(1)))


def draws(count: int = 1, **changed: Any) -> Draws:
    """Neutral draws, except for the given ones, each a row that is used for all clips."""
    neutral: dict[str, Any] = {
        "flip": False, "time_flip": False, "color": [1.0, 1, 1, 0], "order": [0, 1, 2, 3], "window": [1.0, 0, 0]
    }  # fmt: skip
    return Draws(**{name: torch.tensor([value] * count) for name, value in (neutral | changed).items()})


def test_without_settings_uint8_becomes_float() -> None:
    found, given = Augment()(clips(), Augment().draw(COUNT, generator())), clips()
    assert torch.equal(found.frames, given.frames.permute(0, 1, 4, 2, 3).float() / 255) and found.frames.is_contiguous()
    assert same(rows(replace(found, frames=given.frames), slice(None)), rows(given, slice(None)))


def test_the_same_seed_gives_identical_bits_and_does_not_change_the_input() -> None:
    given = clips()
    one, two = (EVERYTHING(given, EVERYTHING.draw(COUNT, generator(3))) for _ in range(2))
    assert same(rows(one, slice(None)), rows(two, slice(None))) and same(rows(given, slice(None)), rows(clips(), slice(None)))
    assert not torch.equal(one.frames, EVERYTHING(given, EVERYTHING.draw(COUNT, generator(4))).frames)


@pytest.mark.parametrize("augment", [FOMM, EVERYTHING])
def test_slices_of_batch_and_draws_give_the_slice_of_the_result(augment: Augment) -> None:
    given, drawn = clips(), augment.draw(COUNT, generator(5))
    whole = augment(given, drawn)
    for part in (slice(0, 4), slice(4, 9), slice(6, 7)):
        found = augment(Clips(**rows(given, part)), drawn[part])
        assert len(found) == part.stop - part.start and same(rows(found, slice(None)), rows(whole, part))


def test_fewer_draws_are_a_prefix_of_more() -> None:
    many, few = EVERYTHING.draw(50, generator(1)), EVERYTHING.draw(7, generator(1))
    for field in fields(Draws):
        assert torch.equal(getattr(many[:7], field.name), getattr(few, field.name)), field.name


def test_one_setting_does_not_change_draws_of_the_others() -> None:
    usual, other = FOMM.draw(200, generator()), replace(FOMM, time_flip=0.1, hue=0.4, crop=0.5).draw(200, generator())
    assert torch.equal(usual.flip, other.flip) and torch.equal(usual.order, other.order)
    assert torch.equal(usual.color[:, :3], other.color[:, :3]) and not torch.equal(usual.color[:, 3], other.color[:, 3])


def test_draws_have_the_published_distributions() -> None:
    drawn = FOMM.draw(20_000, generator())
    assert drawn.flip.float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert drawn.time_flip.float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert (drawn.flip & drawn.time_flip).float().mean().item() == pytest.approx(0.25, abs=0.02)
    low, high = torch.tensor([0.9, 0.9, 0.9, -0.1]), torch.tensor([1.1, 1.1, 1.1, 0.1])
    torch.testing.assert_close(drawn.color.amin(0), low, rtol=0, atol=1e-3)
    torch.testing.assert_close(drawn.color.amax(0), high, rtol=0, atol=1e-3)
    torch.testing.assert_close(drawn.color.std(0), (high - low) / 12**0.5, rtol=0.03, atol=0)
    orders = Counter(map(tuple, drawn.order.tolist()))
    assert len(orders) == 24 and all(abs(seen - 20_000 / 24) < 150 for seen in orders.values())
    assert (drawn.window[:, 0] == 1).all()
    fashion = FOMM_FASHION.draw(100, generator()).color
    assert (fashion[:, :3] == 1).all() and fashion[:, 3].std() > 0.04


def test_factors_of_strong_jitter_are_not_negative() -> None:
    drawn = Augment(brightness=3.0).draw(2000, generator()).color[:, 0]
    assert drawn.min() >= 0 and drawn.min() < 0.05 and drawn.max() > 3.9


def test_windows_are_inside_the_image() -> None:
    window = Augment(crop=0.5).draw(5000, generator()).window
    assert window[:, 0].min() >= 0.5 and window[:, 0].min() < 0.51 and window[:, 0].max() > 0.99
    assert window[:, 1:].min() >= 0 and window[:, 1:].max() <= 1 and window[:, 1:].std() > 0.25


def test_time_flip_reverses_all_fields_of_frames() -> None:
    found, given = Augment()(clips(), draws(COUNT, time_flip=True)), clips()
    assert found.number.tolist() == [[4, 2, 0]] * COUNT
    backwards = {name: value.flip(1) for name, value in rows(given, slice(None)).items()}
    found = replace(found, frames=(found.frames * 255).round().byte().permute(0, 1, 3, 4, 2))
    assert same(rows(found, slice(None)), backwards)


def test_a_flip_swaps_landmarks_and_negates_yaw_and_roll_but_not_pitch_and_action_units() -> None:
    given, found = clips(), Augment()(clips(), draws(COUNT, flip=True))
    assert given.landmarks is not None and found.landmarks is not None and given.aus is not None and found.aus is not None
    torch.testing.assert_close(found.pose, given.pose * torch.tensor([-1.0, 1, -1]), equal_nan=True)
    torch.testing.assert_close(found.landmarks[..., 0], SIDE - 1 - given.landmarks[:, :, list(MIRROR_68), 0], equal_nan=True)
    torch.testing.assert_close(found.landmarks[..., 1], given.landmarks[:, :, list(MIRROR_68), 1], equal_nan=True)
    torch.testing.assert_close(found.aus, given.aus, equal_nan=True)


@pytest.mark.parametrize("flip", [False, True])
def test_landmarks_follow_flip_crop_and_resize(flip: bool) -> None:
    """A bright spot at landmark 36 of a black image is found at the position of that landmark, or of its mirror image."""
    place = torch.tensor([30.0, 17.0])
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    spot = (255 * torch.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / 8)).byte()
    given = replace(
        Clips(**rows(clips(), slice(1))),
        frames=spot[None, None, :, :, None].repeat(1, N, 1, 1, 3),
        landmarks=place.expand(1, N, 68, 2),
    )
    found = replace(EVERYTHING, size=100)(given, draws(flip=flip, window=[0.75, 0.6, 0.2]))
    assert found.landmarks is not None and found.frames.shape == (1, N, 3, 100, 100)
    mass = found.frames[0, 0, 0]
    center = torch.stack([(mass.sum(0) * torch.arange(100)).sum(), (mass.sum(1) * torch.arange(100)).sum()]) / mass.sum()
    torch.testing.assert_close(found.landmarks[0, 0, MIRROR_68[36]], center, rtol=0, atol=0.05)


def test_all_frames_of_a_clip_have_the_same_color_jitter() -> None:
    still = replace(clips(), frames=clips().frames[:, :1].repeat(1, N, 1, 1, 1))
    found = EVERYTHING(still, EVERYTHING.draw(COUNT, generator(8))).frames
    assert (found == found[:, :1]).all() and found.min() >= 0 and found.max() <= 1


def test_frames_without_a_face_remain_nan() -> None:
    found = EVERYTHING(clips(), EVERYTHING.draw(COUNT, generator(9)))
    assert found.landmarks is not None and found.aus is not None
    for field in (found.landmarks, found.aus, found.pose):
        assert field[2, 1].isnan().all() and field.isnan().sum() == field[2, 1].numel()


def test_the_type_and_other_fields_are_kept() -> None:
    found = FOMM(replace(clips(), landmarks=None, aus=None), FOMM.draw(COUNT, generator()))
    assert isinstance(found, Named) and found.keys == tuple("abcdefghi") and found.landmarks is None and found.aus is None


def test_bf16_and_autocast_only_round_the_result() -> None:
    drawn = EVERYTHING.draw(COUNT, generator(2))
    exact = EVERYTHING(clips(), drawn)
    with torch.autocast("cpu", torch.bfloat16):
        inside = EVERYTHING(clips(), drawn)
        half = replace(EVERYTHING, dtype=torch.bfloat16)(clips(), drawn)
    assert same(rows(inside, slice(None)), rows(exact, slice(None)))
    assert half.frames.dtype == torch.bfloat16 and torch.equal(half.frames, exact.frames.bfloat16())
    assert half.landmarks is not None and half.landmarks.dtype == torch.float32


def test_an_empty_batch_stays_empty() -> None:
    empty = Clips(**rows(clips(), slice(0)))
    assert EVERYTHING(empty, EVERYTHING.draw(0, generator())).frames.shape == (0, N, 3, 40, 40)


def test_draws_have_a_device_and_a_length() -> None:
    drawn = FOMM.draw(4, generator()).to("cpu")
    assert len(drawn) == 4 and len(drawn[1:3]) == 2 and torch.equal(drawn[1:3].order, drawn.order[1:3])


def test_mismatched_draws_and_dtypes_are_refused() -> None:
    given = clips()
    with pytest.raises(ValueError, match="expected 9 draws"):
        FOMM(given, FOMM.draw(8, generator()))
    with pytest.raises(ValueError, match="uint8 frames, got"):
        FOMM(FOMM(given, FOMM.draw(COUNT, generator())), FOMM.draw(COUNT, generator()))


@pytest.mark.parametrize(
    "settings",
    [
        {"flip": 1.1},
        {"time_flip": -0.1},
        {"brightness": -1},
        {"hue": 0.6},
        {"crop": 0},
        {"crop": 1.5},
        {"size": 0},
        {"dtype": torch.uint8},
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Augment(**settings)


@pytest.mark.parametrize(
    ("field", "shape"),
    [("frames", (9, 3, 3, 48, 48)), ("landmarks", (9, 3, 67, 2)), ("aus", (9, 2, 17)), ("pose", (9, 3)), ("number", (9,))],
)
def test_clips_of_other_shapes_are_refused(field: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"{field} must be"):
        replace(clips(), **{field: torch.zeros(shape, dtype=torch.uint8)})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="requires a CUDA device")
def test_a_gpu_gives_the_same_result() -> None:
    drawn = EVERYTHING.draw(COUNT, generator())
    here = EVERYTHING(clips(), drawn)
    there = EVERYTHING(Clips(**{name: value.cuda() for name, value in rows(clips(), slice(None)).items()}), drawn)
    for name, value in rows(here, slice(None)).items():
        torch.testing.assert_close(rows(there, slice(None))[name].cpu(), value, rtol=0, atol=1e-3, equal_nan=True)
