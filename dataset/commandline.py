"""What all commands share: exit statuses, one line for what is wrong, and a clean end when they are told to stop."""

import argparse
import signal
import sys
from typing import NoReturn, TextIO

from schemas.printable import printable, printable_lines

UNUSABLE, INTERRUPTED = 2, 130


class OneLineParser(argparse.ArgumentParser):
    """Ends with UNUSABLE and one line, without the usage that argparse puts before it."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the arguments and leave."""
        self.exit(UNUSABLE, f"error: {printable(message)} (see --help)\n")


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
