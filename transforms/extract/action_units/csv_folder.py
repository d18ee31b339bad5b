"""Action units from existing csv files of OpenFace, joined to the stored frames by frame number.

Paths are FOLDER/<identity>/<video>/<clip>.csv or FOLDER/<key with / as _>.csv; for a sample made of several files, one csv for
each, FOLDER/<identity>/<video>/<name of the file>.csv. A csv has a row for every decodable frame of the source file, even if the
clip is a part of it. `timestamp` is ignored: it is the frame number over the mean rate, wrong for variable frame rates.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from motionshards.schemas.action_units import ActionUnits, AuFile
from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.layout import path_to_uri, planned_key, unescaped, uri_to_path
from motionshards.transforms.extract.action_units.choose import as_action_units, face_of, of_all_frames
from motionshards.transforms.extract.action_units.rows import CsvLines, Row, in_order, read_rows
from motionshards.transforms.extract.action_units.source import StoredClip

# OpenFace's decoder and PyAV may disagree about the last frame of a file.
_SLACK = 1


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

    @property
    def reads_images(self) -> bool:
        """See AuSource."""
        return False

    def action_units(self, clips: Sequence[StoredClip], scratch: Path | None) -> list[ActionUnits | ClipRejected]:
        """See AuSource. A clip without a csv has no valid frame; one whose csv is damaged is rejected (`bad_aus_csv`)."""
        return [self._of_clip(clip) for clip in clips]

    def provenance(self) -> dict[str, str]:
        """See AuSource. Empty, because each sample records name and hash of its csv files."""
        return {}

    def files_of(self, key: str, uris: Sequence[str]) -> list[Path | None]:
        """The csv of each span of a clip; None where there is none."""
        return [next((path for path in self._places(key, uri, alone=len(uris) == 1) if path.is_file()), None) for uri in uris]

    def first_place(self, key: str, uris: Sequence[str]) -> Path:
        """The first path at which the csv of a clip is looked for."""
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
        frames = clip.every if clip.keep_every else None
        spans, indices = (clip.span, clip.index) if frames is None else (frames.span, frames.index)
        candidates: list[list[Row]] = [[] for _ in range(len(spans))]
        known: list[AuFile | None] = []
        for span, path in enumerate(files):
            rows_of = {int(indices[place]) + 1: candidates[place] for place in np.flatnonzero(spans == span)}
            try:
                known.append(None if path is None else self._join(path, clip.file_frames[span], rows_of))
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                return ClipRejected("bad_aus_csv", f"{self._shown(path)}: {reason}" if path else str(reason))
        if frames is not None:
            return of_all_frames(clip, candidates, clip.source_to_crop, tuple(known))
        chosen = [face_of(*each, same_crop=False) for each in zip(candidates, clip.boxes, clip.source_to_crop, strict=True)]
        return as_action_units(chosen, candidates, tuple(known))

    def _join(self, path: Path, frames: int | None, rows_of: Mapping[int, list[Row]]) -> AuFile:
        """Append the rows of each requested frame to its list. Raises OSError, ValueError: another video's csv, or damaged.

        frames: number of frames of the video; None if unknown
        rows_of: frame number, from 1 -> list for its rows
        """
        lines, last = CsvLines(path), 0
        for row in in_order(read_rows(lines, ("frame",))):
            last = row.frame
            if frames is not None and last > frames + _SLACK:
                raise ValueError(f"it has more than {frames + _SLACK} frames, the video has {frames}")
            if row.frame in rows_of:
                rows_of[row.frame].append(row)
        least = max(rows_of, default=0) if frames is None else frames
        if last < least - _SLACK:
            raise ValueError(f"it has {last} frames, the video has {'at least ' if frames is None else ''}{least}")
        return AuFile(self._shown(path), lines.sha256)

    def _shown(self, path: Path) -> str:
        return path_to_uri(path.relative_to(self.folder).as_posix())
