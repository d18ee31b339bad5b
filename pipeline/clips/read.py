"""Read clips for recipes with a fixed window: sample frame numbers first, then decode only those frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from motionshards.pipeline.clips.annotations import Annotation, annotation
from motionshards.pipeline.clips.sequences import Sequences, image_size_px
from motionshards.pipeline.clips.sound import clip_sound
from motionshards.pipeline.clips.video import ReadVideo, Stretch, crop_and_video, smaller_of, with_video
from motionshards.pipeline.inputs.unpack import Root
from motionshards.schemas.action_units import SourceFrames
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.frames import Crop, Frames, Placement, SmallerFrames
from motionshards.schemas.moving import StoredSound
from motionshards.schemas.records import ClipSpec, FaceTrack, Span
from motionshards.transforms.extract.constant_rate import rate_of
from motionshards.transforms.extract.crop import WINDOWS, Window
from motionshards.transforms.extract.decode import decode
from motionshards.transforms.extract.landmarks.models import FaceModel
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.output_images import AllFrames, Search
from motionshards.transforms.extract.sample import sample_indices
from motionshards.transforms.extract.timeline import ReadTimeline, Timeline


@dataclass(frozen=True, slots=True)
class ReadClip:
    """A clip whose frames have been sampled, decoded and cropped.

    file_frames: number of decodable frames in the whole file of each span
    every: all decodable frames of the clip
    past_end_s: how far the annotation extends past the end of its video, seconds
    track: None if faces have not been detected yet
    video: None if no video is stored
    sound: a reason code if it could not be decoded, None if there is none
    smaller: the stills and the video at each of the smaller sizes
    """

    spec: ClipSpec
    crop: Crop
    source_frames: int
    duration_s: float
    file_frames: tuple[int, ...]
    every: SourceFrames | None = None
    past_end_s: float = 0.0
    track: FaceTrack | None = None
    video: ReadVideo | None = None
    sound: StoredSound | str | None = None
    smaller: tuple[SmallerFrames, ...] = ()

    @property
    def is_consecutive(self) -> bool:
        """Whether the frames of the crop are (nearly) consecutive: those of a video without stills."""
        return self.video is not None and self.video.rows is None


def read_frames(
    spec: ClipSpec,
    root: Root,
    files: dict[str, Media],
    timeline_of: ReadTimeline,
    model: FaceModel | None,
    config: BuildConfig,
    stored: Placement | None = None,
    sequences: Sequences | None = None,
    *,
    read_video: bool = False,
) -> ReadClip:
    """Sample from the concatenated frames of all spans, then decode the sampled frames of each file.

    model: if given, images for its face detector are decoded in the same pass
    stored: stills that exist already and are skipped
    sequences: where images of all frames are written; None if they are not needed
    read_video: whether to read video and audio
    """
    parts = [_part(span, root, files[span.uri], timeline_of, config) for span in spec.spans]
    total = sum(len(part.frames) for part in parts)
    if total < config.required_frames:
        raise ClipRejected("too_few_frames", f"{total} of {config.required_frames}")
    rate = rate_of(config.fps, parts[0].timeline) if read_video else None
    stretches = _stretches(parts, sample_indices(total, config.frames, config.seed, spec.key), stored, rate, config)
    decoded, search = [], search_of(model, config)
    image_px = None if sequences is None else image_size_px(parts[0].window, parts[0].timeline, total)
    for number, (part, stretch) in enumerate(zip(parts, stretches, strict=True)):
        every = None
        if sequences is not None and image_px is not None and len(part.frames):
            every = sequences.sink(spec.key, part.frames, image_px, number)
        if len(stretch.indices) or stretch.video is not None or every is not None:
            frames = part.decode(stretch, config, search, every)
            decoded.append((number, stretch, frames))
    crop, video = crop_and_video(decoded, [parts[number].timeline.pts_s for number, _, _ in decoded], config)
    sound = None
    if rate is not None:
        sound = clip_sound(
            [(parts[number].media, parts[number].start_s, stretch.shown) for number, stretch, _ in decoded], rate, config
        )
    seconds, past_s = sum(part.duration_s for part in parts), max(part.past_end_s for part in parts)
    whole = tuple(len(part.timeline.raw_s) for part in parts)
    smaller = smaller_of(decoded, config)
    return ReadClip(spec, crop, total, seconds, whole, _all_frames(parts), past_s, video=video, sound=sound, smaller=smaller)


def _stretches(
    parts: Sequence["_Part"],
    chosen: NDArray[np.int64],
    stored: Placement | None,
    rate: Fraction | None,
    config: BuildConfig,
) -> list[Stretch]:
    """The frames to decode from each part, for video and stills. `chosen` are indices into the frames of all parts."""
    found, first, shown = [], 0, 0
    for number, part in enumerate(parts):
        end = first + len(part.frames)
        stills = (
            part.frames[chosen[(chosen >= first) & (chosen < end)] - first] if config.stores_stills else np.empty(0, np.int64)
        )
        if stored is not None:
            stills = np.setdiff1d(stills, stored.index[stored.span == number])
        if rate is None or not len(part.frames):
            found.append(Stretch(stills))
        else:
            copy = config.video_copy and len(parts) == 1
            found.append(with_video(stills, part.timeline, part.frames, part.duration_s, rate, config, shown, copy=copy))
        first, shown = end, shown + found[-1].shown
    return found


def _all_frames(parts: Sequence["_Part"]) -> SourceFrames:
    return SourceFrames(
        span=np.concatenate([np.full(len(part.frames), span, np.int32) for span, part in enumerate(parts)]),
        index=np.concatenate([part.frames.astype(np.int32) for part in parts]),
        pts_s=np.concatenate([part.timeline.pts_s[part.frames] for part in parts]),
    )


def search_of(model: FaceModel | None, config: BuildConfig) -> Search | None:
    """Scale and color of the images on which the model detects faces of `detect_min_px` source pixels; never upscaled."""
    return None if model is None else Search(model.searches_gray, min(1.0, model.least_face_px / config.detect_min_px))


@dataclass(frozen=True, slots=True)
class _Part:
    """A span with the timeline of its file, its frame numbers, int64 [n], and the crop window of the recipe."""

    media: Media
    timeline: Timeline
    frames: NDArray[np.int64]
    window: Window | None
    past_end_s: float

    @property
    def duration_s(self) -> float:
        return self.timeline.duration_s * len(self.frames) / max(1, len(self.timeline.raw_s))

    @property
    def start_s(self) -> float:
        """Timestamp of the first frame, in seconds, on the clock of `Timeline.raw_s`."""
        return float(self.timeline.raw_s[self.frames[0]])

    def decode(self, stretch: Stretch, config: BuildConfig, search: Search | None, every: AllFrames | None) -> Frames:
        line, limit_s, window = self.timeline, config.decode_timeout_s, self.window
        besides = stretch.besides(config, search, every)
        return decode(self.media, line, stretch.indices, config.size, config.fit, limit_s, window, config.hdr, besides)


def _part(span: Span, root: Root, file: Media, timeline_of: ReadTimeline, config: BuildConfig) -> _Part:
    line = timeline_of(file, config.decode_timeout_s)
    known = annotation(span, root, line.size_px, line.pixel_aspect)
    window = None
    if config.recipe in WINDOWS:
        if known.box_px is None:
            raise ClipRejected(
                "bad_annotation", f"--recipe {config.recipe} needs a box, but none is annotated; --recipe face does not need one"
            )
        window = WINDOWS[config.recipe](known.box_px, line.size_px, line.pixel_aspect)
    return _Part(file, line, annotated_frames(known, line), window, past_end_s(known, line))


def annotated_frames(known: Annotation, line: Timeline) -> NDArray[np.int64]:
    """Frame numbers of an annotation, int64, ascending. Raises ClipRejected: past_the_end."""
    frames, start_s = known.frames(line), known.bounds_s(line)[0]
    if not len(frames) and len(line.pts_s) and start_s >= line.duration_s:
        raise ClipRejected("past_the_end", f"begins at {start_s:.2f} s, the video ends at {line.duration_s:.2f} s")
    return frames


def past_end_s(known: Annotation, line: Timeline) -> float:
    """Seconds by which an annotation extends past the end of its video; 0 if less than a frame, since rates are rounded."""
    frame_s = line.duration_s / max(1, len(line.raw_s))
    past_s = known.bounds_s(line)[1] - line.duration_s
    return past_s if frame_s < past_s < float("inf") else 0.0
