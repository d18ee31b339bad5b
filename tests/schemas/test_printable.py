"""Text for terminals: what moves the cursor or turns letters around is escaped, what people read stays."""

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
def test_what_a_terminal_obeys_is_escaped(hostile: str) -> None:
    shown = printable(f"a{hostile}b")
    assert shown.startswith("a\\") and shown.endswith("b") and shown.isprintable()


@pytest.mark.parametrize("text", ["", "id1/v/00001", "ünïcode ☃ 😀 中文", "a\u00a0b\u3000c", "back\\slash"])
def test_what_people_read_stays(text: str) -> None:
    assert printable(text) == text


def test_lines_stay_lines() -> None:
    assert printable_lines("a\x1b\nb\r\n") == "a\\x1b\nb\\r\n"


def test_no_character_of_unicode_is_forgotten() -> None:
    shown = printable("".join(map(chr, range(sys.maxunicode + 1))))
    assert all(letter.isprintable() or letter.isspace() for letter in shown) and "\x1b" not in shown and "\u202e" not in shown
