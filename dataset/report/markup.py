"""HTML and SVG as text that is safe by its type: a plain string is always escaped, only `Markup` is taken as it is."""

import html
from collections.abc import Iterable

from motionshards.schemas.printable import printable_lines


class Markup(str):
    """Text in which `<`, `&` and quotes mean what they mean in HTML."""

    __slots__ = ()


_VOID = {"br", "img", "input", "link", "meta", "hr"}


def element(tag: str, /, *inside: "str | Markup | Iterable[Markup]", **attributes: str | float | bool | None) -> Markup:
    """An element. An attribute that is None or False is left out; `class_` is `class`, and `_` in names becomes `-`."""
    start = f"<{tag}{''.join(_attribute(key, value) for key, value in attributes.items())}>"
    return Markup(start if tag in _VOID else f"{start}{''.join(map(_content, inside))}</{tag}>")


def joined(parts: Iterable[Markup], between: str = "\n") -> Markup:
    """Parts one after the other."""
    return Markup(between.join(parts))


def _content(inside: "str | Markup | Iterable[Markup]") -> str:
    if isinstance(inside, Markup):
        return inside
    return _escaped(inside) if isinstance(inside, str) else "".join(inside)


def _escaped(text: str) -> str:
    """For HTML, and without the characters that would turn the order of what follows around."""
    return html.escape(printable_lines(text))


def _attribute(key: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{_escaped(_number(value))}"'


def _number(value: str | float) -> str:
    """A number as SVG wants it: two decimals are a hundredth of a unit of the drawing."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
