"""Plan a build: list the clips of the input, plan new ones, and record unused files and warnings."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from motionshards.pipeline.clips.action_units import check_csvs
from motionshards.pipeline.inputs.accounting import as_text
from motionshards.pipeline.inputs.input import archives_hint, shown
from motionshards.pipeline.order import BuildOrder
from motionshards.pipeline.planning import plan
from motionshards.pipeline.planning.hygiene import hygiene, summary
from motionshards.pipeline.planning.intact import check_planned
from motionshards.pipeline.sources import SOURCES
from motionshards.pipeline.sources.listing import Listing
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import REJECTIONS, path_to_uri, text_of
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.removal import matching
from motionshards.schemas.tables import REJECTIONS as REJECTIONS_SCHEMA
from motionshards.schemas.tables import completed, open_parquet
from motionshards.transforms.extract.crop import WINDOWS

_MALFORMED_SHOWN = 10
_MALFORMED_TOLD = 3


def plan_into(order: BuildOrder, config: BuildConfig, manifest: Manifest, log: Callable[[str], None]) -> Manifest:
    """Plan new clips, and rejected ones that are to be retried; returns the manifest with the warnings about the corpus."""
    planned_before = set(plan.plan_files(order.out))
    again = _plan_retries(order, config, manifest)
    if again:
        log(f"planned again: {again} rejected clips")
    listing, listed = _list(order, config)
    _check_boxes(order, config, listed)
    check_csvs(order.aus, listed)
    removed = matching(listed, manifest.removals)
    report = hygiene(plan.filter_rows(listed, ~removed), [text_of(line) for line in listing.malformed])
    left_out = listing.tree.left_out(_uris(listed))
    new = plan.plan_new(order.out, listed, config, order.subset, manifest.removals)
    if not plan.plan_files(order.out):
        raise ConfigError(_nothing_planned(order, config, listing.malformed, left_out))
    for remark in order.remarks:
        log(remark)
    if new or not planned_before:
        log(f"planned: {new} new clips")
    if removed.any():
        log(f"skipped {removed.sum()} clips (removed on request)")
    if listing.malformed:
        log(f"skipped {len(listing.malformed)} malformed lines, the first of them:")
    for line in listing.malformed[:_MALFORMED_SHOWN]:
        log(f"  {text_of(line)}")
    for note in listing.notes:
        log(text_of(note))
    if left_out:
        log(f"skipped {sum(left_out.values())} files ({as_text(left_out)})")
    if warnings := summary(report):
        log(f"warnings: {warnings}")
    found_while_building = {name: warning for name, warning in manifest.hygiene.items() if name not in report}
    check_planned(order.out, planned_before, manifest)
    manifest = replace(
        manifest,
        hygiene={**report, **found_while_building},
        left_out=left_out,
        archives=_archives(order, manifest),
        files={**manifest.files, **plan.digests(order.out)},
    )
    manifest.write(order.out)
    return manifest


def _archives(order: BuildOrder, manifest: Manifest) -> dict[str, dict[str, int]]:
    """The planned archives; after a removal, only those with a planned clip, since a name may identify a removed person."""
    archives = {**manifest.archives, **order.input.archives}
    used = plan.archives(order.out) if manifest.removals else archives.keys()
    return {uri: parts for uri, parts in archives.items() if uri in used}


def _nothing_planned(order: BuildOrder, config: BuildConfig, malformed: list[str], left_out: dict[str, int]) -> str:
    """Message if there is nothing to build: the expected layout, and what was found instead."""
    if malformed:
        first = "; ".join(map(text_of, malformed[:_MALFORMED_TOLD]))
        return f"no clips of {config.source} below {shown(order.input.root)}: {len(malformed)} malformed lines: {first}"
    expected = SOURCES[config.source].expected + archives_hint(order.input)
    found = f"; found {as_text(left_out)}" if left_out else ""
    return f"no clips of {config.source} below {shown(order.input.root)} (expected {expected}{found})"


def _uris(listed: pa.Table) -> pa.Array:
    """The files that listed clips refer to."""
    fields = listed["spans"].combine_chunks().flatten()
    return pa.concat_arrays([fields.field("uri"), fields.field("track_uri").drop_null()])


def _used(order: BuildOrder) -> list[str]:
    """Uris of files in the input that the source must ignore: opened archives, the csv of clips, the output."""
    parts = [uri for sizes in order.input.archives.values() for uri in sizes]
    if not isinstance(order.input.root, Path):
        return parts
    root = order.input.root.resolve()
    others = [path.resolve() for path in (order.metadata, order.out) if path is not None]
    return parts + [path_to_uri(str(path.relative_to(root))) for path in others if path != root and path.is_relative_to(root)]


def _list(order: BuildOrder, config: BuildConfig) -> tuple[Listing, pa.Table]:
    """List the source's clips, as a table."""
    source = SOURCES[config.source]
    if isinstance(order.input.root, Path):
        source.prepare(order.input.root)
    listing = Listing(order.input.tree, config.unit, order.metadata, list(order.input.refused), used=_used(order))
    listing.tree.counts.update(order.input.left_out)
    try:
        if isinstance(order.input.root, Path) and not order.input.root.is_dir():
            why = "is not a directory" if order.input.root.exists() else "does not exist"
            raise ConfigError(f"--input {order.input.root} {why}")
        return listing, plan.listing_table(source.list_clips(listing), config)
    except PermissionError as error:
        raise ConfigError(f"cannot read --input {error.filename}: {error.strerror}") from error


def _check_boxes(order: BuildOrder, config: BuildConfig, listed: pa.Table) -> None:
    """Raise ConfigError if the recipe crops annotated boxes, but no clip of the listing has one."""
    if config.recipe not in WINDOWS or not len(listed):
        return
    spans = [chunk.flatten() for chunk in listed["spans"].chunks]
    if all(part.field(name).null_count == len(part) for part in spans for name in ("box", "track_uri")):
        others = "--recipe resize or track, or a source with boxes (see --metadata)"
        raise ConfigError(f"--recipe {config.recipe} needs boxes, but none of the {len(listed)} clips has one; use {others}")


def _plan_retries(order: BuildOrder, config: BuildConfig, manifest: Manifest) -> int:
    path = order.out / REJECTIONS
    if not order.retry or not path.exists():
        return 0
    with open_parquet(path) as file:
        rejections = completed(file.read(), REJECTIONS_SCHEMA)
    chosen = rejections.filter(pc.is_in(rejections["reason"], pc.cast(list(order.retry), "string")))
    return plan.plan_again(order.out, chosen, config, {entry.name for entry in manifest.shards})
