"""The package in a checkout, installed, as a wheel, and beside modules with the names of its folders."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from checkout import ROOT

import motionshards
from motionshards.cli import COMMANDS, main

FOLDERS = ("schemas", "transforms", "pipeline", "dataset", "trainers", "jobs")
# Runs a program as if this checkout were not installed.
UNINSTALLED = "import sys; sys.meta_path[:] = [each for each in sys.meta_path if 'editable' not in str(each).lower()]\n"


def run(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, env={**kept, **environment}, capture_output=True, text=True, check=False
    )


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    """A research repository whose modules are named like the project's folders and fail when imported."""
    for name in ("dataset/__init__.py", "jobs/__init__.py", "transforms.py", "schemas.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("raise RuntimeError('the wrong module was imported')\n")
    return tmp_path


def test_public_names_match_their_modules() -> None:
    for name in motionshards.__all__:
        assert getattr(motionshards, name) is not None
        assert name in dir(motionshards)
    with pytest.raises(AttributeError, match="no attribute 'Clipstream'"):
        motionshards.Clipstream  # noqa: B018


def test_importing_the_package_loads_nothing_heavy(tmp_path: Path) -> None:
    program = "import sys, motionshards; print([name for name in ('torch', 'numpy', 'pyarrow', 'duckdb') if name in sys.modules])"
    assert run("-c", program, cwd=tmp_path).stdout.strip() == "[]"


def test_the_package_works_beside_modules_of_the_same_names(crowded: Path) -> None:
    program = "import motionshards; print(motionshards.ClipStream.__module__, motionshards.make_loader.__module__)"
    done = run("-c", program, cwd=crowded)
    assert done.stdout.split() == ["motionshards.dataset.stream", "motionshards.dataset.loader"], done.stderr
    for words in (["motionshards.dataset.verify"], ["motionshards", "verify"]):
        assert run("-m", *words, "nowhere", cwd=crowded).stderr == "error: nowhere is not a directory\n"


def test_a_command_of_the_checkout_imports_each_module_once() -> None:
    """Workers unpickle classes by module name, so `__main__` and `dataset` must not define any."""
    program = UNINSTALLED + (
        "import json, runpy\n"
        "sys.path[0] = ''; sys.argv[1:] = ['--help']\n"
        "try: runpy.run_module('dataset.build', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        f"print(json.dumps([name for name in sys.modules if name.split('.')[0] in {FOLDERS}]))"
    )
    done = run("-c", program, cwd=ROOT)
    assert json.loads(done.stdout.splitlines()[-1]) == ["dataset"], done.stderr
    assert done.stdout.startswith("Usage: motionshards build")


def test_a_wheel_runs_without_the_checkout(tmp_path: Path) -> None:
    # From a copy: setuptools leaves build/lib in the source tree, and adds its files to later wheels.
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("motionshards", *FOLDERS):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    build = [*("-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--wheel-dir"), str(tmp_path), str(source)]
    done = run(*build, cwd=tmp_path, PIP_DISABLE_PIP_VERSION_CHECK="1")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("motionshards-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    packages = {name.split("/")[0] for name in names}
    assert packages == {"motionshards", f"motionshards-{motionshards.__version__}.dist-info"}
    assert {"motionshards/py.typed", "motionshards/dataset/report/page.css", "motionshards/cli.py"} <= names
    program = (
        UNINSTALLED
        + "import motionshards.cli; print(motionshards.__file__); sys.exit(motionshards.cli.main(['stats', '--help']))"
    )
    ran = run("-c", program, cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(str(tmp_path / "site"))


def test_every_subcommand_is_the_main_of_its_module(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        assert main([name, "--help"]) == 0
        assert f"Usage: motionshards {name}" in capsys.readouterr().out


def test_help_version_and_misspelled_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in COMMANDS)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"motionshards {motionshards.__version__}\n"
    assert main(["verfy", "OUT"]) == 2
    assert (
        capsys.readouterr().err
        == "error: motionshards has no command 'verfy'; did you mean 'verify'? (see motionshards --help)\n"
    )


def test_shells_complete_commands_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    complete = 'COMP_WORDS=(motionshards {0}); COMP_CWORD={1}; _motionshards; echo "${{COMPREPLY[@]}}"\n'
    program = script + complete.format("ver", 1) + complete.format("build --est", 2) + complete.format("build --unit v", 3)
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["verify", "--estimate", "video"]
