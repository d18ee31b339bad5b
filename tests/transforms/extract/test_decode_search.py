"""Images for a face detector: the part of the source that the stored frame shows, in square pixels, at a scale."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from videos import ffmpeg

from motionshards.schemas.frames import Frames, SearchImage
from motionshards.transforms.extract.decode import decode
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.output_images import ExtraOutputs, Search
from motionshards.transforms.extract.timeline import timeline_from_packets

GRAY, RGB = Search(gray=True, scale=1.0), Search(gray=False, scale=0.5)


def video(path: Path, size: str, *arguments: str) -> Path:
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25", "-frames:v", "3", *arguments, path)
    return path


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    return video(tmp_path / "wide.mp4", "192x96")


def decoded(path: Path, search: Search | None, window: tuple[int, int, int, int] | None = None, size: int = 32) -> Frames:
    media = Media.at(path)
    return decode(media, timeline_from_packets(media, 60), np.arange(3), size, "pad", 60, window, "tonemap", ExtraOutputs(search))


def luma(path: Path) -> NDArray[np.uint8]:
    return np.frombuffer(ffmpeg("-i", path, "-pix_fmt", "gray", "-f", "rawvideo", "-"), np.uint8).reshape(3, 96, 192)


def test_no_image_is_created_unless_requested(wide: Path) -> None:
    assert decoded(wide, None).search == ()


def test_the_stored_frames_are_the_same_with_and_without_them(wide: Path) -> None:
    for search in (GRAY, RGB):
        np.testing.assert_array_equal(decoded(wide, search).rgb, decoded(wide, None).rgb)


def test_gray_at_the_scale_of_the_source_is_its_luma(wide: Path) -> None:
    found = decoded(wide, GRAY).search
    assert len(found) == 3
    for image, expected in zip(found, luma(wide), strict=True):
        assert image.pixels.shape == (96, 192) and image.covers_px == (0, 8, 32, 24), "the stored image without its padding"
        assert np.abs(image.pixels.astype(int) - expected).mean() < 1


def test_a_window_that_leaves_the_frame_is_cropped(wide: Path) -> None:
    (image, *_), expected = decoded(wide, GRAY, (-10, 20, 50, 80)).search, luma(wide)[0]
    assert image.pixels.shape == (60, 60) and image.covers_px == (0, 0, 32, 32)
    assert np.abs(image.pixels[:, 10:].astype(int) - expected[20:80, :50]).mean() < 1
    assert image.pixels[:, :9].max() < 20, "black"


@pytest.mark.parametrize("scale", [0.5, 0.25])
def test_images_are_scaled_down(wide: Path, scale: float) -> None:
    for window, size in ((None, (192, 96)), ((0, 0, 80, 80), (80, 80))):
        (image, *_) = decoded(wide, Search(gray=True, scale=scale), window).search
        assert image.pixels.shape[::-1] == tuple(round(side * scale) for side in size)


def test_rgb_is_only_created_if_finer_than_the_stored_frame(wide: Path) -> None:
    finer = decoded(wide, RGB).search[0]
    assert finer.pixels.shape == (48, 96, 3) and finer.covers_px == (0, 8, 32, 24)
    frames = decoded(wide, RGB, size=96)
    for image, frame in zip(frames.search, frames.rgb, strict=True):
        assert image.covers_px == (0, 0, 96, 96)
        np.testing.assert_array_equal(image.pixels, frame)


def test_pixels_become_square_without_increasing_their_number(tmp_path: Path) -> None:
    (image, *_) = decoded(video(tmp_path / "anamorphic.mp4", "96x96", "-vf", "setsar=4"), GRAY).search
    assert image.pixels.shape == (48, 192) and image.covers_px == (0, 12, 32, 20)


@pytest.mark.parametrize("pixels", [np.zeros((60, 100), np.uint8), np.zeros((30, 50, 3), np.uint8)])
def test_boxes_are_mapped_by_pixel_edges(pixels: NDArray[np.uint8]) -> None:
    height, width = pixels.shape[:2]
    whole = np.array(
        [[-0.5, -0.5, width - 0.5, height - 0.5], [width / 2 - 0.5, -0.5, width - 0.5, height / 2 - 0.5]], np.float32
    )
    found = SearchImage(pixels, (10, 20, 210, 140)).stored(whole)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[9.5, 19.5, 209.5, 139.5], [109.5, 19.5, 209.5, 79.5]])
