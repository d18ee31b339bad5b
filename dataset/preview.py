"""Show clips of a finished dataset: a contact sheet of their frames, a GIF of one, or their stored video with its sound.

    python -m dataset.preview OUT --key KEY [--key KEY ...] --output sheet.png
    python -m dataset.preview OUT --where "yaw_deg > 30" --count 6 --seed 1 --output sheet.jpg
    python -m dataset.preview OUT --sort landmark_residual --output doubtful.png
    python -m dataset.preview OUT --key KEY --gif clip.gif
    python -m dataset.preview OUT --where "audio_level_db < -40" --count 6 --mp4 DIR

`dataset.drawing.contact_sheet` describes the layout of a sheet. Files are written atomically. Exit status: 0 written,
1 error, 2 invalid arguments, 130 interrupted.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

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

from motionshards.dataset.commandline import LocalDatasetArgument, OutputOptions, command, show
from motionshards.dataset.drawing.animation import in_shared_colors, of_stills, of_video
from motionshards.dataset.drawing.contact_sheet import SheetLayout, draw_block
from motionshards.dataset.drawing.motion import Motion, read_clip
from motionshards.dataset.drawing.source_frames import Sources
from motionshards.dataset.index import Dataset, Sample
from motionshards.dataset.plotting.overlay import BACKGROUND
from motionshards.dataset.query.similar import LONGEST_NAME, similar
from motionshards.dataset.query.where import parse
from motionshards.schemas.atomic import beside
from motionshards.schemas.config import MAX_FRAMES
from motionshards.schemas.errors import ConfigError, DatasetError, either
from motionshards.schemas.layout import is_plain_name
from motionshards.schemas.tables import CLIP_MEASURES, SOUND_MEASURES

_SHEETS, _GIFS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}, {".gif": "GIF"}
_COUNT = 4
_FRAMES_OF_VIDEO = 15
_TALLEST_PX, _MOST_PX = 65_000, 300_000_000  # JPEG allows 65,535 rows, and the whole sheet is in memory
_SIZES = ("n_frames", "source_frames", "duration_s", "width_px", "height_px")
_SOUND = ("audio_hz", "audio_level_db", "audio_silence", "audio_lost")
_COLUMNS_READ = ("key", "split", "shard", "members", "spans", "source", *_SIZES, *_SOUND)
_SORTED_BY = (*CLIP_MEASURES, "identity_spread", *SOUND_MEASURES)


def _between(low: int, high: int) -> Parameter:
    return Parameter(validator=Number(gte=low, lte=high))


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file that was written. duration_s: length of a GIF or mp4"""

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
class PreviewOptions(OutputOptions, LocalDatasetArgument):
    """Options of `motionshards preview`."""

    output: Path | None = None
    """Write a contact sheet to this file, .png or .jpg."""
    gif: Path | None = None
    """Write one clip as an animated GIF to this file: its stored video with the waveform of its sound, or its stills."""
    mp4: Path | None = None
    """Write the stored video of each clip with its sound to this directory, as KEY.mp4, without re-encoding."""
    key: tuple[str, ...] = ()
    """Show this clip; may be repeated."""
    where: str | None = None
    """Choose from the clips that satisfy this condition, such as "yaw_deg > 30 and blur > 50"."""
    sort: str | None = None
    """Choose the clips with the largest values of this column (with `--sort=-COLUMN`, the smallest) instead of random clips."""
    count: Annotated[int | None, _between(1, 10_000)] = None
    """Number of clips to choose; by default 4."""
    seed: Annotated[int, _between(0, 2**63 - 1)] = 0
    """Random seed of the choice."""
    input: str | None = None
    """Where the source videos are; by default as recorded in dataset.json."""
    frames: Annotated[int | None, _between(1, 999)] = None
    """Maximum number of frames per clip on a sheet, evenly spaced; by default all stills, or 15 frames of a video."""
    no_landmarks: bool = False
    """Do not draw landmarks, face box and head pose."""
    frame_px: Annotated[int, _between(64, 1024)] = 192
    """Height and width of a frame on a sheet, in pixels."""
    per_row: Annotated[int, _between(1, 100)] = 5
    """Number of frames per row of a sheet."""
    gif_px: Annotated[int | None, _between(16, 2048)] = None
    """Height and width of a GIF's frames, in pixels; by default as stored."""


@command("preview", unusable=(ConfigError,), renamed={"--columns": "--per-row"})
def main(options: PreviewOptions) -> None:
    """Show clips of a dataset: a contact sheet of their frames, a GIF of one, or their stored video with its sound."""
    _check(options)
    for done in _preview(options):
        show(json.dumps(asdict(done)) if options.json else done)


def _preview(options: PreviewOptions) -> list[WrittenFile]:
    """Write the requested files."""
    data, written = _opened(options.data), []
    rows = _rows(data, options)
    if options.gif and len(rows) != 1:
        raise ConfigError(f"--gif shows one clip, but {len(rows)} are chosen: name one with --key, or use --count 1")
    if options.mp4 and not data.manifest.config.stores_video:
        raise ConfigError("--mp4 needs stored video, but this dataset has only stills (see dataset.build --store)")
    # Read before writing anything, since the clip may be damaged.
    clip = read_clip(data, rows[0], None if data.manifest.config.stores_stills else 1) if options.gif else None
    if options.output:
        sheet = _sheet(data, rows, options)
        _write(options.output, sheet, quality=92)
        frames = sum(min(row["n_frames"], _most_frames(data, options)) for row in rows)
        written.append(WrittenFile(str(options.output), len(rows), frames, sheet.width, sheet.height))
    if options.gif and clip:
        written.append(_write_gif(options, options.gif, *clip))
    if options.mp4:
        written += [_write_mp4(data, row, options.mp4) for row in rows]
    return written


def _opened(out: Path) -> Dataset:
    try:
        return Dataset.open(out)
    except DatasetError as error:
        raise ConfigError(str(error)) from error


def _rows(data: Dataset, options: PreviewOptions) -> list[dict[str, Any]]:
    """Rows of the named clips, in that order, or of the chosen ones. Raises ConfigError."""
    keys = list(dict.fromkeys(options.key)) or _choose(data, options)
    columns = dict.fromkeys([*_COLUMNS_READ, *([] if options.sort is None else [options.sort.removeprefix("-")])])
    rows = {row["key"]: row for row in data.index(list(columns), where=pc.field("key").isin(keys)).to_pylist()}
    for key in keys:
        if key not in rows:
            raise ConfigError(_unknown_key(key, data))
    return [rows[key] for key in keys]


def _choose(data: Dataset, options: PreviewOptions) -> list[str]:
    """Keys of clips that --where selects: the first by --sort, or random ones in the order of the index."""
    column = "key" if options.sort is None else options.sort.removeprefix("-")
    if options.sort is not None and column not in _SORTED_BY:
        raise ConfigError(f"--sort: there is no measure {column[:40]!r}. Choose from: {', '.join(_SORTED_BY)}")
    condition = None if options.where is None else parse(options.where)
    matching = data.index(list({"key": 0, column: 0}), where=condition)
    found = matching.drop_null()
    if len(matching) and not len(found):
        raise ConfigError(f"--sort: no clip has a value of {column}")
    if not len(found):
        raise ConfigError("the dataset has no clips" if options.where is None else f"no clip matches --where {options.where}")
    count = min(options.count or _COUNT, len(found))
    if options.sort is None:
        numbers = np.sort(np.random.default_rng(options.seed).choice(len(found), count, replace=False))
    else:
        values = found[column].to_numpy()
        numbers = np.argsort(values if options.sort.startswith("-") else -values, kind="stable")[:count]
    return [str(key) for key in found["key"].take(pa.array(numbers)).to_pylist()]


def _unknown_key(key: str, data: Dataset) -> str:
    """The message for an unknown key, with similar keys."""
    keys = data.index(["key"])["key"]
    if not len(keys):
        return "the dataset has no clips"
    near, shown = similar(key, keys), key[:LONGEST_NAME]
    hint = f"similar keys: {', '.join(near)}" if near else f"the first of {len(keys)} is {keys[0]}"
    return f"there is no clip {shown!r}; {hint}"


def _sheet(data: Dataset, rows: Sequence[dict[str, Any]], options: PreviewOptions) -> Image.Image:
    """The sheet, one block per clip. Raises ConfigError: it would be too large; DatasetError."""
    config, most = data.manifest.config, _most_frames(data, options)
    shown = [{**row, "n_frames": min(row["n_frames"], most)} for row in rows]
    kinds = {"drawn": not options.no_landmarks, "aus": config.aus != "none", "moving": config.stores_video}
    layout = SheetLayout.of(shown, frame_px=options.frame_px, columns=options.per_row, **kinds)
    layout = replace(layout, measure=options.sort and options.sort.removeprefix("-"))
    tops = np.cumsum([0, *(layout.height(row["n_frames"]) for row in shown)]).tolist()
    if tops[-1] > _TALLEST_PX or tops[-1] * layout.width > _MOST_PX:
        raise ConfigError(f"a sheet of {layout.width}x{tops[-1]} px is too large: choose fewer clips, or a smaller --frame-px")
    sources = Sources.found(options.input, data.manifest.input, data.manifest.config.hdr)
    sheet = Image.new("RGB", (layout.width, tops[-1]), BACKGROUND)
    for top, row in zip(tops[:-1], rows, strict=True):
        sheet.paste(draw_block(row, *read_clip(data, row, most), sources, layout), (0, top))
    return sheet


def _most_frames(data: Dataset, options: PreviewOptions) -> int:
    return options.frames or (MAX_FRAMES if data.manifest.config.stores_stills else _FRAMES_OF_VIDEO)


def _write_gif(options: PreviewOptions, gif: Path, sample: Sample, motion: Motion | None) -> WrittenFile:
    """Write the stored video with its waveform, or the stills. Raises ConfigError: it would be too large; DatasetError."""
    drawing = (options.gif_px or sample.frames.shape[1], not options.no_landmarks)
    animation = of_stills(sample, *drawing) if motion is None else of_video(motion, *drawing)
    first, *others = in_shared_colors(animation.images)
    _write(gif, first, save_all=True, append_images=others, duration=animation.delays_ms, loop=0, disposal=1)
    return WrittenFile(str(gif), 1, len(animation.images), first.width, first.height, sum(animation.delays_ms) / 1000)


def _write_mp4(data: Dataset, row: dict[str, Any], directory: Path) -> WrittenFile:
    """Write the stored video of a clip with its sound. Raises DatasetError."""
    _, motion = read_clip(data, row, 1)
    name = f"{row['key'].replace('/', '.')}.mp4"  # keys have no dots, so file names are unique
    if motion is None or not is_plain_name(name):
        raise DatasetError(f"{row['key']} {'has no stored video' if motion is None else 'is not a valid file name'}")
    path = directory / name
    directory.mkdir(exist_ok=True)
    with beside(path) as temporary:
        temporary.write_bytes(motion.playable()[0])
    return WrittenFile(
        str(path), 1, len(motion), motion.video.size_px, motion.video.size_px, float(len(motion) / motion.video.rate)
    )


def _write(path: Path, image: Image.Image, **how: Any) -> None:
    """Write an image atomically, in the format of its suffix."""
    content = io.BytesIO()
    image.save(content, {**_SHEETS, **_GIFS}[path.suffix.lower()], **how)
    with beside(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def _check(options: PreviewOptions) -> None:
    """Raises ConfigError: options cannot be used together."""
    if not options.output and not options.gif and not options.mp4:
        raise ConfigError("no output requested: pass --output FILE, --gif FILE or --mp4 DIR")
    if options.mp4 and not options.mp4.is_dir() and (options.mp4.exists() or not options.mp4.absolute().parent.is_dir()):
        raise ConfigError(f"--mp4 {options.mp4} is not a directory and cannot be created")
    for name, path, suffixes in (("output", options.output, _SHEETS), ("gif", options.gif, _GIFS)):
        if path:
            _check_file(name, path, tuple(suffixes))
    if options.key and (options.where, options.count, options.sort) != (None, None, None):
        raise ConfigError("--key cannot be combined with --where, --sort and --count")
    for key in options.key:
        if not key.isprintable():
            raise ConfigError(f"there is no clip {key!r}: it has unprintable characters")


def _check_file(name: str, path: Path, suffixes: tuple[str, ...]) -> None:
    if path.suffix.lower() not in suffixes:
        raise ConfigError(f"--{name} {path} must end in {either(suffixes)}")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ConfigError(
            f"--{name} {path} is a directory" if path.is_dir() else f"--{name}: the directory {path.parent} does not exist"
        )
