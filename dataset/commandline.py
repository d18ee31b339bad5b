"""The command line that all commands share: options from a dataclass, one line for what is wrong, exit statuses, a clean end.

    @dataclass(frozen=True, kw_only=True)
    class VerifyOptions(Reporting, OfDataset):
        fast: bool = False
        '''Check digests only.'''

    @command("verify")
    def main(options: VerifyOptions) -> int:
        '''Check every byte of a dataset.'''

    main(["OUT", "--fast"])  # the exit status

Exit status: that of the command, else OK; FAILED for a fault, UNUSABLE for arguments or data that cannot be used, INTERRUPTED.
"""

import dataclasses
import difflib
import json
import os
import signal
import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, NoReturn, TextIO, TypeVar

from cyclopts import (
    App,
    CycloptsError,
    Group,
    MissingArgumentError,
    Parameter,
    Token,
    UnknownOptionError,
    UnusedCliTokensError,
    convert,
)
from tqdm import tqdm

from motionshards.schemas.bucket import is_bucket
from motionshards.schemas.errors import ConfigError, DatasetError, MotionShardsError
from motionshards.schemas.printable import printable, printable_lines

OK, FAILED, UNUSABLE, INTERRUPTED = 0, 1, 2, 130
COMPUTATION, OUTPUT = Group("Computation", sort_key=8), Group("Output", sort_key=9)

Options = TypeVar("Options")
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class OfDataset:
    """Options of a command that reads a dataset. As the last base of a command's options it may be given without its name."""

    data: str = field(kw_only=False)
    """The dataset: its directory, or its URL in an object store (s3://, gs://, abfs://)."""


@dataclass(frozen=True, kw_only=True)
class OfLocalDataset:
    """The same of a command that needs the dataset on a disk."""

    data: Path = field(kw_only=False)
    """The dataset: its directory."""


@dataclass(frozen=True, kw_only=True)
class Reporting:
    """Options of what a command prints."""

    quiet: Annotated[bool, Parameter(group=OUTPUT)] = False
    """Show no progress, only the last line."""
    json: Annotated[bool, Parameter(group=OUTPUT)] = False
    """Print the last line as JSON."""

    def bar(self, unit: str, total: int | None = None, **how: Any) -> "tqdm[Any]":
        """Start a progress bar on stderr, hidden where that is not a terminal."""
        hidden = self.quiet or not sys.stderr.isatty()
        return tqdm(unit=unit, total=total, disable=hidden, dynamic_ncols=True, file=sys.stderr, **how)

    def print_result(self, done: Any) -> None:
        """Print the last line: a dataclass as its `str`, or its fields as JSON."""
        show(json.dumps(dataclasses.asdict(done)) if self.json else done)

    def suggest(self, *commands: str) -> None:
        """Show which commands usually come next; on a terminal only, so that logs and pipes get the results alone."""
        if not (self.quiet or self.json) and sys.stderr.isatty():
            show(f"next: {' or '.join(commands)}", sys.stderr)


@dataclass(frozen=True, kw_only=True)
class OnDevice:
    """Options of a command that computes with torch; see `trainers.parallel.choose_device`."""

    device: Annotated[str, Parameter(group=COMPUTATION)] = "auto"
    """`cpu`, `cuda`, `cuda:N`, or `auto`: CUDA where available."""


@dataclass(frozen=True, kw_only=True)
class Command(Generic[Options]):
    """A command. Called with the words of its command line (default: the shell's), it returns the exit status.

    program: how a shell starts it, for usage and errors
    run: gets the options; returns the exit status, None for OK
    options: a dataclass; the docstrings of its fields are the help
    after: what to add to the line for a failure: what remains, and how to resume
    unusable: errors that mean UNUSABLE; all others of `schemas.errors`, and those of the system, mean FAILED
    renamed: old spellings of options and their present ones; the old are accepted with a warning for one release
    rewrite: for old spellings that are more than another name: gets the words, and returns them in the present spelling
    takes_rest: the program that words after `--` are for, if any; they become the field `rest`
    variant: the command to run instead for some words, which has other options; None for none
    """

    program: str
    run: Callable[[Options], int | None]
    options: type[Options]
    after: Callable[[Options], str] = lambda options: ""
    unusable: tuple[type[Exception], ...] = (ConfigError, DatasetError)
    renamed: Mapping[str, str] = field(default_factory=dict)
    rewrite: Callable[[list[str]], list[str]] = lambda words: words
    takes_rest: str = ""
    variant: "Callable[[Sequence[str]], Command[Any] | None]" = lambda words: None

    def __call__(self, arguments: Sequence[str] | None = None) -> int:
        """Run the command; never raises for what a user can mend."""
        words = sys.argv[1:] if arguments is None else arguments
        if other := self.variant(words):
            return other(words)
        try:
            options = self.parse(words)
        except CycloptsError as error:
            text = printable(_text(error))
            if self.takes_rest and isinstance(error, UnknownOptionError):
                text += f"{'' if text.endswith('?') else '.'} Options of {self.takes_rest} go after --"
            return end(UNUSABLE, f"error: {text} (see {self.program} --help)")
        except ConfigError as error:
            return end(UNUSABLE, f"error: {error}")
        return OK if options is None else self._end(options)

    def _end(self, options: Options) -> int:
        try:
            return self.run(options) or OK
        except BrokenPipeError:  # `| head` has seen enough; what Python would still flush at its end goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return OK
        except self.unusable as error:
            return end(UNUSABLE, f"error: {error}")
        except MotionShardsError as error:
            return end(FAILED, f"error: {error}{self._advice(options)}")
        except OSError as error:
            place = error.filename or getattr(options, "output", None) or getattr(options, "data", None)
            return end(FAILED, f"error: {error.strerror or error}{f': {place}' if place else ''}{self._advice(options)}")
        except KeyboardInterrupt:
            return end(INTERRUPTED, f"interrupted{self._advice(options)}")

    def _advice(self, options: Options) -> str:
        """Computed after the run, which may have left something to resume from."""
        return f". {advice}" if (advice := self.after(options)) else ""

    def parse(self, words: Sequence[str]) -> Options | None:
        """The options; None where the words asked for help, which is printed.

        Raises:
            CycloptsError: an option is unknown or missing, or a value cannot be used
            ConfigError: a combination of options cannot be used
        """
        words = [self._present(word) for word in self.rewrite(list(words))]
        at = words.index("--") if self.takes_rest and "--" in words else len(words)
        options: Options | None = self.app()(words[:at], exit_on_error=False, print_error=False)
        if options is None or at == len(words):
            return options
        return dataclasses.replace(options, rest=tuple(words[at + 1 :]))  # type: ignore[type-var]

    def app(self) -> App:
        """The command as the library sees it: parses, prints help, and knows what shells need for completion."""
        app = App(
            name=self.program,
            help=self.run.__doc__,
            version_flags=[],
            group_commands=Group("Commands", show=False),
            group_parameters=Group("Options", sort_key=0),
            default_parameter=Parameter(
                negative=(),
                show_default=_shown_default,
                name_transform=_option_name,
                allow_repeating=True,  # the last counts, so that scripts can append to a command
                converter=_converted,
            ),
            result_action="return_value",
        )

        def parsed(options: Options | None = None) -> Options:
            return self.options() if options is None else options

        parsed.__annotations__["options"] = Annotated[self.options, Parameter(name="*")]
        if any(each.default is each.default_factory is dataclasses.MISSING for each in dataclasses.fields(self.options)):  # type: ignore[arg-type]
            parsed.__defaults__ = ()
        app.default(parsed)
        return app

    def _present(self, word: str) -> str:
        name, is_given, value = word.partition("=")
        if name not in self.renamed:
            return word
        warn_of_old_spelling(name, self.renamed[name])
        return f"{self.renamed[name]}{is_given}{value}"


def command(name: str, program: str = "", **how: Any) -> Callable[[Callable[[Options], int | None]], Command[Options]]:
    """Make a function of a dataclass of options a command, by default `motionshards NAME`; `how` as in Command."""

    def made(run: Callable[[Options], int | None]) -> Command[Options]:
        options = typing.get_type_hints(run)["options"]
        return Command(program=program or f"motionshards {name}", run=run, options=options, **how)

    return made


def choice(allowed: Iterable[str]) -> Parameter:
    """Annotation of an option, or of each of its values, that must be one of these."""
    return Parameter(choices=tuple(allowed))


def read_by(read: Callable[[str], Any], metavar: str, **how: Any) -> Parameter:
    """Annotation of an option whose text a function converts; it raises ValueError for what cannot be used."""
    return Parameter(converter=lambda _, tokens: read(tokens[0].value), n_tokens=1, accepts_keys=False, metavar=metavar, **how)


def warn_of_old_spelling(old: str, new: str) -> None:
    """Say that an option has another name now."""
    show(f"warning: {old} is now {new}; the next release will not accept {old}", sys.stderr)


def end(status: int, message: str) -> int:
    """Print why a command ends as it does to stderr; returns its exit status."""
    show(message, sys.stderr)
    return status


def show(what: object, stream: TextIO | None = None) -> None:
    """Print a line, or several, with escapes for what a terminal would obey; `stream` is stdout by default."""
    print(printable_lines(str(what)), file=stream, flush=True)


def sayer(options: Reporting) -> Say:
    """A function that prints a line to stderr, unless `--quiet` is given."""
    return (lambda text: None) if options.quiet else (lambda text: show(printable(text), sys.stderr))


def stop_on_signals() -> None:
    """Let SIGTERM, which schedulers send, and SIGINT, which shells ignore in background jobs, both interrupt the command."""
    signal.signal(signal.SIGINT, _as_interrupt)
    signal.signal(signal.SIGTERM, _as_interrupt)


def _as_interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _option_name(field_name: str) -> str:
    """Options are called as the fields, but for the unit of seconds: `decode_timeout_s` is --decode-timeout."""
    return field_name.strip("_").removesuffix("_s").replace("_", "-")


def _converted(type_: Any, tokens: Sequence[Token]) -> Any:
    """Convert as the library does, but refuse 1.5 as an integer, which it rounds, and URLs as paths, but for file://…"""
    types = [*_types_in(type_)]
    if int in types and any("." in token.value for token in tokens):
        raise ValueError(f"{tokens[0].value} is not an integer")
    if Path in types:
        if urls := [token.value for token in tokens if is_bucket(token.value)]:
            raise ValueError(f"{urls[0]} is in an object store, and this must be on a disk")
        tokens = [token.evolve(value=token.value.removeprefix("file://")) for token in tokens]
    return convert(type_, tokens)


def _types_in(type_: Any) -> Iterator[Any]:
    """A type and all that it is made of: `tuple[Annotated[int, …], …] | None` has an int in it."""
    yield type_
    for part in typing.get_args(type_):
        yield from _types_in(part)


def _shown_default(value: object) -> object:
    if value is False or value in ("", ()):
        return None
    return " ".join(map(str, value)) if isinstance(value, tuple) else value


def _text(error: CycloptsError) -> str:
    if isinstance(error, MissingArgumentError) and error.argument is not None and not (error.keyword or error.argument.tokens):
        similar = difflib.get_close_matches(error.argument.name, error.unused_tokens or (), 1)
        return f"{error.argument.name} is required" + (f", and {similar[0]} is unknown" if similar else "")
    if isinstance(error, UnusedCliTokensError):
        return f"Unexpected argument: {' '.join(error.unused_tokens or ())}"
    return " ".join(str(error).split()).removesuffix(".")
