"""Start over in an output without clips, such as after a build with the wrong recipe, with different settings."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from motionshards.pipeline.planning import plan
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.layout import CARD, CROISSANT, DATASET_JSON, INDEX, PEOPLE, PLAN_DIR, REJECTIONS, REPORT, marker_path
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.marker import read_entry


def empty_if_nothing_was_kept(out: Path, config: BuildConfig, provenance: dict[str, str], log: Callable[[str], None]) -> bool:
    """Delete everything but dataset.json if the dataset was built with other settings and kept no clips.

    Returns whether it was deleted.

    Raises:
        DatasetError: dataset.json cannot be read
    """
    if not (out / DATASET_JSON).exists():
        return False
    manifest = Manifest.read(out)
    changed = manifest.changed(config, provenance)
    if not changed or manifest.interrupted or not _kept_nothing(out, manifest):
        return False
    log(f"{out} holds a build with different settings that kept no clips ({'; '.join(changed)}): starting over")
    _empty(out)
    return True


def _kept_nothing(out: Path, manifest: Manifest) -> bool:
    """Whether the dataset has no samples, and no removals that must be preserved."""
    if manifest.counts.get("kept") or manifest.removals or next(out.glob("*/*.tar"), None):
        return False
    return not any(read_entry(path).clips for path in _markers(out) if path.exists())


def _empty(out: Path) -> None:
    """Delete the files of a build. Plan files are deleted last, since they are needed to find the markers."""
    markers = _markers(out)
    for path in (*markers, *(out / name for name in (INDEX, REJECTIONS, CARD, CROISSANT, PEOPLE, REPORT)), *plan.plan_files(out)):
        path.unlink(missing_ok=True)
    for directory in {out / PLAN_DIR, *(path.parent for path in markers)}:
        with suppress(OSError):  # it is missing, or contains files that no build wrote
            directory.rmdir()


def _markers(out: Path) -> list[Path]:
    """Marker paths of all planned units, committed or not."""
    return [marker_path(out, unit.split, unit.name) for unit in plan.units(out)]
