"""Crop recipes: truth tables of the windows, and painted markers that are mapped by the affine."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from skimage.transform import resize
from videos import MakeVideo, ffmpeg

from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract import output_images
from motionshards.transforms.extract.crop import Window, exact_window, square_window
from motionshards.transforms.extract.decode import decode
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.timeline import timeline_from_packets

FRAME = (640, 360)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((100, 100, 200, 200), (100, 100, 200, 200)),
        ((100, 100, 200, 150), (100, 75, 200, 175)),
        ((100, 100, 150, 200), (75, 100, 175, 200)),
        ((0, 100, 50, 200), (0, 100, 100, 200)),
        ((600, 300, 640, 360), (580, 300, 640, 360)),
        ((-50, 100, 50, 200), (0, 100, 100, 200)),
        ((620, 10, 720, 60), (540, 0, 640, 100)),
        ((100, 0, 500, 360), (100, -20, 500, 380)),
        ((0, 0, 640, 360), (0, -140, 640, 500)),
        ((10.4, 10.4, 20.6, 20.6), (10, 10, 20, 20)),
    ],
    ids=str,
)
def test_bbox_is_a_square_that_is_shifted_before_it_is_padded(box: tuple[float, ...], expected: Window) -> None:
    assert square_window(np.array(box, float), FRAME) == expected


@pytest.mark.parametrize("seed", range(200))
def test_bbox_leaves_the_frame_only_if_necessary(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-100, 500, 2)
    box = np.concatenate([corner, corner + rng.uniform(5, 500, 2)])
    if (box[2:] <= 0).any() or (box[:2] >= FRAME).any():
        return
    x0, y0, x1, y1 = square_window(box, FRAME)
    assert x1 - x0 == y1 - y0 == round(max(box[2] - box[0], box[3] - box[1]))
    for low, high, extent in ((x0, x1, FRAME[0]), (y0, y1, FRAME[1])):
        assert (low >= 0 and high <= extent) or (high - low > extent and low <= 0 and high >= extent)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((100.9, 50.2, 200.9, 99.9), (100, 50, 200, 99)),
        ((-20, -3.5, 100, 90), (0, 0, 100, 90)),
        ((600, 300, 700, 400), (600, 300, 640, 360)),
    ],
    ids=str,
)
def test_fomm_bbox_truncates_and_clips(box: tuple[float, ...], expected: Window) -> None:
    assert exact_window(np.array(box, float), FRAME) == expected


@pytest.mark.parametrize("window", [square_window, exact_window])
@pytest.mark.parametrize(
    "box", [(10, 10, 10, 20), (20, 10, 10, 20), (700, 10, 800, 20), (10, -50, 20, -1), (np.nan, 0, 1, 1)], ids=str
)
def test_empty_boxes_and_boxes_outside_are_refused(window: Callable[..., Window], box: tuple[float, ...]) -> None:
    with pytest.raises(ClipRejected) as rejection:
        window(np.array(box, float), FRAME)
    assert rejection.value.reason == "bad_annotation"


@pytest.fixture
def still(make_video: MakeVideo) -> tuple[Path, np.ndarray]:
    """A lossless RGB video of one smooth image with odd sides, and the image."""
    path = make_video(
        "still.mkv", "-c:v", "ffv1", "-pix_fmt", "gbrp", "-frames:v", "3", source="testsrc=size=161x97:rate=5:duration=1"
    )
    line = timeline_from_packets(Media.at(path), 60)
    image = decode(Media.at(path), line, np.array([0]), 161, "squash", 60, (0, 0, 161, 161)).rgb[0, :97]
    return path, image


@pytest.mark.parametrize("window", [(0, 0, 64, 64), (33, 21, 97, 85), (97, 33, 161, 97)], ids=str)
def test_pixels_without_scaling_are_those_of_the_source(still: tuple[Path, np.ndarray], window: Window) -> None:
    path, image = still
    frames = decode(Media.at(path), timeline_from_packets(Media.at(path), 60), np.array([0]), 64, "pad", 60, window)
    x0, y0, x1, y1 = window
    np.testing.assert_array_equal(frames.rgb[0], image[y0:y1, x0:x1])
    np.testing.assert_allclose(frames.source_to_frame[0], [[1, 0, -x0], [0, 1, -y0]])
    assert frames.content_px[0].tolist() == [0, 0, 64, 64]


def test_padding_is_black_and_not_content(still: tuple[Path, np.ndarray]) -> None:
    path, image = still
    frames = decode(
        Media.at(path), timeline_from_packets(Media.at(path), 60), np.array([0]), 161, "pad", 60, (-40, -32, 121, 129)
    )
    assert frames.content_px[0].tolist() == [40, 32, 161, 129]
    np.testing.assert_array_equal(frames.rgb[0, 32:129, 40:], image[:, :121])
    assert not frames.rgb[0, :32].any()
    assert not frames.rgb[0, 129:].any()
    assert not frames.rgb[0, :, :40].any()


@pytest.mark.parametrize("window", [(20, 10, 120, 90), (0, 0, 161, 97), (50, 40, 80, 96)], ids=str)
def test_pixels_match_the_original_repository_up_to_the_filter(still: tuple[Path, np.ndarray], window: Window) -> None:
    """FOMM's original repository crops with numpy and resizes with skimage, antialiased; only edges may differ."""
    path, image = still
    found = decode(Media.at(path), timeline_from_packets(Media.at(path), 60), np.array([0]), 64, "squash", 60, window).rgb[0]
    x0, y0, x1, y1 = window
    expected = resize(image[y0:y1, x0:x1], (64, 64), anti_aliasing=True) * 255
    assert np.abs(found - expected).mean() < 6


def test_a_marker_is_at_its_mapped_position(make_video: MakeVideo) -> None:
    dot = "color=black:size=320x240:rate=5:duration=1,drawbox=x=150:y=100:w=8:h=8:color=white:t=fill"
    path = make_video("dot.mkv", "-c:v", "ffv1", "-pix_fmt", "gbrp", source=dot)
    line = timeline_from_packets(Media.at(path), 60)
    for window in [(100, 50, 200, 150), (90, 60, 280, 250), (-30, -20, 290, 300), (130, 90, 190, 120)]:
        frames = decode(Media.at(path), line, np.array([0, 2]), 256, "pad", 60, window)
        light = frames.rgb[0].astype(float).sum(axis=2)
        y, x = (np.indices(light.shape) * light).sum(axis=(1, 2)) / light.sum()
        affine = frames.source_to_frame[0]
        np.testing.assert_allclose([x, y], affine[:, :2] @ [153.5, 103.5] + affine[:, 2], atol=0.15)


def test_a_rotated_video_is_cropped_upright(make_video: MakeVideo, tmp_path: Path) -> None:
    flat = make_video(
        "flat.mp4", "-c:v", "libx264", "-qp", "0", "-pix_fmt", "yuv444p", source="testsrc=size=160x96:rate=5:duration=1"
    )
    turned = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", "90", "-i", flat, "-c", "copy", turned)
    line = timeline_from_packets(Media.at(turned), 60)
    assert line.size_px == (96, 160)
    whole = decode(Media.at(turned), line, np.array([1]), 160, "pad", 60).rgb[0, :, 32:128]
    part = decode(Media.at(turned), line, np.array([1]), 64, "pad", 60, (16, 48, 80, 112)).rgb[0]
    assert np.abs(part.astype(int) - whole[48:112, 16:80]).mean() < 2


@pytest.mark.parametrize("pixels", ["yuv420p", "yuvj420p", "yuv411p", "yuv444p", "yuv420p10le", "gray"])
def test_cropping_around_the_window_first_changes_no_byte(
    make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch, pixels: str
) -> None:
    """Windows inside, at the edges, and outside the frame; in most cases the first crop is smaller than the frame."""
    source = f"testsrc2=size=320x240:rate=5:duration=0.2,noise=alls=20,format={pixels}"
    media = Media.at(make_video("a.mkv", "-c:v", "ffv1" if pixels != "yuvj420p" else "mjpeg", source=source))
    line = timeline_from_packets(media, 60)
    windows = [(101, 73, 165, 137), (0, 1, 64, 65), (257, 177, 320, 240), (-20, -30, 70, 60), (290, 200, 380, 290)]
    cut = [decode(media, line, np.array([0]), 64, "pad", 60, window).rgb for window in windows]
    assert all(output_images._around(window, (320, 240)) is not None for window in windows)
    monkeypatch.setattr(output_images, "_around", lambda *_: None)
    whole = [decode(media, line, np.array([0]), 64, "pad", 60, window).rgb for window in windows]
    np.testing.assert_array_equal(cut, whole)
