"""The directory of an export. Files and folders are written under temporary names and renamed, so each is complete or absent.

DIR/export.json                         the record, written last; see `dataset.export.record`
DIR/.work/export.json                   the settings of a running export
DIR/.work/<split>-<shard>-<first>.jsonl one line per clip of a finished task; <first>: number of its first clip in the shard
DIR/.work/tmp/                          files being written
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from motionshards.schemas.layout import WORK_DIR, is_plain_name


@dataclass(frozen=True, slots=True)
class ExportDirectory:
    """The directory of an export."""

    root: Path

    @property
    def work(self) -> Path:
        """The work directory, removed when the export is finished and no clip is damaged."""
        return self.root / WORK_DIR

    @property
    def temporary(self) -> Path:
        """The directory of files being written."""
        return self.work / "tmp"

    def lines(self, split: str, shard: str, first: int = 0) -> Path:
        """The file that lists the exported clips of a task. Raises ValueError: a name is invalid."""
        return self._below(self.work, f"{split}-{shard}-{first:06d}.jsonl")

    @contextmanager
    def file(self, name: str) -> Iterator[Path]:
        """Yield a temporary path, which is renamed to `name` below the root on success.

        Raises:
            ValueError: the name leads outside the root or is invalid
        """
        with self._making(self._below(self.root, name)) as (temporary, target):
            yield temporary
            temporary.replace(target)

    @contextmanager
    def folder(self, name: str) -> Iterator[Path]:
        """Like `file`, for a new empty folder, which replaces an existing one."""
        with self._making(self._below(self.root, name)) as (temporary, target):
            temporary.mkdir()
            yield temporary
            if target.exists():
                shutil.rmtree(target)
            temporary.rename(target)

    @contextmanager
    def _making(self, target: Path) -> Iterator[tuple[Path, Path]]:
        self.temporary.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.temporary) as directory:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield Path(directory) / target.name, target

    def _below(self, directory: Path, name: str) -> Path:
        """Join a directory and a name from an untrusted dataset."""
        for part in name.split("/"):
            if not is_plain_name(part):
                raise ValueError(f"{part!r} is not a valid file name")
        return directory / PurePosixPath(name)
