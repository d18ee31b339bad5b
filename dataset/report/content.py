"""What the page is made of, gathered from the data set."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motionshards.dataset.drawing.source_frames import middle_frame
from motionshards.dataset.index import Dataset
from motionshards.dataset.people.find import findings
from motionshards.dataset.query.where import parse
from motionshards.dataset.reading.people_table import read_people
from motionshards.dataset.report.choice import choose
from motionshards.dataset.report.clips import Clips, read_clips
from motionshards.dataset.report.distribution import Distribution, distribution
from motionshards.dataset.report.figures import Figures, figures
from motionshards.dataset.report.rejected import Rejections, read_rejections
from motionshards.dataset.report.samples import Sample, read_aus, read_embeddings, read_samples
from motionshards.dataset.report.separation import Separation, separation
from motionshards.dataset.report.yields import Yield, read_yields
from motionshards.schemas.action_units import INTENSITIES, MEANS, MOST
from motionshards.schemas.bucket import is_bucket, open_bucket
from motionshards.schemas.errors import ConfigError, DatasetError, StoreFailed
from motionshards.schemas.layout import INDEX, PEOPLE
from motionshards.schemas.manifest import Manifest
from motionshards.transforms.extract.action_units.summary import Variance, variance_of

_AU_CLIPS, _EMBEDDED_CLIPS = 2000, 2000
_LONGEST_PX = 256
_DECODERS = 4
# Who was removed on request is not looked for, and a video that hung, killed a process or was too large is not tried again.
_NOT_DECODED = {"removed", "decode_timeout", "decoder_killed", "killed_worker", "too_many_packets", "too_much_memory"}

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ActionUnits:
    """What is known of the action units.

    units: by name, intensities of the valid frames of a random choice of clips
    clips, frames: how many of those were read
    valid: the share of all stored frames that are valid; None where the index does not say
    variances: by name, between and within people, each clip with its mean; None where too few people have too few clips
    """

    units: dict[str, Distribution]
    clips: int
    frames: int
    valid: float | None
    variances: dict[str, Variance | None]


@dataclass(frozen=True, slots=True)
class Content:
    """All that the page shows.

    where: the condition on clips; None where all are shown
    yields: after each of its conditions
    frames: for each reason the pictures of its cases, None where there is none; uint8 [H,W,3]
    frames_from: where the videos were looked for; empty where no rejected clip is shown
    frames_trouble: why no video could be opened at all, in words; else empty
    aus: None in a data set without action units
    separation, separated: by face descriptors, and of how many clips; None in a dataset without them
    people: what `dataset.people` found, of all clips; None without a current people.parquet
    """

    name: str
    manifest: Manifest
    where: str | None
    yields: tuple[Yield, ...]
    figures: Figures
    rejections: Rejections
    samples: tuple[Sample, ...]
    frames: Mapping[str, list[Picture | None]] = field(repr=False)
    frames_from: str
    frames_trouble: str
    aus: ActionUnits | None
    separation: Separation | None
    separated: int
    people: Mapping[str, list[dict[str, Any]]] | None


def gather(
    data: Dataset,
    *,
    samples: int,
    videos: int,
    seed: int,
    where: str | None = None,
    source: str = "",
) -> Content:
    """Read what the page shows.

    Args:
        samples: how many clips are shown
        videos: how many of them play, where video is stored
        seed: of all random choices
        where: condition on the clips, see `dataset.query.where`
        source: where the source videos are; empty means what dataset.json tells

    Raises:
        ConfigError: `where` is no condition
        DatasetError: a table cannot be read
    """
    clips = read_clips(data.out / INDEX, None if where is None else parse(where))
    rejections = read_rejections(data.out, seed)
    given = source or data.manifest.input
    separated = _embeddings(data, clips, seed)
    frames, trouble = _rejected_frames(rejections, given)
    return Content(
        name=data.out.resolve().name,
        manifest=data.manifest,
        where=where,
        yields=() if where is None else read_yields(data.out / INDEX, where),
        figures=figures(clips),
        rejections=rejections,
        samples=tuple(read_samples(data.out, clips.row[choose(clips, samples, seed)], videos)),
        frames=frames,
        frames_from=given if rejections.total else "",
        frames_trouble=trouble,
        aus=_action_units(data, clips, seed),
        separation=separated and separation(*separated),
        separated=len(separated[0]) if separated else 0,
        people=_people(data),
    )


def _action_units(data: Dataset, clips: Clips, seed: int) -> ActionUnits | None:
    if data.manifest.config.aus == "none":
        return None
    random = np.random.default_rng([seed, 2])
    chosen = np.sort(random.permutation(len(clips))[:_AU_CLIPS])
    values, read = read_aus(data.out, clips.row[chosen])
    units = {name: distribution(values[:, number], (0.0, MOST)) for number, name in enumerate(INTENSITIES)}
    rows = data.index(["au_valid", "n_frames", *MEANS]).take(clips.row)
    valid, counts = (rows[name].cast("float64").to_numpy() for name in ("au_valid", "n_frames"))
    variances = {
        name: variance_of(rows[mean].cast("float64").to_numpy(), clips.identity)
        for name, mean in zip(INTENSITIES, MEANS, strict=True)
    }
    known = np.isfinite(valid)
    share = float(np.average(valid[known], weights=counts[known])) if known.any() else None
    return ActionUnits(units, read, len(values), share, variances)


def _embeddings(data: Dataset, clips: Clips, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int32]] | None:
    """Face descriptors of a random choice of clips, float32 [n,128], and the numbers of their identities."""
    if not data.manifest.config.identity_embedding:
        return None
    chosen = np.sort(np.random.default_rng([seed, 3]).permutation(len(clips))[:_EMBEDDED_CLIPS])
    return read_embeddings(data.out, clips.row[chosen]), clips.identity[chosen]


def _people(data: Dataset) -> dict[str, list[dict[str, Any]]] | None:
    try:
        people = read_people(data.out / PEOPLE, data.manifest.files.get(INDEX, ""))
    except DatasetError:  # there is none, or it is outdated
        return None
    return findings(data.index(["key", "split", "identity", "video"]), people)


def _rejected_frames(rejections: Rejections, source: str) -> tuple[dict[str, list[Picture | None]], str]:
    """A picture of each case, and why there are none at all."""
    nothing: dict[str, list[Picture | None]] = {reason: [None] * len(cases) for reason, cases in rejections.cases.items()}
    shown = {reason: cases for reason, cases in rejections.cases.items() if reason not in _NOT_DECODED}
    if not shown:
        return nothing, ""
    if not source:
        return nothing, "dataset.json does not tell where they were; name it with --input"
    try:
        return nothing | _decoded(shown, source), ""
    except (ConfigError, StoreFailed) as error:
        return nothing, str(error)


def _decoded(cases: Mapping[str, list[dict[str, Any]]], source: str) -> dict[str, list[Picture | None]]:
    """Raises ConfigError: there are no such videos; StoreFailed."""
    if not is_bucket(source) and not Path(source).exists():
        raise ConfigError(f"{source} is not there; name it with --input")
    root = open_bucket(source) if is_bucket(source) else Path(source)
    with ThreadPoolExecutor(_DECODERS, thread_name_prefix="decode") as pool:
        try:
            asked = {
                reason: [pool.submit(middle_frame, root, row["spans"] or [], _LONGEST_PX) for row in rows]
                for reason, rows in cases.items()
            }
            return {reason: [one.result() for one in some] for reason, some in asked.items()}
        finally:
            pool.shutdown(cancel_futures=True)
