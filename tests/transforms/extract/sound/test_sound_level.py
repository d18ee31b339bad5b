"""Level, silence and clipping of known signals."""

import tracemalloc

import numpy as np
import pytest

from motionshards.schemas.moving import SoundLevel
from motionshards.transforms.extract.sound import Pcm
from motionshards.transforms.extract.sound_level import measure_sound

HZ = 16_000
SINE = np.sin(2 * np.pi * 440 * np.arange(HZ) / HZ)


def level_of(samples: np.ndarray) -> SoundLevel:
    return measure_sound(Pcm(samples.astype(np.int16).reshape(len(samples), -1), HZ))


def test_levels_are_relative_to_full_scale() -> None:
    assert level_of(np.zeros(999)) == SoundLevel(-100.0, 1.0, 0.0)
    assert level_of(SINE * 32_766) == SoundLevel(-3.01, 0.0, 0.0)
    assert level_of(SINE * 3_276.8).level_db == -23.01
    assert level_of(np.full(HZ, -(2**15))) == SoundLevel(0.0, 0.0, 1.0)
    assert level_of(np.tile(SINE * 3_276.8, (2, 1)).T).level_db == -23.01


def test_windows_below_50_db_are_silent() -> None:
    quiet, loud = np.full(320, 103), np.full(320, 104)  # 10^(-50/20) of 32,768 is 103.6
    assert level_of(np.concatenate([quiet, loud, loud, loud])).silence == 0.25
    assert level_of(np.concatenate([loud, quiet[:5]])).silence == 0.5  # the last window may be shorter
    assert level_of(np.tile(np.concatenate([quiet, loud]), 1_700)).silence == 0.5


@pytest.mark.parametrize(
    ("samples", "share"),
    [
        ([0, 32_767, 0, 32_767], 0),
        ([32_767, 32_767, 0, 0], 0.5),
        ([-32_768, -32_767, 5, 32_767], 0.5),
        ([32_767, -32_768, 32_767, -32_768], 0),
        ([32_766, 32_766, 32_767, 32_767], 0.5),
        ([32_767, 32_767, 32_767, 32_767], 1),
    ],
)
def test_clipping_is_runs_at_full_scale(samples: list[int], share: float) -> None:
    assert level_of(np.array(samples)).clipping == share
    stereo = np.stack([samples, np.zeros(4)], axis=1)
    assert level_of(stereo).clipping == share / 2


def test_measuring_long_sound_uses_at_most_a_few_copies_in_memory() -> None:
    sound = Pcm(np.random.default_rng(0).integers(-20_000, 20_000, (4_000_000, 1)).astype(np.int16), 16_000)
    tracemalloc.start()
    try:
        measure_sound(sound)
        assert tracemalloc.get_traced_memory()[1] < 3 * sound.samples.nbytes
    finally:
        tracemalloc.stop()
