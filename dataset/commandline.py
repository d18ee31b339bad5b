"""The command line shared by all commands: options from a dataclass, one-line errors, exit statuses, signals.

    @dataclass(frozen=True, kw_only=True)
    class VerifyOptions(OutputOptions, DatasetArgument):
        fast: bool = False
        '''Check digests only.'''

    @command("verify")
    def main(options: VerifyOptions) -> int:
        '''Check every byte of a dataset.'''

    main(["OUT", "--fast"])  # the exit status

Exit status: that of the command, by default OK; FAILED after an error, UNUSABLE for invalid arguments or data, INTERRUPTED.
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
Log = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class DatasetArgument:
    """Options of a command that reads a dataset. List it as the last base class, so that `data` is the first positional."""

    data: str = field(kw_only=False)
    """The dataset: its directory, or its URL in an object store (s3://, gs://, abfs://)."""


@dataclass(frozen=True, kw_only=True)
class LocalDatasetArgument:
    """Like `DatasetArgument`, for a command that needs the dataset on a local disk."""

    data: Path = field(kw_only=False)
    """The dataset: its directory."""


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """Options of a command's output."""

    quiet: Annotated[bool, Parameter(group=OUTPUT)] = False
    """Show no progress, only the summary line."""
    json: Annotated[bool, Parameter(group=OUTPUT)] = False
    """Print the summary line as JSON."""

    def bar(self, unit: str, total: int | None = None, **how: Any) -> "tqdm[Any]":
        """Start a progress bar on stderr, hidden if stderr is not a terminal."""
        hidden = self.quiet or not sys.stderr.isatty()
        return tqdm(unit=unit, total=total, disable=hidden, dynamic_ncols=True, file=sys.stderr, **how)

    def print_result(self, done: Any) -> None:
        """Print the summary line: a dataclass as its `str`, or its fields as JSON."""
        show(json.dumps(dataclasses.asdict(done)) if self.json else done)

    def suggest(self, *commands: str) -> None:
        """Suggest next commands; on a terminal only, so that logs and pipes contain only the results."""
        if not (self.quiet or self.json) and sys.stderr.isatty():
            show(f"next: {' or '.join(commands)}", sys.stderr)


@dataclass(frozen=True, kw_only=True)
class DeviceOption:
    """Options of a command that computes with torch; see `trainers.parallel.choose_device`."""

    device: Annotated[str, Parameter(group=COMPUTATION)] = "auto"
    """`cpu`, `cuda`, `cuda:N`, or `auto`: CUDA where available."""


@dataclass(frozen=True, kw_only=True)
class Command(Generic[Options]):
    """A command. Called with the words of its command line (default: `sys.argv`), it returns the exit status.

    program: its name in a shell, for usage and error messages
    run: receives the options; returns the exit status, or None for OK
    options: a dataclass; the docstrings of its fields are the help texts
    after: text to append to the message of a failure: what remains, and how to resume
    unusable: errors that mean UNUSABLE; other errors of `schemas.errors`, and OSError, mean FAILED
    renamed: old option names and their new ones; old names are accepted with a warning for one release
    rewrite: for old spellings that are more than a renaming: receives the words, and returns them in the current spelling
    takes_rest: the program that receives the words after `--`, if any; they become the field `rest`
    variant: returns a command with different options to run instead for some words, or None
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
        """Run the command; errors that a user can fix become messages, not exceptions."""
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
        except BrokenPipeError:  # closed by `| head`; discard what Python would flush at exit
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
        """Computed after the run, which may have left something to resume."""
        return f". {advice}" if (advice := self.after(options)) else ""

    def parse(self, words: Sequence[str]) -> Options | None:
        """The options; None if help was requested, which is then printed.

        Raises:
            CycloptsError: an option is unknown or missing, or a value is invalid
            ConfigError: options cannot be combined
        """
        words = [self._present(word) for word in self.rewrite(list(words))]
        at = words.index("--") if self.takes_rest and "--" in words else len(words)
        options: Options | None = self.app()(words[:at], exit_on_error=False, print_error=False)
        if options is None or at == len(words):
            return options
        return dataclasses.replace(options, rest=tuple(words[at + 1 :]))  # type: ignore[type-var]

    def app(self) -> App:
        """The command as a cyclopts App, which parses, prints help and generates shell completion."""
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
                allow_repeating=True,  # the last one wins, so that scripts can append to a command
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
    """Decorator: turn a function of an options dataclass into a command, by default `motionshards NAME`; `how` as in Command."""

    def decorate(run: Callable[[Options], int | None]) -> Command[Options]:
        options = typing.get_type_hints(run)["options"]
        return Command(program=program or f"motionshards {name}", run=run, options=options, **how)

    return decorate


def choice(allowed: Iterable[str]) -> Parameter:
    """Annotation of an option whose value (or each of its values) must be one of these."""
    return Parameter(choices=tuple(allowed))


def read_by(read: Callable[[str], Any], metavar: str, **how: Any) -> Parameter:
    """Annotation of an option whose text is converted by a function, which raises ValueError for invalid text."""
    return Parameter(converter=lambda _, tokens: read(tokens[0].value), n_tokens=1, accepts_keys=False, metavar=metavar, **how)


def warn_of_old_spelling(old: str, new: str) -> None:
    """Warn that an option was renamed."""
    show(f"warning: {old} is now {new}; the next release will not accept {old}", sys.stderr)


def end(status: int, message: str) -> int:
    """Print why a command ends to stderr; returns the exit status."""
    show(message, sys.stderr)
    return status


def show(what: object, stream: TextIO | None = None) -> None:
    """Print one or more lines with control characters escaped; `stream` is stdout by default."""
    print(printable_lines(str(what)), file=stream, flush=True)


def stderr_log(options: OutputOptions) -> Log:
    """A function that prints a line to stderr, unless `--quiet` is given."""
    return (lambda text: None) if options.quiet else (lambda text: show(printable(text), sys.stderr))


def stop_on_signals() -> None:
    """Treat SIGTERM like SIGINT, and handle SIGINT in background jobs, too, where shells ignore it."""
    signal.signal(signal.SIGINT, _as_interrupt)
    signal.signal(signal.SIGTERM, _as_interrupt)


def _as_interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _option_name(field_name: str) -> str:
    """Options are named after the fields, without the suffix `_s`: `decode_timeout_s` is --decode-timeout."""
    return field_name.strip("_").removesuffix("_s").replace("_", "-")


def _converted(type_: Any, tokens: Sequence[Token]) -> Any:
    """Convert as cyclopts does, but reject 1.5 as an integer (it would round) and URLs as paths (except file://…)."""
    types = [*_types_in(type_)]
    if int in types and any("." in token.value for token in tokens):
        raise ValueError(f"{tokens[0].value} is not an integer")
    if Path in types:
        if urls := [token.value for token in tokens if is_bucket(token.value)]:
            raise ValueError(f"{urls[0]} is in an object store; this option needs a local path")
        tokens = [token.evolve(value=token.value.removeprefix("file://")) for token in tokens]
    return convert(type_, tokens)


def _types_in(type_: Any) -> Iterator[Any]:
    """A type and all its type arguments, recursively: `tuple[Annotated[int, …], …] | None` contains int."""
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
