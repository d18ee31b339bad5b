"""The loader's processes and shared memory: batches keep their values, and processes end with their loader."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import time
from itertools import islice
from pathlib import Path

import pytest
import torch
from checkout import ROOT
from streams import ordinary, stream_of

from motionshards.dataset.loader import Loader, make_loader
from motionshards.schemas.errors import LoaderFailed


def pids(loader: Loader) -> list[int]:
    """Process ids of a loader's workers."""
    return [worker._process.pid for worker in loader._pool._workers]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_kept_batches_do_not_change(data: Path) -> None:
    stream = stream_of(data)
    expected = [batch.frames.clone() for batch in ordinary(stream)]
    with make_loader(stream, ahead=2) as loader:
        kept = list(loader)
        one = next(iter(loader)).frames[0, 0]  # a part of a batch must keep its place in the ring, too
        before = one.clone()
        for _ in range(3):
            assert len(list(loader)) == 10
        assert torch.equal(one, before)
    gc.collect()
    assert all(torch.equal(batch.frames, frames) for batch, frames in zip(kept, expected, strict=True))


def test_the_memory_of_released_batches_is_reused(data: Path) -> None:
    with make_loader(stream_of(data), ahead=2) as loader:
        places = {batch.frames.data_ptr() for _ in range(5) for batch in loader}
        assert len(places) <= 4 == loader._pool.ring.places


def test_a_killed_process_raises_a_clear_error(data: Path) -> None:
    with make_loader(stream_of(data, repeats=50), processes=2) as loader:
        batches = iter(loader)
        next(batches)
        os.kill(pids(loader)[1], signal.SIGKILL)
        with pytest.raises(LoaderFailed, match="killed by signal 9; signal 9 usually means out of memory"):
            list(islice(batches, 400))


def test_processes_end_with_the_loader_or_the_program(data: Path) -> None:
    loader = make_loader(stream_of(data), processes=2)
    next(iter(loader))
    ours = pids(loader)
    assert all(map(alive, ours))
    loader.close()
    assert not any(map(alive, ours))
    with pytest.raises(LoaderFailed):
        next(iter(loader))
    dropped = make_loader(stream_of(data))
    theirs = pids(dropped)
    del dropped
    gc.collect()
    assert not any(map(alive, theirs))


PROGRAM = """
    import os, signal, sys
    from motionshards.dataset.stream import ClipStream, Pairs
    from motionshards.dataset.loader import make_loader
    loader = make_loader(ClipStream(sys.argv[1], Pairs(2), global_batch_size=6), processes=2)
    for batch in loader:
        break
    print(*[worker._process.pid for worker in loader._pool._workers], flush=True)
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    for batch in loader:
        pass
    print(len(loader))
"""


@pytest.mark.parametrize("end", ["kill", "return"])
def test_a_program_without_a_main_guard_in_another_directory(data: Path, tmp_path: Path, end: str) -> None:
    program = tmp_path / "train.py"
    program.write_text(textwrap.dedent(PROGRAM))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(program), str(data), end], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60
    )
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[1:]) == ((0, ["10"]) if end == "return" else (-9, [])), done.stderr
    deadline = time.monotonic() + 10
    while any(alive(int(pid)) for pid in lines[0].split()):
        assert time.monotonic() < deadline, "the processes outlived the program"
        time.sleep(0.05)
