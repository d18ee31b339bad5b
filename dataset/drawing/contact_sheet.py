"""A contact sheet: the stored data of clips as an image.

The block of a clip has two lines of text; its source frame with the outline of the crop, or why it is missing; and all stored
frames in time order, wrapped into rows, with landmarks, face box and head pose, and below each frame its time, blur, angles and
action units. If video is stored, a strip shows the waveform of its sound, with a line at the time of each of these frames.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
from PIL import Image

from motionshards.dataset.drawing.motion import Motion
from motionshards.dataset.drawing.source_frames import Sources, source_frames, source_to_shown
from motionshards.dataset.index import Sample
from motionshards.dataset.plotting import overlay
from motionshards.dataset.plotting.waveform import marked_at, waveform
from motionshards.schemas.errors import ClipRejected, StoreFailed


@dataclass(frozen=True, slots=True)
class SheetLayout:
    """Layout of a sheet; all sizes are in pixels of the sheet.

    frame_px: side of a frame
    columns: frames side by side
    drawn: whether landmarks, box and pose are drawn
    aus: whether there is space for action units
    source_px: width reserved for source frames
    moving: whether there is space for a waveform
    measure: column of the index whose value is shown in the header of each clip
    """

    frame_px: int
    columns: int
    drawn: bool
    aus: bool
    source_px: int
    moving: bool = False
    measure: str | None = None

    @classmethod
    def of(
        cls, clips: Sequence[dict[str, Any]], *, frame_px: int, columns: int, drawn: bool, aus: bool, moving: bool
    ) -> "SheetLayout":
        """A layout for clips, rows of the index, with no more columns and source width than they can fill."""
        bare = cls(frame_px, min(columns, max(clip["n_frames"] for clip in clips)), drawn, aus, frame_px, moving)
        widths = [bare.source_height(clip["n_frames"]) * clip["width_px"] / clip["height_px"] for clip in clips]
        return replace(bare, source_px=round(min(max(frame_px, *widths), 2 * frame_px + bare.gap)))

    @property
    def gap(self) -> int:
        """Space between neighboring elements."""
        return max(6, self.frame_px // 16)

    @property
    def letters(self) -> int:
        """Font size of the text below a frame."""
        return max(8, self.frame_px // 15)

    @property
    def bars(self) -> int:
        """Height of the action unit bars with the space above them."""
        return self.frame_px // 4 if self.aus else 0

    @property
    def cell(self) -> int:
        """Height of a frame with everything below it."""
        return self.frame_px + 3 * self.letters + self.bars + self.gap

    @property
    def strip(self) -> int:
        """Height of a waveform with the line above it."""
        return self.frame_px // 4 + 2 * self.letters if self.moving else 0

    @property
    def head(self) -> int:
        """Height of the two lines of text above the frames."""
        return 5 * self.letters

    @property
    def left(self) -> int:
        """Left edge of the first frame of a row."""
        return self.source_px + 3 * self.gap

    @property
    def width(self) -> int:
        """Width of the sheet."""
        return self.left + self.columns * (self.frame_px + self.gap)

    def source_height(self, frames: int) -> int:
        """Height reserved for the source frame of a clip: two rows of frames, if there are as many."""
        return self.frame_px + (min(2, self.rows(frames)) - 1) * self.cell

    def rows(self, frames: int) -> int:
        """Number of rows for this number of frames."""
        return ceil(frames / self.columns)

    def height(self, frames: int) -> int:
        """Height of the block of a clip."""
        return self.head + self.rows(frames) * self.cell + self.strip + self.gap


def draw_block(row: dict[str, Any], sample: Sample, motion: Motion | None, sources: Sources, layout: SheetLayout) -> Image.Image:
    """Draw the block of a clip: RGB, layout.width x layout.height(frames)."""
    image = Image.new("RGB", (layout.width, layout.height(len(sample.frames))), overlay.BACKGROUND)
    _draw_head(image, row, sample, layout)
    _draw_source(image, row, sample, sources, layout)
    step = layout.frame_px + layout.gap
    for number in range(len(sample.frames)):
        down, across = divmod(number, layout.columns)
        image.paste(_cell(sample, number, layout), (layout.left + across * step, layout.head + down * layout.cell))
    if motion is not None:
        _draw_motion(image, row, sample, motion, layout)
    return image


def _draw_head(image: Image.Image, row: dict[str, Any], sample: Sample, layout: SheetLayout) -> None:
    width, height = sample.meta["source_size_px"][0]
    stored = sample.frames.shape[1]
    facts = [
        f"{row['source']} · {row['split']}",
        f"{len(sample.frames)} of {row['source_frames']} frames in {row['duration_s']:.1f} s",
        f"stored {stored}x{stored} px of {width}x{height}",
    ]
    sizes = [size for size in sample.meta["face_size_px"] if size is not None]
    facts += [f"face {np.median(sizes):.0f} px"] if sizes else []
    facts += [f"{layout.measure} {row[layout.measure]:.4g}"] if layout.measure else []
    letters = layout.letters
    overlay.text_line(image, (layout.gap, 2.2 * letters), row["key"], round(1.5 * letters))
    overlay.text_line(image, (layout.gap, 3.9 * letters), "  ·  ".join(facts), letters, overlay.FAINT)


def _draw_source(image: Image.Image, row: dict[str, Any], sample: Sample, sources: Sources, layout: SheetLayout) -> None:
    """Draw the source of the middle frame with the crop's outline, or why it is missing."""
    number, meta = len(sample.frames) // 2, sample.meta
    space = (layout.source_px, layout.source_height(len(sample.frames)))
    try:
        shown = _crop_in_source(row, sample, number, sources, space)
    except (ClipRejected, StoreFailed) as error:
        _draw_words(image, f"no source video: {_why(error)}", space, layout)
        return
    image.paste(shown, (layout.gap, layout.head))
    words = f"source, frame {meta['frame_index'][number]}, {meta['pts_s'][number]:.2f} s"
    overlay.text_line(
        image, (layout.gap, layout.head + shown.height + 1.5 * layout.letters), words, layout.letters, overlay.FAINT
    )


def _crop_in_source(row: dict[str, Any], sample: Sample, number: int, sources: Sources, space: tuple[int, int]) -> Image.Image:
    """The source of a frame with the outlines of crop and face box. Raises ClipRejected, StoreFailed."""
    if sources.root is None:
        raise ClipRejected("unreadable", sources.missing)
    meta = sample.meta
    place = (meta["span"][number], meta["frame_index"][number])
    (shown,) = source_frames(sources.root, row["spans"], [place], max(space), sources.hdr)
    to_shown = source_to_shown(meta["source_size_px"][number], shown)
    affine = meta["source_to_crop"][number]
    corners = overlay.crop_corners(affine, sample.frames.shape[1]) @ to_shown[:, :2].T + to_shown[:, 2]
    x0, y0, x1, y1 = meta.get("boxes_px", {number: [None] * 4})[number]
    if x0 is None:
        return overlay.crop_in_source(shown, space, corners)
    box = overlay.to_source(affine, [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]) @ to_shown[:, :2].T + to_shown[:, 2]
    return overlay.crop_in_source(shown, space, corners, box)


def _why(error: ClipRejected | StoreFailed) -> str:
    return error.detail or error.reason if isinstance(error, ClipRejected) else str(error)


def _draw_words(image: Image.Image, words: str, space: tuple[int, int], layout: SheetLayout) -> None:
    """Draw text in place of the source frame."""
    image.paste(overlay.PANEL, (layout.gap, layout.head, layout.gap + space[0], layout.head + min(space[1], layout.frame_px)))
    lines = textwrap.wrap(words, max(8, int(space[0] / layout.letters * 1.6)), max_lines=5)
    for number, line in enumerate(lines):
        place = (2 * layout.gap, layout.head + layout.gap + (1 + 1.5 * number) * layout.letters)
        overlay.text_line(image, place, line, layout.letters, overlay.WARNING)


def _draw_motion(image: Image.Image, row: dict[str, Any], sample: Sample, motion: Motion, layout: SheetLayout) -> None:
    """Draw a line about stored video and sound, and the waveform."""
    top = layout.head + layout.rows(len(sample.frames)) * layout.cell
    words, place = f"video: {len(motion)} frames at {float(motion.video.rate):.4g} fps", (layout.left, top + layout.letters)
    overlay.text_line(image, place, f"{words}  ·  {_sound_text(row)}", layout.letters, overlay.FAINT)
    if sound := motion.sound():
        strip = waveform(sound.samples, (layout.width - layout.left - layout.gap, layout.frame_px // 4))
        shown = zip(sample.meta["span"], sample.meta["frame_index"], strict=True)
        image.paste(marked_at(strip, [motion.share_of(*one) for one in shown]), (layout.left, top + 2 * layout.letters))


def _sound_text(row: dict[str, Any]) -> str:
    hz, level_db, silence = (row[f"audio_{name}"] for name in ("hz", "level_db", "silence"))
    if None in (hz, level_db, silence):
        return f"no sound: {row['audio_lost']}" if row["audio_lost"] else "no sound"
    return f"sound: {hz} Hz, {level_db:.1f} dB, {100 * silence:.0f} % silent"


def _cell(sample: Sample, number: int, layout: SheetLayout) -> Image.Image:
    """A frame with its values below it."""
    cell = Image.new("RGB", (layout.frame_px, layout.cell), overlay.BACKGROUND)
    cell.paste(overlay.marked(sample.frames[number], layout.frame_px, sample.marks(number) if layout.drawn else None))
    meta, letters = sample.meta, layout.letters
    blur = _number("blur", meta["blur"][number])
    line = layout.frame_px + round(1.4 * letters)
    overlay.text_line(cell, (0, line), f"{meta['pts_s'][number]:.2f} s", letters)
    overlay.text_line(cell, (layout.frame_px - overlay.font(letters).getlength(blur), line), blur, letters, overlay.FAINT)
    angles = "  ".join(_number(name, meta[f"{name}_deg"][number], "°") for name in ("yaw", "pitch", "roll"))
    place = (0, line + round(1.4 * letters))
    if meta["yaw_deg"][number] is not None:
        overlay.text_line(cell, place, angles, letters, overlay.FAINT)
    elif sample.landmarks is not None:
        found = np.isfinite(sample.landmarks[number]).all()
        overlay.text_line(cell, place, "no head pose" if found else "no face found", letters, overlay.WARNING)
    if sample.aus is not None:
        bars = overlay.au_bars(sample.aus[number], (layout.frame_px, layout.bars - layout.gap // 2))
        cell.paste(bars, (0, layout.frame_px + 3 * letters + layout.gap // 2))
    return cell


def _number(name: str, value: float | None, unit: str = "") -> str:
    return f"{name} ?" if value is None else f"{name} {round(value)}{unit}"
