"""Draw clips of a finished dataset: a contact sheet of their frames, or one clip as an animated GIF.

    python -m dataset.preview OUT --key KEY [--key KEY ...] --output sheet.png
    python -m dataset.preview OUT --where "yaw_deg > 30" --count 6 --seed 1 --output sheet.jpg
    python -m dataset.preview OUT --sort landmark_residual --output doubtful.png
    python -m dataset.preview OUT --key KEY --gif clip.gif

`dataset.drawing.contact_sheet` describes what a sheet shows. Exit status: 0 written, 1 a fault, 2 unusable arguments,
130 interrupted; files are written whole or not at all.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import difflib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cyclopts import Parameter
from cyclopts.validators import Number
from PIL import Image

from motionshards.dataset.commandline import OfLocalDataset, Reporting, command, show
from motionshards.dataset.drawing.contact_sheet import Look, draw_block, marks_of
from motionshards.dataset.drawing.overlay import BACKGROUND, DRAWN, marked
from motionshards.dataset.drawing.source_frames import Sources
from motionshards.dataset.index import Dataset, Sample
from motionshards.dataset.query.where import parse
from motionshards.schemas.atomic import beside
from motionshards.schemas.errors import ConfigError, DatasetError
from motionshards.schemas.tables import CLIP_MEASURES

_SHEETS, _GIFS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}, {".gif": "GIF"}
_COUNT = 4
_TALLEST_PX, _MOST_PX = 65_000, 300_000_000  # a JPEG ends at 65,535 rows, and the sheet is in memory whole
_SHORTEST_MS, _LONGEST_MS, _UNKNOWN_MS = 40, 500, 200
_PALETTE_PX = 64
_NEAR, _COMPARED, _LONGEST_KEY = 3, 20_000, 300
_SIZES = ("n_frames", "source_frames", "duration_s", "width_px", "height_px")
_COLUMNS_READ = ("key", "split", "shard", "members", "spans", "source", *_SIZES)
_SORTED_BY = (*CLIP_MEASURES, "identity_spread")


def _between(low: int, high: int) -> Parameter:
    return Parameter(validator=Number(gte=low, lte=high))


@dataclass(frozen=True, slots=True)
class Drawn:
    """A file that was written. duration_s: of a GIF"""

    output: str
    clips: int
    frames: int
    width_px: int
    height_px: int
    duration_s: float | None = None

    def __str__(self) -> str:
        if self.duration_s is not None:
            return f"{self.output}: {self.frames} frames of {self.width_px} px, {self.duration_s:.1f} s"
        clips = f"{self.clips} clip{'' if self.clips == 1 else 's'}"
        return f"{self.output}: {clips}, {self.frames} frames; {self.width_px}x{self.height_px} px"


@dataclass(frozen=True, kw_only=True)
class PreviewOptions(Reporting, OfLocalDataset):
    """Options of `motionshards preview`."""

    output: Path | None = None
    """The contact sheet, .png or .jpg."""
    gif: Path | None = None
    """One clip as an animated GIF."""
    key: tuple[str, ...] = ()
    """Show this clip; may be repeated."""
    where: str | None = None
    """Choose from the clips that satisfy this condition, such as "yaw_deg > 30 and blur > 50"."""
    sort: str | None = None
    """Choose the clips with the largest values of this column, or with `--sort=-COLUMN` the smallest, not random ones."""
    count: Annotated[int | None, _between(1, 10_000)] = None
    """Number of clips to choose; by default 4."""
    seed: Annotated[int, _between(0, 2**63 - 1)] = 0
    """Seed of the choice."""
    input: str | None = None
    """Where the source videos are; by default as recorded in dataset.json."""
    no_landmarks: bool = False
    """Do not draw landmarks, face box and head pose."""
    frame_px: Annotated[int, _between(64, 1024)] = 192
    """Side of a frame on a sheet, in pixels."""
    per_row: Annotated[int, _between(1, 100)] = 5
    """Frames in a row of a sheet."""
    gif_px: Annotated[int | None, _between(16, 2048)] = None
    """Side of a GIF, in pixels; by default as stored."""


@command("preview", unusable=(ConfigError,), renamed={"--columns": "--per-row"})
def main(options: PreviewOptions) -> None:
    """Draw clips of a dataset: a contact sheet of their frames, or one clip as an animated GIF."""
    _check(options)
    for done in _preview(options):
        show(json.dumps(asdict(done)) if options.json else done)


def _preview(options: PreviewOptions) -> list[Drawn]:
    """Write the files that the options ask for."""
    data, drawn = _opened(options.data), []
    rows = _chosen(data, options)
    if options.gif and len(rows) != 1:
        raise ConfigError(f"--gif shows one clip, and {len(rows)} are chosen: name one with --key, or --count 1")
    sample = data.read(rows[0]) if options.gif else None  # before anything is written: it may be damaged
    if options.output:
        sheet = _sheet(data, rows, options)
        _write(options.output, sheet, quality=92)
        frames = sum(row["n_frames"] for row in rows)
        drawn.append(Drawn(str(options.output), len(rows), frames, sheet.width, sheet.height))
    if options.gif and sample:
        drawn.append(_write_gif(options, options.gif, sample))
    return drawn


def _opened(out: Path) -> Dataset:
    try:
        return Dataset.open(out)
    except DatasetError as error:
        raise ConfigError(str(error)) from error


def _chosen(data: Dataset, options: PreviewOptions) -> list[dict[str, Any]]:
    """The rows of the clips that are named, in that order, or of those that are chosen. Raises ConfigError."""
    keys = list(dict.fromkeys(options.key)) or _some(data, options)
    columns = [*_COLUMNS_READ, *([] if options.sort is None else [options.sort.removeprefix("-")])]
    rows = {row["key"]: row for row in data.index(columns, where=pc.field("key").isin(keys)).to_pylist()}
    for key in keys:
        if key not in rows:
            raise ConfigError(_no_such(key, data))
    return [rows[key] for key in keys]


def _some(data: Dataset, options: PreviewOptions) -> list[str]:
    """Keys of clips that --where selects: the first by --sort, or random ones in the order of the index."""
    column = "key" if options.sort is None else options.sort.removeprefix("-")
    if options.sort is not None and column not in _SORTED_BY:
        raise ConfigError(f"--sort: there is no measure {column[:40]!r} (there are {', '.join(_SORTED_BY)})")
    condition = None if options.where is None else parse(options.where)
    matching = data.index(list({"key": 0, column: 0}), where=condition)
    found = matching.drop_null()
    if len(matching) and not len(found):
        raise ConfigError(f"--sort: no clip has a value of {column}")
    if not len(found):
        raise ConfigError("the data set holds no clip" if options.where is None else f"no clip matches --where {options.where}")
    count = min(options.count or _COUNT, len(found))
    if options.sort is None:
        numbers = np.sort(np.random.default_rng(options.seed).choice(len(found), count, replace=False))
    else:
        values = found[column].to_numpy()
        numbers = np.argsort(values if options.sort.startswith("-") else -values, kind="stable")[:count]
    return [str(key) for key in found["key"].take(pa.array(numbers)).to_pylist()]


def _no_such(key: str, data: Dataset) -> str:
    """Says that there is no such clip, and names those that are called much like it."""
    keys = data.index(["key"])["key"]
    if not len(keys):
        return "it holds no clip"
    near, shown = _near(key[:_LONGEST_KEY], keys), key[:_LONGEST_KEY]
    hint = f"near it are {', '.join(near)}" if near else f"of {len(keys)} the first is {keys[0]}"
    return f"there is no clip {shown!r}; {hint}"


def _near(key: str, keys: pa.ChunkedArray) -> list[str]:
    """Keys much like this one: of the same video if there are any, else of the same person, else any of the first ones."""
    identity, _, rest = key.partition("/")
    video = rest.partition("/")[0]
    for part in (f"{identity}/{video}/", f"{identity}/", f"/{video}/", ""):
        alike = keys.filter(pc.match_substring(keys, part)).slice(0, _COMPARED).to_pylist()
        if near := difflib.get_close_matches(key, alike, _NEAR):
            return near
    return []


def _sheet(data: Dataset, rows: Sequence[dict[str, Any]], options: PreviewOptions) -> Image.Image:
    """One block below the other. Raises ConfigError: it would be too large; DatasetError."""
    aus = data.manifest.config.aus != "none"
    look = Look.of(rows, frame_px=options.frame_px, columns=options.per_row, drawn=not options.no_landmarks, aus=aus)
    look = replace(look, measure=options.sort and options.sort.removeprefix("-"))
    tops = np.cumsum([0, *(look.height(row["n_frames"]) for row in rows)]).tolist()
    if tops[-1] > _TALLEST_PX or tops[-1] * look.width > _MOST_PX:
        raise ConfigError(f"a sheet of {look.width}x{tops[-1]} px is too large: ask for fewer clips, or a smaller --frame-px")
    sources = Sources.found(options.input, data.manifest.input, data.manifest.config.hdr)
    sheet = Image.new("RGB", (look.width, tops[-1]), BACKGROUND)
    for top, row in zip(tops[:-1], rows, strict=True):
        sheet.paste(draw_block(row, data.read(row), sources, look), (0, top))
    return sheet


def _write_gif(options: PreviewOptions, gif: Path, sample: Sample) -> Drawn:
    """The frames of a clip in time order, in colours that all of them share: colours of each one's own flicker.

    Raises:
        ConfigError: it would be too large
    """
    side = options.gif_px or sample.frames.shape[1]
    if len(sample.frames) * side**2 > _MOST_PX:
        raise ConfigError(f"a GIF of {len(sample.frames)} frames of {side} px is too large: ask for a smaller --gif-px")
    pictures = [
        marked(frame, side, None if options.no_landmarks else marks_of(sample, number))
        for number, frame in enumerate(sample.frames)
    ]
    colours = _shared_colours(pictures)
    first, *others = [picture.quantize(palette=colours) for picture in pictures]
    delays = delays_ms(sample.meta)
    _write(gif, first, save_all=True, append_images=others, duration=delays, loop=0, disposal=1)
    return Drawn(str(gif), 1, len(pictures), first.width, first.height, sum(delays) / 1000)


def _shared_colours(pictures: Sequence[Image.Image]) -> Image.Image:
    """A picture that has 256 colours: those of the marks, which are few pixels, and such as do for all the pictures."""
    small = [np.asarray(picture.resize((_PALETTE_PX, _PALETTE_PX))) for picture in pictures]
    colours = Image.fromarray(np.concatenate(small)).quantize(256 - len(DRAWN))
    colours.putpalette([*(colours.getpalette() or []), *(value for colour in DRAWN for value in colour)])
    return colours


def delays_ms(meta: dict[str, Any]) -> list[int]:
    """How long each frame is shown: until the next one's time, but within what can be watched. The last, and those that a new
    file follows, are shown as long as the others are on average."""
    steps = np.append(np.diff(np.array(meta["pts_s"], np.float64)), 0) * 1000
    steps[:-1][np.diff(meta["span"]) != 0] = 0
    usual = float(np.median(steps[steps > 0])) if (steps > 0).any() else _UNKNOWN_MS
    shown = np.where(steps > 0, steps, usual).clip(_SHORTEST_MS, _LONGEST_MS)
    return [int(round(delay, -1)) for delay in shown]  # a GIF counts hundredths of a second


def _write(path: Path, picture: Image.Image, **how: Any) -> None:
    """Write a picture whole or not at all, in the format that its suffix says."""
    content = io.BytesIO()
    picture.save(content, {**_SHEETS, **_GIFS}[path.suffix.lower()], **how)
    with beside(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def _check(options: PreviewOptions) -> None:
    """Raise ConfigError for arguments that mean nothing."""
    if not options.output and not options.gif:
        raise ConfigError("nothing is asked for: --output FILE or --gif FILE")
    for name, path, suffixes in (("output", options.output, _SHEETS), ("gif", options.gif, _GIFS)):
        if path:
            _check_file(name, path, tuple(suffixes))
    if options.key and (options.where, options.count, options.sort) != (None, None, None):
        raise ConfigError("--key names clips; --where, --sort and --count choose among all: give one or the other")
    for key in options.key:
        if not key.isprintable():
            raise ConfigError(f"there is no clip {key!r}: it holds what is no text")


def _check_file(name: str, path: Path, suffixes: tuple[str, ...]) -> None:
    if path.suffix.lower() not in suffixes:
        raise ConfigError(f"--{name} {path} must be called *{' or *'.join(suffixes)}")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ConfigError(
            f"--{name} {path} is a directory" if path.is_dir() else f"--{name}: there is no directory {path.parent}"
        )
