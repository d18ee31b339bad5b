"""Where exports write: every file and folder is made under a temporary name and renamed, so it is whole or absent.

DIR/export.json                         the result, written last; see `dataset.export.record`
DIR/.work/export.json                   what a running export is made of and how
DIR/.work/<split>-<shard>-<first>.jsonl a line per clip of a finished task, whose first clip is that of the shard
DIR/.work/tmp/                          what is being written
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from motionshards.schemas.layout import WORK_DIR, is_plain_name


@dataclass(frozen=True, slots=True)
class Place:
    """The directory of an export."""

    root: Path

    @property
    def work(self) -> Path:
        """What is removed when the export is finished and no clip is damaged."""
        return self.root / WORK_DIR

    @property
    def temporary(self) -> Path:
        """What is being written."""
        return self.work / "tmp"

    def lines(self, split: str, shard: str, first: int = 0) -> Path:
        """The file that lists exported clips of a shard, from number `first`. Raises ValueError, as the next two do."""
        return self._below(self.work, f"{split}-{shard}-{first:06d}.jsonl")

    @contextmanager
    def file(self, name: str) -> Iterator[Path]:
        """Give a path to write to, which becomes the file `name` below the root on a clean exit.

        Raises:
            ValueError: the name would lead elsewhere or cannot be that of a file
        """
        with self._making(self._below(self.root, name)) as (temporary, target):
            yield temporary
            temporary.replace(target)

    @contextmanager
    def folder(self, name: str) -> Iterator[Path]:
        """The same for a folder, which is empty at first and replaces one of this name."""
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
        """A path of names that may come from a hostile dataset."""
        for part in name.split("/"):
            if not is_plain_name(part):
                raise ValueError(f"{part!r} cannot be the name of a file")
        return directory / PurePosixPath(name)
