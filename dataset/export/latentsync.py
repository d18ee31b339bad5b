"""`DIR/<clip>.mp4`, for LatentSync and its SyncNet: aligned faces at 25 frames per second, with sound."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from importlib import import_module

import av
import numpy as np
from numpy.typing import NDArray

from motionshards.dataset.export.clip import StoredClip
from motionshards.dataset.export.directory import ExportDirectory
from motionshards.dataset.export.format import TOO_SHORT, ClipSkipped, ExportedFiles, Settings, Write, missing_data
from motionshards.dataset.export.names import flat_name
from motionshards.schemas.config import BuildConfig
from motionshards.transforms.extract.decoder.stored.yuv import ToYuv
from motionshards.transforms.extract.encoded.mp4 import Mp4Encoder
from motionshards.transforms.extract.encoded.playable import playable
from motionshards.transforms.extract.encoded.warp import warped
from motionshards.transforms.extract.landmarks.align import brows_and_nose, latentsync_affine

_FPS, _SIZES_PX = 25, (256, 512)
# LatentSync's loader skips files with fewer than three windows of 16 frames, and loops forever if all are shorter.
_FEWEST_FRAMES = 48


class LatentSync:
    """See Format."""

    version = 1
    libraries = ("av", "cv2")
    splits = ("train",)
    frames = ("mp4",)
    encodes = True
    by_shard = False

    def refusal(self, config: BuildConfig, settings: Settings) -> str | None:
        """See Format: clips need video, sound and landmarks, and models exist for two sizes."""
        if missing := missing_data(config, "latentsync", "video", "audio", "landmarks"):
            return missing
        if config.fps != "source" and Fraction(config.fps) != _FPS:
            return f"latentsync needs {_FPS} frames per second, but stored video has {config.fps}: build with --fps {_FPS}"
        if settings.size_px not in _SIZES_PX:
            return f"latentsync has no model for {settings.size_px} px: export with --size 256 or --size 512"
        return _opencv_missing()

    @contextmanager
    def shard(self, output: ExportDirectory, shard: str, split: str, settings: Settings) -> Iterator[Write]:
        """See Format."""
        yield lambda clip: _written(output, clip, settings)


FORMAT = LatentSync()


def _written(output: ExportDirectory, clip: StoredClip, settings: Settings) -> ExportedFiles:
    if clip.video is None:
        raise ClipSkipped("no_video")
    if clip.sound is None:
        raise ClipSkipped("no_sound")
    if clip.video.rate != _FPS:
        raise ClipSkipped("other_rate")
    if len(clip) < _FEWEST_FRAMES:
        raise ClipSkipped(TOO_SHORT)
    encoder = Mp4Encoder(settings.size_px, clip.video.rate, settings.crf)
    for frame in _aligned(clip, clip.video.rate, settings.size_px):
        encoder.add(frame)
    name = f"{flat_name(clip.key)}.mp4"
    with output.file(name) as path:
        path.write_bytes(playable(encoder.finished(), clip.sound.flac)[0])
    return ExportedFiles((name,), len(clip))


def _aligned(clip: StoredClip, rate: Fraction, size_px: int) -> Iterator[av.VideoFrame]:
    """Yield frames with the face aligned to a fixed position, resampled once, with gray padding. Raises ClipSkipped."""
    affine = latentsync_affine(_three_points(clip), size_px)
    if not np.isfinite(affine).all():
        raise ClipSkipped("face_lost")
    to_yuv = ToYuv(clip.size_px)
    for frame, one in zip(clip.video_frames(clip.size_px), affine, strict=True):
        yield warped(to_yuv.of(frame, 1 / rate, Fraction(1)), one, size_px)


def _three_points(clip: StoredClip) -> NDArray[np.float64]:
    """Both brows and the nose in every frame, float64 [M,3,2]: interpolated between measured frames, constant after the last."""
    measurements = clip.measurements()
    if measurements.points_px is None:
        raise ClipSkipped("face_lost")
    coordinates = brows_and_nose(measurements.points_px).reshape(len(measurements.numbers), -1).T
    everywhere = np.arange(len(clip))
    return np.stack([np.interp(everywhere, measurements.numbers, one) for one in coordinates], axis=1).reshape(len(clip), 3, 2)


def _opencv_missing() -> str | None:
    """The message if OpenCV cannot be imported, such as without libGL; other formats do not need it."""
    try:
        import_module("cv2")
    except ImportError as error:
        return (
            f"latentsync needs OpenCV, which cannot be imported ({error}): install libgl1, or pip install opencv-python-headless"
        )
    return None
