"""The data card: README.md of a dataset, with the sections recommended by the Hugging Face Hub.

It is generated from the settings, ledger and tables of the build and from facts about the corpus. It contains no name of a
person, video or file, so that copies of a card need no change when someone is removed.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from motionshards.pipeline.card.fields import INDEX_COLUMNS, content, members, sizes
from motionshards.pipeline.card.figures import Figures, read_figures, without_absent_audio
from motionshards.pipeline.card.front import front_matter
from motionshards.pipeline.card.loading import loading
from motionshards.pipeline.card.people import bias, people
from motionshards.pipeline.card.sources import Corpus, corpus_of
from motionshards.schemas.action_units import MEANS
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.manifest import Manifest
from motionshards.transforms.extract.action_units.summary import sparkline


def data_card(manifest: Manifest, out: Path) -> str:
    """The card of a finished dataset, as Markdown; `out` contains its index."""
    corpus, figures = corpus_of(manifest.config.source), read_figures(out)
    manifest = without_absent_audio(manifest)
    sections = (
        _summary(manifest, corpus, figures),
        loading(manifest.config),
        _structure(manifest),
        *([_action_units(manifest, figures)] if manifest.config.aus != "none" else []),
        _splits(manifest, figures),
        _creation(manifest, corpus),
        _considerations(manifest, corpus, figures),
        _licence(manifest, corpus),
        _citation(corpus),
    )
    return front_matter(corpus, manifest.config, manifest.counts["kept_by_split"]) + "\n" + "\n".join(sections)


def _summary(manifest: Manifest, corpus: Corpus, figures: Figures) -> str:
    counts, config = manifest.counts, manifest.config
    ledger = {
        "clips planned": f"{counts['planned']:,}",
        "clips kept": f"{counts['kept']:,}",
        **{f"rejected: {_code(reason)}": f"{count:,}" for reason, count in counts["rejected"].items()},
        "identities": f"{counts['identities']:,}",
        "frames": f"{counts['frames']:,}",
        **(_video_lines(manifest, figures) if config.stores_video else {}),
        "hours of source video": f"{counts['source_hours']:,}",
        "bytes": f"{counts['bytes']:,}",
    }
    advice = "".join(f"\n{sentence}.\n" for sentence in manifest.advice)
    return f"""# {corpus.title}: {counts["kept"]:,} clips of {content(config)} at {sizes(config, "×")}

## Summary

WebDataset shards written by motionshards, for training models that animate faces and bodies. Each sample is a clip:
{_stored(config)}and the position of each frame in its source video.
`index.parquet` has a row per clip, with the byte offset of each file of the sample.

{_table(("", ""), ledger.items())}{advice}"""


def _video_lines(manifest: Manifest, figures: Figures) -> dict[str, str]:
    """Lines of the summary about stored video and audio."""
    counts = manifest.counts
    lines = {"frames of stored video": f"{counts['video_frames']:,}"}
    if manifest.config.stores_audio:
        share = figures.with_sound / max(counts["kept"], 1)
        lines |= {"clips with audio": f"{figures.with_sound:,} ({share:.0%})", "hours of audio": f"{counts['sound_hours']:,.3g}"}
    return lines


def _stored(config: BuildConfig) -> str:
    stored = ["a few frames in time order"] * config.stores_stills
    stored += ["the whole clip as video of constant rate"] * config.stores_video
    stored += ["its audio if the source has any"] * config.stores_audio
    measured = "each measured frame" if config.stores_video else "each"
    stored += [f"68 landmarks and the head pose of {measured}"] * (config.landmarks != "none")
    return ", ".join([*stored, *["action units"] * (config.aus != "none"), ""])


def _structure(manifest: Manifest) -> str:
    files = {f"`<key>.{suffix}`": what for suffix, what in members(manifest.config).items()}
    columns = {f"`{name}`": what for name, what in INDEX_COLUMNS.items()}
    return f"""## Structure

The files of a sample; {_counted(manifest.config)}:

{_table(("file", "content"), files.items())}
The columns of `index.parquet`, one row per clip; `rejections.parquet` has one row, with the reason, for each planned clip that
was not kept:

{_table(("column", "content"), columns.items())}
Pixel coordinates: x points right, y down, the center of the top left pixel is (0, 0). Frames without a face have NaN landmarks.
"""


def _counted(config: BuildConfig) -> str:
    """The meaning of the letters in shapes."""
    if not config.stores_video:
        return "N is its number of frames"
    stills = (
        "N is its number of stills, M of video frames, and L of"
        if config.stores_stills
        else "M is its number of video frames, and N = L of"
    )
    return f"{stills} measured video frames (every {config.landmarks_every}-th)"


_AU_MODES = {
    "openface": "OpenFace 2.x, run on all frames of each clip as a sequence, with dynamic models",
    "openface-still": "OpenFace 2.x, run on each stored frame separately, with static models. AU01 02 05 09 15 17 20 23 25 26 45 "
    "contain a person-specific offset and cannot be compared with those of a sequence",
    "csv": "externally computed csv files of OpenFace 2.x, joined by frame number",
    "pyfaceau": "pyfaceau, a reimplementation of OpenFace 2.2, run on all frames of each clip as a sequence",
}


def _action_units(manifest: Manifest, figures: Figures) -> str:
    rows = []
    for name, unit in figures.aus.items():
        numbers = [unit.spread.low, unit.spread.median, unit.spread.high]
        components = (
            ["", "", ""]
            if unit.variance is None
            else [f"{unit.variance.between:.3g}", f"{unit.variance.within:.3g}", f"{unit.variance.share:.0%}"]
        )
        rows.append((name, *(f"{number:.2f}" for number in numbers), f"`{sparkline(unit.histogram)}`", *components))
    heads = ("action unit", "5 %", "median", "95 %", "0 to 5", "variance between people", "within", "share between")
    valid = "" if figures.aus_valid is None else f" {figures.aus_valid:.1%} of the frames are valid."
    return f"""## Action units

`<key>.aus.npy` is float32 [N,17], intensities from 0 to 5: {_AU_MODES[manifest.config.aus]}. Frames without a measured face
are NaN there and have `au_valid` false in `meta.json`; `au_valid` of the index is the fraction of valid frames.{valid}

The table is over per-clip means of valid frames (`{MEANS[0]}` … `{MEANS[-1]}` of the index). Variance between people rather
than within them partly encodes identity, which a model conditioned on action units can learn to exploit.

{_table(heads, rows) if rows else ""}"""


def _splits(manifest: Manifest, figures: Figures) -> str:
    lines = []
    for split, size in figures.splits.items():
        shards = [entry for entry in manifest.shards if entry.split == split and entry.sha256]
        numbers = (size.clips, size.identities, size.frames, len(shards), sum(entry.bytes for entry in shards))
        lines.append((_code(split), *(f"{number:,}" for number in numbers), f"{size.hours:.3g}"))
    heads = ("split", "clips", "identities", "frames", "shards", "bytes", "hours of source video")
    return f"## Splits\n\n{_table(heads, lines) if lines else 'No clip was kept.' + chr(10)}"


def _creation(manifest: Manifest, corpus: Corpus) -> str:
    settings = {_code(name): _text(value) for name, value in manifest.config.to_json().items()}
    versions = "\n".join(f"- {_text(name)}: {_text(version)}" for name, version in manifest.provenance.items())
    warnings = {_text(name.replace("_", " ")): f"{warning['count']:,}" for name, warning in _warnings(manifest).items()}
    return f"""## How it was made

{corpus.collection}{f" Source: <{corpus.home}>." if corpus.home else ""}
{_drawn(manifest.config)} cropped, measured and stored by programs, without manual labeling.
The same input produces the same bytes with these settings and versions:

{_table(("setting", "value"), settings.items())}
{versions}
{_additions(manifest)}
### Warnings about the corpus

Counted over the whole listing. All clips are kept except malformed lines; `dataset.json` lists cases.

{_table(("", ""), warnings.items())}
{_left_out(manifest)}"""


def _drawn(config: BuildConfig) -> str:
    if not config.stores_video:
        return "Frames were sampled from each clip by a fixed permutation,"
    sampled = "Stills were sampled from each clip by a fixed permutation; " if config.stores_stills else ""
    return f"{sampled}frame i of a video is the source frame nearest to start + i / rate. All were"


def _left_out(manifest: Manifest) -> str:
    """The section on input files that no clip uses."""
    counts = {_code(reason): f"{count:,}" for reason, count in manifest.left_out.items()}
    return f"### Unused input files\n\n{_table(('reason', 'files'), counts.items())}" if counts else ""


def _additions(manifest: Manifest) -> str:
    """What was added after the build; its values can differ slightly from those computed by a build."""
    lines = [f"- {_text(addition.what)}: computed from {_text(addition.pixels)}" for addition in manifest.additions]
    return "\n".join(["", "Added later:", "", *lines, ""]) if lines else ""


def _warnings(manifest: Manifest) -> dict[str, dict[str, Any]]:
    return {name: warning for name, warning in manifest.hygiene.items() if isinstance(warning, dict)}


def _considerations(manifest: Manifest, corpus: Corpus, figures: Figures) -> str:
    spreads = [
        (f"`{name}`", *(f"{value:.4g}" for value in (spread.low, spread.median, spread.high)), f"{spread.missing:.1%}")
        for name, spread in figures.spreads.items()
    ]
    heads = ("measure of a clip", "5 %", "median", "95 %", "missing")
    removed = manifest.counts["rejected"].get("removed", 0)
    biases = "\n".join(f"- {sentence}" for sentence in bias(figures))
    return f"""## Considerations

### Personal data, consent and removal

{people(corpus, manifest.config)}
{f"{removed:,} clips have been removed from this dataset on request.{chr(10)}" if removed else ""}
### Biases

{biases}

{_table(heads, spreads) if spreads else ""}"""


def _licence(manifest: Manifest, corpus: Corpus) -> str:
    notes = [corpus.rights]
    notes += [_MODEL_LICENCE] * (manifest.config.landmarks != "none") + [_OPENFACE_LICENCE] * (manifest.config.aus != "none")
    return "## Licences\n\n" + "\n\n".join(notes) + "\n"


_MODEL_LICENCE = (
    "The landmark model was trained on iBUG 300-W, whose licence allows research use only; commercial use of these landmarks "
    "needs the consent of Imperial College London."
)
_OPENFACE_LICENCE = (
    "OpenFace's licence allows academic and other noncommercial research only; commercial use of these action units needs a "
    "licence from its authors."
)


def _citation(corpus: Corpus) -> str:
    return f"## Citation\n\n```bibtex\n{corpus.citation}\n```\n" if corpus.citation else ""


def _table(heads: tuple[str, ...], lines: Iterable[tuple[object, ...]]) -> str:
    """A Markdown table; values are escaped, so they may contain anything."""
    rows = [heads, ("---",) * len(heads), *lines]
    return "".join("| " + " | ".join(_line(value).replace("|", "\\|") for value in row) + " |\n" for row in rows)


def _text(value: object) -> str:
    """An untrusted value as one line of Markdown, with HTML escaped."""
    return _line(value).replace("&", "&amp;").replace("<", "&lt;")


def _code(name: str) -> str:
    """A name in backticks."""
    return "`" + _line(name).replace("`", "'") + "`"


def _line(value: object) -> str:
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in str(value))
