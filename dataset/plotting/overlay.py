"""Draws stored data on RGB frames: landmarks, face box, head pose, action units, and the position of a crop in its source.

Pixels: x right, y down, the center of the top left pixel is (0, 0); an image of W x H px thus extends from (-0.5, -0.5) to
(W - 0.5, H - 0.5). Everything is drawn at several times the size and scaled down for antialiasing.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.ImageDraw import ImageDraw as Pen

from motionshards.schemas.action_units import INTENSITIES, MOST

Color = tuple[int, ...]

BACKGROUND, PANEL = (19, 21, 27), (31, 34, 43)
TEXT, FAINT, WARNING = (226, 229, 236), (139, 146, 161), (255, 176, 84)
BOX, CROP = (255, 255, 255), (255, 209, 61)
_BAR, _BAR_STRONG = (86, 148, 242), (255, 122, 102)

_IN_FONT = "·°…"
_FINER = 4
_VEIL = (12, 13, 17, 120)
_PX_PER_LINE_PX = 128  # pixels of image per pixel of line width
# Chains of iBUG 300-W: first point, last point, whether the chain is closed, color.
CHAINS: tuple[tuple[int, int, bool, Color], ...] = (
    (0, 16, False, (84, 205, 255)),  # jaw
    (17, 21, False, (255, 209, 61)),  # brows
    (22, 26, False, (255, 209, 61)),
    (27, 30, False, (126, 231, 135)),  # bridge of the nose
    (31, 35, False, (126, 231, 135)),  # its wings
    (36, 41, True, (209, 157, 255)),  # eyes
    (42, 47, True, (209, 157, 255)),
    (48, 59, True, (255, 122, 133)),  # lips, outside and inside
    (60, 67, True, (255, 122, 133)),
)
# Axes of the head, x right, y down, z away from the viewer, and their colors.
_AXES: tuple[tuple[tuple[int, int, int], Color], ...] = (
    ((1, 0, 0), (255, 122, 133)),
    ((0, -1, 0), (126, 231, 135)),
    ((0, 0, -1), (84, 160, 255)),
)

DRAWN: tuple[Color, ...] = (BOX, *sorted({*(chain[3] for chain in CHAINS), *(color for _, color in _AXES)}))
"""All colors of marks."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Marks to draw on a frame, in its pixels; None or NaN if missing.

    points_px: float [68,2], landmarks
    box_px: x0 y0 x1 y1 of the face
    pose_deg: yaw, pitch, roll
    """

    points_px: NDArray[np.floating] | None = None
    box_px: Sequence[float | None] | None = None
    pose_deg: Sequence[float | None] | None = None


def marked(frame: NDArray[np.uint8], size_px: int, marks: Marks | None = None) -> Image.Image:
    """Resize a square frame, uint8 [S,S,3], to size_px x size_px and draw its marks."""
    image = Image.fromarray(frame).resize((size_px, size_px), Image.Resampling.LANCZOS)
    if marks is None:
        return image
    layer = Image.new("RGBA", (size_px * _FINER,) * 2)
    pen, scale, thick = ImageDraw.Draw(layer), size_px * _FINER / len(frame), _thickness(size_px)
    if marks.box_px is not None and _all_known(marks.box_px):
        corners = _scaled(np.array(marks.box_px, np.float64).reshape(2, 2), scale)
        pen.rectangle([*corners[0], *corners[1]], outline=(*BOX, 170), width=round(thick * 0.8))
    if marks.points_px is not None and np.isfinite(marks.points_px).all():
        _draw_face(pen, _scaled(marks.points_px, scale), thick)
    if marks.pose_deg is not None and _all_known(marks.pose_deg):
        _draw_axes(pen, head_axes(*np.array(marks.pose_deg, np.float64)), size_px * _FINER, thick)
    return _over(image, layer)


def head_axes(yaw_deg: float, pitch_deg: float, roll_deg: float) -> NDArray[np.float64]:
    """The head's right, up and forward axes as rows, float64 [3,3]; x right, y down, z away, see `quality.pose`."""
    yaw, pitch, roll = np.radians([-yaw_deg, -pitch_deg, roll_deg])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    turned: NDArray[np.float64] = np.array([axis for axis, _ in _AXES]) @ (about_z @ about_x @ about_y).T
    return turned


def crop_corners(source_to_crop: Sequence[Sequence[float]], size_px: int) -> NDArray[np.float64]:
    """The outer corners of a crop of size_px x size_px in source pixels, float64 [4,2], clockwise from the top left."""
    low, high = -0.5, size_px - 0.5
    return to_source(source_to_crop, [[low, low], [high, low], [high, high], [low, high]])


def to_source(source_to_crop: Sequence[Sequence[float]], points: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Map points of a crop, [n,2], to source pixels, float64 [n,2]."""
    affine = np.asarray(source_to_crop, np.float64)
    return np.asarray(np.linalg.solve(affine[:, :2], (np.asarray(points, np.float64) - affine[:, 2]).T).T)


def crop_in_source(
    shown: NDArray[np.uint8],
    space_px: tuple[int, int],
    corners: NDArray[np.float64],
    box: NDArray[np.float64] | None = None,
) -> Image.Image:
    """A source frame, uint8 [H,W,3], with the outline of the crop and everything else darkened, scaled to fit `space_px`.

    corners: float64 [4,2], corners of the crop in pixels of `shown`. Outside of it, the image shows the padded area.
    box: float64 [n,2], an outline in pixels of `shown`
    """
    height, width = shown.shape[:2]
    # With a wrong box, a crop can extend far beyond the frame, which should remain visible.
    low = np.clip(corners.min(0), [-0.5 * width, -0.5 * height], -0.5)
    high = np.clip(corners.max(0), [width - 0.5, height - 0.5], [1.5 * width, 1.5 * height])
    scale = float((np.array(space_px) / (high - low)).min())
    size = [max(1, round(extent * scale)) for extent in high - low]
    image = Image.new("RGB", (size[0], size[1]), PANEL)
    frame = Image.fromarray(shown).resize([max(1, round(extent * scale)) for extent in (width, height)], Image.Resampling.LANCZOS)
    left, top = ((-0.5 - low) * scale).round().astype(int).tolist()
    image.paste(frame, (left, top))
    layer = Image.new("RGBA", (size[0] * _FINER, size[1] * _FINER), _VEIL)
    pen, thick = ImageDraw.Draw(layer), _thickness(max(size))
    finer = scale * _FINER
    pen.polygon(_pairs((corners - low) * finer - 0.5), fill=(0, 0, 0, 0))
    _draw_outline(pen, (corners - low) * finer - 0.5, (*CROP, 255), thick)
    if box is not None:
        _draw_outline(pen, (box - low) * finer - 0.5, (*BOX, 170), 0.6 * thick)
    return _over(image, layer)


def au_bars(intensity: NDArray[np.floating], size_px: tuple[int, int]) -> Image.Image:
    """Intensities of action units, float [17], as bars above their numbers, or a note if there are none."""
    width, height = size_px
    image = Image.new("RGB", size_px, BACKGROUND)
    pen, step = ImageDraw.Draw(image), width / len(INTENSITIES)
    letters = font(max(7, round(step * 0.66)))
    floor = height - round(step * 0.66) - 4
    for number, (name, value) in enumerate(zip(INTENSITIES, intensity.tolist(), strict=True)):
        left, right = number * step + step * 0.12, (number + 1) * step - step * 0.12
        pen.rectangle([left, 0, right, floor], fill=PANEL)
        if np.isfinite(value):
            top = floor * (1 - min(max(value / MOST, 0.0), 1.0))
            pen.rectangle([left, top, right, floor], fill=_BAR_STRONG if value >= MOST / 2 else _BAR)
        pen.text(((left + right) / 2, height - 1), name[2:], FAINT, letters, anchor="ms")
    if not np.isfinite(intensity).any():
        pen.text((width / 2, floor / 2), "no action units", WARNING, font(max(8, round(step))), anchor="mm")
    return image


def text_line(image: Image.Image, place: tuple[float, float], words: str, size: int, color: Color = TEXT) -> None:
    """Write on an image; `place` is the left end of the baseline. Characters that the font lacks are escaped."""
    plain = "".join(letter if " " <= letter <= "~" or letter in _IN_FONT else ascii(letter).strip("'") for letter in words)
    ImageDraw.Draw(image).text(place, plain, color, font(size), anchor="ls")


@functools.lru_cache(maxsize=32)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's built-in font."""
    return ImageFont.load_default(size)


def _draw_face(pen: Pen, points: NDArray[np.floating], thick: float) -> None:
    """Draw 68 landmarks, connected by lines."""
    for first, last, closed, color in CHAINS:
        chain = points[first : last + 1]
        chain = np.concatenate([chain, chain[:1]]) if closed else chain
        pen.line(_pairs(chain), (*color, 200), round(0.9 * thick), joint="curve")
        for x, y in chain:
            pen.circle((x, y), 1.05 * thick, (*color, 255))


def _draw_axes(pen: Pen, axes: NDArray[np.float64], side: int, thick: float) -> None:
    """Draw the head's axes in the lower right corner, the nearest to the viewer last."""
    radius = 0.1 * side
    center = np.full(2, side - 1.25 * radius)
    pen.circle((center[0], center[1]), 1.1 * radius, (*BACKGROUND, 150))
    for number in np.argsort(-axes[:, 2]):
        color = (*_AXES[number][1], 255)
        tip = center + axes[number, :2] * radius
        pen.line(_pairs(np.stack([center, tip])), color, round(1.3 * thick))
        pen.circle((tip[0], tip[1]), 1.2 * thick, color)


def _draw_outline(pen: Pen, corners: NDArray[np.float64], color: Color, thick: float) -> None:
    closed = np.concatenate([corners, corners[:2]])  # two points, so that the first corner is joined too
    pen.line(_pairs(closed), color, max(1, round(thick)), joint="curve")


def _thickness(size_px: int) -> float:
    """Thickness of a line on the enlarged layer of an image of this size."""
    return max(1.0, size_px / _PX_PER_LINE_PX) * _FINER


def _scaled(points: NDArray[np.floating], scale: float) -> NDArray[np.floating]:
    """Convert points of an image to pixels of one `scale` times as large."""
    return (points + 0.5) * scale - 0.5


def _pairs(points: NDArray[np.floating]) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in points]


def _all_known(values: Sequence[float | None]) -> bool:
    return all(value is not None and np.isfinite(value) for value in values)


def _over(image: Image.Image, layer: Image.Image) -> Image.Image:
    """Composite a layer that is `_FINER` times as large over an image."""
    return Image.alpha_composite(image.convert("RGBA"), layer.reduce(_FINER)).convert("RGB")
