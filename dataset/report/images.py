"""Images of the page: small JPEGs and videos as data URLs, with landmarks, boxes and pose as SVG overlays.

Overlays use the coordinates of the stored frame: x right, y down, the center of the top left pixel is (0, 0), so that the
image extends from -0.5 to its size - 0.5.
"""

import base64

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from motionshards.dataset.plotting.overlay import CHAINS, head_axes
from motionshards.dataset.report.markup import Markup, element
from motionshards.dataset.report.samples import ClipVideo, ShownFrame
from motionshards.schemas.action_units import INTENSITIES, MOST
from motionshards.transforms.extract.encode import encode_jpegs

_LONGEST_PX = 256
_QUALITY = 82
_AXIS = 0.22  # length of the head's axes, relative to the image's longer side


def image(rgb: NDArray[np.uint8], alt: str) -> Markup:
    """An image element for uint8 [H,W,3], scaled down to a longer side of at most 256 px."""
    height, width = rgb.shape[:2]
    scale = min(1.0, _LONGEST_PX / max(height, width))
    if scale < 1:
        small = (max(1, round(width * scale)), max(1, round(height * scale)))
        rgb = np.asarray(Image.fromarray(rgb).resize(small, Image.Resampling.LANCZOS))
    content = base64.b64encode(encode_jpegs(rgb[None], _QUALITY)[0]).decode()
    shape = {"width": rgb.shape[1], "height": rgb.shape[0]}
    return element("img", src=f"data:image/jpeg;base64,{content}", alt=alt, decoding="async", **shape)


def overlay(shown: ShownFrame) -> Markup:
    """An SVG with landmarks, face box and head pose, to be placed over the frame."""
    height, width = shown.rgb.shape[:2]
    drawn = [*_box(shown.box_px), *_lines(shown.points_px), *_axes(shown, max(width, height))]
    return element("svg", drawn, class_="overlay", viewBox=f"-0.5 -0.5 {width} {height}", aria_hidden="true")


def _box(box_px: list[float] | None) -> list[Markup]:
    if box_px is None:
        return []
    x0, y0, x1, y1 = box_px
    return [element("rect", class_="box", x=x0, y=y0, width=max(x1 - x0, 0.0), height=max(y1 - y0, 0.0))]


def _lines(points: NDArray[np.float32] | None) -> list[Markup]:
    """One path for all lines, and one for the dots, which are lines of length 0 with round ends."""
    if points is None:
        return []
    lines = [_path(points[first : last + 1]) + ("z" if closed else "") for first, last, closed, _ in CHAINS]
    dots = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in points.tolist())
    return [element("path", class_="lines", d="".join(lines)), element("path", class_="dots", d=dots)]


def _path(points: NDArray[np.float32]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points.tolist())


def _axes(shown: ShownFrame, side: int) -> list[Markup]:
    """The head's right, up and forward axes as lines from the tip of the nose, or from the center of the box."""
    if shown.pose_deg is None:
        return []
    x, y = _origin(shown, side)
    ends = head_axes(*shown.pose_deg)[:, :2] * _AXIS * side
    return [
        element("line", class_=f"axis {name}", x1=x, y1=y, x2=x + float(dx), y2=y + float(dy))
        for name, (dx, dy) in zip(("right", "up", "forward"), ends, strict=True)
    ]


def _origin(shown: ShownFrame, side: int) -> tuple[float, float]:
    if shown.points_px is not None:
        return float(shown.points_px[30, 0]), float(shown.points_px[30, 1])
    if shown.box_px is not None:
        return (shown.box_px[0] + shown.box_px[2]) / 2, (shown.box_px[1] + shown.box_px[3]) / 2
    return side / 2, side / 2


def au_bars(aus: NDArray[np.float32]) -> Markup:
    """A bar for each action unit, with its number below."""
    parts: list[Markup] = []
    for number, (name, value) in enumerate(zip(INTENSITIES, aus.tolist(), strict=True)):
        height = 30 * min(max(value, 0.0), MOST) / MOST
        title = element("title", f"{name}: {value:.2f} of 5")
        parts.append(element("rect", class_="track", x=number * 12, y=0, width=9, height=30))
        parts.append(element("rect", title, class_="bar", x=number * 12, y=30 - height, width=9, height=height))
        parts.append(element("text", name[2:], x=number * 12 + 4.5, y=39, text_anchor="middle"))
    words = ", ".join(f"{name} {value:.1f}" for name, value in zip(INTENSITIES, aus.tolist(), strict=True) if value >= 0.05)
    label = f"Action unit intensities, 0 to 5: {words or 'all 0'}"
    return element("svg", parts, class_="aus", viewBox="0 0 201 41", role="img", aria_label=label)


def video(moving: ClipVideo, alt: str) -> list[Markup]:
    """The player of a stored video, if it is embedded, and the waveform of its sound, if any."""
    shown = []
    if moving.mp4 is not None:
        source = f"data:video/mp4;base64,{base64.b64encode(moving.mp4).decode()}"
        shown.append(element("video", src=source, controls=True, loop=True, playsinline=True, aria_label=alt))
    if moving.edges is not None:
        path = "".join(f"M{x} {20 - 20 * high:.1f}V{20.5 - 20 * low:.1f}" for x, (low, high) in enumerate(moving.edges.tolist()))
        now = element("line", class_="now", x1=0, x2=0, y1=0, y2=40, data_seconds=moving.seconds)
        box = f"-0.5 0 {len(moving.edges)} 40.5"
        wave = [element("path", d=path), now]
        shown.append(
            element("svg", wave, class_="wave", viewBox=box, preserveAspectRatio="none", role="img", aria_label="Waveform")
        )
    return shown
