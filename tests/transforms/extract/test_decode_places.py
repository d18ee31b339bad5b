"""Position of source pixels in decoded frames: upright, at the display aspect, centered on black, according to the affine."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from videos import MakeVideo, ffmpeg

from motionshards.schemas.frames import Frames
from motionshards.transforms.extract.decode import decode
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.output_images import resize_affine
from motionshards.transforms.extract.timeline import timeline_from_packets

LOSSLESS = ("-c:v", "libx264", "-preset", "ultrafast", "-qp", "0", "-pix_fmt", "yuv444p")


# The display matrix of ISO 14496-12, a b c d: x' = a x + c y, y' = b x + d y, with y down.
MATRICES = {
    "upright": (1, 0, 0, 1),
    "a quarter clockwise": (0, 1, -1, 0),
    "half": (-1, 0, 0, -1),
    "a quarter back": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
    "upside down": (1, 0, 0, -1),
}


def turn(path: Path, matrix: tuple[int, ...]) -> Path:
    """Write a display matrix into the track header of an mp4."""
    raw = bytearray(path.read_bytes())
    a, b, c, d = (value << 16 for value in matrix)
    fields = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
    start = raw.index(b"tkhd") + 44
    assert raw[start - 40] == 0, "a version 1 header"
    raw[start : start + 36] = b"".join(field.to_bytes(4, "big", signed=True) for field in fields)
    path.write_bytes(raw)
    return path


def as_displayed(rgb: NDArray[np.uint8], matrix: tuple[int, ...]) -> NDArray[np.uint8]:
    """Frames [T,H,W,3] as displayed by a player: pixel by pixel, according to the standard."""
    a, b, c, d = matrix
    _, height, width, _ = rgb.shape
    y, x = np.mgrid[:height, :width]
    right, down = a * x + c * y, b * x + d * y
    upright = np.zeros((len(rgb), *(np.ptp(side) + 1 for side in (down, right)), 3), np.uint8)
    upright[:, down - down.min(), right - right.min()] = rgb
    return upright


def decode_all(path: Path, size: int, fit: str = "pad") -> Frames:
    timeline = timeline_from_packets(Media.at(path), 60)
    return decode(Media.at(path), timeline, np.arange(len(timeline.raw_s)), size, fit, 60)


def plain_decode(path: Path, width: int, height: int) -> NDArray[np.uint8]:
    raw = ffmpeg("-i", path, "-pix_fmt", "rgb24", "-f", "rawvideo", "-")
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES)
def test_a_rotated_video_is_upright(make_video: MakeVideo, matrix: tuple[int, ...]) -> None:
    path = make_video("a.mp4", *LOSSLESS, source="testsrc2=size=96x64:rate=5:duration=1")
    stored = plain_decode(path, 96, 64)
    expected = as_displayed(stored, matrix)
    frames = decode_all(turn(path, matrix), 96)
    _, height, width, _ = expected.shape
    assert frames.source_size_px.tolist() == [[width, height]] * 5
    x0, y0, x1, y1 = frames.content_px[0]
    assert (x1 - x0, y1 - y0) == (width, height)
    assert np.abs(frames.rgb[:, y0:y1, x0:x1].astype(int) - expected).max() <= 3
    np.testing.assert_array_equal(frames.source_to_frame[0], [[1, 0, x0], [0, 1, y0]])


# name: width, height, stored pixel aspect, display matrix, size of the square, fit
PLACES = {
    "landscape": (160, 90, "1", "upright", 64, "pad"),
    "landscape, enlarged": (160, 90, "1", "upright", 200, "pad"),
    "landscape, squashed": (160, 90, "1", "upright", 64, "squash"),
    "portrait": (90, 160, "1", "upright", 64, "pad"),
    "portrait, squashed": (90, 160, "1", "upright", 96, "squash"),
    "square": (80, 80, "1", "upright", 64, "pad"),
    "odd": (101, 77, "1", "upright", 64, "pad"),
    "odd, to an odd size": (77, 101, "1", "upright", 75, "pad"),
    "wide pixels": (96, 64, "2/1", "upright", 96, "pad"),
    "wide pixels that make it landscape": (72, 96, "16/9", "upright", 96, "pad"),
    "narrow pixels": (96, 64, "1/3", "upright", 96, "pad"),
    "DV": (180, 144, "16/15", "upright", 100, "pad"),
    "wide pixels, squashed": (96, 64, "2/1", "upright", 80, "squash"),
    "turned": (160, 90, "1", "a quarter clockwise", 64, "pad"),
    "turned, squashed": (160, 90, "1", "a quarter back", 64, "squash"),
    "turned wide pixels": (96, 64, "2/1", "a quarter clockwise", 96, "pad"),
}


@pytest.mark.parametrize(("width", "height", "sar", "way", "size", "fit"), PLACES.values(), ids=PLACES)
def test_a_painted_marker_is_at_its_mapped_position(
    make_video: MakeVideo, width: int, height: int, sar: str, way: str, size: int, fit: str
) -> None:
    left, top, side = width // 4, height // 2, 13
    paint = f"format=yuv444p,drawbox=x={left}:y={top}:w={side}:h={side}:color=white:t=fill,setsar={sar}"
    path = make_video("a.mp4", *LOSSLESS, source=f"color=gray:size={width}x{height}:rate=5:duration=0.4,{paint}")
    frames = decode_all(turn(path, MATRICES[way]), size, fit)

    # The same marker as displayed by a player, in upright source pixels.
    marked = np.zeros((1, height, width, 3), np.uint8)
    marked[:, top : top + side, left : left + side] = 1
    upright = as_displayed(marked, MATRICES[way])[0, :, :, 0]
    center = np.argwhere(upright).mean(axis=0)[::-1]
    source_width, source_height = upright.shape[::-1]
    assert frames.source_size_px.tolist() == [[source_width, source_height]] * 2

    pixel = float(
        Fraction(sar) if way == "upright" else 1 / Fraction(sar)
    )  # a rotation by 90 degrees inverts the pixel aspect, too
    aspect = source_width * pixel / source_height
    expected = np.array([size, max(1, int(size / aspect + 0.5))] if aspect >= 1 else [max(1, int(size * aspect + 0.5)), size])
    if fit == "squash":
        expected[:] = size
    corner = (size - expected) // 2
    assert frames.content_px.tolist() == [[*corner, *(corner + expected)]] * 2

    for rgb, affine in zip(frames.rgb.astype(float), frames.source_to_frame, strict=True):
        x0, y0, x1, y1 = frames.content_px[0]
        padding = np.ones((size, size), bool)
        padding[y0:y1, x0:x1] = False
        assert not rgb[padding].any()
        weight = np.where(padding, 0, rgb[..., 1] - np.median(rgb[y0:y1, x0:x1, 1]))
        y, x = np.mgrid[:size, :size]
        found = np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
        assert np.abs(found - affine @ [*center, 1]).max() < 0.1


@pytest.mark.parametrize(("width", "height"), [(1024, 4), (4, 1024), (642, 2)])
def test_an_extreme_aspect_keeps_at_least_one_pixel(make_video: MakeVideo, width: int, height: int) -> None:
    path = make_video("a.mkv", "-c:v", "ffv1", source=f"testsrc2=size={width}x{height}:rate=5:duration=0.4")
    x0, y0, x1, y1 = decode_all(path, 64).content_px[0]
    assert (x1 - x0, y1 - y0) == ((64, 1) if width > height else (1, 64))
    assert min(x0, y0) >= 0 and max(x1, y1) <= 64


def test_odd_sizes_with_subsampled_chroma_are_complete(make_video: MakeVideo) -> None:
    odd = "testsrc2=size=104x80:rate=5:duration=1,format=yuv444p,scale=101:77"
    path = make_video("a.avi", "-c:v", "mpeg4", "-pix_fmt", "yuv420p", source=odd)
    frames = decode_all(path, 128)
    assert frames.source_size_px.tolist() == [[101, 77]] * 5
    assert frames.content_px.tolist() == [[0, 15, 128, 113]] * 5
    assert frames.rgb[:, 15:113].std() > 30 and not frames.rgb[:, :15].any() and not frames.rgb[:, 113:].any()


def test_the_corners_of_the_source_are_mapped_to_the_corners_of_the_image() -> None:
    rng = np.random.default_rng(0)
    source, content = rng.integers(1, 2000, (200, 2)).astype(np.int32), rng.integers(1, 512, (200, 2)).astype(np.int32)
    corner = rng.integers(0, 100, (200, 2)).astype(np.int32)
    affine = resize_affine(source, content, corner)
    ones = np.ones((200, 1))
    first = np.einsum("tij,tj->ti", affine, np.hstack([source * 0 - 0.5, ones]))
    last = np.einsum("tij,tj->ti", affine, np.hstack([source - 0.5, ones]))
    np.testing.assert_allclose(first, corner - 0.5, atol=1e-9)
    np.testing.assert_allclose(last, corner + content - 0.5, atol=1e-9)
    assert affine.shape == (200, 2, 3) and not affine[:, 0, 1].any() and not affine[:, 1, 0].any()
