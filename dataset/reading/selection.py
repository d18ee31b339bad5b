"""Selects the clips of a dataset that a stream reads."""

import logging
import re

import numpy as np
import pyarrow as pa

from motionshards.dataset.query.where import parse
from motionshards.dataset.reading.catalog import Catalog, all_conditions, read_catalog
from motionshards.dataset.reading.index_arrays import Kind
from motionshards.dataset.reading.open_dataset import Opened
from motionshards.dataset.reading.people_table import COLUMNS
from motionshards.dataset.reading.view import View
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.printable import printable
from motionshards.schemas.tables import INDEX

_SCHEMA = pa.schema([*INDEX, *COLUMNS])
_PEOPLE_COLUMNS = re.compile(rf"\b({'|'.join(COLUMNS.names)})\b")

logger = logging.getLogger("motionshards")


def select_kind(config: BuildConfig, view: View, frames: str | None = None, size: int | None = None) -> Kind:
    """Which frames of a dataset a view reads.

    frames: `"stills"` or `"video"`, for a dataset that has both; None for the view's preference
    size: height and width in pixels; None for the dataset's size

    Raises:
        ConfigError: such frames are not stored, or the video is not continuous as the view requires
    """
    if (frames == "stills" and not config.stores_stills) or (frames == "video" and not config.stores_video):
        raise ConfigError(f"frames is {frames!r}, but the dataset was built with --store {config.store}")
    preferred = getattr(view, "prefers", "stills")
    video = config.stores_video and (not config.stores_stills or (frames or preferred) == "video")
    if video and preferred == "video" and config.unit == "video":
        raise ConfigError(f"{view} needs continuous video, but videos built with --unit video join several files")
    return Kind.of("video" if video else "stills", config.sizes, size, config.landmarks_every)


def select_clips(
    opened: Opened, view: View, where: str | None, split: str | None, people: list[str] | None, kind: Kind
) -> tuple[Catalog, dict[str, int]]:
    """The clips that pass the filters and satisfy the view's requirements, and the number that do not satisfy them, by reason.

    Raises:
        ConfigError: `where` is invalid, or no clip is left
        DatasetError: the index cannot be read
    """
    try:
        condition = None if where is None else parse(where, _SCHEMA)
        rows = opened.rows_with_people() if where and _PEOPLE_COLUMNS.search(where) else opened.rows()
        catalog = read_catalog(rows, all_conditions(condition, split, people), kind)
    except pa.ArrowException as error:
        raise ConfigError(f"where={where!r} cannot be evaluated: {error}") from error
    if absent := sorted(set(people or ()) - set(catalog.identities)):
        logger.warning("%d identities have no clips that pass the filters: %s", len(absent), printable(", ".join(absent[:10])))
    if not len(catalog):
        splits = ", ".join(sorted({split for split, _ in opened.shards}))
        raise ConfigError(f"no clip passes split={split!r}, where={where!r}; available splits: {splits}")
    found = len(catalog)
    catalog, excluded = _usable(catalog, view)
    for reason, count in excluded.items():
        logger.warning("excluded %d of %d clips: %s", count, found, reason)
    if not len(catalog):
        raise ConfigError(f"no clip satisfies the requirements of {view}: {', '.join(excluded)}")
    return catalog, excluded


def advice_on_few_clips(opened: Opened, clips: int, where: str | None, split: str | None, people: list[str] | None) -> str:
    """The end of an error message: which of the clips the filters keep, and what to change. Raises DatasetError."""
    advice = "a smaller batch, more repeats of each clip (repeats), or last='pad' to fill the batch"
    names = [*([] if where is None else [f"where={where!r}"]), *([] if people is None else ["identities"])]
    if not names:
        return f". Use {advice}"
    everything = sum(len(rows) if split is None else (rows["split"].to_numpy() == split).sum() for rows in opened.rows())
    of_split = "" if split is None else f" of split {split!r}"
    filters = f"{' and '.join(names)} {'keeps' if len(names) == 1 and where is not None else 'keep'}"
    return f": {filters} {clips} of {everything} clips{of_split}. Relax the filter, or use {advice}"


def _usable(catalog: Catalog, view: View) -> tuple[Catalog, dict[str, int]]:
    """The clips that satisfy the view's requirements, and the number of others by their first reason. Raises ConfigError."""
    excluded = {}
    if catalog.of_video and (without := catalog.n_shown == 0).any():
        excluded["no video"] = int(without.sum())
        catalog = catalog.select(~without)
    left = np.ones(len(catalog), np.bool_)
    for reason, without in view.unusable(catalog):
        if count := int((left & without).sum()):
            excluded[reason] = count
        left &= ~without
    return catalog.select(left), excluded
