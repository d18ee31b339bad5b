"""Faces as the build finds them: head pose beside OpenCV's PnP, and whether wrong landmarks stand out by the columns of doubt.

    python -m benchmarks.faces [--frames 20] [--sheet worst.png]

Each section is a function of the frames below in a module of its own, which adds tables to the report and returns its figures.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.types import PositiveInt

from benchmarks.faces_doubt import draw_worst, rank_wrong_landmarks
from benchmarks.faces_found import Found, find_faces
from benchmarks.faces_pose import compare_with_pnp
from benchmarks.report import CorpusOptions, Report, benchmark, corpus
from motionshards.dataset.commandline import OUTPUT

SECTIONS: tuple[Callable[[Report, Found], dict[str, Any]], ...] = (compare_with_pnp, rank_wrong_landmarks)


@dataclass(frozen=True, kw_only=True)
class FacesOptions(CorpusOptions):
    """Options of the benchmark."""

    frames: PositiveInt = 20
    """Frames of each clip, evenly spaced."""
    sheet: Annotated[Path | None, Parameter(group=OUTPUT)] = None
    """Also draw the most doubtful frames to this PNG file."""


@benchmark("faces")
def main(options: FacesOptions) -> None:
    """Measure the head pose beside PnP, and how wrong landmarks rank by doubt."""
    report = Report("benchmarks/faces.py: faces as the build finds them", options)
    with options.work_dir() as work:
        source, name = corpus(options.input, work)
        found = find_faces(source, options.frames)
    report.note(f"Input: {name}: {len(found)} frames with a face of {len(set(found.clip.tolist()))} clips, 256 px, dlib.")
    figures: dict[str, Any] = {"frames": len(found)}
    for section in SECTIONS:
        figures |= section(report, found)
    if options.sheet is not None:
        draw_worst(found).save(options.sheet)
    report.finish(figures)


if __name__ == "__main__":
    sys.exit(main())
