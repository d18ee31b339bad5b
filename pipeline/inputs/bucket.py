"""An object store as a tree of files: listed once when a build is planned; files are downloaded when clips are built."""

import tempfile
from bisect import bisect_left
from pathlib import Path

from motionshards.pipeline.inputs.tree import Entry, check_small, children, is_directory
from motionshards.schemas.bucket import Bucket
from motionshards.schemas.errors import ConfigError, StoreFailed


class BucketTree:
    """The objects below the URL of a bucket. Raises ConfigError: it cannot be listed."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        try:
            sizes = bucket.names()
        except StoreFailed as error:
            raise ConfigError(f"--input {error}") from error
        self._paths = sorted(name for name in sizes if not name.endswith("/"))  # some programs store directories as objects
        self._sizes = [sizes[path] for path in self._paths]

    @property
    def name(self) -> str:
        """See Tree."""
        return self._bucket.url.rstrip("/").rpartition("/")[2]

    def entries(self, path: str = "") -> list[Entry]:
        """See Tree."""
        before = f"{path}/" if path else ""
        return [
            Entry(name, before + name, is_directory=at is None, stored_bytes=None if at is None else self._sizes[at])
            for name, at in children(self._paths, path)
        ]

    def is_directory(self, path: str) -> bool:
        """See Tree."""
        return is_directory(self._paths, path)

    def read(self, path: str) -> bytes | None:
        """See Tree."""
        at = bisect_left(self._paths, path)
        if at == len(self._paths) or self._paths[at] != path:
            return None
        check_small(path, self._sizes[at])
        with tempfile.TemporaryDirectory() as place:
            file = Path(place) / "file"
            try:
                self._bucket.get(path, file)
            except (StoreFailed, FileNotFoundError) as error:
                raise ConfigError(f"cannot read {path}: {error}") from error
            return file.read_bytes()
