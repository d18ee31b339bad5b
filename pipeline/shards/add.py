"""One shard, rewritten with something more from the frames it stores. Its clips and their frames stay, byte by byte.

What can be added is a line in `ADDERS`: a function from the clips of a shard, as they are stored, to the same clips in the
same order with what they lacked.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa

from motionshards.pipeline.clips.clip import find_faces
from motionshards.pipeline.clips.identity import with_identity
from motionshards.pipeline.clips.read import ReadClip
from motionshards.pipeline.shards.build import BuildJob
from motionshards.pipeline.shards.extend import with_aus, with_frames
from motionshards.pipeline.shards.journal import Journal
from motionshards.pipeline.shards.rewrite import open_shard, replace_shard, settle
from motionshards.pipeline.shards.tar import ShardReader, ShardWriter
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.frames import Crop
from motionshards.schemas.layout import marker_path
from motionshards.schemas.marker import read_marker
from motionshards.schemas.records import Clip, ShardUnit
from motionshards.schemas.samples.encode import encode_sample
from motionshards.schemas.samples.restore import restore_clip
from motionshards.schemas.tables import clip_row
from motionshards.transforms.extract.encode import decode_frames
from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.extract.quality.measure import measure


def add_to_shard(unit: ShardUnit, job: BuildJob) -> ShardUnit:
    """Rewrite and commit one shard; at once if it has the addition already.

    Raises:
        DatasetError: the shard is damaged
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
    finally:
        journal.close(committed=committed)
    return unit


def _write(
    rows: pa.Table, reader: ShardReader | None, job: BuildJob, journal: Journal, writer: ShardWriter
) -> list[dict[str, Any]]:
    """The samples in the order in which they stood; rejected clips stay what they are."""
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
    """The kept clips of a shard, one at a time."""
    for row in rows.filter(rows["kept"]).to_pylist():
        assert reader is not None, "open_shard opens the tar where there is a clip"
        journal.begin(row["key"])
        try:
            yield restore_clip(row, reader.sample(row["key"], row["members"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{row['shard']}: {row['key']} is not what a build writes: {error}") from error


def with_landmarks(clips: Iterable[Clip], job: BuildJob) -> Iterator[Clip]:
    """Boxes, landmarks and head pose. A clip without any face is kept, with NaN: its frames are there, and were wanted."""
    model = models.load(job.config.landmarks, job.model_options)
    assert model is not None, "landmarks are added by a model"
    batch: list[Clip] = []
    for clip in clips:
        batch.append(clip)
        if sum(len(one.jpegs) for one in batch) >= model.batch_frames:
            yield from _with_faces(batch, model)
            batch = []
    if batch:
        yield from _with_faces(batch, model)


def _with_faces(batch: Sequence[Clip], model: models.FaceModel) -> Iterator[Clip]:
    read = [ReadClip(clip.spec, _crop(clip), clip.source_frames, clip.duration_s, clip.file_frames) for clip in batch]
    for clip, one, (faces, points) in zip(batch, read, find_faces(read, model), strict=True):
        measured = measure(one.crop, faces, points)
        # Those of the pixels were measured before the frames became JPEGs, which is better.
        quality = replace(measured, blur=clip.quality.blur, brightness=clip.quality.brightness)
        yield replace(clip, track=faces, landmarks=points, quality=quality)


def with_quality(clips: Iterable[Clip], job: BuildJob) -> Iterator[Clip]:
    """All measures anew, by this version; those of faces from the stored boxes and landmarks."""
    for clip in clips:
        yield replace(clip, quality=measure(_crop(clip), clip.track, clip.landmarks))


def with_identities(clips: Iterable[Clip], job: BuildJob) -> Iterator[Clip]:
    """Face descriptors."""
    return (with_identity(clip, job.config.decode_timeout_s) for clip in clips)


def without_identities(clips: Iterable[Clip], job: BuildJob) -> Iterator[Clip]:
    """No face descriptors."""
    return (replace(clip, embedding=None, identity_spread=None) for clip in clips)


def _crop(clip: Clip) -> Crop:
    return Crop(decode_frames(clip.jpegs), clip.placement)


Adder = Callable[[Iterable[Clip], BuildJob], Iterator[Clip]]

ADDERS: dict[str, Adder] = {
    "landmarks": with_landmarks,
    "aus": with_aus,
    "identity": with_identities,
    "no-identity": without_identities,
    "quality": with_quality,
    "frames": with_frames,
}
