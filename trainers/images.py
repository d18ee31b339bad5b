"""Reads image files for all commands: upright, 8 bits per channel, transparency composited on a color.

MAX_PX: images with more pixels are refused before they are decoded
"""

import logging
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from motionshards.schemas.errors import ConfigError, one_line
from motionshards.schemas.regular_file import open_regular
from motionshards.trainers.video import IMAGE_FORMATS, Rgb, cut_window

logger = logging.getLogger("motionshards")

MAX_PX = 64_000_000
BACKGROUND = "white"
_PHOTOMETRIC, _BITS, _SAMPLE_FORMAT = 262, 258, 339  # tags of TIFF
_WHITE_IS_ZERO, _SIGNED = 0, 2


def read_image(path: Path, background: str = BACKGROUND) -> Rgb:
    """Read an image upright and without transparency: uint8 [H,W,3].

    Integers of more than 8 bits are scaled by the range of their type. The first frame of animations is read.

    background: color behind transparent pixels, a name or #rrggbb

    Raises:
        ConfigError: the file cannot be read, is larger than MAX_PX, or has floats outside [0, 1]; or there is no such color
    """
    rgba = Image.fromarray(read_rgba(path))
    try:
        below = Image.new("RGBA", rgba.size, ImageColor.getrgb(background)[:3])
    except ValueError as error:
        raise ConfigError(f"--background {background!r} is not a color; use a name or #rrggbb") from error
    below.alpha_composite(rgba)
    return np.asarray(below)[..., :3].copy()


def read_square(path: Path, size_px: int, background: str = BACKGROUND) -> Rgb:
    """Read an image as `read_image`, scaled to a square without keeping the aspect ratio: uint8 [size,size,3]."""
    rgb = read_image(path, background)
    return cut_window(rgb, (0, 0, rgb.shape[1], rgb.shape[0]), size_px)


def read_rgba(path: Path) -> Rgb:
    """Read an image as `read_image`, with its transparency: uint8 [H,W,4]."""
    try:
        with open_regular(path) as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about damaged metadata, and about sizes that are refused below
            with Image.open(stream, formats=IMAGE_FORMATS) as opened:
                return _rgba(opened, path)
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist") from error
    except ConfigError:
        raise
    except Exception as error:  # Pillow's plugins raise any exception for damaged files
        reason = "it is not an image of a supported format" if isinstance(error, UnidentifiedImageError) else one_line(error)
        raise ConfigError(f"{path} cannot be read as an image: {reason}") from error


def _rgba(opened: Image.Image, path: Path) -> Rgb:
    if opened.width * opened.height > MAX_PX:
        raise ConfigError(f"{path} has {opened.width}x{opened.height} px, more than {MAX_PX:,}")
    if getattr(opened, "is_animated", False) and opened.format != "MPO":  # photos with a preview
        logger.warning("%s is an animation; only its first frame is used", path)
    upright = ImageOps.exif_transpose(opened)
    if upright.mode.startswith(("I", "F")):
        gray = _to_8_bit(np.asarray(upright), opened, path)
        return np.asarray(Image.fromarray(gray).convert("RGBA"))
    return np.asarray(upright.convert("RGBA"))


def _to_8_bit(values: NDArray[np.generic], opened: Image.Image, path: Path) -> NDArray[np.uint8]:
    """Scale gray values of more than 8 bits by the range of their type."""
    tags = getattr(opened, "tag_v2", {})
    if values.dtype.kind == "f":
        low, high, most = float(values.min()), float(values.max()), 1.0
        if not 0 <= low <= high <= 1:
            raise ConfigError(f"{path} has floats from {low:g} to {high:g}; they must be in [0, 1]")
    else:
        bits, signed = int(tags.get(_BITS, (16,))[0]), tags.get(_SAMPLE_FORMAT, (1,))[0] == _SIGNED
        if bits == 32 and not signed:
            values = values.astype(np.int32).view(np.uint32)  # Pillow has no unsigned type of 32 bits
        low, most = float(values.min()), 2.0 ** (bits - signed) - 1
        if low < 0:
            raise ConfigError(f"{path} has negative values, down to {low:g}")
    scaled = np.rint(values.astype(np.float64) * (255 / most)).clip(0, 255).astype(np.uint8)
    return 255 - scaled if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else scaled
