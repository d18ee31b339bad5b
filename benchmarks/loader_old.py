"""Loading as in the published training code, reimplemented from its description: sides of `benchmarks.loader`.

FOMM: a folder of PNG files per clip, of which two are read; or a video, which is read whole. Then conversion to float, flips and
color jitter by skimage and PIL. Talking heads: a pickle of K + 1 frames per clip, landmark images drawn by matplotlib.
"""

import importlib
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from benchmarks.loader_run import Order

_ENDLESS = 200_000
_SHARE, _FACTOR = 0.5, 0.1
_LINES = ((0, 17), (17, 22), (22, 27), (27, 31), (31, 36), (36, 42), (42, 48), (48, 60))
_COLORS = ("green", "orange", "orange", "blue", "blue", "red", "red", "purple")
_DPI = 100


class _Files(Dataset[Any]):
    """Clips in files or folders, read by a function of a path and a random generator."""

    def __init__(self, form: str, read: Callable[[Path, np.random.Generator], Any]) -> None:
        self._paths = sorted(Path(form).iterdir())
        self._read = read

    def __len__(self) -> int:
        return _ENDLESS

    def __getitem__(self, number: int) -> Any:
        return self._read(self._paths[number % len(self._paths)], np.random.default_rng(number))


def png(order: Order) -> Iterator[Any]:
    """Two PNG files, no augmentation."""
    return _loaded(order, _png)


def png_augmented(order: Order) -> Iterator[Any]:
    """Two PNG files and the augmentation."""
    return _loaded(order, lambda path, draw: _augmented(_png(path, draw), draw))


def mp4_augmented(order: Order) -> Iterator[Any]:
    """Two frames of a video that is read whole, and the augmentation."""
    return _loaded(order, lambda path, draw: _augmented(_mp4(path, draw), draw))


def pickled(order: Order) -> Iterator[Any]:
    """K + 1 frames from a pickle, and as many landmark images by matplotlib."""
    importlib.import_module("matplotlib").use("Agg")
    return _loaded(order, _pickle)


def _loaded(order: Order, read: Callable[[Path, np.random.Generator], Any]) -> Iterator[Any]:
    loader = DataLoader(_Files(order.form, read), batch_size=order.batch, shuffle=True, num_workers=order.cores)
    return (batch[0] if isinstance(batch, list) else batch for batch in loader)


def _png(folder: Path, draw: np.random.Generator) -> Any:
    import skimage.io
    from skimage.util import img_as_float32

    names = sorted(path.name for path in folder.iterdir())
    chosen = np.sort(draw.permutation(len(names))[:2])
    return np.stack([img_as_float32(skimage.io.imread(folder / names[number])) for number in chosen])


def _mp4(path: Path, draw: np.random.Generator) -> Any:
    import imageio.v2
    from skimage.util import img_as_float32

    frames = img_as_float32(np.stack(imageio.v2.mimread(path, memtest=False)))
    return frames[np.sort(draw.permutation(len(frames))[:2])]


def _augmented(pair: Any, draw: np.random.Generator) -> Any:
    """float32 [2,H,W,3] in [0, 1]: flipped in time or space, with the same color jitter for both frames, in random order."""
    from PIL import Image, ImageEnhance
    from skimage.util import img_as_float32, img_as_ubyte

    if draw.random() < _SHARE:
        pair = pair[::-1]
    if draw.random() < _SHARE:
        pair = pair[:, :, ::-1]
    enhance = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    factors, shift = draw.uniform(1 - _FACTOR, 1 + _FACTOR, 3), round(draw.uniform(-_FACTOR, _FACTOR) * 255)
    images = [Image.fromarray(img_as_ubyte(frame)) for frame in pair]
    for step in draw.permutation(4):
        if step == len(enhance):
            images = [_hue_rotated(image, shift) for image in images]
        else:
            images = [enhance[step](image).enhance(factors[step]) for image in images]
    return np.stack([img_as_float32(np.array(image)) for image in images])


def _hue_rotated(image: Any, shift: int) -> Any:
    """A PIL image with its hue rotated."""
    from PIL import Image

    hue, saturation, value = image.convert("HSV").split()
    return Image.merge("HSV", (hue.point([(level + shift) % 256 for level in range(256)]), saturation, value)).convert("RGB")


def _pickle(path: Path, draw: np.random.Generator) -> Any:
    content = pickle.loads(path.read_bytes())  # written by this benchmark
    frames = np.stack([one["frame"] for one in content])
    return frames, np.stack([_drawn(one["landmarks"], frames.shape[1]) for one in content])


def _drawn(points: Any, size: int) -> Any:
    """Landmark image uint8 [size,size,3]: a new figure, lines 2 points wide, and the canvas as an array."""
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure = pyplot.figure(figsize=(size / _DPI, size / _DPI), dpi=_DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    axes.imshow(np.full((size, size, 3), 255, np.uint8))
    for (start, end), color in zip(_LINES, _COLORS, strict=True):
        axes.plot(points[start:end, 0], points[start:end, 1], color=color, linestyle="-", linewidth=2)
    figure.canvas.draw()
    image = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
    pyplot.close(figure)
    return image
