"""The continuous video of a clip: which source frames it shows, which of them are measured, and its stored form."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.action_units import SourceFrames
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.frames import Crop, Frames, SmallerFrames
from motionshards.schemas.moving import Encoded, point_scale, quantized, quantized_scores, restored_px, restored_scores
from motionshards.schemas.records import FaceTrack, Landmarks, Measured, StoredVideo
from motionshards.transforms.extract.constant_rate import shown_frames
from motionshards.transforms.extract.crop import as_crop
from motionshards.transforms.extract.output_images import AllFrames, ExtraOutputs, Resized, Search, ToVideo
from motionshards.transforms.extract.quality.measure import measure
from motionshards.transforms.extract.stored_frames import joined
from motionshards.transforms.extract.timeline import Timeline

# Limit per clip: the pixels of the measured frames of a few clips are in memory at the same time.
_MAX_MEASURED_BYTES = 512 << 20


@dataclass(frozen=True, slots=True)
class ReadVideo:
    """The video of a clip before landmarks are computed.

    encoded: the video
    source: [M], the source frame that each video frame shows
    rows: the measured frames; None if they are the clip's crop, because it has no stills
    track: face track of the measured frames, if reading has computed it
    """

    encoded: Encoded
    source: SourceFrames
    rows: Crop | None = field(repr=False)
    track: FaceTrack | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """The frames to decode from a consecutive range of one file, as frame numbers within the file.

    stills: int64 [T], ascending
    video: None if no video is stored
    rows: int64 [l], source frames of the measured video frames, ascending, with repeats
    """

    stills: NDArray[np.int64]
    video: ToVideo | None = None
    rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def shown(self) -> int:
        """Number of video frames."""
        return 0 if self.video is None else len(self.video.frames)

    def besides(self, config: BuildConfig, search: Search | None, every: AllFrames | None) -> ExtraOutputs:
        """Additional outputs of the decoding pass: search images, all frames as images, the video, and smaller sizes."""
        return ExtraOutputs(search, every, self.video, Resized(config.smaller_sizes, self.stills))

    @property
    def indices(self) -> NDArray[np.int64]:
        """The frames whose pixels are needed, int64, ascending."""
        return self.stills if self.video is None else np.union1d(self.stills, self.rows)


def with_video(
    stills: NDArray[np.int64],
    line: Timeline,
    frames: NDArray[np.int64],
    duration_s: float,
    rate: Fraction,
    config: BuildConfig,
    before: int = 0,
    *,
    copy: bool = False,
) -> Stretch:
    """A stretch that stores all `frames`, int64 [n], as video.

    before: number of video frames of earlier stretches, since every n-th frame of the whole video is measured
    copy: whether packets may be copied; not possible for a video made from several files

    Raises:
        ClipRejected: too_much_memory, the measured frames exceed 512 MB
    """
    shown = frames[shown_frames(line.pts_s[frames], duration_s, rate)]
    rows = shown[-before % config.landmarks_every :: config.landmarks_every]
    if len(rows) * config.size**2 * 3 > _MAX_MEASURED_BYTES:
        limit = f"{_MAX_MEASURED_BYTES >> 20} MB"
        raise ClipRejected("too_much_memory", f"{len(rows)} measured frames exceed {limit}: increase --landmarks-every")
    return Stretch(stills, ToVideo(shown, rate, config.crf, config.video_psnr, copy), rows)


def crop_and_video(
    decoded: Sequence[tuple[int, Stretch, Frames]], pts_s: Sequence[NDArray[np.float64]], config: BuildConfig
) -> tuple[Crop, ReadVideo | None]:
    """Split decoded stretches, each with the index of its span, into the crop and the video of a clip.

    If no stills are stored, the crop consists of the measured frames.

    pts_s: timestamps of all frames in the file of each stretch

    Raises:
        ClipRejected: the reasons of `joined`
    """
    crop = as_crop([(span, stretch.indices, frames) for span, stretch, frames in decoded])
    if decoded[0][1].video is None:
        return crop, None
    chosen, measured = (np.concatenate(places) for places in zip(*_places(decoded), strict=True))
    shown = [stretch.video.frames for _, stretch, _ in decoded if stretch.video is not None]
    source = SourceFrames(
        span=np.concatenate([np.full(len(one), span, np.int32) for one, (span, _, _) in zip(shown, decoded, strict=True)]),
        index=np.concatenate(shown).astype(np.int32),
        pts_s=np.concatenate([times[one] for times, one in zip(pts_s, shown, strict=True)]),
    )
    whole = _one_video([frames.video for _, _, frames in decoded], config)
    assert whole is not None, "each stretch has a video"
    rows = crop.take(measured)
    return (crop.take(chosen), ReadVideo(whole, source, rows)) if config.stores_stills else (rows, ReadVideo(whole, source, None))


def smaller_of(decoded: Sequence[tuple[int, Stretch, Frames]], config: BuildConfig) -> tuple[SmallerFrames, ...]:
    """Stills and video of decoded stretches at each smaller size. Raises ClipRejected: the reasons of `joined`."""
    of_sizes = zip(*(frames.smaller for _, _, frames in decoded), strict=True)
    return tuple(
        SmallerFrames(
            parts[0].size_px, np.concatenate([one.rgb for one in parts]), _one_video([one.video for one in parts], config)
        )
        for parts in of_sizes
    )


def _one_video(parts: Sequence[Encoded | None], config: BuildConfig) -> Encoded | None:
    """Concatenate the videos of stretches; None if there are none."""
    encoded = [one for one in parts if one is not None]
    if len(encoded) < 2:
        return encoded[0] if encoded else None
    mp4 = joined([one.mp4 for one in encoded], config.decode_timeout_s)
    crf = max((one.crf for one in encoded if one.crf is not None), default=None)
    return Encoded(mp4, sum(one.frames for one in encoded), encoded[0].rate, crf)


def _places(decoded: Sequence[tuple[int, Stretch, Frames]]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the positions of the stills and of the measured frames of each stretch among all decoded frames."""
    before = 0
    for _, stretch, frames in decoded:
        yield tuple(before + np.searchsorted(stretch.indices, one) for one in (stretch.stills, stretch.rows))  # type: ignore[misc]
        before += len(frames)


def as_stored(points: Landmarks, size_px: int) -> Landmarks:
    """Quantize landmarks as for storage, so that measures computed from them match what a reader gets."""
    stored = quantized(points.points_px, size_px)
    return Landmarks(restored_px(stored, *point_scale(size_px)), restored_scores(quantized_scores(points.scores)))


def stored_video(
    read: ReadVideo, config: BuildConfig, track: FaceTrack | None = None, points: Landmarks | None = None
) -> StoredVideo:
    """The stored form of a clip's video. `track` and `points` of its measured frames are used only if it has stills too."""
    rows, encoded = None, read.encoded
    if read.rows is not None:
        points = None if points is None else as_stored(points, config.size)
        rows = Measured(read.rows.placement, track, points, measure(read.rows, track, points))
    return StoredVideo(encoded.mp4, config.size, encoded.rate, encoded.crf, read.source, config.landmarks_every, rows)
