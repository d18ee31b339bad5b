"""Imports run in one direction, packages obey their rules, and the default build needs no optional libraries."""

import ast
import subprocess
import sys
from pathlib import Path

import draw_house
import pytest
from checkout import ROOT

PACKAGES = draw_house.packages()
FILES = list(draw_house.modules())
# Modules that write or publish datasets or decode source videos: training and reading must not import them, so they need no Beam.
WRITERS = {"build", "build_options", "add", "push", "remove", "drawing/source_frames"}


@pytest.mark.parametrize(("path", "package"), FILES, ids=lambda one: str(one.relative_to(ROOT)) if isinstance(one, Path) else "")
def test_packages_import_only_packages_below_them(path: Path, package: draw_house.Package) -> None:
    assert package in PACKAGES, f"{package} is not in the plan of docs/draw_house.py"
    allowed = set(PACKAGES[: PACKAGES.index(package) + 1])
    if package[0] == "dataset" and str(path.relative_to(ROOT / "dataset").with_suffix("")) not in WRITERS:
        allowed = {other for other in allowed if other[0] != "pipeline"}
    assert draw_house.packages_imported(path) <= allowed


def test_modules_are_imported_through_motionshards() -> None:
    for path, _ in FILES:
        bare = {name for name in draw_house.imports(path) if name.split(".")[0] in draw_house.PLAN}
        assert not bare, f"{path} imports {bare} without the prefix motionshards"


def test_the_figure_of_the_packages_is_up_to_date() -> None:
    assert (ROOT / "docs" / "house.svg").read_text() == draw_house.svg(), "run python docs/draw_house.py"


def test_folders_are_small_and_have_a_docstring() -> None:
    for path in {path.parent for path, _ in FILES}:
        assert len(list(path.glob("*.py"))) <= 22, f"{path} has too many modules"
        assert ast.get_docstring(ast.parse((path / "__init__.py").read_text())), path


def test_schemas_import_only_numpy_and_pyarrow() -> None:
    for path, (layer, _) in FILES:
        if layer == "schemas":
            top = {name.split(".")[0] for name in draw_house.imports(path)}
            outside = top - set(sys.stdlib_module_names) - {"motionshards", "numpy", "pyarrow"}
            assert not outside, f"{path} imports {outside}"


def test_only_the_pipeline_imports_beam() -> None:
    importing = {
        layer for path, (layer, _) in FILES if any(name.split(".")[0] == "apache_beam" for name in draw_house.imports(path))
    }
    assert importing == {"pipeline"}


def test_module_names_are_specific() -> None:
    vague = {"utils", "util", "helpers", "common", "base", "core", "misc"}
    assert not [path for path, _ in FILES if path.stem in vague or set(path.parent.parts) & vague]


def test_files_are_short() -> None:
    long = {str(path): lines for path, _ in FILES if (lines := len(path.read_text().splitlines())) > 320}
    assert not long


def test_tests_mirror_the_folders() -> None:
    """A test folder has the path of the folder or module that it tests; it has few files, and they are short."""
    files = sorted((ROOT / "tests").rglob("*.py"))
    for folder in {path.parent for path in files if path.name.startswith("test_")}:
        tested = ROOT / folder.relative_to(ROOT / "tests")
        assert tested.is_dir() or tested.with_suffix(".py").is_file(), f"{folder} has no counterpart"
        assert len(list(folder.glob("test_*.py"))) <= 22, f"{folder} has too many modules"
    assert not [str(path) for path in files if len(path.read_text().splitlines()) > 300]


def test_the_default_build_imports_neither_opencv_nor_face_alignment_nor_torch() -> None:
    """A build with dlib must run without libGL. Imports all modules of a worker, and loads a model."""
    program = (
        "import sys, motionshards.dataset.build\n"
        "from motionshards.pipeline.runners import graph, local_child\n"
        "from motionshards.pipeline.clips import isolate\n"
        "from motionshards.transforms.extract.landmarks import models\n"
        "models.resolve('auto'); models.load('dlib'); models.provenance('dlib')\n"
        "print([name for name in ('cv2', 'duckdb', 'face_alignment', 'torch', 'torchvision') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip().splitlines()[-1] == "[]"
