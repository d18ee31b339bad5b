"""Which clips of a data set a stream reads."""

import logging
import re

import numpy as np
import pyarrow as pa

from motionshards.dataset.query.where import parse
from motionshards.dataset.reading.catalog import Catalog, read_catalog, selecting
from motionshards.dataset.reading.open_dataset import Opened
from motionshards.dataset.reading.people_table import COLUMNS
from motionshards.dataset.reading.view import View
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.printable import printable
from motionshards.schemas.tables import INDEX

_SCHEMA = pa.schema([*INDEX, *COLUMNS])
_PEOPLE_COLUMNS = re.compile(rf"\b({'|'.join(COLUMNS.names)})\b")

logger = logging.getLogger("motionshards")


def select_clips(
    opened: Opened, view: View, where: str | None, split: str | None, people: list[str] | None
) -> tuple[Catalog, dict[str, int]]:
    """The clips that pass the filters and satisfy the view's requirements, and how many do not satisfy those, by reason.

    Raises:
        ConfigError: `where` is no condition, or no clip is left
        DatasetError: the index cannot be read
    """
    try:
        condition = None if where is None else parse(where, _SCHEMA)
        rows = opened.rows_with_people() if where and _PEOPLE_COLUMNS.search(where) else opened.rows()
        catalog = read_catalog(rows, selecting(condition, split, people))
    except pa.ArrowException as error:
        raise ConfigError(f"where={where!r} cannot be evaluated: {error}") from error
    if absent := sorted(set(people or ()) - set(catalog.identities)):
        logger.warning("%d identities have no clip that passes: %s", len(absent), printable(", ".join(absent[:10])))
    if not len(catalog):
        splits = ", ".join(sorted({split for split, _ in opened.shards}))
        raise ConfigError(f"no clip passes split={split!r}, where={where!r}; splits are {splits}")
    excluded, usable = {}, np.ones(len(catalog), np.bool_)
    for reason, without in view.unusable(catalog):
        if count := int((usable & without).sum()):
            excluded[reason] = count
            logger.warning("%d of %d clips are left out: %s", count, len(catalog), reason)
        usable &= ~without
    catalog = catalog.taking(usable)
    if not len(catalog):
        raise ConfigError(f"no clip can be shown by {view}: {', '.join(excluded)}")
    return catalog, excluded
