"""Reads all face descriptors of a dataset, local or remote."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from motionshards.dataset.reading.catalog import read_catalog
from motionshards.dataset.reading.open_dataset import Opened
from motionshards.dataset.reading.reader import Reader
from motionshards.dataset.reading.selection import select_kind
from motionshards.dataset.storage.remote import shown
from motionshards.dataset.storage.shards import Shards
from motionshards.dataset.storage.unreadable import Unreadable
from motionshards.dataset.views import Singles
from motionshards.schemas.bucket import MAX_CONCURRENT_REQUESTS
from motionshards.schemas.errors import ConfigError, DatasetError
from motionshards.schemas.layout import IDENTITY_NUMBERS

_WHO = ["key", "split", "identity", "video", "duration_s"]
_CLIPS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Face descriptors of the clips of a dataset, in the order of its index.

    clips: columns key, split, identity, video and duration_s
    values: float32 [n,128], NaN where no face was found
    """

    clips: pa.Table = field(repr=False)
    values: NDArray[np.float32] = field(repr=False)


def read_embeddings(opened: Opened, on_progress: Callable[[int], object] = lambda clips: None) -> Embeddings:
    """Read the face descriptors of all clips, about 1 kB of memory each.

    on_progress: called with the number of clips just read

    Raises:
        ConfigError: the dataset has no face descriptors
        DatasetError: the dataset is unfinished, or a descriptor cannot be read
    """
    if opened.manifest.unfinished:
        raise DatasetError(f"{shown(opened.root)}: {opened.manifest.unfinished}")
    if not opened.manifest.config.identity_embedding:
        raise ConfigError(f"{shown(opened.root)} has no face descriptors; add them: motionshards build --output … --add identity")
    clips = pa.concat_tables([rows.select(_WHO) for rows in opened.rows()])
    config = opened.manifest.config
    view = Singles(target=False)
    catalog = read_catalog(opened.rows(), None, select_kind(config, view))
    reader = Reader(catalog, view, 0, Shards(opened.shard_source(catalog.shards, random=False)), warm=False)
    values = np.empty((len(catalog), IDENTITY_NUMBERS), np.float32)
    with ThreadPoolExecutor(MAX_CONCURRENT_REQUESTS if opened.remote else 1) as pool:
        for start in range(0, len(catalog), _CLIPS_AT_ONCE):
            part = range(start, min(start + _CLIPS_AT_ONCE, len(catalog)))
            try:
                for clip, value in zip(part, pool.map(reader.embedding, part), strict=True):
                    values[clip] = value
            except Unreadable as error:
                raise DatasetError(f"{error.detail}: {error.reason}; run dataset.verify") from error
            on_progress(len(part))
    return Embeddings(clips, values)
