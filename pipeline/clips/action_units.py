"""Compute action units of finished clips in batches, as the last step before they are written."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from motionshards.pipeline.clips.sequences import Sequences
from motionshards.schemas.action_units import ActionUnits
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import ClipRejected, ConfigError
from motionshards.schemas.records import Clip, Rejected
from motionshards.schemas.tables import spec_from_row
from motionshards.transforms.extract.action_units.csv_folder import CsvFolder
from motionshards.transforms.extract.action_units.source import AuSource, StoredClip

_LOOKED_FOR = 200
_MAX_BYTES = 1_000_000_000

Outcome = Clip | Rejected


def with_action_units(
    built: Iterable[list[Outcome]],
    aus: AuSource | None,
    config: BuildConfig,
    scratch: Path | None,
    sequences: Sequences | None = None,
) -> Iterator[list[Outcome]]:
    """Yield the outcomes in order, with action units added to kept clips; clips whose extraction fails become rejections.

    Clips are buffered until they have as many frames as a batch of the source, or their images take `_MAX_BYTES`. Without a
    source, outcomes pass through unchanged.

    scratch: directory for temporary files; None for the system's default
    sequences: images of all frames of the clips, if the source reads images; deleted once a clip is done
    """
    if aus is None:
        yield from built
        return
    waiting: list[list[Outcome]] = []
    frames = size = 0
    for outcomes in built:
        waiting.append(outcomes)
        for one in outcomes:
            if isinstance(one, Clip):
                frames += len(one) if one.every is None or sequences is None else len(one.every)
                size += 0 if sequences is None else sequences.bytes_of(one.spec.key)
        if frames >= aus.batch_frames or size >= _MAX_BYTES:
            yield from _completed(waiting, aus, config, scratch, sequences)
            waiting, frames, size = [], 0, 0
    yield from _completed(waiting, aus, config, scratch, sequences)


def add_action_units(
    clips: Iterable[Clip], aus: AuSource | None, config: BuildConfig, scratch: Path | None, sequences: Sequences | None = None
) -> Iterator[Clip]:
    """Yield the clips with action units; a clip whose extraction fails is kept, with no valid frame."""
    waiting: deque[Clip] = deque()

    def one_by_one() -> Iterator[list[Outcome]]:
        for clip in clips:
            waiting.append(clip)
            yield [clip]

    for (outcome,) in with_action_units(one_by_one(), aus, config, scratch, sequences):
        clip = waiting.popleft()
        yield outcome if isinstance(outcome, Clip) else replace(clip, aus=without_action_units(clip, config))


def reads_videos(aus: AuSource, config: BuildConfig) -> bool:
    """Whether computing action units of finished clips requires their videos, for images or timestamps of all frames."""
    return aus.reads_images or config.aus_frames == "all"


def without_action_units(clip: Clip, config: BuildConfig) -> ActionUnits:
    """Action units of a clip whose extraction failed: no frame is valid."""
    return ActionUnits.of_none(len(clip), presence=config.aus != "pyfaceau")


def _completed(
    waiting: Sequence[list[Outcome]], aus: AuSource, config: BuildConfig, scratch: Path | None, sequences: Sequences | None
) -> Iterator[list[Outcome]]:
    clips = [stored_clip(one, config, sequences) for outcomes in waiting for one in outcomes if isinstance(one, Clip)]
    found = iter(aus.action_units(clips, sequences.top if sequences else scratch) if clips else [])
    for outcomes in waiting:
        if sequences is not None:
            for one in outcomes:
                sequences.forget(one.spec.key)
        yield [_with(one, next(found)) if isinstance(one, Clip) else one for one in outcomes]


def _with(clip: Clip, found: ActionUnits | ClipRejected) -> Outcome:
    if isinstance(found, ClipRejected):
        return Rejected(clip.spec, found.reason, found.detail)
    return replace(clip, aus=found)


def stored_clip(clip: Clip, config: BuildConfig, sequences: Sequences | None = None) -> StoredClip:
    """The input of an action unit source for a finished clip."""
    content_px = clip.placement.content_px
    return StoredClip(
        key=clip.spec.key,
        uris=tuple(span.uri for span in clip.spec.spans),
        jpegs=clip.jpegs,
        boxes_px=None if clip.track is None else clip.track.boxes_px,
        span=clip.placement.span,
        index=clip.placement.index,
        file_frames=clip.file_frames or _whole_file(clip),
        source_to_crop=clip.placement.source_to_crop,
        every=clip.every,
        keep_every=config.aus_frames == "all",
        images=None if sequences is None else sequences.images(clip.spec.key),
        # With a crop window, the images show the whole window, including parts outside the frame.
        shown_px=content_px if config.recipe == "resize" else np.full_like(content_px, [0, 0, config.size, config.size]),
    )


def _whole_file(clip: Clip) -> tuple[int | None, ...]:
    """Frame counts of the spans' files if the sample does not record them: known only for a clip that is one whole file."""
    first = clip.spec.spans[0]
    whole = len(clip.spec.spans) == 1 and first.start_s == 0 and first.end_s == math.inf and first.track_uri is None
    return (clip.source_frames,) if whole else (None,) * len(clip.spec.spans)


def check_csvs(aus: AuSource | None, listed: pa.Table) -> None:
    """Raise ConfigError if no clip in a sample of the listing has a csv: it is the wrong folder, or has another layout."""
    if not isinstance(aus, CsvFolder) or not len(listed):
        return
    places = np.unique(np.linspace(0, len(listed) - 1, _LOOKED_FOR).astype(np.int64))
    specs = [spec_from_row(row) for row in listed.take(pa.array(places)).to_pylist()]
    known = [(spec.key, tuple(span.uri for span in spec.spans)) for spec in specs]
    if not any(path for key, uris in known for path in aus.files_of(key, uris)):
        expected = aus.first_place(*known[0])
        raise ConfigError(f"--aus csv: none of {len(known)} clips has a csv in {aus.folder} (expected e.g. {expected})")
