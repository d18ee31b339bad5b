"""Local runner: execute the graph in a supervised child process, and restart it with the remaining units if a worker dies.

Clips in flight on the dead worker become suspects: in the next run each is built in an isolated process (`clips.isolate`), and
rejected only if that dies too. A clip that kills its process therefore costs one restart, and an external kill costs no clip.
"""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from motionshards.pipeline.shards.build import BuildJob
from motionshards.pipeline.shards.journal import FAILURE, WORKER_DIED, failure, finished_clips, read_suspects
from motionshards.pipeline.shards.markers import Markers
from motionshards.schemas.errors import BuildFailed
from motionshards.schemas.layout import WORK_DIR
from motionshards.schemas.records import ShardUnit

_POLL_S = 0.2
# Consecutive deaths without a committed shard or a new suspect, as when workers cannot even start.
_MAX_IDLE_DEATHS = 12


class Progress(Protocol):
    """Receives the number of clips done in this run."""

    def update(self, clips: int) -> None:
        """Report that `clips` clips are done since the start of the run."""


def build_locally(units: Sequence[ShardUnit], job: BuildJob, workers: int, options: Sequence[str], progress: Progress) -> None:
    """Build all units with `workers` processes.

    Raises:
        BuildFailed: a unit failed for a reason other than its clips; committed units are kept
    """
    scratch = Path(tempfile.mkdtemp(prefix="motionshards-"))
    beam = [f"--direct_num_workers={workers}", *options]
    try:
        _until_built(units, replace(job, journal=scratch, scratch=scratch), beam, _environment(workers, scratch), progress)
    except BuildFailed:
        _forget_directories(scratch)
        raise  # the log in `scratch` is kept for the user
    except BaseException:
        shutil.rmtree(scratch)
        raise
    finally:
        # Killed workers leave temporary files behind.
        shutil.rmtree(job.out / WORK_DIR, ignore_errors=True)
    shutil.rmtree(scratch)


def _until_built(
    units: Sequence[ShardUnit], job: BuildJob, beam: list[str], environment: dict[str, str], progress: Progress
) -> None:
    idle_deaths, markers = 0, Markers(job.out, job.bucket, job.addition)
    while left := markers.left(units):
        status = _run_child(units, left, job, beam, environment, progress)
        problem = _failure(job, status)
        still_left = markers.left(units)
        if problem and still_left:
            raise BuildFailed(problem)
        assert job.journal is not None
        named = read_suspects(job.journal)
        idle = len(still_left) == len(left) and named <= job.suspects
        idle_deaths = idle_deaths + 1 if idle else 0
        if idle_deaths > _MAX_IDLE_DEATHS:
            raise BuildFailed(f"workers died {idle_deaths} times without making progress; see {_log(job)}")
        job = replace(job, suspects=job.suspects | named)
        _forget_journals(job)


def _run_child(
    units: Sequence[ShardUnit],
    left: list[ShardUnit],
    job: BuildJob,
    beam: list[str],
    environment: dict[str, str],
    progress: Progress,
) -> int:
    """Run the graph once over the remaining units; returns the child's exit status after killing its process group."""
    sizes, markers = {unit.name: len(unit) for unit in left}, Markers(job.out, job.bucket, job.addition)
    before = sum(len(unit) for unit in units) - sum(sizes.values())
    assert job.journal is not None
    with _log(job).open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "motionshards.pipeline.runners.local_child"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        assert child.stdin is not None
        with suppress(BrokenPipeError):
            pickle.dump((left, job, beam), child.stdin)
            child.stdin.flush()
        # Beam reports a failure only after all bundles, which may take days; the failure file exists immediately.
        while child.poll() is None and not (job.journal / FAILURE).exists():
            unfinished = markers.left(left, sure=False)
            committed = sum(sizes.values()) - sum(len(unit) for unit in unfinished)
            progress.update(before + committed + finished_clips(job.journal))
            if not unfinished:
                break  # do not wait for Beam to shut down, which takes seconds
            time.sleep(_POLL_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    return child.returncode


def _environment(workers: int, scratch: Path) -> dict[str, str]:
    """Our environment, with this package's location on PYTHONPATH: the parent may only find it by its working directory.

    TMPDIR is a directory that is deleted, since Beam leaves its temporary directory behind when it is killed.
    """
    here = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    # Without the limits, decoder threads would open separate glibc arenas, increasing a worker's memory by a quarter, and torch
    # would start one thread per core in every worker.
    threads = str(max(1, len(os.sched_getaffinity(0)) // workers))
    return {"MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": threads, **os.environ, "PYTHONPATH": path, "TMPDIR": str(scratch)}


def _failure(job: BuildJob, status: int) -> str | None:
    """Why the build cannot continue; None if the child finished, or if another run can recover from its death."""
    assert job.journal is not None
    if message := failure(job.journal):
        return message
    if status in (0, WORKER_DIED) or status < 0:
        return None
    return f"the Beam run ended with status {status}; see {_log(job)}"


def _forget_journals(job: BuildJob) -> None:
    assert job.journal is not None
    _forget_directories(job.journal)
    for path in job.journal.iterdir():
        if path != _log(job):
            path.unlink()


def _forget_directories(scratch: Path) -> None:
    """Delete the images that killed workers had written for other programs."""
    for path in scratch.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def _log(job: BuildJob) -> Path:
    assert job.journal is not None
    return job.journal / "beam.log"
