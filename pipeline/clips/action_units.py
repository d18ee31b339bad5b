"""Action units of finished clips: the last step before they are written, with many clips at once."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from motionshards.schemas.action_units import ActionUnits
from motionshards.schemas.errors import ClipRejected, ConfigError
from motionshards.schemas.records import Clip, Rejected
from motionshards.schemas.tables import spec_from_row
from motionshards.transforms.extract.action_units.csv_folder import CsvFolder
from motionshards.transforms.extract.action_units.source import AuSource, StoredClip

_LOOKED_FOR = 200

Outcome = Clip | Rejected


def with_action_units(built: Iterable[list[Outcome]], aus: AuSource | None, scratch: Path | None) -> Iterator[list[Outcome]]:
    """The same outcomes in the same order, kept clips with their action units or rejected for want of them.

    Clips wait as JPEGs until there are as many frames as the source wants at once. With no source nothing waits or changes.
    scratch: directory for temporary files; None is the system's
    """
    if aus is None:
        yield from built
        return
    waiting: list[list[Outcome]] = []
    frames = 0
    for outcomes in built:
        waiting.append(outcomes)
        frames += sum(len(one.jpegs) for one in outcomes if isinstance(one, Clip))
        if frames >= aus.batch_frames:
            yield from _completed(waiting, aus, scratch)
            waiting, frames = [], 0
    yield from _completed(waiting, aus, scratch)


def add_action_units(clips: Iterable[Clip], aus: AuSource | None, scratch: Path | None) -> Iterator[Clip]:
    """The same clips with action units; one that is lost to their source is kept, with no valid frame."""
    waiting: deque[Clip] = deque()

    def noted() -> Iterator[list[Outcome]]:
        for clip in clips:
            waiting.append(clip)
            yield [clip]

    for (outcome,) in with_action_units(noted(), aus, scratch):
        clip = waiting.popleft()
        yield outcome if isinstance(outcome, Clip) else replace(clip, aus=ActionUnits.of_none(len(clip.jpegs)))


def _completed(waiting: Sequence[list[Outcome]], aus: AuSource, scratch: Path | None) -> Iterator[list[Outcome]]:
    clips = [stored_clip(one) for outcomes in waiting for one in outcomes if isinstance(one, Clip)]
    found = iter(aus.action_units(clips, scratch) if clips else [])
    for outcomes in waiting:
        yield [_with(one, next(found)) if isinstance(one, Clip) else one for one in outcomes]


def _with(clip: Clip, found: ActionUnits | ClipRejected) -> Outcome:
    if isinstance(found, ClipRejected):
        return Rejected(clip.spec, found.reason, found.detail)
    return replace(clip, aus=found)


def stored_clip(clip: Clip) -> StoredClip:
    """What a source of action units is told about a finished clip."""
    return StoredClip(
        key=clip.spec.key,
        uris=tuple(span.uri for span in clip.spec.spans),
        jpegs=clip.jpegs,
        boxes_px=None if clip.track is None else clip.track.boxes_px,
        span=clip.placement.span,
        index=clip.placement.index,
        file_frames=clip.file_frames or _whole_file(clip),
        source_to_crop=clip.placement.source_to_crop,
    )


def _whole_file(clip: Clip) -> tuple[int | None, ...]:
    """Frames of each span's file where the sample does not record them, known where the clip is one whole file."""
    first = clip.spec.spans[0]
    whole = len(clip.spec.spans) == 1 and first.start_s == 0 and first.end_s == math.inf and first.track_uri is None
    return (clip.source_frames,) if whole else (None,) * len(clip.spec.spans)


def check_csvs(aus: AuSource | None, listed: pa.Table) -> None:
    """Raise ConfigError where no clip of a sample of the listing has a csv: the folder is another one, or laid out otherwise."""
    if not isinstance(aus, CsvFolder) or not len(listed):
        return
    places = np.unique(np.linspace(0, len(listed) - 1, _LOOKED_FOR).astype(np.int64))
    specs = [spec_from_row(row) for row in listed.take(pa.array(places)).to_pylist()]
    known = [(spec.key, tuple(span.uri for span in spec.spans)) for spec in specs]
    if not any(path for key, uris in known for path in aus.files_of(key, uris)):
        expected = aus.first_place(*known[0])
        raise ConfigError(f"--aus csv: none of {len(known)} clips has a csv in {aus.folder} (expected e.g. {expected})")
