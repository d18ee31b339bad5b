"""Text for terminals: control and bidirectional characters are escaped, readable text is unchanged."""

import sys

import pytest

from motionshards.schemas.printable import printable, printable_lines

HOSTILE = [
    "\x1b[2J",
    "\x9b31m",
    "\r",
    "\n",
    "\0",
    "\x7f",
    "\u202e",
    "\u2066",
    "\u2069",
    "\u200f",
    "\u061c",
    "\u2028",
    "\u2029",
    "\x85",
    "\udc80",
]


@pytest.mark.parametrize("hostile", HOSTILE, ids=ascii)
def test_terminal_control_characters_are_escaped(hostile: str) -> None:
    shown = printable(f"a{hostile}b")
    assert shown.startswith("a\\") and shown.endswith("b") and shown.isprintable()


@pytest.mark.parametrize("text", ["", "id1/v/00001", "ünïcode ☃ 😀 中文", "a\u00a0b\u3000c", "back\\slash"])
def test_readable_text_is_unchanged(text: str) -> None:
    assert printable(text) == text


def test_newlines_are_kept() -> None:
    assert printable_lines("a\x1b\nb\r\n") == "a\\x1b\nb\\r\n"


def test_every_unicode_character_is_handled() -> None:
    shown = printable("".join(map(chr, range(sys.maxunicode + 1))))
    assert all(letter.isprintable() or letter.isspace() for letter in shown) and "\x1b" not in shown and "\u202e" not in shown
