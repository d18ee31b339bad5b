"""A dataset repository on the Hugging Face Hub, for `motionshards push`, through the package huggingface_hub.

The package itself finds the token (`hf auth login`, HF_TOKEN) and the Hub (HF_ENDPOINT).
"""

import glob
import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from motionshards.schemas.atomic import sha256_of
from motionshards.schemas.errors import ConfigError, StoreFailed, one_line

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_KIND = "dataset"


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file as the Hub describes it.

    size: bytes
    digest: SHA-256 of a large file, git's SHA-1 of a small one
    """

    size: int
    digest: str

    def has_content_of(self, path: Path, sha256: str | None = None) -> bool:
        """Whether a local file has the same content. `sha256`: its digest, if known, which saves reading it."""
        size = path.stat().st_size
        if size != self.size:
            return False
        if len(self.digest) == 64:
            return self.digest == (sha256 or sha256_of(path))
        return self.digest == hashlib.sha1(b"blob %d\0" % size + path.read_bytes()).hexdigest()


@dataclass(frozen=True, slots=True)
class HubRepository:
    """One dataset repository; created by `open_repository`, which translates the exceptions of its methods."""

    api: "HfApi"
    name: str

    @property
    def url(self) -> str:
        """The page of the repository."""
        return f"{self.api.endpoint}/{_KIND}s/{self.name}"

    def private(self) -> bool | None:
        """Whether the repository is private; None if it does not exist."""
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            return bool(self.api.dataset_info(self.name).private)
        except RepositoryNotFoundError:
            return None

    def create(self, *, private: bool) -> None:
        """Create the repository, which must not exist yet."""
        self.api.create_repo(self.name, repo_type=_KIND, private=private)

    def files(self) -> dict[str, HubFile]:
        """Its current files by path."""
        from huggingface_hub.hf_api import RepoFile

        found = self.api.list_repo_tree(self.name, repo_type=_KIND, recursive=True)
        files = [each for each in found if isinstance(each, RepoFile)]
        return {file.path: HubFile(file.size, file.lfs.sha256 if file.lfs else file.blob_id) for file in files}

    def commit(self, files: Mapping[str, Path], deleted: Iterable[str] = ()) -> None:
        """Upload files, by their paths in the repository, and delete others; in one commit, or several for hundreds of files."""
        delete = list(map(glob.escape, deleted))
        if not files and not delete:
            return
        # upload_folder uploads a whole directory: create one with links to the files.
        with tempfile.TemporaryDirectory(prefix="motionshards-push-") as folder:
            for name, path in files.items():
                link = Path(folder, name)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(path.resolve())
            self.api.upload_folder(
                repo_id=self.name,
                repo_type=_KIND,
                folder_path=folder,
                delete_patterns=delete or None,
                commit_message="Push by motionshards",
            )


@contextmanager
def open_repository(name: str, *, progress: bool = True) -> Iterator[HubRepository]:
    """The repository `owner/name`, which need not exist. Errors of the Hub within the block are translated.

    progress: show progress bars on terminals

    Raises:
        ConfigError: huggingface_hub is not installed, the name is invalid, or there is no valid token
        StoreFailed: the Hub, its storage or the network failed, or the Hub refused the request
    """
    try:
        import httpx2
        from huggingface_hub import HfApi, get_token
        from huggingface_hub.errors import HfHubHTTPError
        from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]
    except ImportError as error:
        raise ConfigError(f"the Hugging Face Hub needs the package {error.name}: pip install 'motionshards[hub]'") from None
    if not progress:
        disable_progress_bars()
    try:
        if "/" not in name:
            raise ConfigError(f"{name!r} has no owner: write user/name or organization/name")
        if get_token() is None:
            raise ConfigError("no token for the Hugging Face Hub: run `hf auth login`, or set HF_TOKEN")
        api = HfApi()
        api.whoami()
        yield HubRepository(api, name)
    except (OSError, httpx2.HTTPError) as error:
        unauthorized = isinstance(error, HfHubHTTPError) and error.response.status_code == 401
        raise (ConfigError if unauthorized else StoreFailed)(f"{name}: {one_line(error)}") from None
    except ValueError as error:  # an invalid name, or a data card with metadata that the Hub rejects
        raise ConfigError(one_line(error)) from None
