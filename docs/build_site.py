"""Builds the documentation site from the Markdown of the repository: `make docs` writes build/site/index.html.

Pages are copied to build/pages with the layout of the repository, so that relative links are the same there and here. Two kinds
of pages are generated: the reference of the commands, from their parsers, and that of the Python interface, from docstrings.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import motionshards
from motionshards.cli import COMMANDS, find_command

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "build/pages"
COPIED = ("*.md", "docs/**/*.md", "docs/**/*.svg", "docs/**/*.png", "benchmarks/results/*.md", "benchmarks/results/*.jpg")

# What the reference of Python shows besides the names of `motionshards`.
ALSO = {
    "Batches and samples": ("dataset.reading.batch.Batch", "dataset.index.Sample", "dataset.reading.world.World"),
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
    reference = pages / "docs/reference"
    reference.mkdir(parents=True)
    (reference / "commands.md").write_text(commands())
    (reference / "python.md").write_text(interface())


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
