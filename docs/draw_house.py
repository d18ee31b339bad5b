"""Draws docs/house.svg, the plan of the project, from its imports: python docs/draw_house.py

A room is a folder inside one of the six top folders, or a module that lies directly in one. `PLAN` lists them from the ground up:
a room may import only rooms that come before it, which tests/test_architecture.py checks.
"""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLAN = {
    "schemas": "",
    "transforms": "weight_file extract augment",
    "pipeline": "inputs sources planning clips default_recipe shards runners card finalize upgrade order plan_input build "
    "remove add_order add estimate",
    "dataset": "commandline query storage plotting clips index reading sequence views people arguments stream sequential feeding "
    "loader checks drawing report verify stats sql preview export originals push remove estimate build_options add build",
    "trainers": "",
    "jobs": "",
}
Room = tuple[str, str]
Place = tuple[int, int, int]  # x, y and width, pixels
_WIDTH, _BOX, _RISE, _MARGIN, _LABEL = 1180, 34, 30, 20, 90


def rooms() -> list[Room]:
    """All rooms from the ground up; the second name is empty where a top folder is not divided."""
    return [(floor, room) for floor, inner in PLAN.items() for room in inner.split() or ("",)]


def room_of(parts: tuple[str, ...]) -> Room:
    """The room of a module, by its path below the package: ("pipeline", "clips", "read") lies in ("pipeline", "clips")."""
    return parts[0], parts[1] if PLAN[parts[0]] and len(parts) > 1 else ""


def modules() -> Iterator[tuple[Path, Room]]:
    """The files of the package and their rooms; the docstring of a divided top folder is in none."""
    for floor, inner in PLAN.items():
        for path in sorted((ROOT / floor).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if not inner or parts != (floor, "__init__"):
                yield path, room_of(parts)


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """Dotted names that a file imports anywhere, also within functions; `from a.b import c` gives a.b and a.b.c."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module and node.level == 0, f"{path}: relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def rooms_imported(path: Path) -> set[Room]:
    """The rooms from which a file imports."""
    known = set(rooms())
    ours = [tuple(name.split(".")[1:]) for name in imports(path) if name.startswith("motionshards.")]
    return {room for parts in ours if parts and parts[0] in PLAN and (room := room_of(parts)) in known}


def arrows() -> dict[Room, set[Room]]:
    """room -> the rooms that it imports, without those that it reaches through another."""
    direct: dict[Room, set[Room]] = {room: set() for room in rooms()}
    for path, room in modules():
        direct[room] |= rooms_imported(path) - {room}
    reached: dict[Room, set[Room]] = {}
    for room in rooms():  # from the ground up, so that what it imports is known
        reached[room] = direct[room].union(*(reached[other] for other in direct[room]))
    return {room: {to for to in targets if not any(to in reached[via] for via in targets)} for room, targets in direct.items()}


def svg() -> str:
    """The plan as SVG: a band a floor, the ground at the bottom, arrows from a room to what it imports.

    Arrows into `schemas` are left out, as nearly every room has one.
    """
    places, bands, height = _places()
    lines = [_BEGIN.format(width=_WIDTH, height=height)]
    for floor, (top, bottom) in bands.items():
        band = f'x="8" y="{top}" width="{_WIDTH - 16}" height="{bottom - top}" rx="8"'
        lines.append(f'<rect {band} fill="#f6f8fa" stroke="#d0d7de"/>')
        lines.append(f'<text x="{_MARGIN}" y="{top + 22}" font-weight="650">{floor}/</text>')
    for room, targets in arrows().items():
        lines += [_arrow(places[room], places[to], room[0] == to[0]) for to in sorted(targets) if to[0] != "schemas"]
    for (floor, room), (x, y, width) in places.items():
        if room:
            lines.append(f'<rect x="{x}" y="{y}" width="{width}" height="{_BOX}" rx="5" fill="#ddf4ff" stroke="#54aeff"/>')
            name = f"{room}/" if (ROOT / floor / room).is_dir() else room
            lines.append(f'<text x="{x + width / 2:g}" y="{y + 22}" text-anchor="middle">{name}</text>')
    return "\n".join([*lines, "</svg>", ""])


def _places() -> tuple[dict[Room, Place], dict[str, tuple[int, int]], int]:
    """Where each room is drawn, top and bottom of each floor, and the height of all."""
    places: dict[Room, Place] = {}
    bands: dict[str, tuple[int, int]] = {}
    y = 10
    for floor in reversed(PLAN):
        rows = _rows(floor)
        bottom = y + (20 + len(rows) * (_BOX + _RISE) if rows else 36)
        for level, row in enumerate(rows):
            places |= _row(floor, row, bottom - _RISE // 2 - _BOX - level * (_BOX + _RISE))
        if not rows:
            places[floor, ""] = (_WIDTH // 2 - 40, y, 80)
        bands[floor] = (y, bottom)
        y = bottom + _RISE
    return places, bands, y - _RISE + 10


def _rows(floor: str) -> list[list[str]]:
    """The rooms of a floor by height: each stands above those of its floor that it imports."""
    levels: dict[str, int] = {}
    drawn = arrows()
    for room in PLAN[floor].split():
        levels[room] = 1 + max((levels[to] for top, to in drawn[floor, room] if top == floor), default=-1)
    return [[room for room in levels if levels[room] == level] for level in range(1 + max(levels.values(), default=-1))]


def _row(floor: str, row: list[str], y: int) -> dict[Room, Place]:
    """A row of rooms, spread over the width."""
    widths = [9 * len(room) + 30 for room in row]
    gap = min(90, (_WIDTH - 2 * _LABEL - sum(widths)) // len(row))
    x = (_WIDTH - sum(widths) - gap * (len(row) - 1)) // 2
    places: dict[Room, Place] = {}
    for room, width in zip(row, widths, strict=True):
        places[floor, room] = (x, y, width)
        x += width + gap
    return places


def _arrow(start: Place, end: Place, same_floor: bool) -> str:
    (x0, y0, w0), (x1, y1, w1) = start, end
    stroke = 'stroke="#57606a" stroke-width="1.3"' if same_floor else 'stroke="#c4cad1"'
    path = f"M{x0 + w0 / 2:g} {y0 + _BOX}L{x1 + w1 / 2:g} {y1 - 1}"
    return f'<path d="{path}" {stroke} fill="none" marker-end="url(#tip)"/>'


_BEGIN = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" \
font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="13" fill="#1f2328" role="img" \
aria-label="Rooms of the project and their imports, which run downwards only">
<rect width="{width}" height="{height}" rx="10" fill="#ffffff"/>
<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">\
<path d="M0 0L10 5L0 10z" fill="#57606a"/></marker></defs>"""

if __name__ == "__main__":
    (ROOT / "docs" / "house.svg").write_text(svg())
