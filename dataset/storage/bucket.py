"""A dataset in an object store as a temporary directory: it has all file names, and contents are downloaded as needed."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from motionshards.schemas.bucket import Bucket, is_bucket, open_bucket, pull

_OF_SHARDS = (".tar", ".parquet")


@contextmanager
def directory_of(where: str) -> Iterator[tuple[Path, Bucket | None]]:
    """The directory of a dataset, given as a path or URL, and its object store, if any.

    For an object store, this is a temporary directory with one file per object; files of shards are empty, all others have their
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
    """Download the contents of files within the block. Does nothing without an object store."""
    present = [] if bucket is None else [file for file in files if file.exists()]
    if bucket is not None:
        pull(bucket, out, [file.relative_to(out).as_posix() for file in present])
    try:
        yield
    finally:
        for file in present:
            file.write_bytes(b"")


def _is_plain(name: str) -> bool:
    """Whether a name is a relative path inside a directory: objects may have any name."""
    parts = PurePosixPath(name).parts
    return bool(parts) and ".." not in parts and not name.startswith("/") and "\0" not in name


def _is_of_a_shard(name: str) -> bool:
    """Whether this is <split>/<shard>.tar or .parquet; the plan has a directory of its own."""
    path = PurePosixPath(name)
    return path.suffix in _OF_SHARDS and len(path.parts) == 2 and path.parts[0] != "plan"
