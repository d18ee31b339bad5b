"""One writer at a time, even if a process dies, without leftovers; directories with unrelated files are refused."""

import multiprocessing
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from checkout import ROOT

from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import LOCK
from motionshards.schemas.output import only_writer, refuse_foreign_files

HOLD_LOCK = """
import sys, time
from pathlib import Path
from motionshards.schemas.output import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_second_writer_gets_an_error_naming_the_first(tmp_path: Path) -> None:
    with only_writer(tmp_path):
        message = rf"another build, .*\(process {os.getpid()} on {socket.gethostname()}\)"
        with pytest.raises(ConfigError, match=message), only_writer(tmp_path):
            pytest.fail("two at once")
        assert (tmp_path / LOCK).exists(), "the lock is still the first one's"
    assert not list(tmp_path.iterdir())
    with only_writer(tmp_path):
        pass


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD_LOCK, tmp_path], stdout=subprocess.PIPE, cwd=ROOT)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    with pytest.raises(ConfigError, match=f"process {holder.pid} on"), only_writer(tmp_path):
        pytest.fail("two at once")
    holder.kill()
    holder.communicate()
    assert (tmp_path / LOCK).exists()
    with only_writer(tmp_path):
        assert f"process {os.getpid()} on" in (tmp_path / LOCK).read_text()
    assert not list(tmp_path.iterdir())


def increment(out: Path, times: int) -> None:
    for _ in range(times):
        while True:
            try:
                with only_writer(out):
                    count = int((out / "count").read_text())
                    time.sleep(0.0005)
                    (out / "count").write_text(str(count + 1))
                break
            except ConfigError:
                time.sleep(0.0005)


def test_lock_is_exclusive_although_its_file_is_removed(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    processes = [multiprocessing.get_context("fork").Process(target=increment, args=(tmp_path, 50)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert (tmp_path / "count").read_text() == "200"


def test_only_new_empty_and_own_directories_are_accepted(tmp_path: Path) -> None:
    refuse_foreign_files(tmp_path / "new", "run")
    refuse_foreign_files(tmp_path, "run")
    (tmp_path / "epoch-0001.pt").touch()
    refuse_foreign_files(tmp_path, "run", ("epoch-*",))
    with pytest.raises(ConfigError, match=r"not empty and holds no run \(found 'epoch-0001.pt'\)"):
        refuse_foreign_files(tmp_path, "run")
    with pytest.raises(ConfigError, match="not a directory"):
        refuse_foreign_files(tmp_path / "epoch-0001.pt", "run")
