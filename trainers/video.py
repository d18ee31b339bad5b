"""Driving videos and source pictures as the networks see them, and the video that is made. No video is held in memory.

Pictures and frames fill a square without regard to their aspect, as in the published code, and go through one scaler: a frame
that was saved as a PNG comes out as it does from its video.
"""

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import ffmpeg
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from schemas.atomic import beside
from schemas.errors import ClipRejected, ConfigError
from transforms.extract.crop import Window
from transforms.extract.decode import SCALER, cut
from transforms.extract.ffmpeg import FfmpegResult, command, run_ffmpeg, safe_input_options
from transforms.extract.media import INPUT, Media, arguments_for, check_file
from transforms.extract.stream import stream
from transforms.extract.timeline import Timeline, timeline_by_decoding

Picture = NDArray[np.uint8]
"""[H,W,3], RGB."""

_PATIENCE_S = 3600.0  # for ffmpeg to read a whole video
_OUTPUT = "file:OUTPUT"
_USUAL_RATE = Fraction(25)
_RATE_IS_OFF = 0.01
_IN_MP4 = {"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"}
_AUDIO = re.compile(r"^\[info\]   Stream #0:\d+.*?: Audio: (\w+)", re.M)


@dataclass(frozen=True, slots=True)
class Driving:
    """A video whose movement is taken.

    timeline: its frames, counted by decoding them: a damaged file is found before anything is animated
    audio: codecs of its sound tracks, by ffmpeg's names
    """

    path: Path
    timeline: Timeline
    audio: tuple[str, ...]

    @classmethod
    def at(cls, path: Path) -> "Driving":
        """The video at `path`. Raises ConfigError: there is none, or it cannot be decoded."""
        with _told(path):
            check_file(os.fspath(path))
            timeline = timeline_by_decoding(Media.at(path), _PATIENCE_S)
        return cls(path, timeline, tuple(_AUDIO.findall(_header(path))))

    def __len__(self) -> int:
        return len(self.timeline.raw_s)

    @property
    def rate(self) -> Fraction:
        """Frames a second: those of the header, or of the timestamps where the header is off; 25 where nothing tells.

        ffmpeg tells two digits, behind which 30000/1001 and its like are found again.
        """
        told, last_s = self.timeline.rate_hz, float(self.timeline.pts_s[-1])
        true = (len(self) - 1) / last_s if last_s else told
        if told is None or true is None or abs(told / true - 1) > _RATE_IS_OFF:
            told = true
        if told is None:
            return _USUAL_RATE
        near = (Fraction(round(told)), Fraction(1000 * round(told), 1001))
        return next((rate for rate in near if abs(rate - told) < 0.006), Fraction(told).limit_denominator(1000))

    def shown(self, rate: Fraction) -> NDArray[np.int64]:
        """int64 [frames], how many frames of a video of `rate` show each frame; 1 unless times are uneven or rates differ.

        A frame appears half a frame of the faster video before its time at most, so uneven times keep up with the sound.
        """
        half = 0.5 * min(1.0, float(rate / self.rate))
        starts = np.ceil(self.timeline.pts_s * float(rate) - half)
        end = max(starts[-1], np.ceil(self.timeline.duration_s * float(rate) - half), 1)
        return np.diff(starts, append=end).astype(np.int64)

    def frames(self, size_px: int) -> Iterator[Picture]:
        """All frames in order, uint8 [size,size,3]. Raises ConfigError where the file has changed or ffmpeg fails."""
        for _, frame in self._pairs(size_px):
            yield frame

    def whole_frames(self) -> Iterator[Picture]:
        """All frames in order as they are, uint8 [H,W,3]. Raises ConfigError as `frames`."""
        for frame, _ in self._pairs(2):
            yield frame

    def _pairs(self, small_px: int) -> Iterator[tuple[Picture, Picture]]:
        with _told(self.path):
            yield from stream(Media.at(self.path), self.timeline, 0, len(self), (small_px, small_px), _PATIENCE_S)


def write_picture(path: Path, picture: Picture) -> None:
    """Write uint8 [H,W,3 or 4] as the suffix says, PNG, JPEG, ..., whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        Image.fromarray(picture).save(temporary, quality=95)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def cut_window(rgb: Picture, window: Window, size_px: int) -> Picture:
    """A window of a picture, as a build would cut it out of a frame, uint8 [size,size,3]."""
    cropped: Picture = cut(rgb[None], window, size_px, _PATIENCE_S)[0]
    return cropped


def write(path: Path, frames: Iterable[Picture], size_px: int, rate: Fraction, sound: Driving | None = None) -> int:
    """Write square frames as an MP4 of H.264, whole or not at all; gives their number.

    sound: whose sound tracks go with it, as they are where MP4 takes them, else as AAC

    Raises:
        ConfigError: ffmpeg cannot write it
        OSError: the directory cannot be made
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with beside(path) as temporary:
        return _encode(_arguments(temporary, size_px, rate, sound), frames, path)


def _encode(arguments: list[str], frames: Iterable[Picture], path: Path) -> int:
    """Feed an ffmpeg, frame by frame."""
    count, whole, log = 0, False, os.memfd_create("log")
    process = subprocess.Popen(command(arguments), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log)
    try:
        assert process.stdin is not None
        with process.stdin as pipe:
            for frame in frames:
                pipe.write(np.ascontiguousarray(frame).data)
                count += 1
        process.wait()
        whole = process.returncode == 0
    except BrokenPipeError:
        process.wait()  # it ended early, and its log says why
    finally:
        process.kill()
        process.wait()
        said = os.pread(log, os.fstat(log).st_size, 0).decode("utf-8", "replace")
        os.close(log)
    if not whole:
        why = FfmpegResult(process.returncode, b"", said).errors() or f"ffmpeg ended with {process.returncode}"
        raise ConfigError(f"{path} cannot be written: {why}")
    return count


def _arguments(target: Path, size_px: int, rate: Fraction, sound: Driving | None) -> list[str]:
    raw = ffmpeg.input("pipe:0", format="rawvideo", pix_fmt="rgb24", video_size=(size_px, size_px), framerate=str(rate))
    # Told as well as done: players guess the matrix of small videos, and not all in the same way.
    video = raw["v"].filter("scale", out_color_matrix="bt709", out_range="tv", flags=SCALER).filter("format", "yuv420p")
    streams = [video.filter("setparams", colorspace="bt709", color_primaries="bt709", color_trc="bt709", range="tv")]
    options = {"c:v": "libx264", "crf": 18, "movflags": "+faststart", "format": "mp4"}
    if sound is not None and sound.audio:
        # The first frame is at 0 here, wherever it stood in the driving video, and sound moves with it.
        heard = ffmpeg.input(INPUT, itsoffset=f"{-sound.timeline.raw_s[0]:.6f}", **safe_input_options())
        streams.append(heard["a"])
        options["c:a"] = "copy" if {*sound.audio} <= _IN_MP4 else "aac"
    output = ffmpeg.output(*streams, _OUTPUT, **options).overwrite_output()
    arguments = arguments_for(Media.at(sound.path), output) if sound is not None else output.get_args()
    return [f"file:{target}" if argument == _OUTPUT else argument for argument in arguments]


def _header(path: Path) -> str:
    """What ffmpeg says of a file's streams; that it is given nothing to do is no fault here."""
    options = [part for name, value in safe_input_options().items() for part in (f"-{name}", str(value))]
    return run_ffmpeg([*options, "-i", f"file:{path}"], _PATIENCE_S).log


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """A rejection of the file at `path` as a ConfigError."""
    try:
        yield
    except ClipRejected as lost:
        raise ConfigError(f"{path}: {lost.reason}{f': {lost.detail}' if lost.detail else ''}") from lost
