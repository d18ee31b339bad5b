"""Before a command writes to a dataset: is what it starts from what was written there?

A damaged dataset.json or plan would otherwise be written again with a digest that makes it look right.
"""

from collections.abc import Set
from pathlib import Path

from motionshards.pipeline.planning import plan
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import DATASET_JSON, PLAN_DIR
from motionshards.schemas.manifest import Manifest, damage


def check_intact(out: Path, manifest: Manifest, *, planning: bool = False) -> None:
    """Check dataset.json, of which `manifest` was read, and the plan files by their digests.

    planning: a plan file that is missing will be planned anew

    Raises:
        ConfigError: one of them is not what was written, or what the shards were built with
    """
    if wrong := damage((out / DATASET_JSON).read_bytes()):
        raise ConfigError(f"{out / DATASET_JSON} {wrong}; restore it from a copy")
    for entry in manifest.shards:
        if entry.made_by not in (None, manifest.made_by):
            raise ConfigError(
                f"{out / DATASET_JSON}: config or provenance are not those that shard {entry.name} was built with; "
                "restore it from a copy"
            )
    if wrong := wrong_plan(out, manifest, planning=planning):
        raise ConfigError(wrong)


def wrong_plan(out: Path, manifest: Manifest, *, planning: bool = False) -> str | None:
    """What is wrong with a plan file, and what to do; None where nothing is. With `planning` a missing one is regenerated."""
    again = "run the build command again, which plans it anew"
    for name in plan.damaged(out, manifest.files):
        return f"{out / name} is damaged: restore it from a copy, or delete it and {again}"
    missing = [name for name in manifest.files if name.startswith(f"{PLAN_DIR}/") and not (out / name).exists()]
    return f"{out / missing[0]} is missing: restore it from a copy, or {again}" if missing and not planning else None


def check_planned(out: Path, before: Set[Path], manifest: Manifest) -> None:
    """Check a plan file that was written in place of a lost one; `before` are those that were there before planning.

    Raises:
        ConfigError: it differs from the lost one; it has been removed
    """
    for name in plan.damaged(out, manifest.files):
        if out / name not in before:
            (out / name).unlink()
            raise ConfigError(f"{out / name} is missing, and what is planned now differs from it: restore it from a copy")
