"""OpenFace 2.x, the program FeatureExtraction, run on the stored frames of many clips in one call.

It sees each frame's JPEG bytes as they are stored, every frame as a sequence of its own (`-fdir` on a directory with one
picture). Over a sequence it averages intensities of 3 and presences of 7 neighbours, also with `-au_static`: that suits a
video, but sampled frames lie seconds apart. It also makes a frame's action units independent of what else was sampled.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from motionshards.schemas.action_units import ActionUnits
from motionshards.schemas.errors import BuildFailed, ClipRejected
from motionshards.transforms.extract.action_units.choose import as_action_units, face_of
from motionshards.transforms.extract.action_units.process import Ended, run_limited
from motionshards.transforms.extract.action_units.rows import CsvLines, Row, read_rows
from motionshards.transforms.extract.action_units.source import StoredClip

PROGRAM = "FeatureExtraction"
FLAGS = ("-aus", "-2Dfp", "-au_static")
DIR = "{dir}"
START_S = 300.0

# What decides the result lies beside the program: regressors and landmark detectors.
_MODELS = ("AU_predictors", "model")
# More threads than one would not make it faster, as there is a worker for each core, and could change the last digit.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_MOST_FRAMES = 5_000
_MOST_LOST_IN_A_ROW = 8
_DETAIL_LETTERS = 300

Rows = list[list[Row]]


@dataclass(frozen=True, slots=True)
class OpenFace:
    """FeatureExtraction as a source of action units.

    command: program and first arguments; `{dir}` stands for the directory that holds pictures and results
    start_s, frame_s: a call is ended when it takes longer than start_s and frame_s for each frame
    """

    command: tuple[str, ...]
    start_s: float = START_S
    frame_s: float = 2.0

    @property
    def name(self) -> str:
        """See AuSource."""
        return "openface"

    @property
    def batch_frames(self) -> int:
        """Frames of one call, which loads the models once: those of a whole shard, save that a command line has an end."""
        return _MOST_FRAMES

    def action_units(self, clips: Sequence[StoredClip], scratch: Path | None) -> list[ActionUnits | ClipRejected]:
        """See AuSource. A clip is lost, `aus_failed`, where its second call, with it alone, ends without all its results.

        After a call that did not give all results, the first clip without them is tried alone, and when that gave its results
        the others again together. Where clip after clip is lost, the rest is given up: the program is broken.
        """
        done: dict[int, ActionUnits | ClipRejected] = {}
        waiting, tried, alone, lost_in_a_row = list(range(len(clips))), set[int](), False, 0
        while waiting and lost_in_a_row < _MOST_LOST_IN_A_ROW:
            batch = waiting[:1] if alone else waiting
            found, why = self._call([clips[number] for number in batch], scratch)
            whole = {number: rows for number, rows in zip(batch, found, strict=True) if rows is not None}
            done |= {number: _of_clip(clips[number], rows) for number, rows in whole.items()}
            if not whole and len(batch) == 1 and batch[0] in tried:
                done[batch[0]] = ClipRejected("aus_failed", why)
                lost_in_a_row += 1
            elif whole:
                lost_in_a_row = 0
            tried |= set(batch)
            alone = len(whole) < len(batch)
            waiting = [number for number in waiting if number not in done]
        given_up = ClipRejected("aus_failed", f"given up, as OpenFace had failed with {_MOST_LOST_IN_A_ROW} clips in a row")
        return [done.get(number, given_up) for number in range(len(clips))]

    def provenance(self) -> dict[str, str]:
        """See AuSource. OpenFace tells no version: hashes stand for it, or the command where that runs a container or script."""
        program = Path(self.command[0])
        own, models = program.name.startswith(PROGRAM), _models_beside(program)
        shown = [program.name, *self.command[1:]] if own else self.command
        return {
            "openface_command": " ".join([*shown, "-fdir FRAME …", "-out_dir DIR", *FLAGS]),
            "openface_input": "each stored JPEG by itself",
            **({"openface_program": f"sha256:{_sha256(program)}"} if own else {}),
            **({"openface_models": f"sha256:{_sha256_of_all(models)}"} if models else {}),
        }

    def _call(self, clips: Sequence[StoredClip], scratch: Path | None) -> tuple[list[Rows | None], str]:
        """One run: the rows of each frame of each clip, None for clips without all results, and why they have none."""
        with tempfile.TemporaryDirectory(prefix="openface-", dir=scratch, ignore_cleanup_errors=True) as name:
            work = Path(name)
            directories = [_lay_out(clip, work / "frames", number) for number, clip in enumerate(clips)]
            (work / "results").mkdir()
            ended = self._run(work, [frame for frames in directories for frame in frames])
            found: list[Rows | None] = []
            why = _why(ended, self.limit_s(sum(map(len, directories))), work)
            for frames in directories:
                try:
                    found.append([_rows_of(work / "results" / f"{frame.name}.csv") for frame in frames])
                except ValueError as error:
                    found.append(None)
                    why = f"{error}; {why}"[:_DETAIL_LETTERS] if len(clips) == 1 else why
            return found, why

    def _run(self, work: Path, frames: Sequence[Path]) -> Ended:
        inputs = [argument for frame in frames for argument in ("-fdir", str(frame))]
        command = [part.replace(DIR, str(work)) for part in self.command]
        environment: Mapping[str, str] = {**_ONE_THREAD, **os.environ}
        try:
            whole = [*command, *inputs, "-out_dir", str(work / "results"), *FLAGS]
            return run_limited(whole, self.limit_s(len(frames)), work / "log.txt", environment)
        except OSError as error:
            raise BuildFailed(f"OpenFace cannot be started: {error.strerror}: {command[0]}") from error

    def limit_s(self, frames: int) -> float:
        """The seconds that a call with so many frames may take."""
        return self.start_s + self.frame_s * frames


def _lay_out(clip: StoredClip, top: Path, number: int) -> list[Path]:
    """A directory for each frame; OpenFace names its result after it."""
    directories = [top / f"{number:04d}-{frame:03d}" for frame in range(len(clip))]
    for directory, jpeg in zip(directories, clip.jpegs, strict=True):
        directory.mkdir(parents=True)
        (directory / "frame.jpg").write_bytes(jpeg)
    return directories


def _rows_of(path: Path) -> list[Row]:
    """The rows of one frame. Raises ValueError where the file is absent, cut short or damaged."""
    if not path.is_file():
        raise ValueError("a frame has no result")
    try:
        return list(read_rows(CsvLines(path)))
    except ValueError as error:
        raise ValueError(f"a result is damaged: {error}") from error


def _of_clip(clip: StoredClip, rows: Rows) -> ActionUnits:
    boxes = [None] * len(clip) if clip.boxes_px is None else list(clip.boxes_px)
    chosen = [face_of(one, box, None) for one, box in zip(rows, boxes, strict=True)]
    return as_action_units(chosen, rows)


def _why(ended: Ended, limit_s: float, work: Path) -> str:
    """How a call ended, the same for the same clip: without names that differ from run to run."""
    end = f"status {ended.status}" if ended.status is not None else f"ended after {limit_s:.0f} s"
    said = ended.said.replace(str(work), DIR)[-_DETAIL_LETTERS:]
    return f"OpenFace: {end}" + (f": {said}" if said else "")


def _models_beside(program: Path) -> list[Path]:
    return sorted(path for name in _MODELS for path in (program.parent / name).rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sha256_of_all(paths: Sequence[Path]) -> str:
    """Of the names and the content of several files."""
    return hashlib.sha256("".join(f"{path.name} {_sha256(path)}\n" for path in paths).encode()).hexdigest()


def where_models_lie(found: str) -> str:
    """The program's real path if its models lie there: it looks for them beside the name it was called by."""
    real = Path(found).resolve()
    return str(real) if _models_beside(real) else found


def program_at(name: str) -> str | None:
    """The path of a program named by a word on the PATH, a path, or the directory that holds FeatureExtraction."""
    found = shutil.which(str(Path(name) / PROGRAM) if Path(name).is_dir() else name)
    return None if found is None else where_models_lie(str(Path(found).absolute()))
