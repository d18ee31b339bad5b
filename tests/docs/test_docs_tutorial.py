"""Runs the commands of docs/tutorial.md as they are, in order, in an empty directory.

Fenced blocks marked `sh` are run as one script, so variables and the current directory carry over; those marked `sh no-run` are
only parsed (by `test_docs_commands.py`). The repository is on PYTHONPATH, and this interpreter is first on PATH.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from checkout import ROOT
from markdown_code import code

TUTORIAL = ROOT / "docs" / "tutorial.md"
_SHOWN_CHARACTERS = 6_000
_LIMIT_S = 1_500


def script(text: str) -> str:
    """The blocks of a page to run, each preceded by a command that prints its line number."""
    blocks = [piece for piece in code(text, "page") if piece.kind == "fenced" and piece.info == "sh"]
    return "\n".join(f"echo '--- line {block.line}' >&2\n{block.text}" for block in blocks)


def run_page(text: str, place: Path, timeout_s: float) -> None:
    """Run the commands of a page in the directory `place`. Raises AssertionError with the last output if one fails."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile() as output:
        # A separate session, so that all its processes can be killed after a timeout.
        bash = subprocess.Popen(
            ["bash", "-e", "-c", script(text)],
            cwd=place,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status: int | str = bash.wait(timeout_s)
        except subprocess.TimeoutExpired:
            status = f"unfinished after {timeout_s:g} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(bash.pid, signal.SIGKILL)
            bash.wait()
        output.seek(0)
        last = output.read().decode(errors="replace")[-_SHOWN_CHARACTERS:]
    assert status == 0, f"status {status}, last output:\n{last}"


@pytest.mark.slow
@pytest.mark.timeout(2 * _LIMIT_S)
def test_the_tutorial_runs(tmp_path: Path) -> None:
    if not TUTORIAL.exists():
        pytest.skip("docs/tutorial.md is not written yet")
    assert script(TUTORIAL.read_text()), "no block of docs/tutorial.md is marked `sh`"
    run_page(TUTORIAL.read_text(), tmp_path, _LIMIT_S)


def test_blocks_run_in_order_in_one_shell_and_directory(tmp_path: Path) -> None:
    page = """
```sh
mkdir here && cd here
NAME=output
```

```sh no-run
exit 7
```

    exit 8

```python
exit(9)
```

```sh
python -c "import motionshards.dataset.query.where, sys; print(sys.executable)" > $NAME.txt
```
"""
    run_page(page, tmp_path, 60)
    assert (tmp_path / "here" / "output.txt").read_text().strip() == sys.executable


def test_a_failing_command_is_reported_with_its_line_and_output(tmp_path: Path) -> None:
    page = "# Page\n\n```sh\ntrue\n```\n\n```sh\necho before\npython -m dataset.verify nowhere\necho after\n```\n"
    with pytest.raises(AssertionError, match=r"status 2.*\s+--- line 3\s+--- line 7\s+before\s+error: nowhere is not"):
        run_page(page, tmp_path, 60)


def test_a_timeout_is_reported_and_processes_are_killed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"unfinished after 1 s.*\s+--- line 1\s+begun"):
        run_page("```sh\necho begun\nsleep 600 &\necho $! > pid\nwait\n```\n", tmp_path, 1)
    pid = int((tmp_path / "pid").read_text())
    until = time.monotonic() + 20
    while is_running(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False
