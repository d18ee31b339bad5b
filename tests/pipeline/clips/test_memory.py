"""Any out-of-memory error ends the process as if the kernel had killed it. Each case runs in a separate process."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

WAYS = {
    "python": "bytearray(1 << 62)",
    "system": "mmap.mmap(-1, 1 << 60)",
    "arrow": "pa.allocate_buffer(1 << 60)",
    "stack of a thread": "threading.stack_size(1 << 40); threading.Thread(target=print).start()",
    "mapped file": "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)); pq.read_table(sys.argv[1], memory_map=True)",
}
IMPORTS = (
    "import mmap, resource, sys, threading; import pyarrow as pa, pyarrow.parquet as pq\n"
    "from motionshards.pipeline.clips.memory import kill_if_out_of_memory"
)


def run(body: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = f"{IMPORTS}\nwith kill_if_out_of_memory():\n    {body}\n"
    return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("way", WAYS)
def test_out_of_memory_is_a_kill(way: str, tmp_path: Path) -> None:
    sparse = tmp_path / "large.parquet"
    with sparse.open("wb") as stream:
        stream.truncate(8 << 30)
    done = run(WAYS[way], str(sparse))
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("open('/nowhere')", "FileNotFoundError"),
        ("raise ValueError('other')", "ValueError: other"),
        ("raise RuntimeError('other')", "RuntimeError: other"),
    ],
    ids=["os", "value", "runtime"],
)
def test_other_errors_are_not_changed(body: str, message: str) -> None:
    done = run(body)
    assert done.returncode == 1 and message in done.stderr
