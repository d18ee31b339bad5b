"""Checks that plan, index and ledger do not list clips removed on request, and that all of these are accounted for."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from motionshards.dataset.checks.ledger import Plan
from motionshards.dataset.checks.tables import UNREADABLE
from motionshards.schemas.layout import INDEX, PLAN_DIR, REJECTIONS
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.removal import Removal, is_placeholder, matching
from motionshards.schemas.tables import open_parquet

_WHO = ["key", "identity", "video"]


def check_removals(out: Path, manifest: Manifest, plan: Plan) -> Iterator[str]:
    """Errors in a dataset from which clips were removed. Unreadable files, which other checks report, are skipped."""
    plans = [f"{PLAN_DIR}/{name}" for name in sorted({unit.plan for unit in plan.units.values()})]
    if manifest.removals:
        for name in (*plans, INDEX, REJECTIONS):
            yield from (
                f"{name}: {key}: was removed on request, but is still listed" for key in _left(out / name, manifest.removals)
            )
    if plan.readable:
        found = len({key for unit in plan.units.values() for key in unit.keys.to_pylist() if is_placeholder(key)})
        recorded = sum(removal.clips for removal in manifest.removals)
        if found != recorded:
            yield f"dataset.json: removals record {recorded} clips, but {found} are marked as removed in the plan"


def _left(path: Path, removals: tuple[Removal, ...]) -> list[str]:
    try:
        with open_parquet(path) as file:
            rows = file.read([*_WHO, *(["reason"] if path.name == REJECTIONS else [])])
        left = rows.filter(pa.array(matching(rows, removals))).to_pylist()
    except UNREADABLE:
        return []
    # The rejection left by a tube that was removed alone keeps its key, because the clip it came from keeps its own.
    return [row["key"] for row in left if row.get("reason") != "removed"]
