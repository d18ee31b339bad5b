"""Processes whose system calls are watched from within, by an audit hook that every Python below them installs."""

import os
from pathlib import Path


def audited(folder: Path, hook: str) -> dict[str, str]:
    """The environment of a program whose Python processes run `hook`, the body of a function of `event` and `args`."""
    folder.mkdir()
    body = "\n".join(f"    {line}" for line in hook.splitlines())
    (folder / "sitecustomize.py").write_text(f"import os, sys\n\ndef hook(event, args):\n{body}\n\nsys.addaudithook(hook)\n")
    return {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
