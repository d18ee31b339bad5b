"""HTML and SVG, escaped by type: plain strings are always escaped, only `Markup` is inserted unchanged."""

import html
from collections.abc import Iterable

from motionshards.schemas.printable import printable_lines


class Markup(str):
    """A string that is valid HTML or SVG already."""

    __slots__ = ()


_VOID = {"br", "img", "input", "link", "meta", "hr"}


def element(tag: str, /, *inside: "str | Markup | Iterable[Markup]", **attributes: str | float | bool | None) -> Markup:
    """An element. Attributes that are None or False are omitted; `class_` becomes `class`, and `_` in names `-`."""
    start = f"<{tag}{''.join(_attribute(key, value) for key, value in attributes.items())}>"
    return Markup(start if tag in _VOID else f"{start}{''.join(map(_content, inside))}</{tag}>")


def joined(parts: Iterable[Markup], between: str = "\n") -> Markup:
    """Concatenate parts."""
    return Markup(between.join(parts))


def _content(inside: "str | Markup | Iterable[Markup]") -> str:
    if isinstance(inside, Markup):
        return inside
    return _escaped(inside) if isinstance(inside, str) else "".join(inside)


def _escaped(text: str) -> str:
    """Escape for HTML, and remove characters that change the text direction."""
    return html.escape(printable_lines(text))


def _attribute(key: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{_escaped(_number(value))}"'


def _number(value: str | float) -> str:
    """A number for SVG, rounded to a hundredth of a drawing unit."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
