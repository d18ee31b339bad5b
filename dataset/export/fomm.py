"""`DIR/{train,test}/<identity>#<video>#<start>#<stop>.mp4`, for FOMM, MRAA and Thin-Plate-Spline-Motion-Model.

With `--frames png` each of these is a folder of images. Splits other than train are tests.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from motionshards.dataset.export.clip import StoredClip
from motionshards.dataset.export.format import LeftOut, Made, Settings, Write
from motionshards.dataset.export.place import Place
from motionshards.schemas.config import BuildConfig
from motionshards.transforms.extract.mp4.encoder import Mp4Encoder
from motionshards.transforms.extract.mp4.remux import cut_mp4, key_frames
from motionshards.transforms.extract.png import png_bytes

# The loaders read whole files by imageio.mimread, which refuses to decode more.
_MOST_DECODED_BYTES = 256_000_000

Part = tuple[int, int]


class Fomm:
    """See `Format`."""

    version = 1
    splits: tuple[str, ...] = ()
    frames = ("mp4", "png")
    encodes = True

    def refusal(self, config: BuildConfig, settings: Settings) -> str | None:
        """Stills have no rate."""
        if settings.frames == "mp4" and not config.moving:
            return "fomm needs stored video: motionshards add OUT video --input DIR, or export with --frames png"
        return None

    @contextmanager
    def shard(self, place: Place, shard: str, split: str, settings: Settings) -> Iterator[Write]:
        """The loaders look for both folders, so they exist even if one is empty."""
        for name in ("train", "test"):
            (place.root / name).mkdir(parents=True, exist_ok=True)
        folder = "train" if split == "train" else "test"
        write = _write_video if settings.frames == "mp4" else _write_images
        yield lambda clip: write(place, folder, clip, settings)


FORMAT = Fomm()


def _write_images(place: Place, folder: str, clip: StoredClip, settings: Settings) -> Made:
    """A folder is found only by a name that ends as that of a video."""
    name = f"{folder}/{settings.names.fomm(clip.key, len(clip))}.mp4"
    with place.folder(name) as path:
        for number, frame in enumerate(clip.frames(size_px=settings.size_px)):
            (path / f"{number:07d}.png").write_bytes(png_bytes(frame))
    return Made((f"{name}/",), len(clip))


def _write_video(place: Place, folder: str, clip: StoredClip, settings: Settings) -> Made:
    if clip.video is None:
        raise LeftOut("no_video")
    most = _MOST_DECODED_BYTES // (3 * settings.size_px**2)
    mp4 = clip.mp4(settings.size_px)
    parts = None if mp4 is None else _parts(len(clip), most, mp4)
    if mp4 is None or parts is None:
        mp4 = _encoded(clip, settings)
        parts = _parts(len(clip), most, mp4)
        assert parts is not None, "encoded video has a key frame every 12 frames"
    files = []
    for part in parts:
        name = f"{folder}/{settings.names.fomm(clip.key, len(clip), part if len(parts) > 1 else None)}.mp4"
        with place.file(name) as path:
            path.write_bytes(cut_mp4(mp4, *part) if len(parts) > 1 else mp4)
        files.append(name)
    return Made(tuple(files), len(clip))


def _parts(frames: int, most: int, mp4: bytes) -> list[Part] | None:
    """About equal stretches of at most `most` frames that begin at key frames; None where these are too far apart."""
    if frames <= most:
        return [(0, frames)]
    keys = key_frames(mp4)
    least = -(-frames // most)
    for count in range(least, 2 * least + 1):  # enough wherever key frames are at most half a part apart
        bounds = [*_nearest_before(keys, np.arange(count) * frames // count), frames]
        if max(np.diff(bounds)) <= most:
            return [(start, stop) for start, stop in pairwise(bounds) if start < stop]
    return None


def _nearest_before(keys: NDArray[np.int64], numbers: NDArray[np.int64]) -> list[int]:
    """The last key frame up to each number."""
    found: list[int] = keys[np.searchsorted(keys, numbers, side="right") - 1].tolist()
    return found


def _encoded(clip: StoredClip, settings: Settings) -> bytes:
    assert clip.video is not None
    encoder = Mp4Encoder(settings.size_px, clip.video.rate, settings.crf)
    for frame in clip.frames(size_px=settings.size_px):
        encoder.add(frame)
    return encoder.finished()
