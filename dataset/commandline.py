"""What the commands of this room share: exit statuses, and a parser that says what is wrong in one line."""

import argparse
from typing import NoReturn

UNUSABLE, INTERRUPTED = 2, 130


class OneLineParser(argparse.ArgumentParser):
    """Ends with UNUSABLE and one line, without the usage that argparse puts before it."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the arguments and leave."""
        self.exit(UNUSABLE, f"error: {message} (see --help)\n")
