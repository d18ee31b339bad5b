"""The command line shared by all commands: parsing, one-line errors and exit statuses."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import pytest
from cyclopts import Parameter
from cyclopts.types import PositiveInt

from motionshards.cli import COMMANDS, find_command
from motionshards.dataset import add
from motionshards.dataset.commandline import FAILED, INTERRUPTED, OK, UNUSABLE, Command, OutputOptions, choice, command
from motionshards.schemas.errors import BuildFailed, ConfigError, DatasetError


@dataclass(frozen=True, kw_only=True)
class Options(OutputOptions):
    """Options for tests."""

    side: Annotated[str, choice(("left", "right"))] = "left"
    """The side to take."""
    sizes: tuple[PositiveInt, ...] = ()
    """Sizes in pixels."""
    timeout_s: float = 2.5
    """Seconds to wait."""
    output: Path | None = None
    """What to write."""
    rest: Annotated[tuple[str, ...], Parameter(parse=False)] = ()


def parsed(*words: str, **how: object) -> Options | None:
    return Command(program="program", run=lambda options: None, options=Options, **how).parse(words)  # type: ignore[arg-type]


def test_arguments_become_fields() -> None:
    assert parsed() == Options()
    assert parsed("--side", "right", "--sizes", "3", "--sizes=4", "--timeout", "1", "--output", "file:///a/b") == Options(
        side="right", sizes=(3, 4), timeout_s=1.0, output=Path("/a/b")
    )
    assert parsed("--side", "right", "--side", "left") == Options(side="left"), "the last one wins"


def test_arguments_after_two_dashes_are_passed_on() -> None:
    assert parsed("--quiet", "--", "--quiet", "x", takes_rest="Beam") == Options(quiet=True, rest=("--quiet", "x"))


def test_old_spellings_warn(capsys: pytest.CaptureFixture[str]) -> None:
    assert parsed("--hand=right", renamed={"--hand": "--side"}) == Options(side="right")
    assert capsys.readouterr().err == "warning: --hand is now --side; the next release will not accept --hand\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sid", "left"], "Unknown option: --sid. Did you mean --side? Options of Beam go after --"),
        (["--side", "lef"], 'Invalid value "lef" for --side. Choose from: "left", "right". Did you mean "left"?'),
        (["--side"], "Parameter --side requires an argument"),
        (["--sizes", "0"], 'Invalid value "0" for --sizes. Must be > 0'),
        (["--sizes", "1.5"], "Invalid value for --sizes: 1.5 is not an integer"),
        (["--timeout", "soon"], 'Invalid value for --timeout: unable to convert "soon" into float'),
        (["--output", "s3://a/b"], "Invalid value for --output: s3://a/b is in an object store; this option needs a local path"),
        (["stray\x1b[2J"], "Unexpected argument: stray\\x1b[2J"),
    ],
)
def test_invalid_arguments_exit_with_2_and_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    ours = Command(program="program", run=lambda options: None, options=Options, takes_rest="Beam")
    assert ours(words) == UNUSABLE
    assert capsys.readouterr().err == f"error: {message} (see program --help)\n"


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ConfigError("no such size"), UNUSABLE, "error: no such size"),
        (DatasetError("no dataset"), UNUSABLE, "error: no dataset"),
        (BuildFailed("the disk is full"), FAILED, "error: the disk is full. Run it again"),
        (OSError(28, "No space left on device", "/x"), FAILED, "error: No space left on device: /x. Run it again"),
        (OSError(28, "No space left on device"), FAILED, "error: No space left on device: out. Run it again"),
        (KeyboardInterrupt(), INTERRUPTED, "interrupted. Run it again"),
    ],
)
def test_errors_become_a_status_and_a_line(
    error: BaseException, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @command("fail", after=lambda options: "Run it again")
    def main(options: Options) -> None:
        """Fail."""
        raise error

    assert main(["--output", "out"]) == status
    assert capsys.readouterr() == ("", f"{message}\n")


def test_bugs_are_not_hidden() -> None:
    @command("fail")
    def main(options: Options) -> None:
        """Fail."""
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main([])


def test_help_has_docstrings_choices_and_defaults(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert Command(program="program", run=lambda options: None, options=Options)(["--help"]) == OK
    page = capsys.readouterr().out
    for text in (
        "The side to take. [choices: left, right] [default: left]",
        "--timeout FLOAT",
        "Seconds to wait. [default: 2.5]",
    ):
        assert text in page
    assert "--rest" not in page


def every_command() -> Iterator[Command[Any]]:
    yield from (find_command(module) for module, _ in COMMANDS.values())
    yield add.main


def options_of(one: Command[Any]) -> dict[str, object]:
    """The type of each option of a command, by its name."""
    arguments = [argument for argument in one.app().assemble_argument_collection() if argument.parse and not argument.children]
    return {name: argument.hint for argument in arguments for name in argument.names}


def kind(hint: object) -> str:
    parts = {hint} if not get_args(hint) else {kind(part) for part in get_args(hint)}
    return "flag" if parts & {bool, "flag"} else "number" if parts & {int, float, "number"} else "text"


def test_an_option_has_the_same_type_in_all_commands() -> None:
    kinds: dict[str, dict[str, str]] = {}
    for one in every_command():
        for name, hint in options_of(one).items():
            kinds.setdefault(name, {})[one.program] = kind(hint)
    del kinds["--frames"]["motionshards export"]  # png: for other commands, too, frames is a number or a file type
    assert {name: found for name, found in kinds.items() if len({*found.values()}) > 1} == {}
    assert {"--data", "--output", "--workers", "--device", "--quiet", "--json"} <= kinds.keys()


@pytest.mark.parametrize("one", list(every_command()), ids=lambda one: one.program)
def test_every_option_has_a_help_text(
    one: Command[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    assert one(["--help"]) == OK
    rows = capsys.readouterr().out.splitlines()
    for name in options_of(one):
        (row,) = [row for row in rows if re.match(rf"│ .*{name}( [A-Z|a-z.=\[\]:,]+)*   *[^ │\[]", row)]
        assert row
