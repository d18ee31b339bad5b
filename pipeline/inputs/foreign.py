"""Text that comes from outside: lines of files, and names that become paths."""

import codecs
import re

_LINE_END = re.compile(r"\r\n|\r|\n")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


def lines_of(content: bytes) -> list[str]:
    """The lines of a text file, UTF-8 with or without BOM; bytes that are not UTF-8 become surrogates, as in file names.

    Split at newlines only: str.splitlines() also splits at U+0085, U+2028 and others, which names may hold.
    """
    lines = _LINE_END.split(content.removeprefix(codecs.BOM_UTF8).decode(errors="surrogateescape"))
    return lines if lines[-1] else lines[:-1]


def leads_out(path: str) -> bool:
    """Whether a path from a list or an archive may leave the directory that it is relative to, on any system."""
    return path.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", path) or bool(_DRIVE.match(path)) or "\0" in path
