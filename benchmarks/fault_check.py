"""Whether a disturbed build wrote what the undisturbed one did, and left nothing behind."""

import tarfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq

from motionshards.dataset.verify import verify
from motionshards.schemas.layout import REJECTIONS, WORK_DIR
from motionshards.schemas.manifest import Manifest
from tests.support.under_fire import hashes


def differences(out: Path, expected: Mapping[str, str], besides: str = "") -> list[str]:
    """What is not as it should be.

    expected: sha256 of every shard and marker; besides: a shard that is looked at elsewhere
    """
    written = hashes(out)
    names = sorted(name for name in written.keys() | expected.keys() if written.get(name) != expected.get(name))
    return [f"{name} differs" for name in names if Path(name).stem != besides] + _ledger_faults(out)


def differences_without(out: Path, undisturbed: Path, key: str) -> list[str]:
    """The same for a build in which the clip `key` alone is rejected: its shard has every other sample as it was."""
    rejected = pq.read_table(out / REJECTIONS).to_pylist()
    if [(row["key"], row["reason"]) for row in rejected] != [(key, "killed_worker")]:
        return [f"rejected are {[row['key'] for row in rejected]}, not {key} alone"]
    touched = rejected[0]["shard"]
    before, found = _samples(undisturbed, touched), _samples(out, touched)
    kept = {name: content for name, content in before.items() if not name.startswith(f"{key}.")}
    wrong = [] if len(before) > len(kept) and found == kept else [f"{touched} lacks more than {key}"]
    return wrong + differences(out, hashes(undisturbed), besides=touched)


def leftovers(place: Path, out: Path) -> list[str]:
    """What a finished build has left in its output, and in `place`, which has its logs and was its TMPDIR."""
    work = out / WORK_DIR
    temporary = [path.name for path in place.iterdir() if path != out and path.suffix != ".log"]
    left = [f"in {WORK_DIR}: {path.name}" for path in work.glob("*")] or ([WORK_DIR] if work.exists() else [])
    return [f"left behind: {name}" for name in [*left, *(name.partition("-")[0] for name in temporary)]]


def _ledger_faults(out: Path) -> list[str]:
    """What `dataset.verify` finds, and whether each planned clip is either kept or rejected."""
    counts = Manifest.read(out).counts
    lost = counts["planned"] - counts["kept"] - sum(counts["rejected"].values())
    return list(verify(out).faults) + ([f"{lost} clips are neither kept nor rejected"] if lost else [])


def _samples(out: Path, shard: str) -> dict[str, bytes]:
    """Each member of a shard's tar."""
    (path,) = out.glob(f"t*/{shard}.tar")
    with tarfile.open(path) as tar:
        return {member.name: stream.read() for member in tar if (stream := tar.extractfile(member))}
