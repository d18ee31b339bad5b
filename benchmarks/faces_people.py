"""Identity separation by face descriptors: distances between clips, and between frames, of the same and of different people."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.faces_found import Corpus
from benchmarks.faces_sheet import Sheet
from benchmarks.report import Report
from motionshards.dataset.report.separation import Separation, separation
from motionshards.transforms.extract.identity.descriptor import descriptors

_OF_A_CLIP = 5


def separate_people(report: Report, corpus: Corpus, _: Sheet) -> dict[str, Any]:
    """Report the distances, and the area under the ROC curve (AUC) of verification."""
    found, people = corpus.found, np.unique(corpus.people, return_inverse=True)[1].astype(np.int32)
    frames = [_spread_over(np.flatnonzero(found.clip == clip)) for clip in range(len(people))]
    each = [descriptors(found.rgb[some], found.points_px[some]) for some in frames]
    means = np.stack([one.mean(axis=0) for one in each])
    clips = separation(means, people)
    single = separation(np.concatenate(each), np.repeat(people, [len(one) for one in each]))
    rows = [row for name, one in (("clips", clips), ("frames", single)) for row in _rows(name, one)]
    report.table("Distances of face descriptors", ["pairs", "number", "5 %", "median", "95 %"], rows)
    report.note(
        f"Clips: means over up to {_OF_A_CLIP} frames. Area under the ROC curve: {clips.area:.4f} for clips, {single.area:.4f} "
        f"for frames. At a distance of {clips.threshold:.2f}, {100 * clips.error:.2g} % of the pairs of clips are misclassified."
    )
    return {"identity_auc": clips.area, "identity_auc_frames": single.area}


def _spread_over(frames: NDArray[np.int64]) -> NDArray[np.int64]:
    return frames[np.unique(np.linspace(0, len(frames) - 1, _OF_A_CLIP).round().astype(np.int64))]


def _rows(name: str, found: Separation) -> list[list[Any]]:
    return [
        [f"{name} of {whose}", spread.present, *(spread.quantiles or ())]
        for whose, spread in (("the same person", found.same), ("different people", found.other))
    ]
