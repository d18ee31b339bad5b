"""The project's commands in shell code, each parsed by its own command without running it."""

import contextlib
import importlib
import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from cyclopts import CycloptsError
from cyclopts.argument import Argument

from motionshards.cli import COMMANDS
from motionshards.schemas.errors import ConfigError

OURS = ("benchmarks", "motionshards", "dataset", "jobs", "pipeline", "trainers", "transforms", "schemas")
ELLIPSIS = "…"
_WORDS_IN_BRACKETS = re.compile(r"(?<= )\[[^]-][^]]*\]")  # `[more options]`: a description of possible arguments
_MODULE = re.compile(r"[a-z_]+(\.[a-z_0-9]+)*")
_PLACEHOLDER = re.compile(r"[A-Z_]+")


@dataclass(frozen=True, slots=True)
class Command:
    """`-m module argument …`. partial: an ellipsis or brackets on the page show that something is left out."""

    module: str
    arguments: tuple[str, ...]
    partial: bool

    @property
    def is_ours(self) -> bool:
        """Whether the module belongs to this repository."""
        return self.module.partition(".")[0] in OURS


def commands(text: str) -> Iterator[Command]:
    """The commands `python -m module …`, `torchrun … -m module …` and `motionshards name …` of shell code."""
    for line in _whole_lines(text):
        if re.search(r"(python3?|torchrun)\b.* -m ", line):
            words = shlex.split(_WORDS_IN_BRACKETS.sub(ELLIPSIS, line), comments=True)
            for place, word in enumerate(words[:-1]):
                if word == "-m" and _MODULE.fullmatch(words[place + 1]):
                    yield _command(words[place + 1], words[place + 2 :])
                    break
        elif (found := re.match(r"motionshards ([a-z-]+)", line.strip())) and found[1] in COMMANDS:
            words = shlex.split(_WORDS_IN_BRACKETS.sub(ELLIPSIS, line), comments=True)
            yield _command(f"motionshards.{COMMANDS[found[1]][0]}", words[2:])


def _whole_lines(text: str) -> Iterator[str]:
    """Split shell code into commands; a quoted text may span lines."""
    waiting = ""
    for line in text.replace("\\\n", " ").splitlines():
        starts = re.search(r"(python3?|torchrun)\b.* -m |^ *motionshards [a-z]", line)
        waiting = f"{waiting}\n{line}" if waiting else line
        if not (starts or "\n" in waiting) or waiting.count('"') % 2 == 0:
            yield waiting
            waiting = ""


def _command(module: str, words: list[str]) -> Command:
    end = next((place for place, word in enumerate(words) if word in ("|", ">", "&&", ";", "&", "<")), len(words))
    plain = [word.strip("[]") for word in words[:end]]
    return Command(module, tuple(word for word in plain if word), ELLIPSIS in plain or plain != words[:end])


def misunderstood(command: Command) -> str | None:
    """Why the command rejects the arguments; None if it accepts them."""
    ours = _of_module(command)
    collection = ours.app().assemble_argument_collection()
    by_name = {name: argument for argument in collection for name in argument.names}
    words = _with_values(_without_ellipses(list(command.arguments), by_name), by_name)
    if command.partial:
        words = _completed(words, collection)
    output = io.StringIO()
    try:
        with contextlib.redirect_stderr(output), contextlib.redirect_stdout(output):
            ours.parse(words)
    except (CycloptsError, ConfigError) as error:
        return str(error)
    warnings = output.getvalue()
    return warnings if warnings.startswith("warning") else None


def _of_module(command: Command) -> Any:
    name = command.module if command.module.startswith(("benchmarks", "motionshards")) else f"motionshards.{command.module}"
    module = importlib.import_module(name)
    main = (importlib.import_module(f"{name}.__main__") if hasattr(module, "__path__") else module).main
    return main.variant(command.arguments) or main


def _without_ellipses(words: list[str], by_name: dict[str, Argument]) -> list[str]:
    """An ellipsis after an option that takes a value is the value; others stand for omitted arguments."""
    return [word for before, word in pairwise(["", *words]) if word != ELLIPSIS or _takes_value(by_name.get(before))]


def _with_values(words: list[str], by_name: dict[str, Argument]) -> list[str]:
    """A placeholder, a word in capitals or an ellipsis, stands for any value that its option takes."""
    return [
        _any_value(by_name[before])
        if before in by_name and (_PLACEHOLDER.fullmatch(word) or word == ELLIPSIS) and _takes_value(by_name[before])
        else word
        for before, word in pairwise(["", *words])
    ]


def _completed(words: list[str], collection: Any) -> list[str]:
    """The words, completed with values for missing required options, unless they are passed by position."""
    present = {word.partition("=")[0] for word in words}
    options = [argument for argument in collection if argument.required and argument.children == []]
    by_position = bool(words) and not words[0].startswith("-")
    missing = [
        word
        for argument in options
        if not present & {*argument.names} and not (by_position and "positional" in argument.field_info.kind.description.lower())
        for word in (argument.names[0], _any_value(argument))
    ]
    at = words.index("--") if "--" in words else len(words)
    return [*words[:at], *missing, *words[at:]]


def _takes_value(argument: Argument | None) -> bool:
    return argument is not None and argument.token_count()[0] > 0


def _any_value(argument: Argument) -> str:
    choices = argument.get_choices() or (("demo",) if "--source" in argument.names else ("1",))
    return str(choices[0])
