"""`DIR/{train,test}/<identity>#<video>#<start>#<stop>.mp4`, for FOMM, MRAA and Thin-Plate-Spline-Motion-Model.

With `--frames png`, each of these is a folder of images. Splits other than train are exported to test.
"""

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager

from motionshards.dataset.export.clip import StoredClip
from motionshards.dataset.export.directory import ExportDirectory
from motionshards.dataset.export.format import ClipSkipped, ExportedFiles, Settings, Write, missing_data
from motionshards.schemas.config import BuildConfig
from motionshards.transforms.extract.decoder.limits import GROUP_FRAMES
from motionshards.transforms.extract.encoded.mp4 import Mp4Encoder
from motionshards.transforms.extract.encoded.png import png_bytes
from motionshards.transforms.extract.encoded.remux import cut_mp4, key_frames

# The original loaders read whole files with imageio.mimread, which refuses to decode more.
_MOST_DECODED_BYTES = 256_000_000

Part = tuple[int, int]


class Fomm:
    """See `Format`."""

    version = 1
    libraries = ("av", "PIL")
    splits: tuple[str, ...] = ()
    frames = ("mp4", "png")
    encodes = True
    by_shard = False

    def refusal(self, config: BuildConfig, settings: Settings) -> str | None:
        """See Format: stills have no frame rate, H.264 needs even sizes, and files hold at least a keyframe interval."""
        if settings.frames == "mp4" and (missing := missing_data(config, "fomm", "video")):
            return f"{missing}, or export with --frames png"
        if settings.frames == "mp4" and settings.size_px % 2:
            return f"mp4 files need an even size, not --size {settings.size_px}: choose another size, or use --frames png"
        if settings.frames == "mp4" and _most_frames(settings.size_px) < GROUP_FRAMES:
            return f"mp4 files of {settings.size_px} px are too large for the loaders of fomm: export with --frames png"
        return None

    @contextmanager
    def shard(self, output: ExportDirectory, shard: str, split: str, settings: Settings) -> Iterator[Write]:
        """See Format. The original loaders expect both folders, so both are created."""
        for name in ("train", "test"):
            (output.root / name).mkdir(parents=True, exist_ok=True)
        folder = "train" if split == "train" else "test"
        write = _write_video if settings.frames == "mp4" else _write_images
        yield lambda clip: write(output, folder, clip, settings)


FORMAT = Fomm()


def _write_images(output: ExportDirectory, folder: str, clip: StoredClip, settings: Settings) -> ExportedFiles:
    """The original loaders find a folder only if its name ends like that of a video."""
    name = f"{folder}/{settings.names.fomm(clip.key, len(clip))}.mp4"
    with output.folder(name) as path:
        for number, frame in enumerate(clip.frames(size_px=settings.size_px)):
            (path / f"{number:07d}.png").write_bytes(png_bytes(frame))
    return ExportedFiles((f"{name}/",), len(clip))


def _write_video(output: ExportDirectory, folder: str, clip: StoredClip, settings: Settings) -> ExportedFiles:
    if clip.video is None:
        raise ClipSkipped("no_video")
    most = _most_frames(settings.size_px)
    mp4 = clip.mp4(settings.size_px)
    parts = [] if mp4 is None else _parts(len(clip), most, mp4)
    if mp4 is None or not parts:
        mp4 = _encoded(clip, settings)
        parts = _parts(len(clip), most, mp4)
    files = []
    for part in parts:
        name = f"{folder}/{settings.names.fomm(clip.key, len(clip), part if len(parts) > 1 else None)}.mp4"
        with output.file(name) as path:
            path.write_bytes(cut_mp4(mp4, *part) if len(parts) > 1 else mp4)
        files.append(name)
    return ExportedFiles(tuple(files), len(clip))


def _most_frames(size_px: int) -> int:
    return _MOST_DECODED_BYTES // (3 * size_px**2)


def _parts(frames: int, most: int, mp4: bytes) -> list[Part]:
    """The smallest number of parts of at most `most` frames that start at key frames, of similar length; empty if impossible."""
    if frames <= most:
        return [(0, frames)]
    bounds = [*key_frames(mp4).tolist(), frames]
    count = len(_longest_parts(bounds, most))
    lengths = range(-(-frames // max(count, 1)), most + 1)
    return next((parts for length in lengths if len(parts := _longest_parts(bounds, length)) == count), [])


def _longest_parts(bounds: list[int], most: int) -> list[Part]:
    """Parts between bounds, each as long as possible; empty if two neighboring bounds are too far apart."""
    parts, start = [], 0
    while start < bounds[-1]:
        stop = bounds[bisect_right(bounds, start + most) - 1]
        if stop == start:
            return []
        parts.append((start, stop))
        start = stop
    return parts


def _encoded(clip: StoredClip, settings: Settings) -> bytes:
    assert clip.video is not None
    encoder = Mp4Encoder(settings.size_px, clip.video.rate, settings.crf)
    for frame in clip.video_frames(settings.size_px):
        encoder.add(frame)
    return encoder.finished()
