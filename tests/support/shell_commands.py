"""Commands of ours in shell code, and whether they would be understood: each goes to the command's own parser, and no further."""

import contextlib
import importlib
import inspect
import io
import re
import shlex
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

OURS = ("benchmarks", "motionshards", "dataset", "jobs", "pipeline", "trainers", "transforms", "schemas")
ELLIPSIS = "…"
_WORDS_IN_BRACKETS = re.compile(r"(?<= )\[[^]-][^]]*\]")  # `[more options]`: what may stand there, in words
_MODULE = re.compile(r"[a-z_]+(\.[a-z_0-9]+)*")


@dataclass(frozen=True, slots=True)
class Command:
    """`-m module argument …`. partial: an ellipsis or brackets on the page say that something is left out."""

    module: str
    arguments: tuple[str, ...]
    partial: bool

    @property
    def is_ours(self) -> bool:
        """Whether the module is of this repository."""
        return self.module.partition(".")[0] in OURS


def commands(text: str) -> Iterator[Command]:
    """The commands `python -m module …` and `torchrun … -m module …` of shell code."""
    for line in text.replace("\\\n", " ").splitlines():
        if not re.search(r"(python3?|torchrun)\b.* -m ", line):
            continue
        words = shlex.split(_WORDS_IN_BRACKETS.sub(ELLIPSIS, line), comments=True)
        for place, word in enumerate(words[:-1]):
            if word == "-m" and _MODULE.fullmatch(words[place + 1]):
                yield _command(words[place + 1], words[place + 2 :])
                break


def _command(module: str, words: list[str]) -> Command:
    ended = next((place for place, word in enumerate(words) if word in ("|", ">", "&&", ";", "&", "<")), len(words))
    plain = [word.strip("[]") for word in words[:ended]]
    return Command(module, tuple(word for word in plain if word), ELLIPSIS in plain or plain != words[:ended])


class _Parsed(BaseException):
    """Thrown through a command once it has parsed its arguments, so that it does nothing else. No `except Exception` holds it."""

    def __init__(self, options: Namespace, unknown: Sequence[str]) -> None:
        super().__init__()
        self.options, self.unknown = options, list(unknown)


def misunderstood(command: Command) -> str | None:
    """What the command's own parser has against the arguments; None where it takes them."""
    said = io.StringIO()
    try:
        with _parsing_only(command.partial), contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            _run(command)
    except _Parsed as parsed:
        return _unknown(command, parsed)
    except SystemExit as end:
        return None if end.code in (0, None) else said.getvalue().strip() or f"ends with {end.code}"
    return "parses no arguments"


def _run(command: Command) -> None:
    """Call the command as a shell would; some take their arguments from `sys.argv` alone."""
    name = command.module if command.module.startswith(("benchmarks", "motionshards")) else f"motionshards.{command.module}"
    module = importlib.import_module(name)
    main = (importlib.import_module(f"{name}.__main__") if hasattr(module, "__path__") else module).main
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [command.module, *command.arguments])
        main(list(command.arguments)) if inspect.signature(main).parameters else main()


def _unknown(command: Command, parsed: _Parsed) -> str | None:
    """Options that nobody knows; a build hands those of Beam on to another runner."""
    left = [word for word in parsed.unknown if word != ELLIPSIS]
    beam = command.module == "dataset.build" and getattr(parsed.options, "runner", "local") not in ("local", "dask")
    return None if beam or not left else f"unrecognized arguments: {' '.join(left)}"


@contextlib.contextmanager
def _parsing_only(partial: bool) -> Iterator[None]:
    """Until it is left, a parser of arguments throws what it found. Of partial commands nothing is required."""
    parse = ArgumentParser.parse_known_args

    def parse_and_throw(self: ArgumentParser, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        _accept_capitals(self, words)
        if partial:
            _require_nothing(self)
            words = _without_ellipses(self, words)
        raise _Parsed(*parse(self, words, namespace))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ArgumentParser, "parse_known_args", parse_and_throw)
        yield


def _accept_capitals(parser: ArgumentParser, words: list[str]) -> None:
    """A word in capitals stands for any value, so it is none of the choices and no number."""
    for option, value in pairwise(words):
        action = parser._option_string_actions.get(option)
        if action is not None and re.fullmatch(r"[A-Z_]+", value):
            action.choices, action.type = None, None


def _require_nothing(parser: ArgumentParser) -> None:
    for action in parser._actions:
        action.required = False
    for group in parser._mutually_exclusive_groups:
        group.required = False


def _without_ellipses(parser: ArgumentParser, words: list[str]) -> list[str]:
    """An ellipsis behind an option that takes a value is the value; others stand for what is left out."""
    options = parser._option_string_actions
    return [
        word
        for place, word in enumerate(words)
        if word != ELLIPSIS or (place and (option := options.get(words[place - 1])) is not None and option.nargs != 0)
    ]
