"""What all commands share: exit statuses, one line for what is wrong, and a clean end when they are told to stop."""

import argparse
import difflib
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn, TextIO

from motionshards.schemas.printable import printable, printable_lines

UNUSABLE, INTERRUPTED = 2, 130


class OneLineParser(argparse.ArgumentParser):
    """Ends with UNUSABLE and one line, without the usage that argparse puts before it."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the arguments and leave."""
        self.exit(UNUSABLE, f"error: {printable(message)} (see --help)\n")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse all arguments; ends with the options that are meant where some are unknown."""
        options, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(self.unknown(unknown))
        return options

    def unknown(self, arguments: Sequence[str]) -> str:
        """What to say of arguments that this parser does not know, with similar options of its own."""
        names = [argument.partition("=")[0] for argument in arguments if argument.startswith("-")] or list(arguments[:1])
        similar = [match for name in names for match in difflib.get_close_matches(name, self._option_string_actions, 1)]
        meant = f"; did you mean {', '.join(dict.fromkeys(similar))}?" if similar else ""
        return f"unknown option {', '.join(names)}{meant}"


def end(status: int, message: str) -> int:
    """Say why a command ends as it does; gives its exit status."""
    show(message, sys.stderr)
    return status


def show(what: object, stream: TextIO | None = None) -> None:
    """Print a line, or several, with escapes for what a terminal would obey; `stream` is stdout by default."""
    print(printable_lines(str(what)), file=stream, flush=True)


def stop_on_signals() -> None:
    """Schedulers end jobs with SIGTERM, and shells start background jobs with SIGINT ignored: both are to stop them cleanly."""
    signal.signal(signal.SIGINT, _as_interrupt)
    signal.signal(signal.SIGTERM, _as_interrupt)


def _as_interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
