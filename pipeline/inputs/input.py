"""Open `--input`: one directory, archives, single videos, or a combination of them, merged; or an object store."""

import glob
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from motionshards.pipeline.inputs.archive import ArchiveTree
from motionshards.pipeline.inputs.bucket import BucketTree
from motionshards.pipeline.inputs.files import VIDEO_SUFFIXES
from motionshards.pipeline.inputs.parts import Parts, find_parts, is_archive_name
from motionshards.pipeline.inputs.tree import DirectoryTree, FilesTree, OverlayTree, Tree
from motionshards.pipeline.inputs.unpack import Root
from motionshards.schemas.bucket import open_bucket
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import path_to_uri, uri_to_path
from motionshards.schemas.removal import is_nameless


@dataclass(frozen=True, slots=True)
class Input:
    """The files to build from.

    root: the directory or object store that all paths are relative to
    tree: the file tree that the sources list
    archives: uri of each archive -> {uri of a part: its size in bytes}
    refused: one line per file of an archive whose path is outside it
    left_out: reason -> number of files of archives that are left out
    """

    root: Root
    tree: Tree
    archives: dict[str, dict[str, int]]
    refused: tuple[str, ...] = ()
    left_out: Counter[str] = field(default_factory=Counter)


def open_input(inputs: Sequence[Path | str], splits: tuple[str, ...], *, takes_videos: bool = False) -> Input:
    """Find and list the parts of archives, or list an object store. A directory is not listed, and need not exist yet.

    inputs: paths, or one URL
    splits: top-level split directories of the source's layout, see `Source`
    takes_videos: whether single videos are accepted

    Raises:
        ConfigError: a file is missing, unusable or outside the directory, there are several directories, or see `ArchiveTree`
    """
    urls = [one for one in inputs if isinstance(one, str)]
    if urls and len(inputs) > 1:
        raise ConfigError(f"--input {urls[0]} is an object store and cannot be combined with other inputs")
    if urls:
        bucket = open_bucket(urls[0])
        return Input(bucket, BucketTree(bucket), {})
    paths = [found for path in inputs if isinstance(path, Path) for found in _expanded(path)]
    videos = [path for path in paths if path.is_file() and path.name.lower().endswith(VIDEO_SUFFIXES)]
    if videos and not takes_videos:
        raise ConfigError(f"--input {videos[0]} is a video: only --source folder accepts single videos")
    others = [path for path in paths if path not in videos]
    archives = list(dict.fromkeys(tuple(find_parts(path)) for path in others if _is_archive(path)))
    directories = [path for path in others if not _is_archive(path)]
    if len(directories) > 1:
        raise ConfigError(f"--input has {len(directories)} directories, must be one: {', '.join(map(str, directories))}")
    files = [*(parts[0] for parts in archives), *videos]
    root = directories[0] if directories else Path(os.path.commonpath([path.parent.absolute() for path in files]))
    trees = [_archive(parts, root, splits) for parts in archives]
    below: list[Tree] = [DirectoryTree(path) for path in directories]
    below += [FilesTree(root, [uri_to_path(_uri(path, root)) for path in videos])] if videos else []
    tree = OverlayTree([*below, *trees]) if len(below) + len(trees) > 1 else [*below, *trees][0]
    sizes = {_uri(parts[0], root): {_uri(part, root): part.stat().st_size for part in parts} for parts in archives}
    refused = tuple(line for one in trees for line in one.refused)
    return Input(root, tree, sizes, refused, sum((one.left_out for one in trees), Counter()))


def archives_hint(opened: Input) -> str:
    """Hint for a directory that contains archives but no clips; empty if it contains none."""
    if not isinstance(opened.root, Path):
        return ""
    found = [] if opened.archives or not opened.root.is_dir() else sorted(filter(_is_unread, opened.root.iterdir()))
    return f"; found {found[0].name}: to read archives, pass their paths to --input" if found else ""


def _is_unread(path: Path) -> bool:
    try:
        return path.is_file() and is_archive_name(path)
    except ConfigError:  # parts are missing
        return True


def resolved(root: Root) -> Root:
    """The root as an absolute path, for workers in other directories."""
    return root.resolve() if isinstance(root, Path) else root


def shown(root: Root) -> str:
    """The root as text, for messages."""
    return str(root) if isinstance(root, Path) else root.url


def check_archives(root: Root, archives: dict[str, dict[str, int]]) -> None:
    """Raise ConfigError if a part of an archive that the dataset was planned from is missing or has changed in size.

    Archives whose names were removed are not checked; their clips cannot be read again.
    """
    for sizes in (sizes for uri, sizes in archives.items() if not is_nameless(uri)):
        assert isinstance(root, Path), "archives are only read from disk"
        for uri, size in sizes.items():
            path = root / uri_to_path(uri)
            if not path.is_file():
                raise ConfigError(f"{path} is missing, but the dataset was planned from it")
            if path.stat().st_size != size:
                raise ConfigError(f"{path} has {path.stat().st_size} bytes, but had {size} when the dataset was planned")


def _is_archive(path: Path) -> bool:
    """Whether a path is an archive; a missing file with an archive's name counts, so that the message can name it."""
    if path.exists():
        return path.is_file()
    return path.suffix in (".zip", ".tar") or find_parts(path) != [path]


def _expanded(path: Path) -> list[Path]:
    """Expand a glob pattern that the shell has not expanded."""
    if os.path.lexists(path) or not glob.has_magic(str(path)):
        return [path]
    found = sorted(Path(name) for name in glob.iglob(str(path)))  # noqa: PTH207 (Path.glob takes no absolute pattern)
    if not found:
        raise ConfigError(f"--input {path} matches no file")
    return found


def _archive(parts: Sequence[Path], root: Path, splits: tuple[str, ...]) -> ArchiveTree:
    try:
        return ArchiveTree(_uri(parts[0], root), Parts(parts), splits)
    except OSError as error:
        raise ConfigError(f"cannot read {error.filename or parts[0]}: {error.strerror}") from error


def _uri(path: Path, root: Path) -> str:
    try:
        return path_to_uri(str(path.absolute().relative_to(root.absolute())))
    except ValueError:
        raise ConfigError(f"{path} is not below --input {root}") from None
