"""Crop, JPEG and the quality measures of stored frames."""

import io
from typing import Any

import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage import data

from motionshards.schemas.frames import Crop, Frames, Placement
from motionshards.schemas.records import FaceTrack, Landmarks
from motionshards.transforms.extract.crop import as_crop
from motionshards.transforms.extract.encode import encode_jpegs
from motionshards.transforms.extract.quality.measure import face_size_px, laplacian_variance, measure

Rgb = NDArray[np.uint8]


@pytest.fixture(scope="module")
def face() -> Rgb:
    return np.ascontiguousarray(data.astronaut()[:256, 96:352])


def placed(rgb: Rgb, content: tuple[int, int, int, int] | None = None, scale: tuple[float, float] = (1, 1)) -> Crop:
    t, height, width, _ = rgb.shape
    affine = np.zeros((t, 2, 3))
    affine[:, 0, 0], affine[:, 1, 1] = scale
    return Crop(
        rgb,
        Placement(
            span=np.zeros(t, np.int32),
            index=np.arange(t, dtype=np.int32),
            pts_s=np.arange(t) / 25,
            source_size_px=np.tile(np.array([[width, height]], np.int32), (t, 1)),
            content_px=np.tile(np.array([content or (0, 0, width, height)], np.int32), (t, 1)),
            source_to_crop=affine,
        ),
    )


def tracked(boxes: Any, faces: Any) -> FaceTrack:
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return FaceTrack(boxes, np.ones(len(boxes), np.float32), np.array(faces, np.int32))


def spanned(t: int, seed: int) -> Frames:
    rng = np.random.default_rng(seed)
    return Frames(
        rgb=rng.integers(0, 256, (t, 8, 8, 3), np.uint8),
        pts_s=np.sort(rng.random(t)),
        source_to_frame=rng.normal(size=(t, 2, 3)),
        source_size_px=rng.integers(1, 99, (t, 2)).astype(np.int32),
        content_px=rng.integers(0, 8, (t, 4)).astype(np.int32),
    )


@pytest.mark.parametrize("lengths", [(3,), (2, 1), (1, 4, 2)])
def test_the_frames_of_several_spans_become_one_crop_in_order(lengths: tuple[int, ...]) -> None:
    numbers = [np.arange(t) * 10 + s for s, t in enumerate(lengths)]
    parts = [(2 * s, index, spanned(len(index), s)) for s, index in enumerate(numbers)]
    crop = as_crop(parts)
    assert len(crop) == sum(lengths)
    assert crop.placement.span.tolist() == [2 * s for s, t in enumerate(lengths) for _ in range(t)]
    assert crop.placement.index.tolist() == np.concatenate(numbers).tolist()
    assert crop.placement.span.dtype == crop.placement.index.dtype == np.int32
    start = 0
    for _, index, frames in parts:
        rows = slice(start, start := start + len(index))
        np.testing.assert_array_equal(crop.rgb[rows], frames.rgb)
        np.testing.assert_array_equal(crop.placement.source_to_crop[rows], frames.source_to_frame)
        for name in ("pts_s", "source_size_px", "content_px"):
            np.testing.assert_array_equal(getattr(crop.placement, name)[rows], getattr(frames, name))


def psnr(a: Rgb, b: Rgb) -> float:
    return float(10 * np.log10(255**2 / ((a.astype(float) - b) ** 2).mean()))


def test_a_face_keeps_35_db_and_loses_more_at_lower_quality(face: Rgb) -> None:
    size = []
    for quality, least in ((95, 35), (80, 30), (30, 25)):
        (jpeg,) = encode_jpegs(face[None], quality)
        assert psnr(simplejpeg.decode_jpeg(jpeg), face) > least
        size.append((psnr(simplejpeg.decode_jpeg(jpeg), face), len(jpeg)))
    assert size == sorted(size, reverse=True)


def test_a_jpeg_is_baseline_with_420_chroma(face: Rgb) -> None:
    (jpeg,) = encode_jpegs(face[None], 95)
    height, width, colors, subsampling = simplejpeg.decode_jpeg_header(jpeg)
    assert (height, width, colors, subsampling) == (256, 256, "YCbCr", "420")
    with Image.open(io.BytesIO(jpeg)) as image:
        assert image.format == "JPEG" and not image.info.get("progressive")
        assert psnr(np.asarray(image.convert("RGB")), face) > 35  # an independent decoder has the same order of channels


def test_equal_frames_are_equal_bytes_in_any_batch_and_layout(face: Rgb) -> None:
    frames = np.stack([face, face[::-1], face[:, ::-1]])
    together = encode_jpegs(frames, 90)
    assert together == encode_jpegs(frames, 90) == tuple(encode_jpegs(frame[None], 90)[0] for frame in frames)
    assert encode_jpegs(np.asfortranarray(frames), 90) == together
    assert encode_jpegs(frames[:0], 90) == ()


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 31), (1, 1), (75, 75)])
def test_odd_sizes_are_encoded(height: int, width: int) -> None:
    rgb = np.full((1, height, width, 3), 120, np.uint8)
    assert simplejpeg.decode_jpeg(encode_jpegs(rgb, 95)[0]).shape == (height, width, 3)


def float_blur_and_brightness(rgb: Rgb) -> tuple[float, float]:
    """In floating point, by BT.601 and scipy."""
    gray = np.floor(rgb.astype(float) @ [77 / 256, 150 / 256, 29 / 256] + 0.5)
    return float(ndimage.laplace(gray)[1:-1, 1:-1].var()), float(gray.mean())


def test_blur_and_brightness_match_scipy(face: Rgb) -> None:
    noise = np.random.default_rng(0).integers(0, 256, face.shape, np.uint8)
    checkers = np.indices(face.shape).sum(axis=0).astype(np.uint8) % 2 * 255
    frames = np.stack([face, noise, checkers, face // 4, np.full_like(face, 200)])
    quality = measure(placed(frames), None, None)
    expected = np.array([float_blur_and_brightness(frame) for frame in frames])
    np.testing.assert_allclose(quality.blur, expected[:, 0], rtol=1e-6)
    np.testing.assert_allclose(quality.brightness, expected[:, 1], rtol=1e-6)
    assert quality.blur[4] == 0 and quality.brightness[4] == 200
    assert quality.blur.dtype == quality.brightness.dtype == np.float32


@pytest.mark.parametrize(
    ("color", "luma"), [((255, 0, 0), 76.2), ((0, 255, 0), 149.7), ((0, 0, 255), 29.1), ((255, 255, 255), 255)]
)
def test_brightness_uses_luma_weights(color: tuple[int, int, int], luma: float) -> None:
    frame = np.full((1, 10, 10, 3), color, np.uint8)
    assert measure(placed(frame), None, None).brightness[0] == pytest.approx(luma, abs=1)


def test_blur_falls_with_every_blur(face: Rgb) -> None:
    sigmas = (0, 0.5, 1, 1.5, 2, 3, 5)
    frames = np.stack([ndimage.gaussian_filter(face, (sigma, sigma, 0)) for sigma in sigmas])
    assert (np.diff(measure(placed(frames), None, None).blur) < 0).all()


@pytest.mark.parametrize("content", [(0, 40, 256, 216), (40, 0, 216, 256), (3, 5, 250, 201)])
def test_padding_is_ignored(face: Rgb, content: tuple[int, int, int, int]) -> None:
    x0, y0, x1, y1 = content
    padded = np.zeros((2, *face.shape), np.uint8)
    padded[1] = 255
    padded[:, y0:y1, x0:x1] = face[y0:y1, x0:x1]
    inside = measure(placed(face[None, y0:y1, x0:x1]), None, None)
    found = measure(placed(padded, content), None, None)
    assert found.blur.tolist() == [inside.blur[0]] * 2 and found.brightness.tolist() == [inside.brightness[0]] * 2


@pytest.mark.parametrize("shape", [(1, 1), (2, 50), (50, 2), (1, 9)])
def test_narrow_images_have_no_blur(shape: tuple[int, int]) -> None:
    assert laplacian_variance(np.random.default_rng(0).integers(0, 256, shape).astype(np.int32)) == 0.0


def test_the_largest_laplacian_does_not_overflow() -> None:
    gray = (np.indices((300, 300)).sum(axis=0) % 2 * 255).astype(np.int32)
    assert laplacian_variance(gray) == pytest.approx((4 * 255) ** 2, rel=1e-4)


def test_face_size_is_in_source_pixels() -> None:
    boxes = np.array([[10, 20, 50, 80], [0, 0, 30, 10], [np.nan] * 4, [-5, -5, 5, 5]], np.float32)
    affine = np.zeros((4, 2, 3))
    affine[:, 0, 0], affine[:, 1, 1] = 0.5, 0.25
    np.testing.assert_allclose(face_size_px(boxes, affine), [240, 60, np.nan, 40])
    found = measure(placed(np.zeros((4, 96, 96, 3), np.uint8), scale=(0.5, 0.25)), tracked(boxes, [1, 2, 0, 1]), None)
    np.testing.assert_array_equal(found.face_size_px, np.array([240, 60, np.nan, 40], np.float32))
    assert found.faces.tolist() == [1, 2, 0, 1]


def test_without_a_model_face_measures_are_nan(face: Rgb) -> None:
    quality = measure(placed(face[None].repeat(2, axis=0)), None, None)
    for name in ("face_size_px", "faces", "yaw_deg", "pitch_deg", "roll_deg"):
        assert getattr(quality, name).shape == (2,) and np.isnan(getattr(quality, name)).all()
    assert np.isfinite(quality.blur).all() and np.isfinite(quality.brightness).all()


def test_pose_is_rounded_to_a_hundredth_of_a_degree_and_requires_landmarks() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(40, 200, (3, 68, 2)).astype(np.float32)
    points[1] = np.nan
    found = measure(
        placed(np.zeros((3, 256, 256, 3), np.uint8)), tracked(np.ones((3, 4)), [1, 0, 1]), Landmarks(points, points[..., 0])
    )
    pose = np.stack([found.yaw_deg, found.pitch_deg, found.roll_deg], axis=1)
    assert np.isnan(pose[1]).all() and np.isfinite(pose[[0, 2]]).all()
    np.testing.assert_array_equal(pose[[0, 2]], pose[[0, 2]].round(2))
