"""Griffe extension: shows the `name: meaning` lines of our docstrings as a table of parameters or attributes.

    Shuffle the clips.

    seed: random seed
    window: number of shards that are mixed

becomes Google style, which mkdocstrings renders: the same lines below `Args:`.
"""

import re
from typing import Any

import griffe

_ENTRY = re.compile(r"[a-z_]\w*(, [a-z_]\w*)*: ", re.IGNORECASE)


class ParameterLines(griffe.Extension):
    """Put a heading above each paragraph in which every line begins an entry or continues one (indented)."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object that has just been read."""
        if obj.docstring is not None and (obj.is_class or obj.is_function):
            obj.docstring.value = with_headings(obj.docstring.value)


def with_headings(text: str) -> str:
    """The docstring with `Args:` above its paragraphs of entries, which are indented."""
    paragraphs = re.split(r"\n\s*\n", text)
    return "\n\n".join(_indented(paragraph) if _is_entries(paragraph) else paragraph for paragraph in paragraphs)


def _is_entries(paragraph: str) -> bool:
    lines = paragraph.splitlines()
    return bool(_ENTRY.match(lines[0])) and all(_ENTRY.match(line) or line.startswith("    ") for line in lines)


def _indented(paragraph: str) -> str:
    return "Args:\n" + "\n".join(f"    {line}" for line in paragraph.splitlines())
