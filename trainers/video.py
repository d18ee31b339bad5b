"""Reads driving videos and writes output videos as streams, and crops and writes images.

Images and frames are scaled to a square without keeping the aspect ratio, as in the published code, by the same scaler: a frame
saved as a PNG becomes the same input as from its video.
"""

import functools
import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import ffmpeg
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from motionshards.schemas.atomic import beside
from motionshards.schemas.errors import ClipRejected, ConfigError
from motionshards.schemas.regular_file import open_regular
from motionshards.trainers.sound import INPUT, PacketList, arguments_for, packets
from motionshards.transforms.extract.constant_rate import source_rate
from motionshards.transforms.extract.crop import Window
from motionshards.transforms.extract.decode import cut
from motionshards.transforms.extract.decoder.filters import RGB, SCALER, scaled
from motionshards.transforms.extract.decoder.limits import MEMORY_BYTES
from motionshards.transforms.extract.ffmpeg import Running, run_ffmpeg, safe_input_options
from motionshards.transforms.extract.media import Media, check_file
from motionshards.transforms.extract.output_images import OutputImage
from motionshards.transforms.extract.stream import decode_images
from motionshards.transforms.extract.timeline import Timeline, timeline_by_decoding

logger = logging.getLogger("motionshards")

Rgb = NDArray[np.uint8]
"""[H,W,3], RGB."""

IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF", "JPEG2000")
"""A subset of Pillow's formats: to read PostScript, for example, it would execute a program."""
_PATIENCE_S = 3600.0  # for ffmpeg to read a whole video
_OUTPUT = "file:OUTPUT"
# For the look-ahead of x264, which buffers many frames, more with each thread.
_ENCODER_BYTES_PER_PX = 1 << 10
_IN_MP4 = {"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"}


@dataclass(frozen=True, slots=True)
class Track:
    """A sound track of a video: its number among the sound tracks, and ffmpeg's name of its codec."""

    number: int
    codec: str


@dataclass(frozen=True, slots=True)
class Driving:
    """A driving video.

    timeline: times of its frames, found by decoding, so that damage is detected before anything is animated
    tracks: sound tracks that can be copied or decoded
    first_s: presentation time of the first frame, seconds, on the clock that frames and sound share
    """

    path: Path
    timeline: Timeline
    tracks: tuple[Track, ...]
    first_s: float

    @classmethod
    def at(cls, path: Path) -> "Driving":
        """Open the video at `path`. Raises ConfigError: it does not exist or cannot be decoded."""
        with _as_config_error(path):
            check_file(os.fspath(path))
            timeline = timeline_by_decoding(Media.at(path), _PATIENCE_S)
            together, alone = (packets(path, _PATIENCE_S, sound=sound) for sound in (True, False))
        # If streams start at different times, ffmpeg may count from the first one that it reads.
        start_s, alone_s = together.first_s(), alone.first_s()
        shift_s = 0.0 if start_s is None or alone_s is None else start_s - alone_s
        return cls(path, timeline, _usable(path, together), float(timeline.raw_s[0]) + shift_s)

    @property
    def audio(self) -> tuple[str, ...]:
        """Codecs of the sound tracks."""
        return tuple(track.codec for track in self.tracks)

    def __len__(self) -> int:
        return len(self.timeline.raw_s)

    @property
    def rate(self) -> Fraction:
        """Frames per second, see `source_rate`."""
        return source_rate(self.timeline)

    def shown(self, rate: Fraction) -> NDArray[np.int64]:
        """Return how often each frame is shown in a video of `rate`, int64 [frames]: 1 unless times are uneven or rates differ.

        A frame is shown at most half a frame period of the faster video early, so uneven times stay in sync with the sound.
        """
        half = 0.5 * min(1.0, float(rate / self.rate))
        starts = np.ceil(self.timeline.pts_s * float(rate) - half)
        end = max(starts[-1], np.ceil(self.timeline.duration_s * float(rate) - half), 1)
        return np.diff(starts, append=end).astype(np.int64)

    def frames(self, size_px: int) -> Iterator[Rgb]:
        """Yield all frames in order, uint8 [size,size,3]. Raises ConfigError: the file has changed or ffmpeg fails."""
        # Scaled to whole frames first, like images that were saved from the video.
        yield from self._scaled(self.timeline.display_px, (size_px, size_px))

    def whole_frames(self) -> Iterator[Rgb]:
        """Yield all frames in order as displayed, with square pixels, uint8 [H,W,3]. Raises ConfigError as `frames`."""
        yield from self._scaled(self.timeline.display_px)

    def _scaled(self, *sizes_px: tuple[int, int]) -> Iterator[Rgb]:
        """Yield all frames in order, scaled to the sizes one after the other."""
        outputs = OutputImage(tuple(one for size_px in sizes_px for one in (scaled(*size_px), RGB)))
        with _as_config_error(self.path):
            for (frame,) in decode_images(Media.at(self.path), self.timeline, 0, len(self), (outputs,), _PATIENCE_S):
                assert frame is not None, "requested for all frames"
                yield frame


def write_image(path: Path, image: Rgb) -> None:
    """Write an image uint8 [H,W,3 or 4] atomically in the format of the suffix. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        Image.fromarray(image).save(temporary, quality=95)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def cut_window(rgb: Rgb, window: Window, size_px: int) -> Rgb:
    """Crop and scale a window of an image as a build does: uint8 [size,size,3]."""
    cropped: Rgb = cut(rgb[None], window, size_px, _PATIENCE_S)[0]
    return cropped


def write(
    path: Path, frames: Iterable[Rgb], size_px: int, rate: Fraction, sound: Driving | None = None, *, columns: int = 1
) -> int:
    """Write frames as an MP4 of H.264, atomically, and return their number.

    frames: uint8 [size, columns * size, 3]; the size is even
    sound: video whose sound tracks are added, copied if MP4 supports their codec, else encoded as AAC

    Raises:
        ConfigError: ffmpeg cannot write it
        OSError: the directory cannot be created
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with beside(path) as temporary:
        return _encode(_arguments(temporary, (columns * size_px, size_px), rate, sound), frames, path, columns * size_px**2)


def _encode(arguments: list[str], frames: Iterable[Rgb], path: Path, area_px: int) -> int:
    """Send the frames to ffmpeg, and return their number."""
    count = 0
    memory_bytes = MEMORY_BYTES + _ENCODER_BYTES_PER_PX * area_px
    with Running(arguments, _PATIENCE_S, memory_bytes=memory_bytes, feed=True) as running:
        try:
            for frame in frames:
                running.write(np.ascontiguousarray(frame).data.cast("B"))
                count += 1
        except BrokenPipeError:
            count = 0  # ffmpeg exited early; its log has the reason
        result = running.result()
    if result.returncode or not count:
        raise ConfigError(f"{path} cannot be written: {result.errors() or f'ffmpeg exited with status {result.returncode}'}")
    return count


def _arguments(target: Path, size_px: tuple[int, int], rate: Fraction, sound: Driving | None) -> list[str]:
    raw = ffmpeg.input("pipe:0", format="rawvideo", pix_fmt="rgb24", video_size=size_px, framerate=str(rate))
    # Also written to the header: players guess the matrix of small videos in different ways.
    video = raw["v"].filter("scale", out_color_matrix="bt709", out_range="tv", flags=SCALER).filter("format", "yuv420p")
    streams = [video.filter("setparams", colorspace="bt709", color_primaries="bt709", color_trc="bt709", range="tv")]
    options = {"c:v": "libx264", "crf": 18, "movflags": "+faststart", "format": "mp4"}
    if sound is None or not sound.tracks:
        return _with_target(ffmpeg.output(*streams, _OUTPUT, **options).overwrite_output().get_args(), target)
    # The first frame is at time 0 in the output, so the sound is shifted by its time in the driving video.
    sound_input = ffmpeg.input(INPUT, itsoffset=f"{-sound.first_s:.6f}", **safe_input_options())
    for place, track in enumerate(sound.tracks):
        streams.append(sound_input[f"a:{track.number}"])
        options[f"c:a:{place}"] = "copy" if track.codec in _IN_MP4 else "aac"
    output = ffmpeg.output(*streams, _OUTPUT, **options)
    # Frames are also read and discarded, so that times have the same origin as when `first_s` was measured.
    clock = sound_input["V:0"].output("pipe:1", format="null", c="copy")
    return _with_target(arguments_for(sound.path, ffmpeg.merge_outputs(output, clock).overwrite_output()), target)


def _with_target(arguments: list[str], target: Path) -> list[str]:
    return [f"file:{target}" if argument == _OUTPUT else argument for argument in arguments]


def _usable(path: Path, listed: PacketList) -> tuple[Track, ...]:
    """Return the sound tracks that MP4 supports or that can be decoded, and log a warning for each other one."""
    found = [Track(stream - 1, codec) for stream, codec in sorted(listed.codecs.items()) if stream]
    usable = tuple(track for track in found if track.codec in _IN_MP4 or track.codec in _decodable())
    for track in found:
        if track not in usable:
            logger.warning("%s: skipped sound track %d (%s), which cannot be decoded", path, track.number + 1, track.codec)
    return usable


@functools.cache
def _decodable() -> frozenset[str]:
    """Return the codecs that this ffmpeg decodes."""
    listed = run_ffmpeg(["-codecs"], _PATIENCE_S).stdout.decode()
    return frozenset(line.split()[1] for line in listed.splitlines() if re.match(r" D.A", line))


@contextmanager
def _as_config_error(path: Path) -> Iterator[None]:
    """Convert a rejection of the file at `path` to ConfigError."""
    try:
        yield
    except ClipRejected as rejection:
        if rejection.reason in ("not_a_video", "no_video_stream") and _is_image(path):
            raise ConfigError(f"{path} is an image, and a video is needed") from rejection
        raise ConfigError(f"{path}: {rejection.reason}{f': {rejection.detail}' if rejection.detail else ''}") from rejection


def _is_image(path: Path) -> bool:
    """Return whether a file begins like an image of a format that `trainers.images` reads."""
    try:
        with open_regular(path) as stream, Image.open(stream, formats=IMAGE_FORMATS):
            return True
    except Exception:  # Pillow's plugins raise any exception for damaged files
        return False
