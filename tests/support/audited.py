"""Processes whose system calls are recorded by an audit hook, which every Python subprocess installs."""

import os
from pathlib import Path


def audited(folder: Path, hook: str) -> dict[str, str]:
    """Environment variables that make Python processes run `hook`, the body of a function of `event` and `args`."""
    folder.mkdir()
    body = "\n".join(f"    {line}" for line in hook.splitlines())
    (folder / "sitecustomize.py").write_text(f"import os, sys\n\ndef hook(event, args):\n{body}\n\nsys.addaudithook(hook)\n")
    return {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
