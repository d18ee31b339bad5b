"""An output in which a build kept no clip, as with a wrong recipe: it may be built again with other settings."""

from collections.abc import Callable
from pathlib import Path

from pipeline import plan
from schemas.config import BuildConfig
from schemas.layout import CARD, CROISSANT, DATASET_JSON, INDEX, REJECTIONS, REPORT, marker_path, next_marker_path
from schemas.manifest import Manifest
from schemas.marker import read_entry


def if_nothing_was_kept(out: Path, config: BuildConfig, provenance: dict[str, str], say: Callable[[str], None]) -> None:
    """Forget a data set made differently that has no clips; leave any other as it is. Raises DatasetError: it cannot be read."""
    if not (out / DATASET_JSON).exists():
        return
    manifest = Manifest.read(out)
    changed = manifest.changed(config, provenance)
    if changed and not manifest.interrupted and _kept_nothing(out, manifest):
        say(f"{out} holds a build with other settings that kept no clips ({'; '.join(changed)}): starting over")
        _forget(out)


def _kept_nothing(out: Path, manifest: Manifest) -> bool:
    """Whether the data set has no sample, and no removal that must be remembered."""
    if manifest.counts.get("kept") or manifest.removals or next(out.glob("*/*.tar"), None):
        return False
    return not any(read_entry(path).clips for path in _markers(out) if path.exists())


def _forget(out: Path) -> None:
    """Delete what a build wrote, dataset.json last: until then the same call finishes what was interrupted."""
    for path in _markers(out):
        path.unlink(missing_ok=True)
    for path in (
        *(out / name for name in (INDEX, REJECTIONS, CARD, CROISSANT, REPORT)),
        *plan.plan_files(out),
        out / DATASET_JSON,
    ):
        path.unlink(missing_ok=True)


def _markers(out: Path) -> list[Path]:
    """Of all planned units, also those that are not committed."""
    units = plan.units(out)
    return [path(out, unit.split, unit.name) for unit in units for path in (marker_path, next_marker_path)]
