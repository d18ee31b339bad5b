"""Checks the files listed in dataset.json against their digests, by reading them completely."""

import re
from collections.abc import Iterator
from pathlib import Path

from motionshards.dataset.checks.tables import cause_of
from motionshards.dataset.reading.people_table import read_people
from motionshards.schemas.atomic import sha256_of
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.layout import CARD, CROISSANT, DATASET_JSON, INDEX, PEOPLE, PLAN_DIR, REJECTIONS
from motionshards.schemas.manifest import Manifest, damage

_PLAN_FILE = re.compile(rf"{PLAN_DIR}/plan-\d{{6,}}\.parquet")


def check_manifest(out: Path, manifest: Manifest) -> Iterator[str]:
    """Errors in dataset.json itself: its digest, and settings that differ from those its shards were built with."""
    if wrong := damage((out / DATASET_JSON).read_bytes()):
        yield f"{DATASET_JSON}: {wrong}"
    others = [entry.name for entry in manifest.shards if entry.made_by not in (None, manifest.made_by)]
    if others:
        yield f"{DATASET_JSON}: {len(others)} shards were built with a different config or provenance, the first is {others[0]}"
    if manifest.format_version > 1 and (bare := [entry.name for entry in manifest.shards if entry.marker_sha256 is None]):
        yield f"{DATASET_JSON}: has no digest of {len(bare)} markers, the first is {bare[0]}"


def check_files(out: Path, manifest: Manifest) -> Iterator[str]:
    """Errors in plan, tables and croissant.json, none of which version 1 listed. `check_card` checks the data card."""
    if manifest.format_version == 1:
        return
    plans = {f"{PLAN_DIR}/{path.name}" for path in (out / PLAN_DIR).glob("plan-*.parquet")}
    for name in sorted({*plans, INDEX, REJECTIONS, CROISSANT, *manifest.files} - {CARD}):
        if name not in (INDEX, REJECTIONS, CROISSANT) and not _PLAN_FILE.fullmatch(name):
            yield f"{DATASET_JSON}: has a digest of {name!r}, which no build writes"
        elif name not in manifest.files:
            yield f"{name}: dataset.json has no sha256 of it"
        elif wrong := _difference(out / name, manifest.files[name]):
            yield f"{name}: {wrong}"


def check_card(out: Path, manifest: Manifest) -> str | None:
    """How the data card, which may be edited, differs from what was built; None if it does not."""
    if manifest.format_version == 1:
        return None
    wrong = _difference(out / CARD, manifest.files.get(CARD, ""))
    return wrong and f"{CARD}: {wrong}; it may have been edited by hand"


def check_people(out: Path, manifest: Manifest) -> str | None:
    """Why readers reject people.parquet; None if they do not. The file is derived, and dataset.json has no digest of it."""
    try:
        if (out / PEOPLE).exists():
            read_people(out / PEOPLE, manifest.files.get(INDEX, ""))
    except DatasetError as error:
        return str(error)
    return None


def _difference(path: Path, sha256: str) -> str | None:
    if not path.is_file():
        return "is not a regular file" if path.exists() else "is missing, though dataset.json lists it"
    try:
        found = sha256_of(path)
    except OSError as error:
        return f"cannot be read: {cause_of(error)}"
    return None if found == sha256 else f"sha256 is {found}, dataset.json records {sha256 or 'none'}"
