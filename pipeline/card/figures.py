"""Statistics of the balance of a dataset: the distribution of clips over people, poses, sizes and sharpness."""

from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from motionshards.schemas.action_units import INTENSITIES, MEANS
from motionshards.schemas.layout import INDEX
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.tables import CLIP_MEASURES, open_parquet
from motionshards.transforms.extract.action_units.summary import Variance, histogram, variance_of

_SOUND = ("audio_level_db", "audio_silence", "audio_clipping", "audio_speech")
_MEASURES = ("duration_s", "width_px", "height_px", *CLIP_MEASURES, *_SOUND)
_AT = (0.05, 0.5, 0.95)
_MOST_FREQUENT = 10
_TURNED_DEG = 45


@dataclass(frozen=True, slots=True)
class Spread:
    """Distribution of a measure over clips: 5 %, 50 % and 95 % quantiles, and the fraction of clips without it."""

    low: float
    median: float
    high: float
    missing: float


@dataclass(frozen=True, slots=True)
class SplitSize:
    """Size of a split; hours are of source video."""

    clips: int
    identities: int
    frames: int
    hours: float


@dataclass(frozen=True, slots=True)
class AuSpread:
    """Distribution of an action unit over clips, by the mean of each clip's valid frames.

    spread: quantiles of those means
    histogram: number of clips in each of 10 bins from 0 to 5
    variance: between and within people; None with too few people or clips
    """

    spread: Spread
    histogram: list[int]
    variance: Variance | None


@dataclass(frozen=True, slots=True)
class Figures:
    """Statistics of the kept clips, without names of people or videos.

    spreads: by index column; measures that no clip has are omitted
    splits: by name, sorted
    clips_per_identity: minimum, median, maximum; None without clips
    share_of_ten: fraction of all clips that show the ten most frequent identities
    aus: by name; empty without action units
    aus_valid: fraction of all frames with valid action units; None without action units
    with_sound: number of clips with stored audio
    turned: fraction of the clips with known pose whose head is turned by more than 45 degrees; None if no pose is known
    """

    spreads: dict[str, Spread]
    splits: dict[str, SplitSize]
    clips_per_identity: tuple[int, float, int] | None
    share_of_ten: float
    turned: float | None
    with_sound: int
    aus: dict[str, AuSpread]
    aus_valid: float | None


def read_figures(out: Path) -> Figures:
    """Compute the statistics from the index in OUT. Reads only the needed columns, about 100 bytes per clip."""
    columns = ["split", "identity", "n_frames", *_MEASURES, "au_valid", *MEANS, "has_audio"]
    with open_parquet(out / INDEX, read_dictionary=["split", "identity"]) as file:
        rows = file.read(columns)
    per_identity = sorted(_counts(rows["identity"]), reverse=True)
    return Figures(
        spreads={name: spread for name in _MEASURES if (spread := _spread(rows[name])) is not None},
        splits={split: _size(rows, split) for split in sorted(pc.unique(rows["split"]).to_pylist())},
        clips_per_identity=_few_to_many(per_identity),
        share_of_ten=sum(per_identity[:_MOST_FREQUENT]) / max(len(rows), 1),
        turned=_turned(rows["yaw_deg"]),
        with_sound=pc.sum(rows["has_audio"], min_count=0).as_py(),
        aus=_action_units(rows),
        aus_valid=_weighted(rows["au_valid"], rows["n_frames"]),
    )


def _action_units(rows: pa.Table) -> dict[str, AuSpread]:
    people = rows["identity"].combine_chunks().dictionary_encode().indices.to_numpy()
    found = {}
    for name, mean in zip(INTENSITIES, MEANS, strict=True):
        if (spread := _spread(rows[mean])) is not None:
            values = rows[mean].to_numpy()
            found[name] = AuSpread(spread, histogram(values), variance_of(values, people))
    return found


def _weighted(column: pa.ChunkedArray, weights: pa.ChunkedArray) -> float | None:
    """Weighted mean of the rows with a value; None if there are none."""
    known = pc.is_valid(column)
    total = pc.sum(weights.filter(known)).as_py()
    return pc.sum(pc.multiply(column.filter(known), weights.filter(known))).as_py() / total if total else None


def _counts(column: pa.ChunkedArray) -> list[int]:
    counts: list[int] = pc.value_counts(column).field("counts").to_pylist()
    return counts


def _few_to_many(counts: list[int]) -> tuple[int, float, int] | None:
    if not counts:
        return None
    return counts[-1], pc.quantile(pa.array(counts), 0.5)[0].as_py(), counts[0]


def _spread(column: pa.ChunkedArray) -> Spread | None:
    known = column.drop_null()
    if not len(known):
        return None
    low, median, high = pc.quantile(known, list(_AT)).to_pylist()
    return Spread(low, median, high, 1 - len(known) / len(column))


def _size(rows: pa.Table, split: str) -> SplitSize:
    of_split = rows.filter(pc.equal(rows["split"], split))
    frames, seconds = pc.sum(of_split["n_frames"]).as_py() or 0, pc.sum(of_split["duration_s"]).as_py() or 0.0
    return SplitSize(len(of_split), len(pc.unique(of_split["identity"])), frames, seconds / 3600)


def _turned(yaw_deg: pa.ChunkedArray) -> float | None:
    known = yaw_deg.drop_null()
    if not len(known):
        return None
    return (pc.sum(pc.greater(pc.abs(known), _TURNED_DEG)).as_py() or 0) / len(known)


def without_absent_audio(manifest: Manifest) -> Manifest:
    """The manifest with settings that describe what is actually stored: without audio if no clip has any."""
    config = manifest.config
    if not config.stores_audio or manifest.counts.get("sound_hours") != 0:
        return manifest
    return replace(manifest, config=replace(config, audio="none", speech=False))
