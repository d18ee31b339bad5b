"""A section of the page, and elements that several sections use."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from motionshards.dataset.report.markup import Markup, element

Cell = str | Markup


@dataclass(frozen=True, slots=True)
class Section:
    """name: the anchor; title: the heading; inside: the content below the heading"""

    name: str
    title: str
    inside: Markup


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]], numbers: Sequence[int] = ()) -> Markup:
    """A table that scrolls horizontally on narrow pages. `numbers`: indices of right-aligned columns."""
    kinds = ["number" if place in numbers else None for place in range(len(columns))]
    head = element("tr", [element("th", name, scope="col", class_=kind) for name, kind in zip(columns, kinds, strict=True)])
    body = [element("tr", [element("td", cell, class_=kind) for cell, kind in zip(row, kinds, strict=True)]) for row in rows]
    inside = element("table", element("caption", caption), element("thead", head), element("tbody", body))
    return element("div", inside, class_="scroll", role="region", aria_label=caption, tabindex="0")


def note(text: str) -> Markup:
    """A paragraph of secondary text."""
    return element("p", text, class_="quiet")
