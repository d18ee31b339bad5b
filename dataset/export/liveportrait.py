"""`DIR/db_name_xxxx1/{raw_cropped_frames,landmarks,face_orientation}/<clip>`, for LivePortrait-Train.

A clip is a folder of images, a text file of landmarks and an array of head poses, both with one row per image. The loader draws
any two images of a clip, so only frames with a face are exported, numbered without gaps.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from motionshards.dataset.export.clip import Measurements, StoredClip
from motionshards.dataset.export.directory import ExportDirectory
from motionshards.dataset.export.format import TOO_SHORT, ClipSkipped, ExportedFiles, Settings, Write, missing_data
from motionshards.dataset.export.names import flat_name
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.moving import scaled_px
from motionshards.schemas.samples.encode import npy_bytes
from motionshards.transforms.extract.encode import encode_jpegs
from motionshards.transforms.extract.encoded.png import png_bytes

_DATABASE = "db_name_xxxx1"  # the folder from which LivePortrait's loader reads clips
_LANDMARKS_PX = 512  # the loader divides landmarks by this number, whatever the size of the images
_FEWEST_FRAMES, _MOST_DEG, _JPEG_QUALITY = 2, 90, 95


class LivePortrait:
    """See Format."""

    version = 1
    libraries = ("av", "PIL", "simplejpeg")
    splits = ("train",)
    frames = ("png", "jpg")
    encodes = False
    by_shard = False

    def refusal(self, config: BuildConfig, settings: Settings) -> str | None:
        """See Format: both stills and video can be exported."""
        return missing_data(config, "liveportrait", "landmarks")

    @contextmanager
    def shard(self, output: ExportDirectory, shard: str, split: str, settings: Settings) -> Iterator[Write]:
        """See Format."""
        yield lambda clip: _written(output, clip, settings)


FORMAT = LivePortrait()


def _written(output: ExportDirectory, clip: StoredClip, settings: Settings) -> ExportedFiles:
    measurements = clip.measurements()
    points_px, shown = _with_face(measurements)
    if len(shown) < _FEWEST_FRAMES:
        raise ClipSkipped(TOO_SHORT)
    numbers, name = measurements.numbers[shown], flat_name(clip.key)
    folder, text, array = (
        f"{_DATABASE}/{kind}" for kind in (f"raw_cropped_frames/{name}", f"landmarks/{name}.txt", f"face_orientation/{name}.npy")
    )
    images = [f"{number + 1:06d}.{settings.frames}" for number in range(len(numbers))]
    with output.folder(folder) as path:
        for image, content in zip(images, _images(clip, numbers, settings), strict=True):
            (path / image).write_bytes(content)
    with output.file(text) as path:
        path.write_text(_lines(images, scaled_px(points_px[shown], clip.size_px, _LANDMARKS_PX)), "ascii")
    with output.file(array) as path:
        path.write_bytes(npy_bytes(_orientation(measurements.pose_deg[shown])))
    return ExportedFiles((f"{folder}/", text, array), len(numbers))


def _with_face(measurements: Measurements) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Landmarks, and the rows that have both landmarks and a pose. Raises ClipSkipped."""
    points_px = measurements.points_px
    if points_px is None:
        raise ClipSkipped(TOO_SHORT)
    return points_px, np.flatnonzero(np.isfinite(points_px).all(axis=(1, 2)) & np.isfinite(measurements.pose_deg).all(axis=1))


def _images(clip: StoredClip, numbers: NDArray[np.int64], settings: Settings) -> Iterator[bytes]:
    """Yield the frames as image files; stored JPEGs of this size are copied."""
    stored = clip.stored(settings.size_px)
    if settings.frames == "jpg" and clip.video is None and stored.size_px == settings.size_px:
        yield from (stored.jpegs[number] for number in numbers.tolist())
        return
    for frame in clip.frames(numbers, settings.size_px):
        yield png_bytes(frame) if settings.frames == "png" else encode_jpegs(frame[None], _JPEG_QUALITY)[0]


def _lines(images: list[str], points_px: NDArray[np.float32]) -> str:
    """One line per image: its name, then `x_y` for each landmark."""
    rows = np.rint(points_px).astype(np.int64).tolist()
    return "".join(f"{image} {' '.join(f'{x}_{y}' for x, y in row)}\n" for image, row in zip(images, rows, strict=True))


def _orientation(pose_deg: NDArray[np.float32]) -> NDArray[np.float32]:
    """Yaw, pitch and roll, float32 [T,3], with the signs of 3DDFA_V2, which measured LivePortrait's own training data."""
    return np.clip(-pose_deg, -_MOST_DEG, _MOST_DEG).astype(np.float32)
