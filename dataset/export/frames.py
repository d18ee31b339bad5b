"""The format `frames`: a folder per clip with frames as PNG, landmarks, a description, and sound.

DIR/<identity>/<video>/<clip>/000000.png …, landmarks.npy, clip.json, audio.flac
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motionshards.dataset.export.clip import Measurements, StoredClip
from motionshards.dataset.export.directory import ExportDirectory
from motionshards.dataset.export.format import ExportedFiles, Settings, Write
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.moving import scaled_px
from motionshards.schemas.samples.encode import npy_bytes
from motionshards.transforms.extract.encoded.png import png_bytes

_DECIMALS = 4


class Frames:
    """See Format."""

    version = 1
    libraries = ("av", "PIL")
    splits: tuple[str, ...] = ()
    frames = ("png",)
    encodes = False
    by_shard = False

    def refusal(self, config: BuildConfig, settings: Settings) -> str | None:
        """See Format: every dataset has frames."""
        return None

    @contextmanager
    def shard(self, output: ExportDirectory, shard: str, split: str, settings: Settings) -> Iterator[Write]:
        """See Format."""
        yield lambda clip: _written(output, clip, settings.size_px)


FORMAT = Frames()


def _written(output: ExportDirectory, clip: StoredClip, size_px: int) -> ExportedFiles:
    measurements = clip.measurements()
    with output.folder(clip.key) as folder:
        for number, rgb in enumerate(clip.frames(size_px=size_px)):
            (folder / f"{number:06d}.png").write_bytes(png_bytes(rgb))
        if measurements.points_px is not None:
            points_px = scaled_px(measurements.points_px, clip.size_px, size_px)
            (folder / "landmarks.npy").write_bytes(npy_bytes(_in_all_frames(points_px, measurements.numbers, len(clip))))
        if clip.sound is not None:
            (folder / "audio.flac").write_bytes(clip.sound.flac)
        description = json.dumps(_description(clip, measurements, size_px), ensure_ascii=False, allow_nan=False)
        (folder / "clip.json").write_text(description + "\n")
    return ExportedFiles((f"{clip.key}/",), len(clip))


def _in_all_frames(points_px: NDArray[np.float32], numbers: NDArray[np.int64], frames: int) -> NDArray[np.float32]:
    """Landmarks of all frames, float32 [frames,68,2], NaN for frames that were not measured."""
    everywhere = np.full((frames, *points_px.shape[1:]), np.nan, np.float32)
    everywhere[numbers] = points_px
    return everywhere


def _description(clip: StoredClip, measurements: Measurements, size_px: int) -> dict[str, Any]:
    sound, boxes_px = clip.sound, measurements.boxes_px
    return {
        "key": clip.key,
        **{name: clip.row[name] for name in ("source", "split", "identity", "video")},
        "spans": clip.meta.get("spans"),
        "size_px": size_px,
        "frames": len(clip),
        "rate": None if clip.video is None else [clip.video.rate.numerator, clip.video.rate.denominator],
        "pts_s": clip.pts_s.tolist(),
        "measured": measurements.numbers.tolist(),
        "boxes_px": None if boxes_px is None else _numbers(scaled_px(boxes_px, clip.size_px, size_px)),
        "pose_deg": _numbers(measurements.pose_deg),
        "sound": None if sound is None else {"hz": sound.hz, "channels": sound.channels, "samples": sound.samples},
    }


def _numbers(rows: NDArray[np.float32]) -> list[list[float | None]]:
    """Rounded rows for JSON; NaN becomes null."""
    rounded = [[round(value, _DECIMALS) for value in row] for row in rows.tolist()]
    return [[value if np.isfinite(value) else None for value in row] for row in rounded]
