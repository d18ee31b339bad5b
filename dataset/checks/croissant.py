"""Does croissant.json tell of the tables and shards that are there?"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from motionshards.dataset.checks.tables import UNREADABLE, why
from motionshards.schemas.layout import CROISSANT, INDEX, REJECTIONS, tar_path
from motionshards.schemas.manifest import Manifest


def check_croissant(out: Path, manifest: Manifest) -> Iterator[str]:
    """Faults of croissant.json. `checks.files` reports that it is missing, other checks report unreadable tables."""
    path = out / CROISSANT
    if not path.is_file():
        return
    try:
        told = {file["@id"]: file["sha256"] for file in json.loads(path.read_bytes())["distribution"] if "sha256" in file}
    except (*UNREADABLE, AttributeError, RecursionError) as error:
        yield f"{CROISSANT}: cannot be understood: {why(error)}"
        return
    found = {tar_path(Path(), entry.split, entry.name).as_posix(): entry.sha256 for entry in manifest.shards}
    for name in (INDEX, REJECTIONS):
        if (out / name).is_file():
            with (out / name).open("rb") as table:
                found[name] = hashlib.file_digest(table, "sha256").hexdigest()
    for name, sha256 in sorted(told.items(), key=str):
        if name in found and sha256 != found[name]:
            yield f"{CROISSANT}: {name}: describes another file, its sha256 differs"
