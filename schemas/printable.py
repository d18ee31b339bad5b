"""Foreign names on a terminal: keys, file names and text of videos can hold anything, also sequences that a terminal obeys."""


def printable(text: str) -> str:
    """The text with escapes in place of control characters (ESC, C1, newlines), bidirectional controls and the like.

    What remains is one line that neither moves the cursor nor changes the order of what is shown.
    """
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def printable_lines(text: str) -> str:
    """The same for text of several lines; the newlines stay."""
    return "\n".join(map(printable, text.split("\n")))
