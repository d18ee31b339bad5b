"""Resolves `--aus`: none, OpenFace as a program, csv files, or pyfaceau."""

import os
import shlex
from pathlib import Path

from motionshards.schemas.errors import ConfigError
from motionshards.transforms.extract.action_units.csv_folder import CsvFolder
from motionshards.transforms.extract.action_units.openface import PROGRAM, START_S, OpenFace, program_at
from motionshards.transforms.extract.action_units.pyfaceau import PyFaceAU
from motionshards.transforms.extract.action_units.source import AuSource

EXPECTED = "openface, openface-still, csv:DIR or pyfaceau"
_OPENFACE = ("openface", "openface-still")
_BIN = "OPENFACE_BIN"
_INSTALLATION = (
    "build OpenFace 2.x (github.com/TadasBaltrusaitis/OpenFace) and name its FeatureExtraction by --openface or $OPENFACE_BIN, "
    "run a container by --openface 'docker run --rm -v {dir}:{dir} IMAGE FeatureExtraction', or read csv files by --aus csv:DIR"
)


def resolve(choice: str, command: str | None = None, start_s: float = START_S) -> AuSource | None:
    """The source selected by `--aus choice`; None for `none`.

    command: value of --openface; None uses $OPENFACE_BIN, else FeatureExtraction on the PATH
    start_s: value of --openface-timeout

    Raises:
        ConfigError: the source cannot be used on this machine; the message names the remedy
    """
    if command is not None and choice not in _OPENFACE:
        raise ConfigError(f"--openface requires --aus {' or '.join(_OPENFACE)}, but --aus is {choice}")
    if choice == "none":
        return None
    if choice in _OPENFACE:
        return OpenFace(_command(choice, command), choice == "openface-still", start_s)
    if choice == "pyfaceau":
        return PyFaceAU.checked()
    if choice.startswith("csv:") and len(choice) > len("csv:"):
        return CsvFolder(_folder(Path(choice.removeprefix("csv:"))))
    raise ConfigError(f"--aus is {choice!r}, must be none, {EXPECTED}")


def _command(choice: str, command: str | None) -> tuple[str, ...]:
    try:
        words = [os.environ.get(_BIN) or PROGRAM] if command is None else shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"--openface {command!r} cannot be split into words: {error}") from error
    program = program_at(words[0]) if words else None
    if program is None:
        raise ConfigError(f"--aus {choice}: program not found: {words[0] if words else command!r}; {_INSTALLATION}")
    return (program, *words[1:])


def _folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise ConfigError(f"--aus csv:{folder}: not a directory")
    return folder.resolve()
