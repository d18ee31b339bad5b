"""Images that users bring, read by one function for all commands: upright, 8 bits a channel, transparency on one colour.

MOST_PX: larger images are refused before they are decoded
"""

import logging
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from motionshards.schemas.errors import ConfigError, one_line
from motionshards.schemas.regular_file import open_regular
from motionshards.trainers.video import Picture, cut_window

logger = logging.getLogger("motionshards")

MOST_PX = 64_000_000
BACKGROUND = "white"
# Not all that Pillow knows: PostScript, for one, is a program that it would run.
_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF", "JPEG2000")
_PHOTOMETRIC, _BITS, _SAMPLE_FORMAT = 262, 258, 339  # tags of TIFF
_WHITE_IS_ZERO, _SIGNED = 0, 2


def read_image(path: Path, background: str = BACKGROUND) -> Picture:
    """An image upright and without transparency, uint8 [H,W,3].

    Integers of more than 8 bits are scaled by the range of their type. Of an animation the first frame is read.

    background: colour behind transparent pixels, a name or #rrggbb

    Raises:
        ConfigError: it cannot be read, is larger than MOST_PX, or holds floats outside [0, 1]; or there is no such colour
    """
    rgba = Image.fromarray(read_rgba(path))
    try:
        below = Image.new("RGBA", rgba.size, ImageColor.getrgb(background)[:3])
    except ValueError as error:
        raise ConfigError(f"--background {background!r} is no colour: a name, or #rrggbb") from error
    below.alpha_composite(rgba)
    return np.asarray(below)[..., :3].copy()


def read_square(path: Path, size_px: int, background: str = BACKGROUND) -> Picture:
    """The same, scaled to a square without regard to its aspect, uint8 [size,size,3]. Raises ConfigError."""
    rgb = read_image(path, background)
    return cut_window(rgb, (0, 0, rgb.shape[1], rgb.shape[0]), size_px)


def read_rgba(path: Path) -> Picture:
    """The same with its transparency, uint8 [H,W,4]. Raises ConfigError."""
    try:
        with open_regular(path) as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata, and of sizes that are refused below
            with Image.open(stream, formats=_FORMATS) as opened:
                return _rgba(opened, path)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no picture {path}") from error
    except ConfigError:
        raise
    except Exception as error:  # Pillow's plugins raise whatever comes of a damaged file
        what = "no image of a known format" if isinstance(error, UnidentifiedImageError) else one_line(error)
        raise ConfigError(f"{path} cannot be read as a picture: {what}") from error


def _rgba(opened: Image.Image, path: Path) -> Picture:
    if opened.width * opened.height > MOST_PX:
        raise ConfigError(f"{path} has {opened.width}x{opened.height} px, more than {MOST_PX:,}")
    if getattr(opened, "is_animated", False) and opened.format != "MPO":  # a photograph with a preview
        logger.warning("%s is an animation; its first frame is read", path)
    upright = ImageOps.exif_transpose(opened)
    if upright.mode.startswith(("I", "F")):
        grey = _to_8_bit(np.asarray(upright), opened, path)
        return np.asarray(Image.fromarray(grey).convert("RGBA"))
    return np.asarray(upright.convert("RGBA"))


def _to_8_bit(values: NDArray[np.generic], opened: Image.Image, path: Path) -> NDArray[np.uint8]:
    """Grey values of more than 8 bits, scaled by the range of their type."""
    tags = getattr(opened, "tag_v2", {})
    if values.dtype.kind == "f":
        low, high, most = float(values.min()), float(values.max()), 1.0
        if not 0 <= low <= high <= 1:
            raise ConfigError(f"{path} holds floats from {low:g} to {high:g}; they must be within [0, 1]")
    else:
        bits, signed = int(tags.get(_BITS, (16,))[0]), tags.get(_SAMPLE_FORMAT, (1,))[0] == _SIGNED
        if bits == 32 and not signed:
            values = values.astype(np.int32).view(np.uint32)  # Pillow has no unsigned type of 32 bits
        low, most = float(values.min()), 2.0 ** (bits - signed) - 1
        if low < 0:
            raise ConfigError(f"{path} holds negative values, down to {low:g}")
    scaled = np.rint(values.astype(np.float64) * (255 / most)).clip(0, 255).astype(np.uint8)
    return 255 - scaled if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else scaled
