"""docs/tutorial.md does what it says: its commands are run as they stand, in order, in an empty directory.

Fenced blocks marked `sh` are run, as one script, so what one sets or enters holds for the next; those marked `sh no-run` are
only read (by `test_docs_commands.py`). The repository is on Python's path, and this interpreter is the first in the shell's.
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
_SAID = 6_000
_LIMIT_S = 1_500


def script(text: str) -> str:
    """The blocks of a page that are run, each behind a line that tells where it stands on the page."""
    blocks = [piece for piece in code(text, "page") if piece.kind == "fenced" and piece.info == "sh"]
    return "\n".join(f"echo '--- line {block.line}' >&2\n{block.text}" for block in blocks)


def run_page(text: str, place: Path, timeout_s: float) -> None:
    """Run the commands of a page in the directory `place`. Raises AssertionError with what was said last where one fails."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile() as said:
        # A session of its own, so that nothing of it is left when time is up.
        bash = subprocess.Popen(
            ["bash", "-e", "-c", script(text)],
            cwd=place,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
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
        said.seek(0)
        last = said.read().decode(errors="replace")[-_SAID:]
    assert status == 0, f"status {status}, and last of all:\n{last}"


@pytest.mark.slow
@pytest.mark.timeout(2 * _LIMIT_S)
def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    if not TUTORIAL.exists():
        pytest.skip("docs/tutorial.md is not written yet")
    assert script(TUTORIAL.read_text()), "no block of docs/tutorial.md is marked `sh`"
    run_page(TUTORIAL.read_text(), tmp_path, _LIMIT_S)


def test_blocks_run_in_order_in_one_shell_and_place(tmp_path: Path) -> None:
    page = """
```sh
mkdir here && cd here
NAME=told
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
    assert (tmp_path / "here" / "told.txt").read_text().strip() == sys.executable


def test_a_command_that_fails_is_told_with_its_place_and_words(tmp_path: Path) -> None:
    page = "# Page\n\n```sh\ntrue\n```\n\n```sh\necho before\npython -m dataset.verify nowhere\necho after\n```\n"
    with pytest.raises(AssertionError, match=r"status 2.*\s+--- line 3\s+--- line 7\s+before\s+error: nowhere is not"):
        run_page(page, tmp_path, 60)


def test_what_takes_too_long_is_told_and_ended(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"unfinished after 1 s.*\s+--- line 1\s+begun"):
        run_page("```sh\necho begun\nsleep 600 &\necho $! > pid\nwait\n```\n", tmp_path, 1)
    pid = int((tmp_path / "pid").read_text())
    until = time.monotonic() + 20
    while is_running(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    """Whether a process exists that is more than an entry which nobody has asked for yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False
