"""Builds the documentation site from the Markdown of the repository: `make docs` writes build/site/index.html.

Pages are copied to build/pages with the layout of the repository, so that relative links are the same there and here. The
reference of the commands is generated from their parsers, that of the Python interface from docstrings, and notebooks are
converted with their stored outputs.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from nbconvert import MarkdownExporter

import motionshards
from motionshards.cli import COMMANDS, find_command

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "build/pages"
COPIED = (
    "*.md",
    "docs/**/*.md",
    "docs/**/*.ipynb",
    "docs/**/*.svg",
    "docs/**/*.png",
    "benchmarks/results/*.md",
    "benchmarks/results/*.jpg",
)

# What the reference of Python shows besides the names of `motionshards`.
ALSO = {
    "Batches and samples": ("dataset.reading.batch.Batch", "dataset.clips.sample.Sample", "dataset.reading.world.World"),
    "Settings of a build": ("schemas.config.BuildConfig",),
    "Settings of training": (
        "trainers.fomm.config.TrainingConfig",
        "trainers.talking_heads.config.TrainingConfig",
        "trainers.ganimation.config.TrainingConfig",
        "trainers.face_rotator.config.TrainingConfig",
    ),
    "Errors": ("schemas.errors",),
}


def stage(pages: Path) -> None:
    """Fill an empty directory with the pages of the site."""
    shutil.rmtree(pages, ignore_errors=True)
    for file in sorted(file for pattern in COPIED for file in ROOT.glob(pattern)):
        place = pages / file.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    for notebook in ROOT.glob("docs/notebooks/*.ipynb"):
        write_notebook(notebook, pages / "docs/notebooks")
    reference = pages / "docs/reference"
    reference.mkdir(parents=True)
    (reference / "commands.md").write_text(commands())
    (reference / "python.md").write_text(interface())


def write_notebook(notebook: Path, place: Path) -> None:
    """Write a page with the cells of a notebook and their stored outputs, and a file for each image."""
    place.mkdir(parents=True, exist_ok=True)
    text, resources = MarkdownExporter().from_filename(str(notebook), {"output_files_dir": notebook.stem})
    for name, content in resources["outputs"].items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(content)
    (place / f"{notebook.stem}.md").write_text(text)


def commands() -> str:
    """The page of all commands."""
    modules = [module for _, (module, _) in COMMANDS.items() if module != "completion"]
    texts = [find_command(module).app().generate_docs(heading_level=2, usage_name="motionshards") for module in modules]
    return "\n".join(("# Commands\n", *texts))


def interface() -> str:
    """The page of the public Python interface, as directives for mkdocstrings."""
    ours = "\n".join(f"::: motionshards.{name}" for name in sorted(motionshards.__all__) if not name.startswith("__"))
    others = [f"## {title}\n\n" + "\n".join(f"::: motionshards.{name}" for name in names) for title, names in ALSO.items()]
    return "# Python interface\n\n" + "\n\n".join((ours, *others)) + "\n"


def main() -> int:
    """Stage the pages and build the site; a warning, such as a broken link, is an error."""
    stage(PAGES)
    return subprocess.run([sys.executable, "-m", "zensical", "build", "--clean", "--strict"], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
