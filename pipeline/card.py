"""The data card: README.md of a data set, with the front matter by which Hugging Face `datasets` finds the splits."""

from typing import Any

from schemas.manifest import Manifest

_LICENCES = {
    "voxceleb2": (
        "The videos are YouTube uploads listed by [VoxCeleb2](https://www.robots.ox.ac.uk/~vgg/data/voxceleb/); its annotations "
        "are under CC BY 4.0, the videos remain their owners', and the people in them can ask to be removed."
    ),
    "demo": (
        "Rendered from the portrait of Eileen Collins that scikit-image ships (NASA, public domain). It is made to try the tool, "
        "not to train on."
    ),
}


def data_card(manifest: Manifest) -> str:
    """The card of a finished data set, Markdown."""
    counts, config = manifest.counts, manifest.config
    splits = counts["kept_by_split"]
    files = "\n".join(f"  - split: {split}\n    path: {split}/*.tar" for split in splits)
    rejected = "\n".join(f"| rejected: `{reason}` | {count:,} |" for reason, count in counts["rejected"].items())
    versions = "\n".join(f"- {name}: {version}" for name, version in manifest.provenance.items())
    settings = "\n".join(f"| `{name}` | {value} |" for name, value in config.to_json().items())
    doubts = "\n".join(f"| {name.replace('_', ' ')} | {doubt['count']:,} |" for name, doubt in _doubts(manifest).items())
    data_files = f"configs:\n- config_name: default\n  data_files:\n{files}\n" if splits else ""
    return f"""---
pretty_name: {config.source} face clips
task_categories:
- image-to-video
tags:
- webdataset
- talking-head
- facial-landmarks
{data_files}---

# {config.source}: {counts["kept"]:,} clips of {config.frames} frames at {config.size}×{config.size} px

WebDataset shards written by motionshards. A sample is `<key>.000.jpg …`, `<key>.landmarks.npy` (float32 [N,68,2], crop pixels),
`<key>.landmark_scores.npy` and `<key>.meta.json`; a row of `index.parquet` tells where each of them lies.

| | |
|---|---|
| clips planned | {counts["planned"]:,} |
| clips kept | {counts["kept"]:,} |
{rejected + chr(10) if rejected else ""}| identities | {counts["identities"]:,} |
| frames | {counts["frames"]:,} |
| hours of source video | {counts["source_hours"]:,} |
| bytes | {counts["bytes"]:,} |

## How it was made

| setting | value |
|---|---|
{settings}

{versions}
{_additions(manifest)}
## What is doubtful about the corpus

Counted in the whole listing, and kept but for malformed lines; cases stand in `dataset.json`.

| | |
|---|---|
{doubts}

Reasons of rejected clips stand in `rejections.parquet`. Frames without a face have NaN landmarks.

## What it may be used for

{_LICENCES.get(config.source, "Ask the owners of the source videos.")}
{_MODEL_LICENCE if config.landmarks != "none" else ""}
{_ACTION_UNITS if config.aus != "none" else ""}"""


def _additions(manifest: Manifest) -> str:
    """What was added once the data set was finished, as its numbers can differ a little from those of a build."""
    lines = [f"- {addition.what}: computed from {addition.pixels}" for addition in manifest.additions]
    return "\n".join(["", "Added later:", "", *lines, ""]) if lines else ""


def _doubts(manifest: Manifest) -> dict[str, dict[str, Any]]:
    return {name: doubt for name, doubt in manifest.hygiene.items() if isinstance(doubt, dict)}


_MODEL_LICENCE = (
    "The landmark model was trained on iBUG 300-W, whose licence allows research use only; commercial use of these landmarks "
    "needs the consent of Imperial College London."
)

_ACTION_UNITS = """
## Action units

`<key>.aus.npy` is float32 [N,17], the intensities 0 to 5 of the action units of OpenFace 2.x. Frames in which it found no face
that it trusted have NaN there, and `au_valid` false in `meta.json`; `au_valid` of the index is the share of the others.
OpenFace's licence allows academic and other noncommercial research only; commercial use needs a licence of its makers.
"""
