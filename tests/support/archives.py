"""Archives for tests, split into parts, and their contents as the project reads them."""

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from motionshards.pipeline.inputs import unpack
from motionshards.pipeline.inputs.input import open_input
from motionshards.pipeline.inputs.tree import Entry, Tree
from motionshards.schemas.errors import ConfigError


def cut(
    path: Path, places: list[int], names: Callable[[int], str] = lambda n: f"part{chr(97 + n // 26)}{chr(97 + n % 26)}"
) -> Path:
    """Split a file at `places` into parts and remove it; returns the first part."""
    content = path.read_bytes()
    edges = [0, *places, len(content)]
    parts = [path.with_name(f"{path.stem}_{names(n)}") for n in range(len(edges) - 1)]
    for part, start, stop in zip(parts, edges[:-1], edges[1:], strict=True):
        part.write_bytes(content[start:stop])
    path.unlink()
    return parts[0]


def files() -> dict[str, bytes]:
    """Contents of many sizes: compressible, incompressible, empty, and longer than a read chunk."""
    noise = np.random.default_rng(3)
    sizes = [0, 1, 30, 511, 512, 513, 4096, 70_001, (1 << 20) + 7]
    random = {f"mp4/id{n}/v{n}/{n:05d}.mp4": noise.bytes(size) for n, size in enumerate(sizes)}
    return random | {"txt/long.txt": b"all work and no play " * 200_000, "ünïcödé/with space#1.mp4": b"x" * 100}


def make_zip(path: Path, contents: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def make_tar(path: Path, contents: dict[str, bytes], form: int = tarfile.USTAR_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as archive:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def walk(tree: Tree, path: str = "") -> Iterator[Entry]:
    for entry in tree.entries(path):
        if entry.is_directory:
            yield from walk(tree, entry.path)
        else:
            yield entry


def everything(path: Path) -> dict[str, bytes]:
    """All files of an archive, read through its tree."""
    opened = open_input([path], ())
    return {entry.path: unpack.content(entry.uri, entry.packed, opened.root) for entry in walk(opened.tree)}


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as refused:
        open_input([path], ())
    return str(refused.value)
