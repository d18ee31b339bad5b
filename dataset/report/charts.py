"""Charts as SVG. Colors are set by class in the page's style sheet, so that they follow the light or dark theme."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from motionshards.dataset.report.distribution import Distribution, round_step
from motionshards.dataset.report.formatting import number, percent, whole
from motionshards.dataset.report.markup import Markup, element

_HEIGHT, _LEFT, _TOP, _FLOOR = 128.0, 10.0, 8.0, 104.0


def histogram(spread: Distribution, name: str, unit: str, of: str, width: float = 340.0) -> Markup:
    """A histogram, with a band from the 5th to the 95th percentile and a line at the median. `of`: noun of the count."""
    x = _Axis(spread, width)
    most = max(int(spread.counts.max(initial=0)), 1)
    drawn = [*_band(spread, x), *(_bar(spread, bin_, x, most, unit, of) for bin_ in np.flatnonzero(spread.counts).tolist())]
    drawn += [element("line", class_="axis", x1=_LEFT, x2=width - _LEFT, y1=_FLOOR, y2=_FLOOR), *_ticks(x), *_median(spread, x)]
    label = f"Histogram of {name} over {whole(spread.present)} {of}. {in_words(spread, unit)}"
    return element("svg", drawn, class_="chart", viewBox=f"0 0 {width:g} {_HEIGHT:g}", role="img", aria_label=label)


def in_words(spread: Distribution, unit: str) -> str:
    """The quantiles as a sentence."""
    if spread.quantiles is None:
        return "No values."
    p5, p50, p95 = (f"{number(value)}{unit}" for value in spread.quantiles)
    return f"5th percentile {p5}, median {p50}, 95th percentile {p95}."


class _Axis:
    """Maps values to x in drawing units."""

    def __init__(self, spread: Distribution, width: float) -> None:
        self._low, self._high, self._width = float(spread.edges[0]), float(spread.edges[-1]), width - 2 * _LEFT
        step = round_step((self._high - self._low) * 46 / self._width)
        self._step = float(np.ceil(max(step, 1.0))) if spread.of_integers else step

    def __call__(self, value: float) -> float:
        part = (value - self._low) / (self._high - self._low)
        return _LEFT + self._width * min(max(part, 0.0), 1.0)

    def ticks(self) -> list[tuple[float, str]]:
        """Round numbers within the axis and their labels, one per about 46 units; integers if bins are centered on integers."""
        digits = len(f"{self._step:.9f}".rstrip("0").partition(".")[2])
        first, last = np.ceil(self._low / self._step - 1e-6), np.floor(self._high / self._step + 1e-6)
        values = [float(value * self._step) for value in np.arange(first, last + 1)]
        return [(value, number(value, digits)) for value in values]


def _bar(spread: Distribution, bin_: int, x: _Axis, most: int, unit: str, of: str) -> Markup:
    low, high, count = float(spread.edges[bin_]), float(spread.edges[bin_ + 1]), int(spread.counts[bin_])
    height = max((_FLOOR - _TOP) * count / most, 1.0)
    between = number(low + 0.5) if spread.of_integers else f"{number(low)} to {number(high)}"
    title = element("title", f"{between}{unit}: {whole(count)} {of} ({percent(count, spread.present)})")
    gap = min(1.0, 0.2 * (x(high) - x(low)))
    return element(
        "rect", title, class_="bar", x=x(low) + gap / 2, y=_FLOOR - height, width=x(high) - x(low) - gap, height=height
    )


def _band(spread: Distribution, x: _Axis) -> list[Markup]:
    if spread.quantiles is None:
        return []
    low, high = x(spread.quantiles[0]), x(spread.quantiles[-1])
    return [element("rect", class_="band", x=low, y=_TOP - 4, width=max(high - low, 1.0), height=_FLOOR - _TOP + 4)]


def _median(spread: Distribution, x: _Axis) -> list[Markup]:
    if spread.quantiles is None:
        return []
    at = x(spread.quantiles[1])
    return [element("line", class_="median", x1=at, x2=at, y1=_TOP - 4, y2=_FLOOR)]


def _ticks(x: _Axis) -> list[Markup]:
    return [element("text", label, x=x(value), y=_FLOOR + 16, text_anchor="middle") for value, label in x.ticks()]


_POSE_CELLS, _CELL, _MARGIN = 30, 10.8, 34.0
_OUTLIERS = 0.002  # fraction of frames that may be beyond the map, as in histograms


@dataclass(frozen=True, slots=True)
class PoseCounts:
    """Frames by yaw and pitch.

    counts: int64 [30,30], frames by yaw (first axis) and pitch from -most_deg to most_deg, outliers in the outermost cells
    most_deg: a multiple of 15
    beyond: number of outliers
    """

    counts: NDArray[np.int64] = field(repr=False)
    most_deg: int
    beyond: int


def zoom(pose: NDArray[np.int64]) -> PoseCounts:
    """Divide the smallest range that contains nearly all frames into cells; `pose`: int64 [180,180], one bin per degree."""
    middle, total = len(pose) // 2, int(pose.sum())
    for most in range(_POSE_CELLS // 2, middle + 1, _POSE_CELLS // 2):
        inside = int(pose[middle - most : middle + most, middle - most : middle + most].sum())
        if total - inside <= _OUTLIERS * total:
            break
    cell = ((np.arange(len(pose)) - middle + most) // (2 * most // _POSE_CELLS)).clip(0, _POSE_CELLS - 1)
    counts = np.zeros((_POSE_CELLS, _POSE_CELLS), np.int64)
    np.add.at(counts, (cell[:, None], cell[None]), pose)
    return PoseCounts(counts, most, total - inside)


def pose_map(zoomed: PoseCounts) -> Markup:
    """A heat map of frame counts by yaw (to the right) and pitch (up), with logarithmic opacity."""
    pose, edges_deg = zoomed.counts, np.linspace(-zoomed.most_deg, zoomed.most_deg, _POSE_CELLS + 1)
    side = _CELL * len(pose)
    cells = [_cell(pose, across, up, edges_deg) for across, up in np.argwhere(pose).tolist()]
    frame = element("rect", class_="frame", x=_MARGIN, y=_TOP, width=side, height=side)
    middle = (_MARGIN + side / 2, _TOP + side / 2)
    cross = [
        element("line", class_="grid", x1=_MARGIN, x2=_MARGIN + side, y1=middle[1], y2=middle[1]),
        element("line", class_="grid", x1=middle[0], x2=middle[0], y1=_TOP, y2=_TOP + side),
    ]
    box = f"0 0 {_MARGIN + side + 12:g} {_TOP + side + 34:g}"
    words = f"Heat map of the head pose of {whole(int(pose.sum()))} frames: yaw to the right, pitch up"
    return element(
        "svg", frame, cells, cross, _pose_ticks(edges_deg), class_="chart pose", viewBox=box, role="img", aria_label=words
    )


def _cell(pose: NDArray[np.int64], across: int, up: int, edges: NDArray[np.float64]) -> Markup:
    count = int(pose[across, up])
    yaw, pitch = (f"{number(edges[place])}° to {number(edges[place + 1])}°" for place in (across, up))
    title = element("title", f"yaw {yaw}, pitch {pitch}: {whole(count)} frames ({percent(count, int(pose.sum()))})")
    strength = 0.12 + 0.88 * float(np.log1p(count) / np.log1p(pose.max()))
    x, y = _MARGIN + _CELL * across, _TOP + _CELL * (len(pose) - 1 - up)
    return element("rect", title, class_="cell", x=x, y=y, width=_CELL - 0.6, height=_CELL - 0.6, fill_opacity=strength)


def _pose_ticks(edges: NDArray[np.float64]) -> list[Markup]:
    side = _CELL * (len(edges) - 1)
    texts: list[Markup] = []
    for place in range(0, len(edges), _POSE_CELLS // 6):
        at, name = _CELL * place, f"{number(float(edges[place]))}°"
        texts.append(element("text", name, x=_MARGIN + at, y=_TOP + side + 13, text_anchor="middle"))
        texts.append(element("text", name, x=_MARGIN - 5, y=_TOP + side - at + 3, text_anchor="end"))
    across = element("text", "yaw, to the image's right →", x=_MARGIN + side / 2, y=_TOP + side + 28, text_anchor="middle")
    return [*texts, across]


def roc(curve: NDArray[np.float64]) -> Markup:
    """A receiver operating characteristic: float64 [points,2], false positive rate (to the right) and true positive rate (up)."""
    side = 220.0
    points = [(_MARGIN + side * false, _TOP + side * (1 - true)) for false, true in curve.tolist()]
    line = element("polyline", class_="roc", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points))
    frame = element("rect", class_="frame", x=_MARGIN, y=_TOP, width=side, height=side)
    ticks = [
        mark
        for share in (0.0, 0.5, 1.0)
        for mark in (
            element("text", number(share), x=_MARGIN + side * share, y=_TOP + side + 13, text_anchor="middle"),
            element("text", number(share), x=_MARGIN - 5, y=_TOP + side * (1 - share) + 3, text_anchor="end"),
        )
    ]
    across = element("text", "false positive rate →", x=_MARGIN + side / 2, y=_TOP + side + 28, text_anchor="middle")
    box, words = (
        f"0 0 {_MARGIN + side + 12:g} {_TOP + side + 34:g}",
        "ROC curve: false and true positive rates of pairs closer than a threshold",
    )
    return element("svg", frame, line, ticks, across, class_="chart pose", viewBox=box, role="img", aria_label=words)


def share_bar(part: float, of: float, kind: str) -> Markup:
    """A proportion as a bar that fills the available width; `kind` is a class that sets its color."""
    width = 100 * part / of if of else 0.0
    bars = [
        element("rect", class_="track", width=100, height=8),
        element("rect", class_=f"bar {kind}", width=max(width, 0.4 if part else 0.0), height=8),
    ]
    return element("svg", bars, class_="share", viewBox="0 0 100 8", preserveAspectRatio="none", aria_hidden="true")
