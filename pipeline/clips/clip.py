"""Build one clip in two stages: read (decode, in any thread), then finish (face model and JPEG encoding, in one thread)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from motionshards.pipeline.clips.annotations import annotation
from motionshards.pipeline.clips.find_tubes import Footage
from motionshards.pipeline.clips.identity import with_identity
from motionshards.pipeline.clips.read import ReadClip, annotated_frames, past_end_s, read_frames
from motionshards.pipeline.clips.sequences import Sequences
from motionshards.pipeline.clips.track_faces import track_faces
from motionshards.pipeline.clips.video import as_stored, stored_video
from motionshards.pipeline.inputs.unpack import Root, check_size, media
from motionshards.schemas.config import TUBE_RECIPES, BuildConfig
from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.frames import Crop, SearchImage, SmallerFrames
from motionshards.schemas.moving import Smaller, StoredSound
from motionshards.schemas.records import Clip, ClipSpec, FaceTrack, Landmarks, Rejected, Span
from motionshards.transforms.extract.decoder.client import one_decoder
from motionshards.transforms.extract.detect import Detections
from motionshards.transforms.extract.encode import encode_jpegs
from motionshards.transforms.extract.landmarks.models import FaceModel
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.quality.measure import face_size_px, measure
from motionshards.transforms.extract.search import MAX_ENLARGED_PX, MAX_ENLARGED_SEARCHES, search_around
from motionshards.transforms.extract.timeline import ReadTimeline, timeline_by_decoding, timeline_from_packets
from motionshards.transforms.extract.track import centered_box, track

# In consecutive frames, search the whole image in every n-th frame, and only around the previous face in the others.
_WHOLE_EVERY = 5

Result = TypeVar("Result")
Faces = tuple[FaceTrack | None, Landmarks | None]


def read_clip(
    spec: ClipSpec, root: Root, model: FaceModel | None, config: BuildConfig, sequences: Sequences | None = None
) -> list[ReadClip | Rejected]:
    """Decode the stored frames of a clip: one outcome, or one per tube. Every expected failure becomes a Rejected.

    If the decoder is killed, decoding is retried once: under memory pressure, the kernel kills the largest process, which is
    not necessarily the cause.

    sequences: where images of all frames are written; None if they are not needed
    """

    def read(timeline_of: ReadTimeline, files: dict[str, Media]) -> list[ReadClip | Rejected]:
        if sequences is not None:
            sequences.forget(spec.key)  # left by an earlier attempt
        return _read_by(timeline_of, spec, root, files, model, config, sequences)

    outcome = read_media(spec, root, config, read)
    return [outcome] if isinstance(outcome, Rejected) else outcome


def read_media(
    spec: ClipSpec, root: Root, config: BuildConfig, read: Callable[[ReadTimeline, dict[str, Media]], Result]
) -> Result | Rejected:
    """Open the files of a clip and return the result of `read`, which receives them by uri; retries as `read_clip` does."""
    for last in (False, True):
        try:
            check_size((span.packed for span in _each_file(spec) if span.packed is not None), config.max_clip_bytes)
            return _read(spec, root, config, read)
        except ClipRejected as rejection:
            if last or rejection.reason != "decoder_killed":
                return Rejected(spec, rejection.reason, rejection.detail)
    raise AssertionError("the second try returns")


def finish_clips(read: Sequence[ReadClip], model: FaceModel | None, config: BuildConfig) -> list[Clip | Rejected]:
    """Compute faces, landmarks, quality and JPEGs of several clips; their frames form one batch of the model."""
    if not read:
        return []
    return [_finish(clip, faces, rows, model, config) for clip, (faces, rows) in zip(read, faces_of(read, model), strict=True)]


def faces_of(read: Sequence[ReadClip], model: FaceModel | None) -> Iterator[tuple[Faces, Faces]]:
    """Yield face and landmarks for the frames of each clip, and for the measured frames of its video if those differ."""
    beside = [rows_beside_stills(clip) for clip in read]
    rows = [one for one in beside if one is not None]
    nothing: Sequence[Faces] = [(None, None)] * (len(read) + len(rows))
    found = nothing if model is None else find_faces([*read, *rows], model)
    of_rows = iter(found[len(read) :])
    for faces, one in zip(found, beside, strict=False):
        yield faces, (None, None) if one is None else next(of_rows)


def build_clip(
    spec: ClipSpec, root: Root, model: FaceModel | None, config: BuildConfig, sequences: Sequences | None = None
) -> list[Clip | Rejected]:
    """Build one clip from file to finished samples: one outcome, or one per tube."""
    read = read_clip(spec, root, model, config, sequences)
    done = iter(finish_clips([one for one in read if isinstance(one, ReadClip)], model, config))
    return [next(done) if isinstance(one, ReadClip) else one for one in read]


def _read(spec: ClipSpec, root: Root, config: BuildConfig, read: Callable[[ReadTimeline, dict[str, Media]], Result]) -> Result:
    with ExitStack() as opened:
        # Several spans may be in one file, which is then opened, or unpacked, only once.
        opened_files = {span.uri: opened.enter_context(media(span.uri, span.packed, root)) for span in _each_file(spec)}
        files = {uri: replace(file, memory_bytes=config.decode_memory_mb << 20) for uri, file in opened_files.items()}
        if len(files) == 1:  # with several files, each would keep a process until the clip is read
            files = {uri: opened.enter_context(one_decoder(file)) for uri, file in files.items()}
        try:
            return read(timeline_from_packets, files)
        except ClipRejected as rejection:
            if rejection.reason != "frame_mismatch":
                raise
        return read(timeline_by_decoding, files)


def _read_by(
    timeline_of: ReadTimeline,
    spec: ClipSpec,
    root: Root,
    files: dict[str, Media],
    model: FaceModel | None,
    config: BuildConfig,
    sequences: Sequences | None,
) -> list[ReadClip | Rejected]:
    if config.recipe not in TUBE_RECIPES:
        return [read_frames(spec, root, files, timeline_of, model, config, sequences=sequences, read_video=config.stores_video)]
    assert model is not None, "BuildConfig refuses tubes without a model"
    (span,) = spec.spans
    line = timeline_of(files[span.uri], config.decode_timeout_s)
    known = annotation(span, root, line.size_px, line.pixel_aspect)
    frames = annotated_frames(known, line)
    if len(frames) < config.required_frames:
        raise ClipRejected("too_few_frames", f"{len(frames)} of {config.required_frames}")
    footage = Footage(spec, files[span.uri], line, known, int(frames[0]), int(frames[-1]) + 1, sequences)
    tubes = track_faces(footage, model, config)
    past_s = past_end_s(known, line)
    return [replace(one, past_end_s=past_s) if isinstance(one, ReadClip) else one for one in tubes]


def _each_file(spec: ClipSpec) -> Iterable[Span]:
    return {span.uri: span for span in spec.spans}.values()


def rows_beside_stills(read: ReadClip) -> ReadClip | None:
    """The measured frames of a clip's video as a separate clip; None if there are none, or if they are the clip's frames."""
    if read.video is None or read.video.rows is None:
        return None
    return replace(read, crop=read.video.rows, track=read.video.track, video=replace(read.video, rows=None))


def find_faces(read: Sequence[ReadClip], model: FaceModel) -> Sequence[tuple[FaceTrack, Landmarks]]:
    """Track and landmarks of each clip; detector and landmark model are called with the frames of all clips together."""
    rgb = np.concatenate([one.crop.rgb for one in read])
    ends = np.cumsum([len(one.crop) for one in read])[:-1].tolist()
    tracks = find_tracks(read, model)
    found = model.landmarks(rgb, np.concatenate([one.boxes_px for one in tracks]))
    points, scores = np.split(found.points_px, ends), np.split(found.scores, ends)
    return [(t, Landmarks(p, s)) for t, p, s in zip(tracks, points, scores, strict=True)]


def find_tracks(read: Sequence[ReadClip], model: FaceModel) -> list[FaceTrack]:
    """The face track of each clip; faces are detected unless reading has already done so."""
    apart = [one.track is None and not (one.is_consecutive and model.batch_frames == 1) for one in read]
    images = [image.pixels for one, alone in zip(read, apart, strict=True) if alone for image in _search_images(one.crop)]
    found = iter(model.detect(images) if images else [])
    return [
        one.track or _track(one.crop, found if alone else _followed(one.crop, model))
        for one, alone in zip(read, apart, strict=True)
    ]


def _followed(crop: Crop, model: FaceModel) -> Iterator[Detections]:
    """Detect faces in consecutive frames, for models that process one frame at a time."""
    images = (image.pixels for image in _search_images(crop))
    return search_around(images, model.detect, model.least_face_px, _WHOLE_EVERY)


def _track(crop: Crop, found: Iterator[Detections]) -> FaceTrack:
    """Track the face of a crop; consumes one element of `found` per search image."""
    images = _search_images(crop)
    stored = [
        Detections(image.stored(faces.boxes_px), faces.scores)
        for image, faces in zip(images, islice(found, len(images)), strict=True)
    ]
    return track(stored, centered_box(crop.rgb.shape[1]))


def _search_images(crop: Crop) -> Sequence[SearchImage]:
    """The image on which faces of each frame are detected: the frame itself if the source was not read."""
    height, width = crop.rgb.shape[1:3]
    return crop.search or [SearchImage(frame, (0, 0, width, height)) for frame in crop.rgb]


def _finish(read: ReadClip, faces: Faces, rows: Faces, model: FaceModel | None, config: BuildConfig) -> Clip | Rejected:
    track, _ = faces
    if model is not None and track is not None and not track.found.any() and config.no_face == "reject":
        return _without_face(read, model)
    clip = finished(read, faces, config, rows)
    try:
        return with_identity(clip, config.decode_timeout_s) if config.identity_embedding else clip
    except ClipRejected as rejection:  # from decoding the stored video
        return Rejected(read.spec, rejection.reason, rejection.detail)


def _without_face(read: ReadClip, model: FaceModel) -> Rejected:
    """Why a clip has no face. Searches a few frames at a higher resolution, to distinguish small faces from none."""
    images, affines = _search_images(read.crop), read.crop.placement.source_to_crop
    for place in range(0, len(images), -(-len(images) // MAX_ENLARGED_SEARCHES)):
        image = images[place]
        if image.pixels.shape[0] * image.pixels.shape[1] <= MAX_ENLARGED_PX:
            (found,) = model.detect([image.pixels], enlarged=True)
            if len(found):
                size_px = face_size_px(image.stored(found.boxes_px[:1]), affines[place : place + 1])[0]
                return Rejected(read.spec, "face_too_small", f"{size_px:.0f} px in the source")
    return Rejected(read.spec, "no_face", f"in none of {len(images)} sampled frames")


def measured(read: ReadClip, faces: Faces, rows: Faces, config: BuildConfig) -> dict[str, Any]:
    """The fields of a clip that depend on its faces: `track`, `landmarks`, `quality` and `video`.

    rows: face and landmarks of the measured frames of its video, if those differ from its own frames
    """
    track, points = faces
    points = as_stored(points, config.size) if read.is_consecutive and points is not None else points
    video = None if read.video is None else stored_video(read.video, config, *rows)
    return {"track": track, "landmarks": points, "quality": measure(read.crop, track, points), "video": video}


def finished(read: ReadClip, faces: Faces, config: BuildConfig, rows: Faces = (None, None)) -> Clip:
    """The finished clip, with quality and JPEGs, whether or not a face was found; `rows` as in `measured`."""
    return Clip(
        spec=read.spec,
        source_frames=read.source_frames,
        duration_s=read.duration_s,
        past_end_s=read.past_end_s,
        placement=read.crop.placement,
        jpegs=() if read.is_consecutive else encode_jpegs(read.crop.rgb, config.jpeg_quality),
        file_frames=read.file_frames,
        display=read.crop.display,
        every=read.every,
        sound=read.sound if isinstance(read.sound, StoredSound) else None,
        sound_lost=read.sound if isinstance(read.sound, str) else None,
        smaller=tuple(_smaller(one, config) for one in read.smaller),
        **measured(read, faces, rows, config),
    )


def _smaller(frames: SmallerFrames, config: BuildConfig) -> Smaller:
    mp4 = None if frames.video is None else frames.video.mp4
    return Smaller(frames.size_px, encode_jpegs(frames.rgb, config.jpeg_quality), mp4)
