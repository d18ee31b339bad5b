"""Muxed video and sound: the same pixels and samples, synchronized, within the size limit."""

import io
from typing import Any

import av
import numpy as np
import pytest
from moving import CLICK_EVERY, flac_of, image, mp4_of, seen_in

from motionshards.transforms.extract.encoded.playable import playable

FRAMES, HZ = 50, 16_000
VIDEO = mp4_of([image(7, frame) for frame in range(FRAMES)])


def sound() -> np.ndarray:
    """Incompressible noise, with a click at the start of every tenth frame."""
    samples = np.random.default_rng(0).integers(-3000, 3000, FRAMES * HZ // 25).astype(np.int16)
    samples[:: CLICK_EVERY * HZ // 25] = 30_000
    return samples


def played(content: bytes) -> tuple[list[tuple[float, np.ndarray]], list[Any]]:
    """Frames with their times, and frames of sound, as decoded by a player."""
    with av.open(io.BytesIO(content)) as file:
        images = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in file.decode(video=0)]
    with av.open(io.BytesIO(content)) as file:
        return images, list(file.decode(audio=0)) if file.streams.audio else []


def test_pixels_and_samples_are_unchanged_and_synchronized() -> None:
    content, frames = playable(VIDEO, flac_of(sound()))
    assert frames == FRAMES
    images, sound_frames = played(content)
    stored, _ = played(VIDEO)
    for number, ((time, rgb), (_, expected)) in enumerate(zip(images, stored, strict=True)):
        assert seen_in(rgb) == (7, number) and time == pytest.approx(number / 25)
        np.testing.assert_array_equal(rgb, expected)
    assert sound_frames[0].time == 0
    np.testing.assert_array_equal(np.concatenate([frame.to_ndarray()[0] for frame in sound_frames]), sound())


def test_a_video_without_sound_can_be_played() -> None:
    content, frames = playable(VIDEO, None)
    images, sound_frames = played(content)
    assert (len(images), sound_frames, frames) == (FRAMES, [], FRAMES)


def test_a_large_file_is_truncated_with_its_sound() -> None:
    most = 30_000
    content, frames = playable(VIDEO, flac_of(sound()), most)
    images, sound_frames = played(content)
    assert 5 < frames == len(images) < FRAMES
    assert len(content) < most + 3000  # plus the index
    assert sound_frames[-1].time + sound_frames[-1].samples / HZ == pytest.approx(frames / 25, abs=0.3)
    assert [seen_in(rgb)[1] for _, rgb in images] == list(range(frames))


@pytest.mark.parametrize(
    ("mp4", "flac"), [(b"", None), (b"x" * 5000, None), (VIDEO[:200], None), (VIDEO[:500], None), (VIDEO, b"fLaC" + bytes(60))]
)
def test_members_that_are_not_video_or_sound_are_a_value_error(mp4: bytes, flac: bytes | None) -> None:
    with pytest.raises(ValueError, match="cannot be copied"):
        playable(mp4, flac)
