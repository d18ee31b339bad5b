"""Checks of code on the pages: commands parse, make targets, files and links exist, and Python matches the API."""

import ast
import importlib
import importlib.util
import inspect
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT
from markdown_code import Code, anchors, code, links, pages
from shell_commands import ELLIPSIS, OURS, Command, commands, misunderstood

from motionshards.dataset import commandline

PAGES = pages()
CODE = [piece for path in PAGES for piece in code(path.read_text(), path.relative_to(ROOT).as_posix())]
# Inline code may be an incomplete command.
COMMANDS = [
    pytest.param(replace(command, partial=command.partial or piece.kind == "inline"), id=f"{piece} {command.module}")
    for piece in CODE
    for command in commands(piece.text)
]
_PYTHON = re.compile(r"^(from [\w.]+ import |import \w|for .+:|with .+:|(\w+ = )?[A-Za-z_.]+\(.*\)( *#.*)?$)", re.MULTILINE)
_MAKE = re.compile(r"(?:^|&& |; )make ([a-z][\w-]*)", re.MULTILINE)
_OUR_FILE = re.compile(rf"(?:{'|'.join((*OURS, 'tests', 'docs'))})/[\w./-]+\.(?:py|md|sbatch|yml|yaml|toml|txt)")


def python_blocks() -> list[Code]:
    """Python blocks: those fenced as python, and indented blocks that look like Python."""
    fenced = [piece for piece in CODE if piece.kind == "fenced" and piece.info == "python"]
    return fenced + [piece for piece in CODE if piece.kind == "indented" and _PYTHON.search(piece.text)]


def tree_of(piece: Code) -> ast.Module:
    """The syntax tree of a block, which may be the body of a function; typographic ellipses are replaced by `...`."""
    return ast.parse(piece.text.replace(ELLIPSIS, "..."), str(piece))


def imported(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    """Yield each name that a block imports from the project, with its value; raises if it does not exist."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in OURS:
            module = importlib.import_module(node.module)
            yield from ((alias.asname or alias.name, getattr(module, alias.name)) for alias in node.names)
        elif isinstance(node, ast.Import):
            ours = [alias.name for alias in node.names if alias.name.partition(".")[0] in OURS]
            yield from ((name, importlib.import_module(name)) for name in ours)


def test_the_pages_are_found() -> None:
    assert len(PAGES) > 10 and len(COMMANDS) > 40 and len(python_blocks()) > 3


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_valid(command: Command) -> None:
    if command.is_ours:
        assert misunderstood(command) is None
    else:
        assert importlib.util.find_spec(command.module.partition(".")[0]), f"{command.module} does not exist"
        assert not [word for word in command.arguments if _OUR_FILE.fullmatch(word) and not (ROOT / word).exists()]


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    unknown = [f"{piece}: make {name}" for piece in CODE for name in _MAKE.findall(piece.text) if name not in targets]
    assert not unknown


def test_extras_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    extras_used = [
        (str(piece), name)
        for piece in CODE
        for found in re.findall(r"motionshards\[([\w,]+)\]", piece.text)
        for name in found.split(",")
    ]
    assert extras_used and not [(place, name) for place, name in extras_used if name not in extras]


def test_referenced_files_exist() -> None:
    """Except on pages that explain which files to write."""
    named = [piece for piece in CODE if piece.kind == "inline" and _OUR_FILE.fullmatch(piece.text)]
    assert not [str(piece) for piece in named if not (ROOT / piece.text).exists() and not piece.page.startswith("docs/add-a-")]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_are_valid(path: Path) -> None:
    broken = []
    for line, target in links(path.read_text(), path.name):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = path.parent / name if name else path
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file.read_text())):
            broken.append(f"{path.name}:{line}: {target}")
    assert not broken


@pytest.mark.parametrize("piece", python_blocks(), ids=str)
def test_python_blocks_compile_and_calls_match_signatures(piece: Code) -> None:
    tree = tree_of(piece)
    names = dict(imported(tree))
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
        called = names.get(call.func.id) if isinstance(call.func, ast.Name) else None
        plain = not any(isinstance(argument, ast.Starred) for argument in call.args) and all(word.arg for word in call.keywords)
        if called is not None and plain and not (isinstance(called, type) and issubclass(called, Exception)):
            arguments = [argument for argument in call.args if not (isinstance(argument, ast.Constant) and argument.value is ...)]
            inspect.signature(called).bind_partial(*arguments, **{str(word.arg): word.value for word in call.keywords})


PAGE = """# A page: with `code`

Text with `python -m dataset.verify OUT
--fast` and [a link](other.md#here), `[no](link)`.

    python -m dataset.build --source demo \\
        --input DIR   # a comment, it's long

    not | a command

1. A list
    continues, and is not code.

```sh no-run
torchrun --nproc-per-node 8 -m jobs.train --model fomm …
```
## A page: with code
"""


def test_code_is_found_with_its_position() -> None:
    found = [(piece.kind, piece.line, piece.info) for piece in code(PAGE, "page.md")]
    assert found == [("indented", 6, ""), ("fenced", 14, "sh no-run"), ("inline", 1, ""), ("inline", 3, ""), ("inline", 4, "")]
    found_commands = [command for piece in code(PAGE, "page.md") for command in commands(piece.text)]
    assert [command.module for command in found_commands] == ["dataset.build", "jobs.train", "dataset.verify"]
    assert found_commands[0].arguments == ("--source", "demo", "--input", "DIR") and not found_commands[0].partial
    assert found_commands[1].partial and found_commands[2].arguments == ("OUT", "--fast")
    assert links(PAGE, "page.md") == [(4, "other.md#here")]
    assert anchors(PAGE) == {"a-page-with-code", "a-page-with-code-1"}


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("python -m dataset.build --source demo --input DIR --output OUT", None),
        ("python -m dataset.build --input DIR --output OUT", "--source"),
        ("python -m dataset.build … --retry REASON", None),
        ("python -m dataset.build … --no-such-thing 3", "--no-such-thing"),
        ("python -m dataset.build --source marsian --input DIR --output OUT", "marsian"),
        ("python -m dataset.build --source demo --input DIR --output OUT --frames many", "many"),
        ("python -m dataset.build … --runner portable --job-endpoint h:1 -- --environment_type=EXTERNAL", None),
        ("python -m dataset.build … --runner portable --job-endpoint h:1 --environment_type=EXTERNAL", "warning"),
        ("python -m dataset.build … --environment_type=EXTERNAL", "--environment_type"),
        ("python -m dataset.build --output OUT --add landmarks", None),
        ("python -m benchmarks.shuffle [--clips 1000] [--results FILE]", None),
        ("python -m benchmarks.shuffle --clip-number 1000", "--clip-number"),
        ("python -m dataset.build --output OUT [whatever a build takes] --add landmarks", None),
        ("python -m dataset.report OUT --count 3", None),
        ("python -m dataset.verify --help", None),
        ("python -m dataset.views OUT", "no attribute"),
        ("python -m dataset.nowhere OUT", "No module"),
    ],
)
def test_invalid_commands_are_reported(line: str, fault: str | None) -> None:
    (command,) = commands(line)
    try:
        message = misunderstood(command)
    except (AttributeError, ModuleNotFoundError) as error:
        message = str(error)
    assert (message is None) if fault is None else (message is not None and fault in message)


def test_inline_commands_are_valid_shell_words() -> None:
    assert all(shlex.split(piece.text, comments=True) for piece in CODE if piece.kind == "inline" and "-m dataset" in piece.text)


def test_make_bench_runs_every_benchmark() -> None:
    makefile = (ROOT / "Makefile").read_text()
    listed = re.findall(r"^BENCHMARKS := (.*)$", makefile, re.MULTILINE)[0].split()
    modules = [importlib.import_module(f"benchmarks.{path.stem}") for path in ROOT.glob("benchmarks/*.py")]
    programs = {module.main.program for module in modules if isinstance(getattr(module, "main", None), commandline.Command)}
    assert programs == {f"python -m benchmarks.{name}" for name in (*listed, "train", "gpu")}
    assert "benchmarks.train $(TRAIN_ON_DEMO)" in makefile and "benchmarks.gpu $(QUICK_gpu)" in makefile
    for name in {*listed, "gpu"} - {"landmarks"}:
        (settings,) = re.findall(rf"^QUICK_{name} := (.*)$", makefile, re.MULTILINE)
        assert misunderstood(Command(f"benchmarks.{name}", tuple(shlex.split(settings)), False)) is None
