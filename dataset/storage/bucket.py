"""A data set in an object store, seen through a directory: it has all names, and of the contents those that are looked at."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from motionshards.schemas.bucket import Bucket, is_bucket, open_bucket, pull

_OF_SHARDS = (".tar", ".parquet")


@contextmanager
def directory_of(where: str) -> Iterator[tuple[Path, Bucket | None]]:
    """The directory of a dataset, given as a path or URL, and its object store where it is in one.

    For an object store it is a temporary directory with an empty file for each object; those that are not of shards have their
    contents.

    Raises:
        ConfigError, StoreFailed: the store cannot be used
    """
    if not is_bucket(where):
        yield Path(where.removeprefix("file://")), None
        return
    bucket = open_bucket(where)
    with tempfile.TemporaryDirectory(prefix="motionshards-verify-") as place:
        out = Path(place)
        names = sorted(name for name in bucket.names() if _is_plain(name))
        for name in names:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).touch()
        pull(bucket, out, [name for name in names if not _is_of_a_shard(name)])
        yield out, bucket


@contextmanager
def contents(bucket: Bucket | None, out: Path, files: Sequence[Path]) -> Iterator[None]:
    """Meanwhile files of the directory have their contents. Does nothing for a directory that is the data set itself."""
    there = [] if bucket is None else [file for file in files if file.exists()]
    if bucket is not None:
        pull(bucket, out, [file.relative_to(out).as_posix() for file in there])
    try:
        yield
    finally:
        for file in there:
            file.write_bytes(b"")


def _is_plain(name: str) -> bool:
    """Whether a name stays below a directory: objects may be called anything."""
    parts = PurePosixPath(name).parts
    return bool(parts) and ".." not in parts and not name.startswith("/") and "\0" not in name


def _is_of_a_shard(name: str) -> bool:
    """<split>/<shard>.tar or .parquet; the plan lies in a directory of its own."""
    path = PurePosixPath(name)
    return path.suffix in _OF_SHARDS and len(path.parts) == 2 and path.parts[0] != "plan"
