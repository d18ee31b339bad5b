"""A matplotlib figure of clips: frames with marks, action units as bars, and the waveform.

Lengths are in inches from the top left. Axes are placed at computed positions, since a layout engine takes twice as long.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from motionshards.dataset.plotting.overlay import marked
from motionshards.dataset.plotting.panel import Panel
from motionshards.dataset.plotting.waveform import envelope
from motionshards.schemas.action_units import INTENSITIES, MOST
from motionshards.schemas.printable import printable

_WIDTH, _FRAMES_ACROSS, _LARGEST_FRAME = 12.0, 8, 1.7
_GAP, _BETWEEN, _MARGIN = 0.05, 0.2, 0.1  # between frames, between clips, around all
_TITLE, _LINE, _BARS, _WAVE = 0.24, 0.13, 0.42, 0.4
_DPI = 100
_PX_PER_INCH = 200  # of frames; twice the dpi, for high-resolution screens
_LETTERS, _SMALL = 8.0, 6.5  # points
_LETTER_WIDTH = 0.6  # of the size of a font
_COLUMNS = 1200  # of a waveform
_FAINT, _BAR, _TARGET, _SOUND, _PANEL = "#6b7280", "#5694f2", "#e4572e", "#3b82c4", "#f1f3f6"
_NAMED, _LEAST_NAMED = 3, 0.5  # name up to 3 action units with at least this intensity


class NotebookFigure(Figure):
    """A figure that notebooks display as the value of a cell; not registered with pyplot, which would display it twice."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png")
        return content.getvalue()


@dataclass(frozen=True, slots=True)
class _Layout:
    """The dimensions of a panel.

    n, frame: number of frames, and their side in inches
    lines: lines of text below the frames
    named: lines of text below the bars of action units; 0 without action units
    wave: whether there is a waveform
    """

    n: int
    frame: float
    lines: int
    named: int
    wave: bool

    @classmethod
    def of(cls, panels: Sequence[Panel], across: int) -> "_Layout":
        n = len(panels[0].frames)
        frame = (_WIDTH - (across - 1) * _BETWEEN + _GAP) / (across * n) - _GAP
        lines = max(caption.count("\n") + 1 for panel in panels for caption in panel.captions)
        aus, target, audio = (
            any(getattr(panel, name) is not None for panel in panels) for name in ("aus", "target_aus", "audio")
        )
        return cls(n, min(frame, _LARGEST_FRAME), lines, aus + target, audio)

    @property
    def width(self) -> float:
        return self.n * (self.frame + _GAP) - _GAP

    @property
    def height(self) -> float:
        return self.to_sound + (_WAVE + _LINE if self.wave else 0)

    @property
    def to_sound(self) -> float:
        """Distance from the top of a panel to the top of its waveform."""
        return _TITLE + self.frame + _GAP + (self.lines + self.named) * _LINE + (_BARS if self.named else 0)


def draw(panels: Sequence[Panel]) -> NotebookFigure:
    """A figure of clips with the same number of frames; clips with few frames share a row."""
    across = min(len(panels), max(1, _FRAMES_ACROSS // len(panels[0].frames)))
    layout = _Layout.of(panels, across)
    step_x, step_y = layout.width + _BETWEEN, layout.height + _BETWEEN
    size = (2 * _MARGIN - _BETWEEN + across * step_x, 2 * _MARGIN - _BETWEEN + math.ceil(len(panels) / across) * step_y)
    figure = NotebookFigure(figsize=size, dpi=_DPI)
    for number, panel in enumerate(panels):
        down, right = divmod(number, across)
        _draw_panel(figure, panel, layout, _MARGIN + right * step_x, _MARGIN + down * step_y)
    return figure


def _draw_panel(figure: Figure, panel: Panel, layout: _Layout, left: float, top: float) -> None:
    _write(figure, left, top, _end_of(panel.title, layout.width), _LETTERS, "black", weight="bold")
    _draw_frames(_axes(figure, left, top + _TITLE, layout.width, layout.frame), panel, layout)
    below = top + _TITLE + layout.frame + _GAP
    for number, caption in enumerate(panel.captions):
        start = left + number * (layout.frame + _GAP)
        _write(figure, start, below, caption, _SMALL, _FAINT)
        if panel.aus is not None:
            target = panel.target_aus if number == layout.n - 1 else None
            _draw_action_units(figure, panel.aus[number], target, start, below + layout.lines * _LINE, layout.frame)
    if panel.audio is not None and panel.audio_hz:
        _draw_sound(figure, panel.audio, panel.audio_hz, left, top + layout.to_sound, layout.width)


def _draw_frames(axes: Axes, panel: Panel, layout: _Layout) -> None:
    side_px, gap_px = round(layout.frame * _PX_PER_INCH), round(_GAP * _PX_PER_INCH)
    strip = np.full((side_px, layout.n * (side_px + gap_px) - gap_px, 3), 255, np.uint8)
    for number, (frame, marks) in enumerate(zip(panel.frames, panel.marks, strict=True)):
        start = number * (side_px + gap_px)
        strip[:, start : start + side_px] = np.asarray(marked(frame, side_px, marks))
    axes.imshow(strip, aspect="auto", interpolation="antialiased")


def _draw_action_units(
    figure: Figure, values: NDArray[np.floating], target: NDArray[np.floating] | None, left: float, top: float, width: float
) -> None:
    """Bars from 0 to 5 above the names of the strongest action units; the target's bars are outlines."""
    axes = _axes(figure, left, top, width, _BARS - _GAP, _PANEL)
    axes.set(xlim=(-0.7, len(INTENSITIES) - 0.3), ylim=(0, MOST))
    places = np.arange(len(INTENSITIES))
    axes.bar(places, np.nan_to_num(values), 0.7, color=_BAR)
    _write(figure, left, top + _BARS, _strongest(values), _SMALL, _FAINT)
    if target is not None:
        axes.bar(places, np.nan_to_num(target), 0.9, fill=False, edgecolor=_TARGET, linewidth=0.8)
        _write(figure, left, top + _BARS + _LINE, f"→ {_strongest(target)}", _SMALL, _TARGET)


def _strongest(values: NDArray[np.floating]) -> str:
    if not np.isfinite(values).any():
        return "no action units"
    named = [number for number in np.argsort(-values)[:_NAMED] if values[number] >= _LEAST_NAMED]
    return "  ".join(f"{INTENSITIES[number]} {values[number]:.1f}" for number in named) or "neutral"


def _draw_sound(figure: Figure, audio: NDArray[np.float32], hz: int, left: float, top: float, width: float) -> None:
    axes, columns = _axes(figure, left, top, width, _WAVE - _GAP, _PANEL), min(_COLUMNS, len(audio))
    low, high = envelope(np.rint(audio[:, None] * 32767).astype(np.int16), columns).T
    axes.fill_between(np.linspace(0, 1, columns), low, high, color=_SOUND, linewidth=0)
    axes.set(xlim=(0, 1), ylim=(-1, 1))
    _write(figure, left, top + _WAVE, f"{len(audio) / hz:.2f} s of sound at {hz:,} Hz", _SMALL, _FAINT)


def _axes(figure: Figure, left: float, top: float, width: float, height: float, color: str = "none") -> Axes:
    """Axes on a plain background, without ticks or frame."""
    across, down = figure.get_size_inches()
    place = (left / across, 1 - (top + height) / down, width / across, height / down)
    axes = figure.add_axes(place, facecolor=color)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes


def _write(figure: Figure, left: float, top: float, text: str, size: float, color: str, weight: str = "normal") -> None:
    """Write plain text: a key may contain `$`, which would start a formula."""
    across, down = figure.get_size_inches()
    figure.text(left / across, 1 - top / down, text, va="top", fontsize=size, color=color, weight=weight, parse_math=False)


def _end_of(text: str, width: float) -> str:
    """The end of a text that fits into `width` inches, after `…` if it was cut."""
    text, most = printable(text), int(width * 72 / (_LETTERS * _LETTER_WIDTH))
    return text if len(text) <= most else f"…{text[1 - most :]}"
