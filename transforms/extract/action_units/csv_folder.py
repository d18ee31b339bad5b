"""Action units from csv files that OpenFace wrote elsewhere, joined to the stored frames by time.

FOLDER/<identity>/<video>/<clip>.csv, or FOLDER/<key with / as _>.csv; of a sample made of several files one for each,
FOLDER/<identity>/<video>/<name of the file>.csv. A timestamp counts from the first frame of the clip's source file.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from schemas.action_units import ActionUnits, AuFile
from schemas.errors import ClipRejected
from schemas.layout import path_to_uri, planned_key, unescaped, uri_to_path
from transforms.extract.action_units.choose import as_action_units, face_of
from transforms.extract.action_units.rows import Row, read_rows
from transforms.extract.action_units.source import StoredClip

# OpenFace prints milliseconds.
_ROUNDING_S = 0.0005


@dataclass(frozen=True, slots=True)
class CsvFolder:
    """A folder of csv files as a source of action units."""

    folder: Path

    @property
    def name(self) -> str:
        """See AuSource."""
        return "csv"

    @property
    def batch_frames(self) -> int:
        """See AuSource: clip by clip."""
        return 1

    def action_units(self, clips: Sequence[StoredClip], scratch: Path | None) -> list[ActionUnits | ClipRejected]:
        """See AuSource. A clip without a file has no valid frame; one whose file cannot be understood is lost, `bad_aus_csv`."""
        return [self._of_clip(clip) for clip in clips]

    def provenance(self) -> dict[str, str]:
        """See AuSource. Nothing to compare: each sample tells name and hash of its files."""
        return {}

    def files_of(self, key: str, uris: Sequence[str]) -> list[Path | None]:
        """The file of each span of a clip; None where there is none."""
        return [next((path for path in self._places(key, uri, alone=len(uris) == 1) if path.is_file()), None) for uri in uris]

    def first_place(self, key: str, uris: Sequence[str]) -> Path:
        """Where the file of a clip is looked for first."""
        return next(self._places(key, uris[0], alone=len(uris) == 1))

    def _places(self, key: str, uri: str, *, alone: bool) -> Iterator[Path]:
        key = planned_key(key)
        plain = PurePosixPath(unescaped(key))
        plain = PurePosixPath(key) if ".." in plain.parts or plain.is_absolute() else plain
        if alone:
            yield self.folder / f"{plain}.csv"
            yield self.folder / f"{key}.csv"
            yield self.folder / f"{key.replace('/', '_')}.csv"
        yield self.folder / plain.parent / f"{PurePosixPath(uri_to_path(uri)).stem}.csv"

    def _of_clip(self, clip: StoredClip) -> ActionUnits | ClipRejected:
        files = self.files_of(clip.key, clip.uris)
        near: list[list[Row]] = [[] for _ in range(len(clip))]
        known: list[AuFile | None] = []
        for span, path in enumerate(files):
            frames = np.flatnonzero(clip.span == span)
            try:
                known.append(None if path is None else self._join(path, clip.pts_s[frames], clip.frame_s, frames, near))
            except (OSError, ValueError) as error:
                what = error.strerror if isinstance(error, OSError) else error
                return ClipRejected("bad_aus_csv", f"{self._shown(path)}: {what}" if path else str(what))
        boxes = [None] * len(clip) if clip.boxes_px is None else list(clip.boxes_px)
        chosen = [face_of(*each) for each in zip(near, boxes, clip.source_to_crop, strict=True)]
        return as_action_units(chosen, near, tuple(known))

    def _join(
        self, path: Path, pts_s: NDArray[np.float64], frame_s: float, frames: NDArray[np.intp], near: list[list[Row]]
    ) -> AuFile:
        """Put the rows that are nearest to each frame, and at most half a frame away, into `near`. Raises OSError, ValueError."""
        lines = _Lines(path)
        best_s = [frame_s / 2 + _ROUNDING_S] * len(pts_s)
        times: set[float] = set()
        numbers: set[int] = set()
        for row in read_rows(lines, ("timestamp",)):
            if len(times) < 2:
                times.add(row.timestamp_s)
                numbers.add(row.frame)
            _offer(row, pts_s, frames, best_s, near)
        if len(times) == 1 and len(numbers) > 1:
            raise ValueError("all timestamps are the same: it was computed from pictures, not from the video")
        return AuFile(self._shown(path), lines.sha256)

    def _shown(self, path: Path) -> str:
        return path_to_uri(path.relative_to(self.folder).as_posix())


def _offer(row: Row, pts_s: NDArray[np.float64], frames: NDArray[np.intp], best_s: list[float], near: list[list[Row]]) -> None:
    """Take a row for the frames beside it to which no row so far is nearer; rows of one time are faces of one frame."""
    place = bisect_left(pts_s, row.timestamp_s)
    for number in range(max(0, place - 1), min(len(pts_s), place + 1)):
        away_s = abs(row.timestamp_s - float(pts_s[number]))
        if away_s > best_s[number]:
            continue
        rows = near[int(frames[number])]
        if rows and rows[0].timestamp_s != row.timestamp_s:
            if away_s == best_s[number]:
                continue
            rows.clear()
        rows.append(row)
        best_s[number] = away_s


class _Lines:
    """The lines of a file, read once, without a last one that is cut short; afterwards `sha256` is that of its bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = hashlib.sha256()

    def __iter__(self) -> Iterator[str]:
        with self._path.open("rb") as stream:
            for line in stream:
                self._digest.update(line)
                if line.endswith(b"\n"):
                    yield line.decode("utf-8", "replace")

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()
