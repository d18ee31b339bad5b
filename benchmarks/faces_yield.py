"""Share of detected faces by their size: in a build, at the stored size only, and at the source's size."""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.faces_found import Corpus, model
from benchmarks.faces_scenes import Scene, scenes, textures, write_video
from benchmarks.faces_sheet import Sheet
from benchmarks.report import Report
from motionshards.pipeline.clips.clip import find_tracks, finish_clips, read_clip
from motionshards.pipeline.clips.read import ReadClip
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.records import ClipSpec, Rejected, Span
from motionshards.transforms.extract.detect import iou

FACES_PX = (40, 60, 80, 100, 120, 160, 240, 400)
"""The longer side of the face box."""
_FRAMES_PX = ((1280, 720), (1920, 1080))
_CONFIG = BuildConfig(source="folder", frames=1)
_RIGHT, _TIGHT = 0.3, 0.5  # IoU with the face's box at which a box is that face, and at which it has about its size
_GOAL, _MAX_EXAMPLES = 0.95, 12
_REASONS = ("face_too_small", "no_face")

Boxes = NDArray[np.floating[Any]]
Something = TypeVar("Something")


@dataclass(frozen=True)
class Detection:
    """What each side finds in a scene.

    overlap: largest IoU of a box with the face's box, 0 if nothing is found
    ms: CPU time
    reason: why the build rejects the clip; empty if it does not
    found_px: the build's box in pixels of the scene, float64 [M,4], M at most 1
    """

    overlap: dict[str, float]
    ms: dict[str, float]
    reason: str
    found_px: Boxes

    def finds(self, side: str) -> bool:
        """Whether a side finds the face."""
        return self.overlap[side] > _RIGHT


def find_by_size(report: Report, corpus: Corpus, sheet: Sheet) -> dict[str, Any]:
    """Report the shares of detected faces, and the time of the detector."""
    images = [image for kind in textures(corpus.elsewhere).values() for image in kind]
    detections, ms = defaultdict[int, list[Detection]](list), defaultdict[tuple[int, int], list[Detection]](list)
    shown = 0
    for face_px in FACES_PX:
        for number, frame_px in enumerate(_FRAMES_PX):
            for scene in scenes(corpus.found, images, face_px, frame_px, max(3, corpus.frames // (number + 1))):
                detection = detect(scene, corpus.work / "scene.mp4")
                detections[face_px].append(detection)
                ms[frame_px].append(detection)
                if detection.finds("source") and detection.overlap["build"] < _TIGHT and shown < _MAX_EXAMPLES:
                    caption = f"{face_px} px: {detection.reason or 'overlap {:.2f}'.format(detection.overlap['build'])}"
                    sheet.add(scene.rgb, caption, np.concatenate([detection.found_px, scene.box_px[None]]))
                    shown += 1
    return _tables(report, detections, ms)


def detect(scene: Scene, path: Path) -> Detection:
    """Run a build with the recipe `resize` on a video of the scene, and its detector at the stored and the source's size."""
    spec = ClipSpec("a/b/c", "folder", "train", "a", "b", (Span(write_video(path, scene.rgb[None].repeat(2, axis=0)).name),), 1.0)
    (read,) = read_clip(spec, path.parent, model(), _CONFIG)
    assert isinstance(read, ReadClip), read
    truth = _in_crop(scene, read)
    (track,), build_ms = _timed(lambda: find_tracks([read], model()))
    (stored,), stored_ms = _timed(lambda: model().detect(read.crop.rgb, own_scale=True))
    (image,) = read.crop.search
    (source,), source_ms = _timed(lambda: model().detect([image.pixels], own_scale=True))
    boxes = {
        "build": track.boxes_px[track.found],
        "stored": stored.boxes_px,
        "source": image.stored(source.boxes_px),
    }
    (done,) = finish_clips([read], model(), _CONFIG) if not track.found.any() else (None,)
    reason = done.reason if isinstance(done, Rejected) else ""
    overlap = {name: float(iou(some, truth[None]).max(initial=0.0)) for name, some in boxes.items()}
    times = dict(zip(boxes, (build_ms, stored_ms, source_ms), strict=True))
    return Detection(overlap, times, reason, _in_scene(boxes["build"], read))


def _in_crop(scene: Scene, read: ReadClip) -> Boxes:
    affine = read.crop.placement.source_to_crop[0]
    corners: Boxes = scene.box_px.reshape(2, 2) @ affine[:, :2].T + affine[:, 2]
    return corners.ravel()


def _in_scene(boxes_px: Boxes, read: ReadClip) -> Boxes:
    affine = read.crop.placement.source_to_crop[0]
    corners: Boxes = (boxes_px.reshape(-1, 2, 2) - affine[:, 2]) / affine[[0, 1], [0, 1]]
    return corners.reshape(-1, 4)


def _timed(run: Callable[[], Something]) -> tuple[Something, float]:
    start = time.process_time()
    result = run()
    return result, 1e3 * (time.process_time() - start)


def _tables(report: Report, detections: dict[int, list[Detection]], ms: dict[tuple[int, int], list[Detection]]) -> dict[str, Any]:
    rows, figures = list[list[Any]](), dict[str, Any]()
    for face_px, some in detections.items():
        shares = {
            name: 100 * float(np.mean([detection.finds(name) for detection in some])) for name in ("stored", "source", "build")
        }
        reasons = [detection.reason for detection in some]
        loose = sum(_RIGHT < detection.overlap["build"] < _TIGHT for detection in some)
        rows.append([f"{face_px} px", len(some), *shares.values(), loose, *(reasons.count(name) for name in _REASONS)])
        figures |= {f"yield_{face_px}px": shares["build"] / 100}
    columns = ["face", "scenes", "stored 256 px only %", "source size %", "build %", "box of wrong size"]
    report.table("Detected faces, by the longer side of the box in the source", [*columns, *_REASONS], rows)
    every = [detection for some in detections.values() for detection in some]
    at_source = [detection for detection in every if detection.finds("source")]
    share = float(np.mean([detection.finds("build") for detection in at_source]))
    more = sum(detection.finds("build") and not detection.finds("source") for detection in every)
    report.note(
        f"Of the {len(at_source)} faces that the detector finds at the source's size, a build finds {100 * share:.1f} % "
        f"(goal {100 * _GOAL:g} %), and {more} others. Sizes are those of dlib's boxes, which are quantized in steps of a sixth "
        f"and begin at about 70 px. A box of wrong size has an IoU of {_RIGHT:g} to {_TIGHT:g}."
    )
    means = {
        size: {name: float(np.mean([detection.ms[name] for detection in some])) for name in ("stored", "source", "build")}
        for size, some in ms.items()
    }
    times = [[f"{size[0]}x{size[1]}", *row.values(), row["build"] / row["source"]] for size, row in means.items()]
    report.table(
        "CPU time of the detector, ms per frame, mean over the scenes",
        ["frame", "stored 256 px only", "source size", "build", "build / source size"],
        times,
    )
    figures |= {f"ms_over_source_{size[1]}p": row["build"] / row["source"] for size, row in means.items()}
    return {**figures, "yield_of_source": share, "yield_goal_met": share >= _GOAL}
