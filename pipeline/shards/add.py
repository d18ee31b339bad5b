"""Rewrite one shard with additional data. Its stored frames, video and audio are unchanged, byte for byte.

`ADDERS` lists the possible additions: functions that take the stored clips of a shard and yield the same clips, in order,
with the new data.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa

from motionshards.pipeline.clips.clip import Faces, faces_of, measured
from motionshards.pipeline.clips.identity import with_identity
from motionshards.pipeline.clips.read import ReadClip
from motionshards.pipeline.clips.stored import as_read
from motionshards.pipeline.shards.add_video import with_audio, with_speech, with_video
from motionshards.pipeline.shards.build import BuildJob
from motionshards.pipeline.shards.extend import with_aus, with_frames, with_frames_of_video
from motionshards.pipeline.shards.journal import Journal
from motionshards.pipeline.shards.reread import batches
from motionshards.pipeline.shards.rewrite import open_shard, replace_shard, settle
from motionshards.pipeline.shards.tar import ShardReader, ShardWriter
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import BuildFailed, ClipRejected, DatasetError
from motionshards.schemas.layout import marker_path
from motionshards.schemas.marker import read_marker
from motionshards.schemas.records import Clip, Quality, ShardUnit
from motionshards.schemas.samples.encode import encode_sample
from motionshards.schemas.samples.restore import restore_clip
from motionshards.schemas.tables import clip_row
from motionshards.transforms.extract.landmarks import models


def add_to_shard(unit: ShardUnit, job: BuildJob) -> ShardUnit:
    """Rewrite and commit one shard; returns immediately if it has the addition already.

    Raises:
        DatasetError: the shard is damaged
        BuildFailed: a decoder of its videos was killed
    """
    assert job.addition is not None
    settle(job.out, unit.split, unit.name)
    entry, rows = read_marker(marker_path(job.out, unit.split, unit.name))
    if job.addition in entry.added:
        return unit
    journal = Journal(job.journal, unit.name)
    committed = False
    try:
        with open_shard(job.out, entry, rows) as reader:
            with_addition = replace(entry, added=(*entry.added, job.addition), made_by=job.made_by)
            replace_shard(job.out, with_addition, partial(_write, rows, reader, job, journal))
        committed = True
    except ClipRejected as rejection:  # from decoding stored video or audio
        raise BuildFailed(f"{unit.name}: stored video or audio cannot be decoded: {rejection}") from rejection
    finally:
        journal.close(committed=committed)
    return unit


def _write(
    rows: pa.Table, reader: ShardReader | None, job: BuildJob, journal: Journal, writer: ShardWriter
) -> list[dict[str, Any]]:
    """Write the samples in their previous order and return the marker rows; rejected clips are unchanged."""
    assert job.adding is not None
    changed = ADDERS[job.adding](_stored(rows, reader, journal), job)
    written = []
    for row in rows.to_pylist():
        if row["kept"]:
            clip = next(changed)
            row = clip_row(clip, row["shard"], writer.add(clip.spec.key, encode_sample(clip)))
        journal.done(row["key"])
        written.append(row)
    return written


def _stored(rows: pa.Table, reader: ShardReader | None, journal: Journal) -> Iterator[Clip]:
    """Yield the kept clips of a shard."""
    for row in rows.filter(rows["kept"]).to_pylist():
        assert reader is not None, "open_shard opens the tar where there is a clip"
        journal.begin(row["key"])
        try:
            yield restore_clip(row, reader.sample(row["key"], row["members"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{row['shard']}: {row['key']} is not what a build writes: {error}") from error


def with_landmarks(clips: Iterable[Clip], job: BuildJob) -> Iterator[Clip]:
    """Add boxes, landmarks and head pose. Clips without a face are kept, with NaN: the build has already accepted them."""
    model = models.load(job.config.landmarks, job.model_options)
    assert model is not None, "landmarks are added by a model"
    for batch in batches(((clip, as_read(clip, job.config.decode_timeout_s)) for clip in clips), model):
        read = [one for _, one in batch if one is not None]
        for (clip, _), one, (faces, rows) in zip(batch, read, faces_of(read, model), strict=True):
            yield _measured(clip, one, faces, rows, job.config, _with_pixels_of)


def with_quality(clips: Iterable[Clip], job: BuildJob) -> Iterator[Clip]:
    """Recompute all quality measures with this version; those of faces from the stored boxes and landmarks."""
    for clip in clips:
        rows = clip.video.measured if clip.video else None
        faces = (None, None) if rows is None else (rows.track, rows.landmarks)
        read = as_read(clip, job.config.decode_timeout_s)
        yield _measured(clip, read, (clip.track, clip.landmarks), faces, job.config, lambda _, new: new)


def _measured(
    clip: Clip, read: ReadClip, faces: Faces, rows: Faces, config: BuildConfig, of: Callable[[Quality, Quality], Quality]
) -> Clip:
    """The clip with new faces for its frames and, if different, for the measured frames of its video.

    of: combines old and new quality
    """
    new = replace(clip, **measured(read, faces, rows, config))
    video = new.video
    if video is not None and video.measured is not None and clip.video is not None and clip.video.measured is not None:
        quality = of(clip.video.measured.quality, video.measured.quality)
        video = replace(video, measured=replace(video.measured, quality=quality))
    return replace(new, quality=of(clip.quality, new.quality), video=video)


def _with_pixels_of(old: Quality, new: Quality) -> Quality:
    """Keep pixel measures of the build, which were computed before encoding."""
    return replace(new, blur=old.blur, brightness=old.brightness)


def with_identities(clips: Iterable[Clip], job: BuildJob) -> Iterator[Clip]:
    """Add face descriptors."""
    return (with_identity(clip, job.config.decode_timeout_s) for clip in clips)


def without_identities(clips: Iterable[Clip], job: BuildJob) -> Iterator[Clip]:
    """Drop face descriptors."""
    return (replace(clip, embedding=None, identity_spread=None) for clip in clips)


Adder = Callable[[Iterable[Clip], BuildJob], Iterator[Clip]]

ADDERS: dict[str, Adder] = {
    "landmarks": with_landmarks,
    "aus": with_aus,
    "identity": with_identities,
    "no-identity": without_identities,
    "quality": with_quality,
    "frames": with_frames,
    "frames-of-video": with_frames_of_video,
    "video": with_video,
    "audio": with_audio,
    "speech": with_speech,
}
