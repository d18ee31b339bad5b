"""The files of a dataset, for comparison."""

import hashlib
from pathlib import Path

from motionshards.schemas.layout import DATASET_JSON


def tree(out: Path) -> dict[str, str]:
    """SHA-256 of every file except dataset.json, which contains times."""
    files = sorted(path for path in out.rglob("*") if path.is_file() and path.name != DATASET_JSON)
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
