"""Videos of many containers with simultaneous flashes and clicks, and their distance after decoding."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import scipy.io.wavfile
from numpy.typing import NDArray

from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.decode import decode
from motionshards.transforms.extract.ffmpeg import ffmpeg_path
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.sound import read_sound
from motionshards.transforms.extract.timeline import Timeline, timeline_by_decoding, timeline_from_packets
from tests.support.videos import ffmpeg

FPS, HZ = 25, 16_000
FIRST_S, EACH_S = 1.0, 2.0
_REACH_S, _TONE_HZ, _BURST_S = 0.15, 1500, 1e-3
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A container and its codecs.

    sound_at_s: start of the sound relative to the video
    vfr: whether frames are dropped at random
    joined: whether two such files are concatenated
    whole_frames: whether timestamps are whole frames, so that the container cannot store the delay of its sound's encoder
    """

    suffix: str
    video: str
    audio: str
    options: tuple[str, ...] = ()
    hz: int = 44_100
    channels: int = 2
    sound_at_s: float = 0.0
    vfr: bool = False
    joined: bool = False
    whole_frames: bool = False


KINDS = {
    "mp4 AAC": Kind("mp4", "libx264", "aac"),
    "mp4 AAC, sound 0.7 s early": Kind("mp4", "libx264", "aac", sound_at_s=-0.7),
    "mp4 AAC, sound 0.7 s late": Kind("mp4", "libx264", "aac", sound_at_s=0.7),
    "mp4 AAC, variable rate": Kind("mp4", "libx264", "aac", vfr=True),
    "mp4 AAC, no edit list": Kind("mp4", "libx264", "aac", ("-use_editlist", "0", "-bf", "2")),
    "fragmented mp4 AAC": Kind("mp4", "libx264", "aac", ("-movflags", "frag_keyframe+empty_moov")),
    "mov PCM": Kind("mov", "mjpeg", "pcm_s16le"),
    "mov PCM, sound 0.7 s late": Kind("mov", "mjpeg", "pcm_s16le", sound_at_s=0.7),
    "mkv MP3": Kind("mkv", "libx264", "libmp3lame"),
    "mkv AAC, sound 0.7 s early": Kind("mkv", "libx264", "aac", sound_at_s=-0.7),
    "mkv FLAC, variable rate": Kind("mkv", "libx264", "flac", vfr=True),
    "webm Opus": Kind("webm", "libvpx-vp9", "libopus", ("-cpu-used", "8"), hz=48_000),
    "webm Opus, sound 0.7 s late": Kind("webm", "libvpx-vp9", "libopus", ("-cpu-used", "8"), hz=48_000, sound_at_s=0.7),
    "webm Vorbis": Kind("webm", "libvpx-vp9", "libvorbis", ("-cpu-used", "8")),
    "avi PCM": Kind("avi", "mpeg4", "pcm_s16le"),
    "avi MP3": Kind("avi", "mpeg4", "libmp3lame", whole_frames=True),
    "ts AAC": Kind("ts", "libx264", "aac"),
    "ts MP2, sound 0.7 s late": Kind("ts", "libx264", "mp2", sound_at_s=0.7),
    "ts AAC, joined": Kind("ts", "libx264", "aac", ("-mpegts_flags", "initial_discontinuity"), joined=True),
    "mpeg-ps MP2": Kind("mpg", "mpeg2video", "mp2"),
    "flv AAC": Kind("flv", "libx264", "aac"),
    "flv MP3, sound 0.7 s late": Kind("flv", "flv", "libmp3lame", sound_at_s=0.7),
    "ogg Vorbis": Kind("ogv", "libtheora", "libvorbis"),
    "asf WMA": Kind("asf", "wmv2", "wmav2"),
    "nut MP3": Kind("nut", "mpeg4", "libmp3lame"),
    "mxf PCM": Kind("mxf", "mpeg2video", "pcm_s16le", hz=48_000),
    "3gp AMR": Kind("3gp", "mpeg4", "libopencore_amrnb", hz=8_000, channels=1),
}


@dataclass(frozen=True, slots=True)
class Drift:
    """The largest error of decoded flashes and clicks of a file.

    sound_ms: distance of clicks from their flashes
    ffmpeg_ms: difference of that distance from that of the ffmpeg program, which places sound by its timestamps
    flash_s: difference of flash times from the true ones
    """

    sound_ms: float
    ffmpeg_ms: float
    flash_s: float


def drift_table(folder: Path, seconds: int = 6) -> Iterator[tuple[str, float, float]]:
    """Name, sound drift in ms and flash drift in s of each container that this ffmpeg can write."""
    for name, kind in KINDS.items():
        if can_write(kind):
            path = folder / f"{name}.{kind.suffix}"
            found = drift(path, write_impulses(path, kind, seconds))
            yield name, found.sound_ms, found.flash_s


def can_write(kind: Kind) -> bool:
    """Whether this ffmpeg has the encoders."""
    known = ffmpeg("-hide_banner", "-encoders").decode()
    return all(re.search(rf" {codec} ", known) for codec in (kind.video, kind.audio))


def write_impulses(path: Path, kind: Kind, seconds: int = 6) -> NDArray[np.float64]:
    """Write a video with a flash and a click every two seconds; returns their times from the first frame, float64 [n] in s."""
    once_s = np.arange(FIRST_S, seconds - 0.5, EACH_S)
    wav = path.with_name(f"{path.name}.wav")
    _write_clicks(wav, once_s - kind.sound_at_s, seconds - kind.sound_at_s, kind.hz)
    white = "+".join(f"eq(N,{round(at * FPS)})" for at in once_s)
    kept = f"not(lt(random(7),0.4)*gt(n,0)*not({white.replace('N', 'n')}))"  # select knows n, geq knows N
    image = f"nullsrc=size=64x48:rate={FPS}:duration={seconds},geq=lum='16+210*({white})':cb=128:cr=128,noise=alls=8:allf=t"
    image += f",select='{kept}'" if kind.vfr else ""
    inputs = ["-f", "lavfi", "-i", image, "-itsoffset", str(kind.sound_at_s), "-i", str(wav)]
    codecs = ["-c:v", kind.video, "-pix_fmt", "yuvj420p" if kind.video == "mjpeg" else "yuv420p", "-c:a", kind.audio]
    target = ["-ac", str(kind.channels), *kind.options, "-fps_mode", "vfr" if kind.vfr else "cfr", str(path)]
    ffmpeg(*inputs, "-map", "0:v", "-map", "1:a", "-g", "25", *codecs, *target)
    wav.unlink()
    if kind.joined:
        path.write_bytes(path.read_bytes() * 2)
        once_s = np.concatenate([once_s, once_s + seconds])
    return once_s


def drift(path: Path, once_s: NDArray[np.float64]) -> Drift:
    """Errors of the flashes and clicks of a written video as read by this project."""
    media = Media.at(path)
    line, bright = _brightness(media)
    flashes_s = line.pts_s[bright > 128]
    assert len(flashes_s) == len(once_s), (flashes_s, once_s)
    frames = round(line.duration_s * FPS)
    sound = read_sound(media, float(line.raw_s[0]), frames, Fraction(FPS), HZ, True, TIMEOUT_S)
    assert sound is not None and len(sound.samples) == frames * HZ // FPS
    ours_s = clicks_near(sound.samples[:, 0], flashes_s) - flashes_s
    _, theirs_s = by_ffmpeg(path, len(once_s))
    return Drift(_most(ours_s) * 1000, _most(ours_s - theirs_s) * 1000, _most(flashes_s - once_s))


def clicks_near(samples: NDArray[np.int16], around_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Times of the clicks nearest to given times, float64 [n] in s."""
    reach, half = round(_REACH_S * HZ), round(_REACH_S * HZ) // 10
    like = _burst(np.arange(-half, half + 1) / HZ)
    padded = np.pad(samples.astype(np.float64), 2 * reach)
    found = []
    for at in np.round(around_s * HZ).astype(int):
        part = padded[at + reach - half : at + 3 * reach + half + 1]
        match = np.correlate(part, like)
        assert match.max() > 1000 * half / 100, f"no click near {at / HZ} s"
        found.append((at - reach + int(match.argmax())) / HZ)
    return np.array(found)


def _burst(from_s: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(-0.5 * (from_s / _BURST_S) ** 2) * np.cos(2 * np.pi * _TONE_HZ * from_s)


def _write_clicks(path: Path, once_s: NDArray[np.float64], seconds: float, hz: int) -> None:
    time_s = np.arange(round(seconds * hz)) / hz
    sound = sum((_burst(time_s - at) for at in once_s), np.zeros(len(time_s)))
    scipy.io.wavfile.write(path, hz, (sound * 16_000).round().astype("<i2"))


def _brightness(media: Media) -> tuple[Timeline, NDArray[np.float64]]:
    try:
        line = timeline_from_packets(media, TIMEOUT_S)
        frames = decode(media, line, np.arange(len(line.raw_s)), 16, "squash", TIMEOUT_S)
    except ClipRejected as lost:
        if lost.reason != "frame_mismatch":
            raise
        line = timeline_by_decoding(media, TIMEOUT_S)
        frames = decode(media, line, np.arange(len(line.raw_s)), 16, "squash", TIMEOUT_S)
    return line, frames.rgb.mean(axis=(1, 2, 3))


def by_ffmpeg(path: Path, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """When ffmpeg shows flashes, from the first frame, and how much later it plays their clicks; float64 [count] in s."""
    image = ["-map", "0:v:0", "-vf", "format=gray,showinfo", "-f", "null", "-"]
    sound = [
        "-map",
        "0:a:0",
        "-af",
        f"aresample={HZ}:async=1:min_hard_comp=0.001:first_pts=0",
        "-ac",
        "1",
        "-f",
        "s16le",
        "pipe:1",
    ]
    command = [ffmpeg_path(), "-nostdin", "-hide_banner", "-i", str(path), *image, *sound]
    done = subprocess.run(command, check=True, capture_output=True)
    shown = re.findall(r"pts_time:(\S+) .* mean:\[(\d+)", done.stderr.decode())
    flashes_s = np.array([float(at) for at, mean in shown if int(mean) > 128])
    assert len(flashes_s) == count
    return flashes_s - float(shown[0][0]), clicks_near(np.frombuffer(done.stdout, "<i2"), flashes_s) - flashes_s


def _most(off: NDArray[np.float64]) -> float:
    """The value that is farthest from zero."""
    return float(off[np.abs(off).argmax()])
