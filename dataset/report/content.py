"""Gathers the content of the page from the dataset."""

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
# Clips removed on request are not decoded, nor videos that hung, killed a process or were too large.
_NOT_DECODED = {"removed", "decode_timeout", "decoder_killed", "killed_worker", "too_many_packets", "too_much_memory"}

Rgb = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ActionUnits:
    """Statistics of the action units.

    units: by name, intensities of the valid frames of a random sample of clips
    clips, frames: size of that sample
    valid: fraction of all stored frames that are valid; None if the index does not record it
    variances: by name, between and within people, over the means of clips; None if there are too few people or clips
    """

    units: dict[str, Distribution]
    clips: int
    frames: int
    valid: float | None
    variances: dict[str, Variance | None]


@dataclass(frozen=True, slots=True)
class Content:
    """The content of the page.

    where: the condition on clips; None if all are included
    yields: number of clips left after each part of it
    frames: by reason, the images of its cases, uint8 [H,W,3], or None where none could be decoded
    frames_from: location of the videos; empty if no rejected clip is shown
    frames_error: why no video could be opened at all; else empty
    aus: None in a dataset without action units
    separation, separated: separation of identities by face descriptors, and its number of clips; None without descriptors
    people: findings of `dataset.people` about all clips; None without an up-to-date people.parquet
    """

    name: str
    manifest: Manifest
    where: str | None
    yields: tuple[Yield, ...]
    figures: Figures
    rejections: Rejections
    samples: tuple[Sample, ...]
    frames: Mapping[str, list[Rgb | None]] = field(repr=False)
    frames_from: str
    frames_error: str
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
    """Read the content of the page.

    Args:
        samples: number of clips to show
        videos: number of them to embed as video, if video is stored
        seed: seed of all random choices
        where: condition on the clips, see `dataset.query.where`
        source: location of the source videos; empty uses the one recorded in dataset.json

    Raises:
        ConfigError: `where` is not a valid condition
        DatasetError: a table cannot be read
    """
    clips = read_clips(data.out / INDEX, None if where is None else parse(where))
    rejections = read_rejections(data.out, seed)
    source = source or data.manifest.input
    separated = _embeddings(data, clips, seed)
    frames, error = _rejected_frames(rejections, source)
    return Content(
        name=f"{data.out.resolve().name} ({data.manifest.config.source})",
        manifest=data.manifest,
        where=where,
        yields=() if where is None else read_yields(data.out / INDEX, where),
        figures=figures(clips),
        rejections=rejections,
        samples=tuple(read_samples(data.out, clips.row[choose(clips, samples, seed)], videos)),
        frames=frames,
        frames_from=source if rejections.total else "",
        frames_error=error,
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
    """Face descriptors of a random sample of clips, float32 [n,128], and the indices of their identities, int32 [n]."""
    if not data.manifest.config.identity_embedding:
        return None
    chosen = np.sort(np.random.default_rng([seed, 3]).permutation(len(clips))[:_EMBEDDED_CLIPS])
    return read_embeddings(data.out, clips.row[chosen]), clips.identity[chosen]


def _people(data: Dataset) -> dict[str, list[dict[str, Any]]] | None:
    try:
        people = read_people(data.out / PEOPLE, data.manifest.files.get(INDEX, ""))
    except DatasetError:  # it is missing or outdated
        return None
    return findings(data.index(["key", "split", "identity", "video"]), people)


def _rejected_frames(rejections: Rejections, source: str) -> tuple[dict[str, list[Rgb | None]], str]:
    """An image of each case, and why there are none at all, else an empty string."""
    nothing: dict[str, list[Rgb | None]] = {reason: [None] * len(cases) for reason, cases in rejections.cases.items()}
    shown = {reason: cases for reason, cases in rejections.cases.items() if reason not in _NOT_DECODED}
    if not shown:
        return nothing, ""
    if not source:
        return nothing, "dataset.json does not record the location of the videos; name it with --input"
    try:
        return nothing | _decoded(shown, source), ""
    except (ConfigError, StoreFailed) as error:
        return nothing, str(error)


def _decoded(cases: Mapping[str, list[dict[str, Any]]], source: str) -> dict[str, list[Rgb | None]]:
    """Decode an image of each case. Raises ConfigError: `source` does not exist; StoreFailed."""
    if not is_bucket(source) and not Path(source).exists():
        raise ConfigError(f"{source} does not exist; name the location of the videos with --input")
    root = open_bucket(source) if is_bucket(source) else Path(source)
    with ThreadPoolExecutor(_DECODERS, thread_name_prefix="decode") as pool:
        try:
            submitted = {
                reason: [pool.submit(middle_frame, root, row["spans"] or [], _LONGEST_PX) for row in rows]
                for reason, rows in cases.items()
            }
            return {reason: [one.result() for one in some] for reason, some in submitted.items()}
        finally:
            pool.shutdown(cancel_futures=True)
