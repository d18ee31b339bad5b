"""Builds from which clips are removed, and their remaining contents."""

from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from motionshards.dataset import verify

BAD = "id90000/badvideo000/00001"


def build_args(videos: Path, out: Path, *more: str) -> list[str]:
    fast = ["--size", "64", "--landmarks", "none", "--frames", "3", "--workers", "1", "--quiet"]
    return ["--source", "voxceleb2", "--input", str(videos), "--output", str(out), *fast, "--clips-per-shard", "2", *more]


def samples(out: Path) -> dict[str, dict[str, bytes]]:
    """Every member of every sample, read as a plain tar."""
    import tarfile

    found: dict[str, dict[str, bytes]] = {}
    for path in sorted(out.glob("t*/*.tar")):
        with tarfile.open(path) as tar:
            for info in tar:
                key, _, suffix = info.name.partition(".")
                stream = tar.extractfile(info)
                assert stream is not None
                found.setdefault(key, {})[suffix] = stream.read()
    return found


def words(out: Path) -> bytes:
    """All contents of the dataset, tables as text."""
    text = []
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        text.append(path.read_bytes())
        if path.suffix == ".parquet":
            with suppress(pa.ArrowException, OSError):  # damaged file
                text.append(str(pq.ParquetFile(path).read().to_pylist()).encode())
    return b"\n".join(text)


def sound(out: Path) -> bool:
    report = verify.verify(out)
    assert report.faults == ()
    return True
