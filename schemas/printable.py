"""Foreign names for the eyes of people: keys, paths and text of other programs can hold anything, also what a terminal obeys."""

import unicodedata


def printable(text: str) -> str:
    """The text with escapes in place of control characters (ESC, C1, newlines), bidirectional controls and the like.

    What remains is one line that neither moves the cursor nor changes the order in which letters are shown.
    """
    if text.isprintable():
        return text
    return "".join(letter if _is_shown(letter) else letter.encode("unicode_escape").decode() for letter in text)


def printable_lines(text: str) -> str:
    """The same for text of several lines; the newlines stay."""
    return "\n".join(map(printable, text.split("\n")))


def _is_shown(letter: str) -> bool:
    return letter.isprintable() or unicodedata.category(letter) == "Zs"
