"""Escape untrusted text for display: keys, paths and output of other programs may contain terminal control sequences."""

import unicodedata


def printable(text: str) -> str:
    """Escape control characters (ESC, C1, newlines), bidirectional controls and other unprintable characters.

    The result is one line that neither moves the cursor nor changes the display order of letters.
    """
    if text.isprintable():
        return text
    return "".join(letter if _is_shown(letter) else letter.encode("unicode_escape").decode() for letter in text)


def printable_lines(text: str) -> str:
    """Like `printable`, but newlines are kept."""
    return "\n".join(map(printable, text.split("\n")))


def _is_shown(letter: str) -> bool:
    return letter.isprintable() or unicodedata.category(letter) == "Zs"
