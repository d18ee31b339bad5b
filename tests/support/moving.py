"""Datasets with stored video and sound for tests of readers, written by the project's own writers.

Each frame of a video shows its number and its clip's: two rows of eight squares, white for a one, the lowest bit first. The
sound has a click of one sample at the start of each frame whose number is a multiple of CLICK_EVERY.
"""

import io
import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import made
import numpy as np
import pyarrow.parquet as pq

from motionshards.pipeline.finalize import finalize
from motionshards.schemas.action_units import SourceFrames
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.layout import WORK_DIR, plan_path, shard_name
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.moving import Smaller, StoredSound, point_scale, quantized, restored_px, samples_at
from motionshards.schemas.records import Clip, FaceTrack, Landmarks, Measured, Quality, StoredVideo
from motionshards.schemas.tables import PLAN, QUALITY, spec_row, table
from motionshards.transforms.extract.decoder.stored.mp4 import Mp4
from motionshards.transforms.extract.encode import encode_jpegs
from motionshards.transforms.extract.sound import Pcm
from motionshards.transforms.extract.sound_level import measure_sound

SIZE, HZ, CLICK_EVERY = 64, 16_000, 10
_SQUARE = SIZE // 8


def image(clip: int, frame: int, size: int = SIZE) -> np.ndarray:
    """uint8 [size,size,3]: the frame of a clip; `size` is a divisor of SIZE."""
    rgb = np.full((SIZE, SIZE, 3), (40 + 5 * (clip % 30), 60, 90), np.uint8)
    for row, number in enumerate((frame, clip)):
        for bit in range(8):
            value = 235 if number >> bit & 1 else 16
            rgb[row * _SQUARE : (row + 1) * _SQUARE, bit * _SQUARE : (bit + 1) * _SQUARE] = value
    return rgb[:: SIZE // size, :: SIZE // size]


def seen_in(rgb: np.ndarray) -> tuple[int, int]:
    """Clip and number of a decoded frame, uint8 [H,W,3] of any size that is a multiple of 8."""
    square = rgb.shape[0] // 8
    gray = rgb[: 2 * square].reshape(2, square, 8, square, 3).mean(axis=(1, 3, 4))
    frame, clip = ((gray > 128) << np.arange(8)).sum(axis=1).tolist()
    return clip, frame


def click_at(frame: int, rate: Fraction = Fraction(25), hz: int = HZ) -> int:
    """The audio sample at which the click of a frame is."""
    return samples_at(frame, rate, hz)


X264 = {"crf": "12", "preset": "ultrafast", "x264-params": "keyint=12:scenecut=0:bframes=0"}


def mp4_of(
    images: list[np.ndarray],
    rate: Fraction = Fraction(25),
    codec: str = "libx264",
    options: dict[str, str] = X264,
    pix_fmt: str = "yuv420p",
    streams: int = 1,
    reordered: bool = False,
) -> bytes:
    """Encode images as a stored video: by default, H.264 with a key frame every 12 frames and no reordering."""
    stored, (height, width) = Mp4(rate, reordered=reordered), images[0].shape[:2]
    kind = {"width": width, "height": height, "pix_fmt": pix_fmt}
    for stream in [stored.container.add_stream(codec, rate, {"threads": "1", **options}, **kind) for _ in range(streams)]:
        stream.codec_context.time_base = 1 / rate
        packets = []
        for number, one in enumerate(images):
            frame = av.VideoFrame.from_ndarray(one, format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            packets += stream.encode(frame)
        for packet in [*packets, *stream.encode()]:
            stored.add(stream, packet, packet.pts, packet.dts)
    return bytes(stored.finished())


def flac_of(samples: np.ndarray, hz: int = HZ) -> bytes:
    """Encode samples int16 [n] as stored sound."""
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
    split: Callable[[int], str] = lambda clip: "train",
    smaller: tuple[int, ...] = (),
) -> Path:
    """A finished dataset with stored video (`store` video or both).

    Clip c has frames(c) frames of video, sound where sound(c) is not 0, and with `both` `stills` stills. A shard is in the split
    of its first clip. `smaller`: additional smaller sizes of the stored images in pixels, divisors of SIZE.
    """
    config = BuildConfig(
        source="demo",
        size=SIZE,
        smaller_sizes=smaller,
        frames=stills,
        store=store,
        fps=str(fps),
        landmarks_every=landmarks_every,
    )
    planned = []
    for unit, start in enumerate(range(0, clips, per_shard)):
        numbers = range(start, min(start + per_shard, clips))
        shard = [_clip(one, frames(one), f"id{identity(one):03d}", config, fps, bool(sound(one)), spans) for one in numbers]
        shard = [replace(clip, spec=replace(clip.spec, split=split(start))) for clip in shard]
        made.write_shard(out, shard, split(start), shard_name(config.source, split(start), unit))
        planned += [{**spec_row(clip.spec), "cost": 1.0, "unit": unit} for clip in shard]
    plan_path(out, 0).parent.mkdir()
    pq.write_table(table(planned, PLAN), plan_path(out, 0))
    finalize(out, Manifest(config=config, provenance={}, input=""))
    shutil.rmtree(out / WORK_DIR)
    return out


def _clip(number: int, frames: int, identity: str, config: BuildConfig, rate: Fraction, with_sound: bool, spans: int) -> Clip:
    """A clip with `frames` frames of video, and with stills of some of them if the config has stills."""
    source = SourceFrames(
        span=(np.arange(frames, dtype=np.int32) * spans) // frames,
        index=np.arange(frames, dtype=np.int32),
        pts_s=np.arange(frames) / float(rate),
    )
    measured = _described(number, np.arange(0, frames, config.landmarks_every), source, identity)
    measured = replace(measured, landmarks=_as_stored(measured.landmarks))
    video = StoredVideo(
        mp4_of([image(number, frame) for frame in range(frames)], rate),
        SIZE,
        rate,
        config.crf,
        source,
        config.landmarks_every,
        Measured(measured.placement, measured.track, measured.landmarks, measured.quality) if config.stores_stills else None,
    )
    clip = measured
    shown = np.arange(config.frames if config.stores_stills else 0) * (frames // config.frames)
    if config.stores_stills:
        clip = replace(_described(number, shown, source, identity), jpegs=_jpegs(number, shown, SIZE))
    return replace(
        clip,
        spec=replace(clip.spec, spans=clip.spec.spans * spans),
        source_frames=frames,
        duration_s=frames / float(rate),
        video=video,
        sound=_sound(frames, rate) if with_sound else None,
        smaller=tuple(
            Smaller(size, _jpegs(number, shown, size), mp4_of([image(number, frame, size) for frame in range(frames)], rate))
            for size in config.smaller_sizes
        ),
    )


def _jpegs(number: int, shown: np.ndarray, size: int) -> tuple[bytes, ...]:
    return encode_jpegs(np.array([image(number, frame, size) for frame in shown]), 90)


def _described(number: int, shown: np.ndarray, source: SourceFrames, identity: str) -> Clip:
    """A clip without pixels that describes frames of the source, with values as meta.json rounds them."""
    count = len(shown)
    clip = made.make_clip(number, count, identity, "train", True, False, SIZE)
    place = replace(clip.placement, index=source.index[shown], pts_s=source.pts_s[shown], span=source.span[shown])
    box = np.tile(np.array([8, 8, 56, 56], np.float32), (count, 1))
    track = FaceTrack(box, np.ones(count, np.float32), np.ones(count, np.int32))
    rounded = {name: np.round(getattr(clip.quality, name), 4) for name in QUALITY}
    return replace(clip, placement=place, track=track, quality=Quality(**rounded), jpegs=())


def _as_stored(landmarks: Landmarks | None) -> Landmarks:
    assert landmarks is not None
    return Landmarks(restored_px(quantized(landmarks.points_px, SIZE), *point_scale(SIZE)), landmarks.scores)


def _sound(frames: int, rate: Fraction) -> StoredSound:
    samples = np.zeros(samples_at(frames, rate, HZ), np.int16)
    samples[[click_at(frame, rate) for frame in range(0, frames, CLICK_EVERY)]] = 20_000
    return StoredSound(flac_of(samples), HZ, 1, len(samples), measure_sound(Pcm(samples[:, None], HZ)))
