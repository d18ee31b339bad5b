"""Checks that a disturbed build wrote the same as the undisturbed one, and left no temporary files."""

import tarfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq

from motionshards.dataset.verify import verify
from motionshards.schemas.layout import REJECTIONS, WORK_DIR
from motionshards.schemas.manifest import Manifest
from tests.support.under_fire import hashes


def differences(out: Path, expected: Mapping[str, str], except_shard: str = "") -> list[str]:
    """Differences from the undisturbed build.

    expected: SHA-256 of every shard and marker; except_shard: a shard that is checked elsewhere
    """
    written = hashes(out)
    names = sorted(name for name in written.keys() | expected.keys() if written.get(name) != expected.get(name))
    return [f"{name} differs" for name in names if Path(name).stem != except_shard] + _ledger_faults(out)


def differences_without(out: Path, undisturbed: Path, key: str) -> list[str]:
    """The same if only the clip `key` is rejected: all other samples of its shard must be unchanged."""
    rejected = pq.read_table(out / REJECTIONS).to_pylist()
    if [(row["key"], row["reason"]) for row in rejected] != [(key, "killed_worker")]:
        return [f"rejected {[row['key'] for row in rejected]}, expected only {key}"]
    touched = rejected[0]["shard"]
    before, found = _samples(undisturbed, touched), _samples(out, touched)
    kept = {name: content for name, content in before.items() if not name.startswith(f"{key}.")}
    wrong = [] if len(before) > len(kept) and found == kept else [f"{touched} differs in more than {key}"]
    return wrong + differences(out, hashes(undisturbed), except_shard=touched)


def leftovers(directory: Path, out: Path) -> list[str]:
    """Temporary files that a finished build left in its output and in `directory`, which has its logs and was its TMPDIR."""
    work = out / WORK_DIR
    temporary = [path.name for path in directory.iterdir() if path != out and path.suffix != ".log"]
    left = [f"in {WORK_DIR}: {path.name}" for path in work.glob("*")] or ([WORK_DIR] if work.exists() else [])
    return [f"left behind: {name}" for name in [*left, *(name.partition("-")[0] for name in temporary)]]


def _ledger_faults(out: Path) -> list[str]:
    """Findings of `dataset.verify`, and planned clips that are neither kept nor rejected."""
    counts = Manifest.read(out).counts
    lost = counts["planned"] - counts["kept"] - sum(counts["rejected"].values())
    return list(verify(out).faults) + ([f"{lost} clips are neither kept nor rejected"] if lost else [])


def _samples(out: Path, shard: str) -> dict[str, bytes]:
    """The members of a shard's tar by name."""
    (path,) = out.glob(f"t*/{shard}.tar")
    with tarfile.open(path) as tar:
        return {member.name: stream.read() for member in tar if (stream := tar.extractfile(member))}
