"""Object stores that hold datasets: S3 and compatible stores through boto3, all others (gs, abfs, …) through fsspec.

An object is written in one operation, so it is complete or absent. There is no atomic rename: exclusion relies on `create`,
which fails where the object exists. The packages are imported when a bucket is opened: a dataset on disk needs none.
"""

import importlib
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from motionshards.schemas.atomic import beside
from motionshards.schemas.errors import ConfigError, StoreFailed

_S3 = ("s3", "s3a", "s3n")
_ATTEMPTS = 10
EXTRAS = "install motionshards[remote] for https and s3, motionshards[gs] or motionshards[abfs]"
MAX_CONCURRENT_REQUESTS = 32
"""Number of concurrent requests beyond which throughput no longer improves."""


class Bucket(Protocol):
    """The objects below one URL, named relative to it. Picklable, so that it can be sent to other processes and machines.

    All methods raise StoreFailed if a request still fails after retries.
    """

    url: str

    def names(self, folder: str = "") -> dict[str, int]:
        """Names and sizes (bytes) of all objects below a folder; eventually consistent listings may lack recent ones."""

    def exists(self, name: str) -> bool:
        """Whether an object exists; does not rely on listings."""

    def get(self, name: str, to: Path) -> None:
        """Download an object to a file. Raises FileNotFoundError: it does not exist."""

    def put(self, file: Path, name: str) -> None:
        """Upload a file, replacing an existing object."""

    def create(self, file: Path, name: str) -> bool:
        """Upload a file as a new object. Returns False if the object exists with different contents.

        An object with the same contents counts as created: it may be from this very call, if the response was lost before a
        retry. Among concurrent calls with different contents, exactly one therefore returns True.
        """

    def delete(self, name: str) -> None:
        """Delete an object, if it exists."""


def is_bucket(where: str) -> bool:
    """Whether an output is an object store: a URL of any scheme but file."""
    scheme, found, _ = where.partition("://")
    return bool(found) and scheme.lower() != "file"


def open_bucket(url: str) -> Bucket:
    """The bucket at a URL, scheme://bucket/prefix.

    Raises:
        ConfigError: the scheme is not an object store's, or the package for it is not installed
    """
    scheme = url.partition("://")[0].lower()
    if scheme in ("http", "https"):
        raise ConfigError(f"{url}: {scheme} is not an object store protocol")
    try:
        return S3Bucket(url.rstrip("/")) if scheme in _S3 else FsspecBucket(url.rstrip("/"))
    except ImportError as error:
        needed = f"package {error.name}" if error.name else "fsspec implementation"
        raise ConfigError(f"{scheme}:// needs the {needed}; {EXTRAS}") from error


class S3Bucket:
    """s3://bucket/prefix. Credentials, region and endpoint come from boto3's default configuration chain."""

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        self._bucket, self._prefix = parts.netloc, parts.path.strip("/")
        self._errors = importlib.import_module("botocore.exceptions")
        config = importlib.import_module("botocore.config").Config(retries={"mode": "standard", "max_attempts": _ATTEMPTS})
        self._client = importlib.import_module("boto3").session.Session().client("s3", config=config)

    def __reduce__(self) -> tuple[Any, ...]:
        return S3Bucket, (self.url,)

    def names(self, folder: str = "") -> dict[str, int]:
        """See Bucket."""
        below = self._key(folder).rstrip("/")
        prefix = f"{below}/" if below else ""
        with self._translated_errors(f"list {folder or '.'}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            start = len(f"{self._prefix}/") if self._prefix else 0
            return {each["Key"][start:]: each["Size"] for page in pages for each in page.get("Contents", ())}

    def exists(self, name: str) -> bool:
        """See Bucket."""
        with self._translated_errors(f"look for {name}"):
            try:
                self._client.head_object(Bucket=self._bucket, Key=self._key(name))
            except self._errors.ClientError as error:
                if _status(error) == 404:
                    return False
                raise
        return True

    def get(self, name: str, to: Path) -> None:
        """See Bucket."""
        with self._translated_errors(f"get {name}"):
            try:
                self._client.download_file(self._bucket, self._key(name), str(to))
            except self._errors.ClientError as error:
                if _status(error) == 404:
                    raise FileNotFoundError(f"{self.url}/{name}") from None
                raise

    def put(self, file: Path, name: str) -> None:
        """See Bucket. Large files use multipart uploads with checksums; an aborted upload leaves no object."""
        with self._translated_errors(f"put {name}"):
            self._client.upload_file(str(file), self._bucket, self._key(name))

    def create(self, file: Path, name: str) -> bool:
        """See Bucket."""
        with self._translated_errors(f"create {name}"):
            try:
                with file.open("rb") as body:
                    self._client.put_object(Bucket=self._bucket, Key=self._key(name), Body=body, IfNoneMatch="*")
                return True
            except self._errors.ClientError as error:
                if _status(error) not in (409, 412):
                    raise
        return _holds(self, name, file)

    def delete(self, name: str) -> None:
        """See Bucket."""
        with self._translated_errors(f"delete {name}"):
            self._client.delete_object(Bucket=self._bucket, Key=self._key(name))

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    @contextmanager
    def _translated_errors(self, what: str) -> Iterator[None]:
        """Translate boto3's errors into one-line StoreFailed errors, without the request body."""
        transfer = importlib.import_module("boto3.exceptions").Boto3Error
        try:
            yield
        except self._errors.ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            raise StoreFailed(f"{self.url}: cannot {what}: the store responded with {_status(error)} {code}") from None
        except (self._errors.BotoCoreError, transfer) as error:
            first = next(iter(str(error).splitlines()), "")
            raise StoreFailed(f"{self.url}: cannot {what}: {type(error).__name__}: {first}") from None


class FsspecBucket:
    """Any store that fsspec supports. Retries and credentials are those of the underlying filesystem package."""

    def __init__(self, url: str) -> None:
        self.url = url
        core = importlib.import_module("fsspec.core")
        try:
            self._files, base = core.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
        except (ValueError, TypeError, AttributeError) as error:
            raise ConfigError(f"{url}: {error}") from None
        self._base = base.rstrip("/")

    def __reduce__(self) -> tuple[Any, ...]:
        return FsspecBucket, (self.url,)

    def names(self, folder: str = "") -> dict[str, int]:
        """See Bucket."""
        with self._translated_errors(f"list {folder or '.'}"):
            self._files.invalidate_cache()
            below = f"{self._base}/{folder}".rstrip("/")
            found = self._files.find(below, detail=True) if self._files.exists(below) else {}
            return {path[len(self._base) :].lstrip("/"): int(about["size"]) for path, about in found.items()}

    def exists(self, name: str) -> bool:
        """See Bucket."""
        with self._translated_errors(f"look for {name}"):
            self._files.invalidate_cache()
            return bool(self._files.exists(f"{self._base}/{name}"))

    def get(self, name: str, to: Path) -> None:
        """See Bucket."""
        with self._translated_errors(f"get {name}", missing=FileNotFoundError(f"{self.url}/{name}")):
            self._files.get_file(f"{self._base}/{name}", str(to))

    def put(self, file: Path, name: str) -> None:
        """See Bucket."""
        with self._translated_errors(f"put {name}"):
            self._files.put_file(str(file), self._path(name))

    def create(self, file: Path, name: str) -> bool:
        """See Bucket."""
        with self._translated_errors(f"create {name}"):
            try:
                self._files.pipe_file(self._path(name), file.read_bytes(), mode="create")
                return True
            except FileExistsError:
                pass
        return _holds(self, name, file)

    def delete(self, name: str) -> None:
        """See Bucket."""
        with self._translated_errors(f"delete {name}"), suppress(FileNotFoundError):
            self._files.rm_file(f"{self._base}/{name}")

    def _path(self, name: str) -> str:
        """Path to write an object to. Creates its directory, except on async filesystems: object stores have none."""
        path = f"{self._base}/{name}"
        if not self._files.async_impl:
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        return path

    @contextmanager
    def _translated_errors(self, what: str, missing: FileNotFoundError | None = None) -> Iterator[None]:
        """Translate any error of the store into StoreFailed. `missing`: raised instead if the object does not exist."""
        try:
            yield
        except Exception as error:
            if missing and isinstance(error, FileNotFoundError):
                raise missing from None
            first = next(iter(str(error).splitlines()), "")
            raise StoreFailed(f"{self.url}: cannot {what}: {type(error).__name__}: {first}") from error


def _holds(bucket: Bucket, name: str, file: Path) -> bool:
    """Whether an object has the same contents as a file."""
    with tempfile.TemporaryDirectory(prefix="motionshards-object-") as place:
        try:
            bucket.get(name, copy := Path(place) / "copy")
        except FileNotFoundError:
            return False
        return copy.read_bytes() == file.read_bytes()


def pull(bucket: Bucket, out: Path, names: Sequence[str]) -> None:
    """Download objects to files of the same names below `out`. Raises StoreFailed, FileNotFoundError."""
    with ThreadPoolExecutor(MAX_CONCURRENT_REQUESTS) as pool:
        list(pool.map(lambda name: pull_one(bucket, name, out / name), names))


def pull_one(bucket: Bucket, name: str, path: Path) -> None:
    """Download one object to a file atomically. Raises the same errors as `pull`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with beside(path) as temporary:
        bucket.get(name, temporary)


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500))
