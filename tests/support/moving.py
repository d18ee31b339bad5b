"""Data sets with stored video and sound for the tests of what reads them, written by the project's own writers.

Each frame of a video shows its number and its clip's: two rows of eight squares, white for a one, the lowest bit first. The
sound has a click of one sample at the start of each frame whose number is a multiple of CLICK_EVERY.
"""

import io
import tempfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import made
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from motionshards.schemas.action_units import SourceFrames
from motionshards.schemas.atomic import sha256_of
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.layout import INDEX
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.moving import SoundLevel, StoredSound, measured_rows, point_scale, quantised, restored_px, samples_at
from motionshards.schemas.records import Clip, Landmarks, Measured, StoredVideo
from motionshards.schemas.tables import INDEX as INDEX_SCHEMA

SIZE, HZ, CLICK_EVERY = 64, 16_000, 10
_SQUARE = SIZE // 8


def picture(clip: int, frame: int) -> np.ndarray:
    """uint8 [SIZE,SIZE,3]: the frame of a clip."""
    rgb = np.full((SIZE, SIZE, 3), (40 + 5 * (clip % 30), 60, 90), np.uint8)
    for row, number in enumerate((frame, clip)):
        for bit in range(8):
            value = 235 if number >> bit & 1 else 16
            rgb[row * _SQUARE : (row + 1) * _SQUARE, bit * _SQUARE : (bit + 1) * _SQUARE] = value
    return rgb


def seen_in(rgb: np.ndarray) -> tuple[int, int]:
    """Clip and number of a decoded frame, uint8 [H,W,3] of any size that is a multiple of 8."""
    square = rgb.shape[0] // 8
    grey = rgb[: 2 * square].reshape(2, square, 8, square, 3).mean(axis=(1, 3, 4))
    frame, clip = ((grey > 128) << np.arange(8)).sum(axis=1).tolist()
    return clip, frame


def click_at(frame: int, rate: Fraction = Fraction(25), hz: int = HZ) -> int:
    """The sample at which the click of a frame is."""
    return samples_at(frame, rate, hz)


def mp4_of(pictures: list[np.ndarray], rate: Fraction = Fraction(25)) -> bytes:
    """Pictures as a stored video: H.264 with a key frame every 12 frames and no reordering, the header first."""
    with tempfile.NamedTemporaryFile(suffix=".mp4") as stored:  # whose name the muxer needs to put the header first
        _write_mp4(stored.name, pictures, rate)
        return Path(stored.name).read_bytes()


def _write_mp4(path: str, pictures: list[np.ndarray], rate: Fraction) -> None:
    height, width = pictures[0].shape[:2]
    with av.open(path, "w", format="mp4", options={"fflags": "+bitexact", "movflags": "+faststart"}) as file:
        stream = file.add_stream("libx264", rate=rate, options={"crf": "12", "preset": "ultrafast", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt, stream.time_base = width, height, "yuv420p", 1 / rate
        stream.codec_context.options |= {"x264-params": "keyint=12:min-keyint=12:scenecut=0:bframes=0"}
        for number, one in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(one, format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


def flac_of(samples: np.ndarray, hz: int = HZ) -> bytes:
    """Samples int16 [n] as a stored sound."""
    stored = io.BytesIO()
    with av.open(stored, "w", format="flac", options={"fflags": "+bitexact"}) as file:
        stream = file.add_stream("flac", rate=hz, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = hz, 0, Fraction(1, hz)
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return stored.getvalue()


def make_moving_dataset(
    out: Path,
    clips: int = 12,
    *,
    store: str = "video",
    frames: made.OfClip = lambda clip: 40 + 5 * (clip % 3),
    fps: Fraction = Fraction(25),
    sound: made.OfClip = lambda clip: 1,
    landmarks_every: int = 5,
    spans: int = 1,
    per_shard: int = 4,
    stills: int = 5,
    identity: made.OfClip = lambda clip: clip % 5,
) -> Path:
    """A finished dataset with stored video (`store` video or both).

    Clip c has frames(c) frames of video, sound where sound(c) is not 0, and with `both` `stills` stills.
    """
    config = BuildConfig(source="demo", size=SIZE, frames=stills, store=store, fps=str(fps), landmarks_every=landmarks_every)
    entries, rows = [], []
    for start in range(0, clips, per_shard):
        numbers = range(start, min(start + per_shard, clips))
        shard = [_clip(one, frames(one), f"id{identity(one):03d}", config, fps, bool(sound(one)), spans) for one in numbers]
        entry, marker = made.write_shard(out, shard, "train", f"made-train-{start // per_shard:06d}")
        entries.append(entry)
        rows.append(marker)
    pq.write_table(pa.concat_tables(rows).select(INDEX_SCHEMA.names), out / INDEX)
    files = {INDEX: sha256_of(out / INDEX)}
    Manifest(config=config, provenance={}, input="", complete=True, shards=tuple(entries), files=files).write(out)
    return out


def _clip(number: int, frames: int, identity: str, config: BuildConfig, rate: Fraction, with_sound: bool, spans: int) -> Clip:
    """A clip with `frames` frames of video, and with stills of some of them where the config has those."""
    rows = measured_rows(frames, config.landmarks_every)
    source = SourceFrames(
        span=(np.arange(frames, dtype=np.int32) * spans) // frames,
        index=np.arange(frames, dtype=np.int32),
        pts_s=np.arange(frames) / float(rate),
    )
    described = made.make_clip(number, rows, identity, "train", True, False, SIZE)
    shown = np.arange(rows) * config.landmarks_every
    place = replace(described.placement, index=shown.astype(np.int32), pts_s=source.pts_s[shown], span=source.span[shown])
    described = replace(
        described, placement=place, landmarks=_as_stored(described.landmarks), jpegs=(), duration_s=frames / float(rate)
    )
    pictures = [picture(number, frame) for frame in range(frames)]
    video = StoredVideo(mp4_of(pictures, rate), SIZE, rate, config.crf, source, config.landmarks_every)
    clip = replace(described, source_frames=frames, video=video, sound=_sound(frames, rate) if with_sound else None)
    if config.store == "video":
        return clip
    measured = Measured(clip.placement, clip.track, clip.landmarks, clip.quality)
    stills = made.make_clip(number, config.frames, identity, "train", True, False, SIZE)
    return replace(
        stills, source_frames=frames, video=replace(video, measured=measured), sound=clip.sound, duration_s=clip.duration_s
    )


def _as_stored(landmarks: Landmarks | None) -> Landmarks:
    assert landmarks is not None
    return Landmarks(restored_px(quantised(landmarks.points_px, SIZE), *point_scale(SIZE)), landmarks.scores)


def _sound(frames: int, rate: Fraction) -> StoredSound:
    samples = np.zeros(samples_at(frames, rate, HZ), np.int16)
    samples[[click_at(frame, rate) for frame in range(0, frames, CLICK_EVERY)]] = 20_000
    return StoredSound(flac_of(samples), HZ, 1, len(samples), SoundLevel(-50.0, 0.9, 0.0))
