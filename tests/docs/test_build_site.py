"""The documentation site: its navigation, and the pages that are generated from parsers and docstrings."""

import re
from pathlib import Path

import build_site
import yaml
from checkout import ROOT
from docstrings import with_headings

from motionshards.cli import COMMANDS


def test_the_navigation_lists_every_page() -> None:
    listed = re.findall(r"[\w./-]+\.md", (ROOT / "mkdocs.yml").read_text())
    pages = {path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]}
    notebooks = {path.relative_to(ROOT).with_suffix(".md").as_posix() for path in ROOT.glob("docs/notebooks/*.ipynb")}
    assert sorted(listed) == sorted({*pages, *notebooks, "docs/reference/commands.md", "docs/reference/python.md"})


def test_pages_are_copied_with_the_layout_of_the_repository(tmp_path: Path) -> None:
    build_site.stage(tmp_path / "pages")
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert ROOT / config["docs_dir"] == build_site.PAGES
    for name in ("README.md", "docs/loading.md", "docs/sources/hdtf.md", "docs/house.svg", "benchmarks/results/loader.md"):
        assert (tmp_path / "pages" / name).read_bytes() == (ROOT / name).read_bytes()


def test_notebooks_become_pages_with_their_figures(tmp_path: Path) -> None:
    build_site.write_notebook(ROOT / "docs/notebooks/look-at-a-dataset.ipynb", tmp_path)
    text = (tmp_path / "look-at-a-dataset.md").read_text()
    shown = re.findall(r"!\[\w+\]\((\S+)\)", text)
    assert text.startswith("# ") and "```python\n" in text
    assert shown and all((tmp_path / name).stat().st_size > 1000 for name in shown)


def test_the_reference_has_every_command_and_its_options() -> None:
    text = build_site.commands()
    for name in COMMANDS.keys() - {"completion"}:
        assert f"\n## motionshards {name}\n" in text and f"\nmotionshards {name} " in text
    assert "* `--estimate INT`" in text and "* `DATA, --data`" in text


def test_names_in_the_python_reference_exist() -> None:
    for name in re.findall(r"::: motionshards\.(\S+)", build_site.interface()):
        module, _, attribute = name.rpartition(".")
        file = ROOT / "motionshards" / f"{name.replace('.', '/')}.py"
        assert file.exists() or not module or f"class {attribute}" in (file.parent.with_suffix(".py")).read_text(), name


def test_entries_of_docstrings_become_arguments() -> None:
    first, last = "Shuffle the clips: at random.\n\n", "\n\nRaises:\n    ConfigError: no"
    entries, listed = (
        "seed: the seed\nwindow, step: what\n    is mixed",
        "    seed: the seed\n    window, step: what\n        is mixed",
    )
    assert with_headings(first + entries + last) == f"{first}Args:\n{listed}{last}"
    assert with_headings("note: one\nand prose") == "note: one\nand prose"
