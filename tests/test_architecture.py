"""Imports run one way, rooms keep their rules, and the default path stays free of what slim machines lack."""

import ast
import subprocess
import sys
from pathlib import Path

import draw_house
import pytest
from checkout import ROOT

ROOMS = draw_house.rooms()
FILES = list(draw_house.modules())
# Commands that write or publish datasets, and what shows source videos again: no training imports them, reading needs no Beam.
WRITERS = {"build", "build_options", "add", "push", "remove", "drawing/source_frames"}


@pytest.mark.parametrize(("path", "room"), FILES, ids=lambda one: str(one.relative_to(ROOT)) if isinstance(one, Path) else "")
def test_imports_run_down_the_plan(path: Path, room: draw_house.Room) -> None:
    assert room in ROOMS, f"{room} is not in the plan of docs/draw_house.py"
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    if room[0] == "dataset" and str(path.relative_to(ROOT / "dataset").with_suffix("")) not in WRITERS:
        allowed = {other for other in allowed if other[0] != "pipeline"}
    assert draw_house.rooms_imported(path) <= allowed


def test_everything_of_ours_is_imported_from_the_package() -> None:
    for path, _ in FILES:
        bare = {name for name in draw_house.imports(path) if name.split(".")[0] in draw_house.PLAN}
        assert not bare, f"{path} imports {bare}, and not through motionshards"


def test_the_image_of_the_house_is_that_of_the_imports() -> None:
    assert (ROOT / "docs" / "house.svg").read_text() == draw_house.svg(), "run python docs/draw_house.py"


def test_folders_stay_small_and_say_what_lives_there() -> None:
    for path in {path.parent for path, _ in FILES}:
        assert len(list(path.glob("*.py"))) <= 22, f"{path} has too many modules"
        assert ast.get_docstring(ast.parse((path / "__init__.py").read_text())), path


def test_schemas_need_numpy_and_pyarrow_only() -> None:
    for path, (floor, _) in FILES:
        if floor == "schemas":
            top = {name.split(".")[0] for name in draw_house.imports(path)}
            outside = top - set(sys.stdlib_module_names) - {"motionshards", "numpy", "pyarrow"}
            assert not outside, f"{path} imports {outside}"


def test_only_the_pipeline_knows_beam() -> None:
    knowing = {
        floor for path, (floor, _) in FILES if any(name.split(".")[0] == "apache_beam" for name in draw_house.imports(path))
    }
    assert knowing == {"pipeline"}


def test_no_room_is_called_by_a_word_that_says_nothing() -> None:
    vague = {"utils", "util", "helpers", "common", "base", "core", "misc"}
    assert not [path for path, _ in FILES if path.stem in vague or set(path.parent.parts) & vague]


def test_files_stay_short() -> None:
    long = {str(path): lines for path, _ in FILES if (lines := len(path.read_text().splitlines())) > 320}
    assert not long


def test_tests_mirror_the_folders() -> None:
    """A folder of tests is named as the folder or the module that it tests; its files and their number stay small."""
    files = sorted((ROOT / "tests").rglob("*.py"))
    for folder in {path.parent for path in files if path.name.startswith("test_")}:
        tested = ROOT / folder.relative_to(ROOT / "tests")
        assert tested.is_dir() or tested.with_suffix(".py").is_file(), f"{folder} mirrors nothing"
        assert len(list(folder.glob("test_*.py"))) <= 22, f"{folder} has too many modules"
    assert not [str(path) for path in files if len(path.read_text().splitlines()) > 300]


def test_the_default_path_imports_neither_opencv_nor_face_alignment_nor_torch() -> None:
    """A build with dlib must run where libGL is missing; the worker's modules are all imported, and a model is loaded."""
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
