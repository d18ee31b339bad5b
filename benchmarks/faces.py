"""Face detection in builds: recall, false positives, framing, identity separation, head pose, and detection of wrong landmarks.

    python -m benchmarks.faces [--frames 20] [--sheet worst.png]

Each section is a function of the corpus's frames in a separate module. It adds tables to the report and images to the contact
sheet, and returns its figures. `benchmarks.shots` measures cuts and dissolves. Times are CPU time of one thread.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.types import PositiveInt

from benchmarks.faces_doubt import rank_wrong_landmarks
from benchmarks.faces_false import false_faces
from benchmarks.faces_found import Corpus, find_faces
from benchmarks.faces_framing import framing_spread
from benchmarks.faces_people import separate_people
from benchmarks.faces_pose import compare_with_pnp
from benchmarks.faces_sheet import Sheet
from benchmarks.faces_yaw import find_by_yaw
from benchmarks.faces_yield import find_by_size
from benchmarks.report import CorpusOptions, Report, benchmark, corpus
from motionshards.dataset.commandline import OUTPUT

SECTIONS: tuple[Callable[[Report, Corpus, Sheet], dict[str, Any]], ...] = (
    find_by_size,
    find_by_yaw,
    false_faces,
    framing_spread,
    separate_people,
    compare_with_pnp,
    rank_wrong_landmarks,
)


@dataclass(frozen=True, kw_only=True)
class FacesOptions(CorpusOptions):
    """Options of the benchmark."""

    frames: PositiveInt = 20
    """Evenly spaced frames per clip; the numbers of generated frames and videos are proportional to it."""
    sheet: Annotated[Path | None, Parameter(group=OUTPUT)] = None
    """Also draw the worst cases of each section to this PNG file."""


@benchmark("faces")
def main(options: FacesOptions) -> None:
    """Measure detection, framing, identity separation, head pose and confidence of landmarks."""
    report, sheet = Report("benchmarks/faces.py: face detection in builds", options), Sheet()
    with options.work_dir() as work:
        source, name = corpus(options.input, work)
        frames = find_faces(source, options.frames, work)
        count, clips = len(frames.found), len(frames.videos)
        report.note(f"Input: {name}: {count} frames with a face from {clips} clips, 256 px, dlib.")
        figures: dict[str, Any] = {"frames": count}
        for section in SECTIONS:
            figures |= section(report, frames, sheet)
    if options.sheet is not None:
        sheet.image().save(options.sheet)
    report.finish(figures)


if __name__ == "__main__":
    sys.exit(main())
