"""Waveforms: the envelope against plain numpy, and the drawn image."""

import numpy as np
import pytest

from motionshards.dataset.plotting.overlay import BOX, CHAINS, PANEL
from motionshards.dataset.plotting.waveform import envelope, marked_at, waveform


@pytest.mark.parametrize("channels", [1, 2])
def test_the_envelope_has_the_extremes_of_equal_parts_relative_to_the_peak(channels: int) -> None:
    samples = np.random.default_rng(0).integers(-9000, 9000, (10_007, channels)).astype(np.int16)
    edges = envelope(samples, 100)
    peak = np.abs(samples.astype(int)).max()
    for number, (low, high) in enumerate(edges):
        part = samples[number * 10_007 // 100 : (number + 1) * 10_007 // 100]
        assert (low, high) == pytest.approx((part.min() / peak, part.max() / peak), abs=1e-6)
    assert np.abs(edges).max() == 1


def test_quiet_sound_is_not_amplified_and_short_sound_is_repeated() -> None:
    assert np.abs(envelope(np.full((500, 1), 16, np.int16), 10)).max() == pytest.approx(16 / 327.68)
    assert envelope(np.array([[100], [-32768]], np.int16), 4).tolist() == pytest.approx(
        np.array([[100 / 32768] * 2, [100 / 32768] * 2, [-1, -1], [-1, -1]])
    )
    assert not envelope(np.zeros((5, 1), np.int16), 3).any()


def test_a_click_and_the_marks_are_drawn_at_their_times() -> None:
    samples = np.zeros((1000, 1), np.int16)
    samples[705] = 20_000
    strip = waveform(samples, (100, 41))
    pixels = np.asarray(strip)
    assert np.flatnonzero((pixels[:18] != PANEL).any(axis=(0, 2))).tolist() == [70]
    assert (pixels[20] == CHAINS[0][3]).all()
    marked = np.asarray(marked_at(strip, [0.0, 0.5]))
    assert np.flatnonzero((marked == BOX).all(axis=(0, 2))).tolist() == [0, 50]
    assert (np.asarray(strip) == pixels).all()
