"""Integrity checks before a command writes to a dataset.

A damaged dataset.json or plan would otherwise be written again with a matching digest, hiding the damage.
"""

from collections.abc import Set
from pathlib import Path

from motionshards.pipeline.planning import plan
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import DATASET_JSON, PLAN_DIR
from motionshards.schemas.manifest import Manifest, damage


def check_intact(out: Path, manifest: Manifest, *, planning: bool = False) -> None:
    """Check the digests of dataset.json, from which `manifest` was read, and of the plan files.

    planning: whether missing plan files will be regenerated

    Raises:
        ConfigError: one of them is damaged, or does not match the settings that the shards were built with
    """
    if problem := damage((out / DATASET_JSON).read_bytes()):
        raise ConfigError(f"{out / DATASET_JSON} {problem}; restore it from a copy")
    for entry in manifest.shards:
        if entry.made_by not in (None, manifest.made_by):
            raise ConfigError(
                f"{out / DATASET_JSON}: config or provenance differ from those that shard {entry.name} was built with; "
                "restore it from a copy"
            )
    if problem := plan_problem(out, manifest, planning=planning):
        raise ConfigError(problem)


def plan_problem(out: Path, manifest: Manifest, *, planning: bool = False) -> str | None:
    """Message about a damaged or missing plan file, with the remedy; None if all are intact.

    planning: whether missing plan files will be regenerated
    """
    again = "run the same build command again to regenerate it"
    for name in plan.damaged(out, manifest.files):
        return f"{out / name} is damaged: restore it from a copy, or delete it and {again}"
    missing = [name for name in manifest.files if name.startswith(f"{PLAN_DIR}/") and not (out / name).exists()]
    return f"{out / missing[0]} is missing: restore it from a copy, or {again}" if missing and not planning else None


def check_planned(out: Path, before: Set[Path], manifest: Manifest) -> None:
    """Check regenerated plan files against their recorded digests; `before` are the files that existed before planning.

    Raises:
        ConfigError: a regenerated file differs from the lost one; it has been deleted again
    """
    for name in plan.damaged(out, manifest.files):
        if out / name not in before:
            (out / name).unlink()
            raise ConfigError(f"{out / name} is missing, and planning again gives a different result: restore it from a copy")
