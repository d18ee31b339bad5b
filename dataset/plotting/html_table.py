"""HTML for notebooks."""

from collections.abc import Iterable
from html import escape

from motionshards.schemas.printable import printable


def html_table(title: str, rows: Iterable[tuple[str, ...]]) -> str:
    """An HTML table with a title; all text is escaped."""
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><caption><b>{_safe(title)}</b></caption>{body}</table>"


def _cell(text: str) -> str:
    return f'<td style="text-align: left">{_safe(text)}</td>'


def _safe(text: str) -> str:
    return escape(printable(text))
