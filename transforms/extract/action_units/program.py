"""Runs a program on many clips in one call, so that models are loaded once; a clip it fails on is rejected alone."""

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from motionshards.schemas.errors import BuildFailed, ClipRejected
from motionshards.transforms.extract.action_units.process import ExitResult, run_limited
from motionshards.transforms.extract.action_units.source import StoredClip

DIR = "{dir}"

# Each core has a worker already, and the number of threads could change the last digit.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_MAX_FAILURES_IN_A_ROW = 8
_DETAIL_LETTERS = 300

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Input:
    """A directory with a sequence of `frames` images, and the name of its result, NAME.csv."""

    directory: Path
    name: str
    frames: int


@dataclass(frozen=True, slots=True)
class Program(Generic[Row]):
    """A program with the command line `-fdir DIR -of NAME … -out_dir DIR`.

    name: for messages
    command: program and first arguments; `{dir}` is replaced by the directory of images and results
    flags: last arguments
    start_s, frame_s: timeout of a call, start_s + frame_s per frame
    inputs: writes the sequences of a clip; takes a directory for temporary files and the number of the clip
    read: returns one row per frame from a result and its number of frames; raises ValueError if the result is damaged
    """

    name: str
    command: tuple[str, ...]
    flags: tuple[str, ...]
    start_s: float
    frame_s: float
    inputs: Callable[[StoredClip, Path, int], list[Input]]
    read: Callable[[Path, int], list[Row]]

    def run(self, clips: Sequence[StoredClip], scratch: Path | None) -> list[list[Row] | ClipRejected]:
        """One row per frame of each clip, or `aus_failed` for a clip without results after a second call with it alone.

        After a call with missing results, the first clip without them is retried alone; if that succeeds, the others are
        retried together. After 8 failed clips in a row all remaining ones are rejected: the program is broken.

        scratch: directory for temporary files, which holds the images of the clips, if any; None uses the system's

        Raises:
            BuildFailed: the program cannot be started
        """
        done: dict[int, list[Row] | ClipRejected] = {}
        waiting, tried, single, failures = list(range(len(clips))), set[int](), False, 0
        while waiting and failures < _MAX_FAILURES_IN_A_ROW:
            batch = waiting[:1] if single else waiting
            found, reason = self._call([clips[number] for number in batch], scratch)
            complete = {number: rows for number, rows in zip(batch, found, strict=True) if rows is not None}
            done |= complete
            if not complete and len(batch) == 1 and batch[0] in tried:
                done[batch[0]] = ClipRejected("aus_failed", reason)
                failures += 1
            elif complete:
                failures = 0
            tried |= set(batch)
            single = len(complete) < len(batch)
            waiting = [number for number in waiting if number not in done]
        reason = f"not attempted: {self.name} had failed on {_MAX_FAILURES_IN_A_ROW} clips in a row"
        return [done.get(number, ClipRejected("aus_failed", reason)) for number in range(len(clips))]

    def _call(self, clips: Sequence[StoredClip], scratch: Path | None) -> tuple[list[list[Row] | None], str]:
        """One run: the rows of each clip, None where results are missing, and the reason."""
        with tempfile.TemporaryDirectory(prefix="aus-", dir=scratch, ignore_cleanup_errors=True) as name:
            work = Path(name)
            inputs = [self.inputs(clip, work, number) for number, clip in enumerate(clips)]
            (work / "results").mkdir()
            limit_s = self.start_s + self.frame_s * sum(one.frames for each in inputs for one in each)
            result = self._run(work, [one for each in inputs for one in each], limit_s)
            found: list[list[Row] | None] = []
            reason = self._describe(result, limit_s, work)
            for each in inputs:
                try:
                    found.append([row for one in each for row in self._result(work, one)])
                except ValueError as error:
                    found.append(None)
                    reason = f"{error}; {reason}"[:_DETAIL_LETTERS] if len(clips) == 1 else reason
            return found, reason

    def _run(self, work: Path, inputs: Sequence[Input], limit_s: float) -> ExitResult:
        words = [word for one in inputs for word in ("-fdir", str(one.directory), "-of", one.name)]
        # Images that the build has written are beside this call's directory.
        inside = all(one.directory.is_relative_to(work) for one in inputs)
        command = [part.replace(DIR, str(work if inside else work.parent)) for part in self.command]
        try:
            full_command = [*command, *words, "-out_dir", str(work / "results"), *self.flags]
            return run_limited(full_command, limit_s, work / "log.txt", {**_ONE_THREAD, **os.environ})
        except OSError as error:
            raise BuildFailed(f"{self.name} cannot be started: {error.strerror}: {command[0]}") from error

    def _result(self, work: Path, one: Input) -> list[Row]:
        path = work / "results" / f"{one.name}.csv"
        if not path.is_file():
            raise ValueError("no result was written")
        try:
            found = self.read(path, one.frames)
        except ValueError as error:
            raise ValueError(f"a result is damaged: {error}") from error
        if len(found) != one.frames:
            raise ValueError(f"a result has {len(found)} of {one.frames} frames")
        return found

    def _describe(self, result: ExitResult, limit_s: float, work: Path) -> str:
        """Describe the end of a call, without directory names that differ between runs, so that details are reproducible."""
        outcome = f"status {result.status}" if result.status is not None else f"timed out after {limit_s:.0f} s"
        output = result.output.replace(str(work), DIR).replace(str(work.parent), DIR)[-_DETAIL_LETTERS:]
        return f"{self.name}: {outcome}" + (f": {output}" if output else "")


def all_images(clip: StoredClip, work: Path, number: int) -> list[Input]:
    """All frames of a clip as one sequence."""
    assert clip.images is not None and clip.every is not None, "the build writes images for a source that reads them"
    return [Input(clip.images, f"{number:04d}", len(clip.every))]
