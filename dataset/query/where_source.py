"""The source text of a condition of `where`: its syntax tree, and positions for error messages."""

import ast
import re
import warnings
from typing import NoReturn

from motionshards.schemas.errors import ConfigError

SHOWN = 40
"""Characters of a name or condition that messages quote."""
AT = "ʘ"
"""Replaces the @ of a named filter in syntax trees."""
# Also matches strings and comments, which are left unchanged because an @ in them is not a filter.
_AT_OF_FILTER = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\#[^\n]*|(?<!\w)@(?=[^\W\d])""", re.DOTALL)

_STRINGS = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'""")
_WORDS = re.compile(r"\b(?:and|or|not|in|is)\b", re.IGNORECASE)
_SYMBOLS = {"&&": "and", "||": "or", "<>": "!="}


class Source:
    """The text of a condition, and positions in it."""

    def __init__(self, text: str) -> None:
        self._text = _AT_OF_FILTER.sub(lambda found: AT if found[0] == "@" else found[0], text.lstrip())
        self._lead = text[: len(text) - len(self._text)]

    def tree(self) -> ast.expr:
        """The text parsed by Python; syntax that Python only warns about, such as "\\d", is an error."""
        if not self._text:
            raise ConfigError("where: the condition is empty")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                return ast.parse(self._text, mode="eval").body
        except SyntaxError as error:
            lines = self._text.split("\n")  # Python reports no position for something missing at the end
            line, column = (error.lineno or 1, error.offset - 1) if error.offset else (len(lines), len(lines[-1]))
            raise self.wrong(line, column, error.msg.splitlines()[0] + self._hint()) from error
        except UnicodeEncodeError as error:
            raise ConfigError(f"where: {error.reason}") from error

    def _hint(self) -> str:
        """The end of a message about syntax, for operators of SQL and C."""
        outside = _STRINGS.sub("", self._text)
        words = [word for word in _WORDS.findall(outside) if not word.islower()]
        return next((f"; write `{meant}`" for other, meant in _SYMBOLS.items() if other in outside), "") or (
            f"; write {', '.join(dict.fromkeys(f'`{word.lower()}`' for word in words))} in lower case" if words else ""
        )

    def refuse(self, node: ast.expr, why: str) -> NoReturn:
        """Raise ConfigError with the position of a node."""
        line = self._text.split("\n")[node.lineno - 1]
        column = len(line.encode()[: node.col_offset].decode(errors="ignore"))  # Python counts bytes
        raise self.wrong(node.lineno, column, why)

    def wrong(self, line: int, column: int, why: str) -> ConfigError:
        """The error for a position; lines count from 1, columns from 0, after the leading white space."""
        before = self._lead + "\n".join([*self._text.split("\n")[: line - 1], " " * column])
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        return ConfigError(f"where, {'' if line == 1 else f'line {line}, '}column {column}: {why}")

    def quote(self, node: ast.expr) -> str:
        """The text of a node for messages."""
        words = self.text(node)
        return f"`{words if len(words) <= SHOWN else words[: SHOWN - 1] + '…'}`"

    def text(self, node: ast.expr) -> str:
        """The text of a node on one line."""
        return " ".join((ast.get_source_segment(self._text, node) or "").split()).replace(AT, "@")
