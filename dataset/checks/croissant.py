"""Checks that croissant.json describes the tables and shards of the dataset."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from motionshards.dataset.checks.tables import UNREADABLE, cause_of
from motionshards.schemas.layout import CROISSANT, INDEX, REJECTIONS, tar_path
from motionshards.schemas.manifest import Manifest


def check_croissant(out: Path, manifest: Manifest) -> Iterator[str]:
    """Errors in croissant.json. A missing file is reported by `checks.files`, unreadable tables by other checks."""
    path = out / CROISSANT
    if not path.is_file():
        return
    try:
        listed = {file["@id"]: file["sha256"] for file in json.loads(path.read_bytes())["distribution"] if "sha256" in file}
    except (*UNREADABLE, AttributeError, RecursionError) as error:
        yield f"{CROISSANT}: cannot be parsed: {cause_of(error)}"
        return
    found = {tar_path(Path(), entry.split, entry.name).as_posix(): entry.sha256 for entry in manifest.shards}
    for name in (INDEX, REJECTIONS):
        if (out / name).is_file():
            with (out / name).open("rb") as table:
                found[name] = hashlib.file_digest(table, "sha256").hexdigest()
    for name, sha256 in sorted(listed.items(), key=str):
        if name in found and sha256 != found[name]:
            yield f"{CROISSANT}: {name}: describes a different file (its sha256 differs)"
