"""Draws docs/house.svg, the packages of the project and their imports: python docs/draw_house.py

A package here is a folder in one of the six top-level folders (the layers), or a module directly in one. `PLAN` lists them bottom
up: a package may import only packages listed before it, which tests/test_architecture.py checks.
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
Package = tuple[str, str]
Rectangle = tuple[int, int, int]  # x, y and width, pixels
_WIDTH, _BOX, _RISE, _MARGIN, _LABEL = 1180, 34, 30, 20, 90


def packages() -> list[Package]:
    """All packages, bottom up; the second name is empty if the layer is not divided."""
    return [(layer, package) for layer, inner in PLAN.items() for package in inner.split() or ("",)]


def package_of(parts: tuple[str, ...]) -> Package:
    """The package of a module, given its path: ("pipeline", "clips") for ("pipeline", "clips", "read")."""
    return parts[0], parts[1] if PLAN[parts[0]] and len(parts) > 1 else ""


def modules() -> Iterator[tuple[Path, Package]]:
    """All modules and their packages, except `__init__.py` of a divided layer."""
    for layer, inner in PLAN.items():
        for path in sorted((ROOT / layer).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if not inner or parts != (layer, "__init__"):
                yield path, package_of(parts)


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """Dotted names that a file imports, also within functions; `from a.b import c` counts as a.b and a.b.c."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module and node.level == 0, f"{path}: relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def packages_imported(path: Path) -> set[Package]:
    """The packages that a file imports."""
    known = set(packages())
    ours = [tuple(name.split(".")[1:]) for name in imports(path) if name.startswith("motionshards.")]
    return {package for parts in ours if parts and parts[0] in PLAN and (package := package_of(parts)) in known}


def arrows() -> dict[Package, set[Package]]:
    """package -> the packages that it imports, without those that another of these imports, directly or not."""
    direct: dict[Package, set[Package]] = {package: set() for package in packages()}
    for path, package in modules():
        direct[package] |= packages_imported(path) - {package}
    reached: dict[Package, set[Package]] = {}
    for package in packages():  # bottom up, so that its imports are known
        reached[package] = direct[package].union(*(reached[other] for other in direct[package]))
    return {
        package: {to for to in targets if not any(to in reached[via] for via in targets)} for package, targets in direct.items()
    }


def svg() -> str:
    """The plan as SVG: one band per layer, the lowest at the bottom, and arrows from packages to their imports.

    Arrows to `schemas` are omitted, since nearly every package has one.
    """
    places, bands, height = _places()
    lines = [_BEGIN.format(width=_WIDTH, height=height)]
    for layer, (top, bottom) in bands.items():
        band = f'x="8" y="{top}" width="{_WIDTH - 16}" height="{bottom - top}" rx="8"'
        lines.append(f'<rect {band} fill="#f6f8fa" stroke="#d0d7de"/>')
        lines.append(f'<text x="{_MARGIN}" y="{top + 22}" font-weight="650">{layer}/</text>')
    for package, targets in arrows().items():
        lines += [_arrow(places[package], places[to], package[0] == to[0]) for to in sorted(targets) if to[0] != "schemas"]
    for (layer, package), (x, y, width) in places.items():
        if package:
            lines.append(f'<rect x="{x}" y="{y}" width="{width}" height="{_BOX}" rx="5" fill="#ddf4ff" stroke="#54aeff"/>')
            name = f"{package}/" if (ROOT / layer / package).is_dir() else package
            lines.append(f'<text x="{x + width / 2:g}" y="{y + 22}" text-anchor="middle">{name}</text>')
    return "\n".join([*lines, "</svg>", ""])


def _places() -> tuple[dict[Package, Rectangle], dict[str, tuple[int, int]], int]:
    """The rectangle of each package, top and bottom of each layer, and the total height."""
    places: dict[Package, Rectangle] = {}
    bands: dict[str, tuple[int, int]] = {}
    y = 10
    for layer in reversed(PLAN):
        rows = _rows(layer)
        bottom = y + (20 + len(rows) * (_BOX + _RISE) if rows else 36)
        for level, row in enumerate(rows):
            places |= _row(layer, row, bottom - _RISE // 2 - _BOX - level * (_BOX + _RISE))
        if not rows:
            places[layer, ""] = (_WIDTH // 2 - 40, y, 80)
        bands[layer] = (y, bottom)
        y = bottom + _RISE
    return places, bands, y - _RISE + 10


def _rows(layer: str) -> list[list[str]]:
    """The packages of a layer in rows, each above the packages of the layer that it imports."""
    levels: dict[str, int] = {}
    drawn = arrows()
    for package in PLAN[layer].split():
        levels[package] = 1 + max((levels[to] for top, to in drawn[layer, package] if top == layer), default=-1)
    return [[package for package in levels if levels[package] == level] for level in range(1 + max(levels.values(), default=-1))]


def _row(layer: str, row: list[str], y: int) -> dict[Package, Rectangle]:
    """Rectangles of a row of packages, spread over the width."""
    widths = [9 * len(package) + 30 for package in row]
    gap = min(90, (_WIDTH - 2 * _LABEL - sum(widths)) // len(row))
    x = (_WIDTH - sum(widths) - gap * (len(row) - 1)) // 2
    places: dict[Package, Rectangle] = {}
    for package, width in zip(row, widths, strict=True):
        places[layer, package] = (x, y, width)
        x += width + gap
    return places


def _arrow(start: Rectangle, end: Rectangle, same_layer: bool) -> str:
    (x0, y0, w0), (x1, y1, w1) = start, end
    stroke = 'stroke="#57606a" stroke-width="1.3"' if same_layer else 'stroke="#c4cad1"'
    path = f"M{x0 + w0 / 2:g} {y0 + _BOX}L{x1 + w1 / 2:g} {y1 - 1}"
    return f'<path d="{path}" {stroke} fill="none" marker-end="url(#tip)"/>'


_BEGIN = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" \
font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="13" fill="#1f2328" role="img" \
aria-label="Packages of the project and their imports, which run downwards only">
<rect width="{width}" height="{height}" rx="10" fill="#ffffff"/>
<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">\
<path d="M0 0L10 5L0 10z" fill="#57606a"/></marker></defs>"""

if __name__ == "__main__":
    (ROOT / "docs" / "house.svg").write_text(svg())
