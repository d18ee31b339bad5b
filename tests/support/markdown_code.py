"""Finds code, links and headings in the Markdown of the pages: fenced blocks, indented blocks and inline code."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from checkout import ROOT

_FENCE = re.compile(r"```(.*)")
_INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Code:
    """A piece of code on a page.

    page: path below the repository
    line: number of its first line, from 1
    kind: `fenced`, `indented` or `inline`
    info: text after the opening fence
    """

    page: str
    line: int
    kind: str
    info: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """The pages that are written for users."""
    return [
        *(path for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md") if path.exists()),
        *sorted(ROOT.glob("docs/**/*.md")),
    ]


def code(text: str, page: str) -> Iterator[Code]:
    """All code of a page in order; inline code comes last."""
    prose: list[tuple[int, str]] = []
    yield from _blocks(text.splitlines(), page, prose)
    for paragraph, line in _paragraphs(prose):
        for found in _INLINE.finditer(paragraph):
            start = line + paragraph[: found.start()].count("\n")
            yield Code(page, start, "inline", "", " ".join(found[1].split()))


def _blocks(lines: list[str], page: str, prose: list[tuple[int, str]]) -> Iterator[Code]:
    """Yield the blocks; append all other lines to `prose`, with their numbers."""
    number = 0
    while number < len(lines):
        start = number
        if fence := _FENCE.fullmatch(lines[number]):
            number = _find(lines, number + 1, lambda line: line == "```")
            yield Code(page, start + 1, "fenced", fence[1].strip(), "\n".join(lines[start + 1 : number]))
            number += 1
        elif _is_indented(lines[number]) and (number == 0 or not lines[number - 1].strip()):
            number = _find(lines, number, lambda line: bool(line.strip()) and not _is_indented(line))
            yield Code(page, start + 1, "indented", "", "\n".join(line[4:] for line in lines[start:number]).rstrip())
        else:
            prose.append((number + 1, lines[number]))
            number += 1


def _find(lines: list[str], start: int, expected: Callable[[str], bool]) -> int:
    return next((number for number in range(start, len(lines)) if expected(lines[number])), len(lines))


def _is_indented(line: str) -> bool:
    return line.startswith("    ")


def _paragraphs(prose: list[tuple[int, str]]) -> Iterator[tuple[str, int]]:
    """Join consecutive lines of prose, as inline code may span them."""
    together: list[tuple[int, str]] = []
    for number, line in [*prose, (0, "")]:
        if together and (not line.strip() or number != together[-1][0] + 1 or line.startswith("|")):
            yield "\n".join(text for _, text in together), together[0][0]
            together = []
        if line.strip():
            together.append((number, line))


def links(text: str, page: str) -> list[tuple[int, str]]:
    """Link targets of a page outside code, with their line numbers."""
    prose: list[tuple[int, str]] = []
    for _ in _blocks(text.splitlines(), page, prose):
        pass
    found = []
    for paragraph, line in _paragraphs(prose):
        plain = _INLINE.sub(lambda inline: "\n" * inline[0].count("\n"), paragraph)
        found += [(line + plain[: link.start()].count("\n"), link[1]) for link in _LINK.finditer(plain)]
    return found


def anchors(text: str) -> set[str]:
    """Anchors of a page: GitHub's names of its headings."""
    prose: list[tuple[int, str]] = []
    for _ in _blocks(text.splitlines(), "", prose):
        pass
    seen: dict[str, int] = {}
    found = set()
    for _, line in prose:
        if heading := re.fullmatch(r"#{1,6} +(.*)", line):
            words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).replace("`", "").strip().lower()
            name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
            found.add(f"{name}-{seen[name]}" if name in seen else name)
            seen[name] = seen.get(name, 0) + 1
    return found
