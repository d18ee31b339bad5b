"""Imports run one way, rooms keep their rules, and the default path stays free of what slim machines lack."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ["schemas", "transforms", "pipeline", "dataset", "trainers", "jobs"]
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
# The commands that write data sets, and what shows source videos again: no training imports them, and reading needs no Beam.
LEAVES = {ROOT / "dataset" / name for name in ("build.py", "add.py", "remove.py", "source_frames.py")}


def imported(path: Path) -> set[str]:
    """Top-level names of all imports of a file, also those inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_down_the_list_of_rooms(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    if room == "dataset" and path not in LEAVES:
        allowed.discard("pipeline")
    assert imported(path) & set(ROOMS) <= allowed


def test_schemas_need_numpy_and_pyarrow_only() -> None:
    for path in (ROOT / "schemas").rglob("*.py"):
        outside = imported(path) - set(sys.stdlib_module_names) - {"schemas", "numpy", "pyarrow"}
        assert not outside, f"{path} imports {outside}"


def test_only_the_pipeline_knows_beam() -> None:
    knowing = {path.relative_to(ROOT).parts[0] for path in FILES if "apache_beam" in imported(path)}
    assert knowing == {"pipeline"}


def test_no_room_is_called_by_a_word_that_says_nothing() -> None:
    vague = {"utils", "util", "helpers", "common", "base", "core", "misc"}
    assert not [path for path in FILES if path.stem in vague or set(path.parent.parts) & vague]


def test_init_files_hold_a_docstring_first() -> None:
    for path in FILES:
        if path.name == "__init__.py":
            assert ast.get_docstring(ast.parse(path.read_text())), path


def test_files_stay_short() -> None:
    long = {str(path): lines for path in FILES if (lines := len(path.read_text().splitlines())) > 320}
    assert not long


def test_the_default_path_imports_neither_opencv_nor_face_alignment_nor_torch() -> None:
    """A build with dlib must run where libGL is missing; the worker's modules are all imported, and a model is loaded."""
    program = (
        "import sys, motionshards.dataset.build, motionshards.pipeline.child, motionshards.pipeline.isolate, motionshards.pipeline.graph\n"
        "from motionshards.transforms.extract.landmarks import models\n"
        "models.resolve('auto'); models.load('dlib'); models.provenance('dlib')\n"
        "print([name for name in ('cv2', 'face_alignment', 'torch', 'torchvision') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip().splitlines()[-1] == "[]"
