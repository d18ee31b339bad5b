"""Composed frames for `benchmarks.faces`: heads of the corpus at a known size and position on backgrounds without people."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from skimage import data

from benchmarks.faces_found import SIZE_PX, Found, evenly_spaced

BODIES = ("taichi/videos", "fashion/test", "fashion/train")
"""Directories of the body corpora, whose frames have the face in their upper half."""
_PHOTOGRAPHS = ("coffee", "rocket", "hubble_deep_field", "immunohistochemistry", "brick", "grass", "gravel", "chelsea")
_BODY_FRAMES, _BODY_PX = 4, 720
_CRF = "18"

Rgb = NDArray[np.uint8]


@dataclass(frozen=True)
class Scene:
    """A frame uint8 [H,W,3] and the box of its only face, float64 [4]."""

    rgb: Rgb
    box_px: NDArray[np.float64]


def textures(elsewhere: Path) -> dict[str, list[Rgb]]:
    """Images without a face: photographs and, if present, lower halves of frames of the body corpora."""
    photographs = [np.asarray(Image.fromarray(getattr(data, name)()).convert("RGB")) for name in _PHOTOGRAPHS]
    videos = sorted(path for name in BODIES for path in (elsewhere / name).glob("*.mp4"))
    frames = [frame for path in videos for frame in evenly_spaced(path, _BODY_FRAMES, _BODY_PX)]
    halves = [_without_padding(frame[_BODY_PX // 2 :]) for frame in frames]
    return {"photographs": photographs, **({"lower halves of bodies": halves} if halves else {})}


def cover(image: Rgb, size_px: tuple[int, int], rng: np.random.Generator) -> Rgb:
    """A random part of an image, enlarged to this width and height."""
    height, width = image.shape[:2]
    zoom = max(size_px[0] / width, size_px[1] / height) * rng.uniform(1, 2)
    wide, high = size_px[0] / zoom, size_px[1] / zoom
    x, y = rng.uniform(0, width - wide), rng.uniform(0, height - high)
    return np.asarray(Image.fromarray(image).resize(size_px, Image.Resampling.BICUBIC, box=(x, y, x + wide, y + high)))


def noise(size_px: tuple[int, int], rng: np.random.Generator) -> Rgb:
    """Noise of several scales, as rough as a photograph."""
    width, height = size_px
    total = np.full((height, width, 3), 128.0)
    for step in (1, 4, 16, 64):
        coarse = rng.integers(0, 256, (-(-height // step), -(-width // step), 3), dtype=np.uint8)
        total += (np.asarray(Image.fromarray(coarse).resize(size_px, Image.Resampling.BICUBIC)).astype(float) - 128) / 3
    return total.clip(0, 255).astype(np.uint8)


def scenes(found: Found, images: list[Rgb], face_px: float, frame_px: tuple[int, int], count: int) -> Iterator[Scene]:
    """Random heads of the corpus at random positions on each kind of background.

    face_px: the longer side of the face's box
    """
    rng = np.random.default_rng(round(face_px) + frame_px[0])
    for number in range(count):
        behind = _background(number % 3, images, frame_px, rng)
        yield _laid(found, int(rng.integers(len(found))), face_px, behind, rng)


def _background(kind: int, images: list[Rgb], size_px: tuple[int, int], rng: np.random.Generator) -> Rgb:
    """Gray, noise, or a part of one of the images."""
    if kind == 0:
        return np.full((size_px[1], size_px[0], 3), 128, np.uint8)
    return noise(size_px, rng) if kind == 1 else cover(images[int(rng.integers(len(images)))], size_px, rng)


def _laid(found: Found, frame: int, face_px: float, behind: Rgb, rng: np.random.Generator) -> Scene:
    box = found.boxes_px[frame].astype(np.float64)
    side = round(SIZE_PX * face_px / (box[2:] - box[:2]).max())
    head = Image.fromarray(found.rgb[frame]).resize((side, side), Image.Resampling.LANCZOS)
    corner = [int(rng.integers(min(0, free), max(0, free) + 1)) for free in (behind.shape[1] - side, behind.shape[0] - side)]
    image = Image.fromarray(behind)
    image.paste(head, (corner[0], corner[1]))
    place = (box + 0.5) * side / SIZE_PX - 0.5 + np.array(corner * 2)
    return Scene(np.asarray(image), place)


def write_video(path: Path, rgb: Rgb) -> Path:
    """Encode frames uint8 [T,H,W,3] as H.264 at 25 frames/s."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"crf": _CRF, "preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = *rgb.shape[1:3], "yuv420p"
        for frame in rgb:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        file.mux(stream.encode())
    return path


def patterns(size_px: tuple[int, int], rng: np.random.Generator) -> Rgb:
    """Blurred ellipses of random gray, size and position, which a gradient detector may mistake for eyes and a mouth."""
    image = Image.new("L", size_px, int(rng.integers(256)))
    for _ in range(60):
        x, y, wide, high = rng.uniform(0, 1, 4) * (*size_px, size_px[0] / 4, size_px[1] / 4)
        ImageDraw.Draw(image).ellipse((x, y, x + wide, y + high), fill=int(rng.integers(256)))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 6))).convert("RGB"))


def _without_padding(image: Rgb) -> Rgb:
    """Remove black columns and rows at the border."""
    seen = image.max(axis=2) > 0
    columns, rows = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
