"""False detections in images without people."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.faces_found import SIZE_PX, Corpus, model
from benchmarks.faces_scenes import Rgb, cover, noise, patterns, textures
from benchmarks.faces_sheet import Sheet
from benchmarks.report import Report

_FRAME_PX = (1280, 720)
_STORED_PX = (SIZE_PX, 144)
_A_FRAME = 4  # images of each kind per examined frame of a clip
_MAX_EXAMPLES = 6


def false_faces(report: Report, corpus: Corpus, sheet: Sheet) -> dict[str, Any]:
    """Report the number of images with a detection."""
    kinds = {**{name: _parts(images) for name, images in textures(corpus.elsewhere).items()}, "noise": _generated(noise)}
    kinds["ellipses"] = _generated(patterns)
    rows, count, total, shown = [], _A_FRAME * corpus.frames, 0, 0
    for name, images in kinds.items():
        whole, stored, scores = 0, 0, list[float]()
        for _ in range(count):
            image = next(images)
            (found,), (small,) = model().detect([image]), model().detect([_at_stored_size(image)], own_scale=True)
            whole, stored = whole + bool(len(found)), stored + bool(len(small))
            scores += found.scores[:1].tolist()
            if len(found) and shown < _MAX_EXAMPLES:
                sheet.add(image, f"false: {name}, score {found.scores[0]:.2f}", found.boxes_px[:1])
                shown += 1
        rows.append([name, count, 1000 * stored / count, 1000 * whole / count, max(scores, default="–")])
        total += whole
    columns = ["images", "number", "stored 256 px only", "build", "highest detector score"]
    report.table("False detections per 1000 images of 720p without people", columns, rows)
    report.note("A build searches from coarse to fine. The corpora do not show people from behind.")
    return {"false_per_1000": 1000 * total / (count * len(kinds)), "false_images": count * len(kinds)}


def _parts(images: list[Rgb]) -> Iterator[Rgb]:
    rng, number = np.random.default_rng(0), 0
    while True:
        yield cover(images[number % len(images)], _FRAME_PX, rng)
        number += 1


def _generated(make: Callable[[tuple[int, int], np.random.Generator], Rgb]) -> Iterator[Rgb]:
    rng = np.random.default_rng(0)
    while True:
        yield make(_FRAME_PX, rng)


def _at_stored_size(image: Rgb) -> Rgb:
    return np.asarray(Image.fromarray(image).resize(_STORED_PX, Image.Resampling.BICUBIC))
