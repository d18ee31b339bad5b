"""Handling of untrusted text: lines of files, and names used as paths."""

import codecs
import re

_LINE_END = re.compile(r"\r\n|\r|\n")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


def lines_of(content: bytes) -> list[str]:
    """Split a text file into lines. UTF-8 with or without BOM; invalid bytes become surrogates, as in file names.

    Splits at newlines only: str.splitlines() also splits at U+0085, U+2028 and others, which names may contain.
    """
    lines = _LINE_END.split(content.removeprefix(codecs.BOM_UTF8).decode(errors="surrogateescape"))
    return lines if lines[-1] else lines[:-1]


def points_outside(path: str) -> bool:
    """Whether a path from a list or archive may point outside its base directory, on any operating system."""
    return path.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", path) or bool(_DRIVE.match(path)) or "\0" in path
