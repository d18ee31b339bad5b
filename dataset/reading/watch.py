"""Detects changes of a dataset while a stream is open: clips were removed, or something was added to their shards."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from motionshards.dataset.reading.open_dataset import Stamp, open_source, stamp_of
from motionshards.dataset.storage.remote import Retry, shown
from motionshards.dataset.storage.shards import ShardFile
from motionshards.dataset.storage.unreadable import Unreadable
from motionshards.schemas.errors import DatasetError

logger = logging.getLogger("motionshards")


class Watch:
    """The shards that a stream reads, as they were when it was opened.

    root: directory or URL
    shards: shards by (split, name)
    """

    def __init__(
        self,
        root: str,
        shards: Mapping[tuple[str, str], ShardFile],
        stamp: Stamp,
        retry: Retry,
        storage_options: Mapping[str, Any] | None,
    ) -> None:
        self._root, self._shards, self._stamp = root, dict(shards), stamp
        self._retry, self._options = retry, storage_options

    def check(self) -> None:
        """Check that shards are unchanged. If dataset.json is unchanged, this costs one stat or one request. A resumed build does
        not count as a change.

        Raises:
            DatasetError: shards that the stream reads were rewritten or are being rewritten
        """
        try:
            stamp = stamp_of(self._root, replace(self._retry, attempts=1), self._options)
        except Unreadable as error:
            logger.warning("cannot check whether %s has changed: %s", shown(self._root), error.detail)
            return
        if stamp == self._stamp:
            return
        self._compare()
        self._stamp = stamp

    def _compare(self) -> None:
        changed = f"{shown(self._root)} has changed since this stream was opened"
        try:
            opened = open_source(self._root, self._retry, self._options)
            rewritten = [name for (split, name), file in self._shards.items() if opened.file(split, name) != file]
        except DatasetError as error:
            raise DatasetError(f"{changed}: {error}") from error
        if rewritten:
            removals = len(opened.manifest.removals)
            raise DatasetError(
                f"{changed}: {len(rewritten)} of its {len(self._shards)} shards were rewritten by dataset.remove or an addition"
                f" ({removals} removals in total). Open the stream again; states saved before the change cannot be loaded"
            )
