"""Directories that a command writes into: empty, new, or its own from before."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import LOCK, WORK_DIR


def refuse_strangers(out: Path, what: str, own: Sequence[str] = ()) -> None:
    """Refuse a directory with other things in it: a typo should not mix output into a home directory.

    what: this command writes, for the message
    own: patterns of the names that it writes itself, which may be there

    Raises:
        ConfigError: there is something else, or `out` is no directory
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise ConfigError(f"--output {out} cannot be written: it is not a directory")
    allowed = (WORK_DIR, LOCK, *own)
    strangers = sorted(entry.name for entry in out.iterdir() if not any(fnmatchcase(entry.name, name) for name in allowed))
    if strangers:
        raise ConfigError(f"--output {out} is not empty and holds no {what} (there is {strangers[0]!r})")
