"""The continuous video of a clip: which frames it shows, which of them are measured, and what is stored of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.action_units import SourceFrames
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.frames import Crop, Frames, SmallerFrames
from motionshards.schemas.moving import Encoded, point_scale, quantised, quantised_scores, restored_px, restored_scores
from motionshards.schemas.records import FaceTrack, Landmarks, Measured, StoredVideo
from motionshards.transforms.extract.constant_rate import shown_frames
from motionshards.transforms.extract.crop import as_crop
from motionshards.transforms.extract.quality.measure import measure
from motionshards.transforms.extract.stored_frames import joined
from motionshards.transforms.extract.timeline import Timeline
from motionshards.transforms.extract.wanted import AllFrames, Besides, Resized, Search, ToVideo

# The pixels of the measured frames of a few clips are in memory at a time.
_MOST_MEASURED_BYTES = 512 << 20


@dataclass(frozen=True, slots=True)
class ReadVideo:
    """The video of a clip whose faces are still to be found.

    encoded: the video
    source: [M], which source frame each of its frames shows
    rows: the measured frames; None where they are the clip's own crop, as it has no stills
    track: the face in the measured frames, where reading had to find it
    """

    encoded: Encoded
    source: SourceFrames
    rows: Crop | None = field(repr=False)
    track: FaceTrack | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is decoded of frames of one file that follow each other; all numbers count the frames of the file.

    stills: int64 [T], ascending
    video: None where none is stored
    rows: int64 [l], the frames that the measured frames of the video show, ascending, with repeats
    """

    stills: NDArray[np.int64]
    video: ToVideo | None = None
    rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def shown(self) -> int:
        """Frames of the video."""
        return 0 if self.video is None else len(self.video.frames)

    def besides(self, config: BuildConfig, search: Search | None, every: AllFrames | None) -> Besides:
        """What the pass that decodes its frames makes besides: the video, also at smaller sizes, and what is asked for here."""
        return Besides(search, every, self.video, Resized(config.smaller_sizes, self.stills))

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
    """The stretch of all `frames`, int64 [n], as video.

    before: frames that the video shows of earlier stretches; every n-th frame of the whole video is measured
    copy: whether packets may be copied; those of several files do not make one video

    Raises:
        ClipRejected: too_much_memory, its measured frames exceed 512 MB
    """
    shown = frames[shown_frames(line.pts_s[frames], duration_s, rate)]
    rows = shown[-before % config.landmarks_every :: config.landmarks_every]
    if len(rows) * config.size**2 * 3 > _MOST_MEASURED_BYTES:
        limit = f"{_MOST_MEASURED_BYTES >> 20} MB"
        raise ClipRejected("too_much_memory", f"{len(rows)} measured frames exceed {limit}: increase --landmarks-every")
    return Stretch(stills, ToVideo(shown, rate, config.crf, config.video_psnr, copy), rows)


def parted(
    decoded: Sequence[tuple[int, Stretch, Frames]], pts_s: Sequence[NDArray[np.float64]], config: BuildConfig
) -> tuple[Crop, ReadVideo | None]:
    """Decoded stretches, each with the number of its span, as the crop and the video of a clip.

    Where no stills are stored, the crop is that of the measured frames.

    pts_s: of all frames of the file of each stretch

    Raises:
        ClipRejected: as `joined`
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
    return (crop.take(chosen), ReadVideo(whole, source, rows)) if config.stills else (rows, ReadVideo(whole, source, None))


def smaller_of(decoded: Sequence[tuple[int, Stretch, Frames]], config: BuildConfig) -> tuple[SmallerFrames, ...]:
    """Stills and video of decoded stretches at each of the smaller sizes. Raises ClipRejected: as `joined`."""
    of_sizes = zip(*(frames.smaller for _, _, frames in decoded), strict=True)
    return tuple(
        SmallerFrames(
            parts[0].size_px, np.concatenate([one.rgb for one in parts]), _one_video([one.video for one in parts], config)
        )
        for parts in of_sizes
    )


def _one_video(parts: Sequence[Encoded | None], config: BuildConfig) -> Encoded | None:
    """The videos of stretches as one; None where there are none."""
    encoded = [one for one in parts if one is not None]
    if len(encoded) < 2:
        return encoded[0] if encoded else None
    mp4 = joined([one.mp4 for one in encoded], config.decode_timeout_s)
    crf = max((one.crf for one in encoded if one.crf is not None), default=None)
    return Encoded(mp4, sum(one.frames for one in encoded), encoded[0].rate, crf)


def _places(decoded: Sequence[tuple[int, Stretch, Frames]]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Where the stills and the measured frames of each stretch lie among all decoded frames."""
    before = 0
    for _, stretch, frames in decoded:
        yield tuple(before + np.searchsorted(stretch.indices, one) for one in (stretch.stills, stretch.rows))  # type: ignore[misc]
        before += len(frames)


def as_stored(points: Landmarks, size_px: int) -> Landmarks:
    """Landmarks as they are read back from a stored video: what is measured of them agrees with what a reader gets."""
    stored = quantised(points.points_px, size_px)
    return Landmarks(restored_px(stored, *point_scale(size_px)), restored_scores(quantised_scores(points.scores)))


def stored_video(
    read: ReadVideo, config: BuildConfig, track: FaceTrack | None = None, points: Landmarks | None = None
) -> StoredVideo:
    """What a clip stores of its video; face and landmarks are those of the measured frames where a clip also has stills."""
    rows, encoded = None, read.encoded
    if read.rows is not None:
        points = None if points is None else as_stored(points, config.size)
        rows = Measured(read.rows.placement, track, points, measure(read.rows, track, points))
    return StoredVideo(encoded.mp4, config.size, encoded.rate, encoded.crf, read.source, config.landmarks_every, rows)
