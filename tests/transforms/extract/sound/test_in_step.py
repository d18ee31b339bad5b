"""A simultaneous flash and click remain simultaneous when decoded, whatever the container."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from impulses import FPS, KINDS, Drift, can_write, clicks_near, drift, write_impulses

from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.sound import read_sound
from motionshards.transforms.extract.timeline import timeline_by_decoding

# Half a sample more than a millisecond: clocks of whole milliseconds may be off by that much.
MAX_MS = 1.03
LEAN = ("mp4 AAC, sound 0.7 s early", "mov PCM, sound 0.7 s late", "mkv FLAC, variable rate", "webm Opus", "ts AAC, joined")


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in LEAN else pytest.mark.slow) for name in KINDS])
def test_clicks_coincide_with_their_flashes(name: str, tmp_path: Path) -> None:
    found = measured(name, tmp_path)
    assert abs(found.ffmpeg_ms) <= MAX_MS
    half_frame_s = 0.5 / FPS
    assert abs(found.flash_s) <= (3 * half_frame_s if KINDS[name].whole_frames else half_frame_s)
    assert abs(found.sound_ms) <= (1000 * half_frame_s if KINDS[name].whole_frames else MAX_MS)


def measured(name: str, folder: Path) -> Drift:
    kind = KINDS[name]
    if not can_write(kind):
        pytest.skip("this ffmpeg lacks an encoder")
    path = folder / f"a.{kind.suffix}"
    return drift(path, write_impulses(path, kind))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if not kind.joined and not kind.whole_frames])
def test_stretches_far_into_a_file_are_synchronized(name: str, tmp_path: Path) -> None:
    kind, path = KINDS[name], tmp_path / "a"
    if not can_write(kind):
        pytest.skip("this ffmpeg lacks an encoder")
    path = path.with_suffix(f".{kind.suffix}")
    once_s = write_impulses(path, kind, seconds=40)
    line = timeline_by_decoding(Media.at(path), 60)
    for at in np.searchsorted(line.pts_s, [12.3, 24.3]):
        sound = read_sound(Media.at(path), float(line.raw_s[at]), 150, Fraction(FPS), 16_000, True, 60)
        assert sound is not None and len(sound.samples) == 96_000
        inside_s = once_s - line.pts_s[at]
        inside_s = inside_s[(inside_s > 0.2) & (inside_s < 5.8)]
        assert len(inside_s) >= 2
        assert np.abs(clicks_near(sound.samples[:, 0], inside_s) - inside_s).max() * 1000 <= MAX_MS
