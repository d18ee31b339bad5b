"""The console command `motionshards`: one subcommand for each `python -m` of the project, imported only when it runs.

    motionshards build --source voxceleb2 --input DIR --output OUT      # the same as python -m dataset.build …

Exit status: that of the subcommand; 2 for a subcommand that does not exist.
"""

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from motionshards import __version__

if TYPE_CHECKING:
    from motionshards.dataset.commandline import Command

# Subcommand -> its module, and what it does.
COMMANDS = {
    "download": ("jobs.download", "fetch the videos that a corpus lists"),
    "build": ("dataset.build", "turn videos into shards, or add to a finished dataset"),
    "verify": ("dataset.verify", "check every byte of a dataset"),
    "stats": ("dataset.stats", "count clips and summarize their measures"),
    "sql": ("dataset.sql", "answer an SQL query over the tables of a dataset"),
    "people": ("dataset.people.__main__", "find clips that show the same person"),
    "preview": ("dataset.preview", "show clips: contact sheets, GIFs, stored video with its sound"),
    "report": ("dataset.report.__main__", "write an HTML report"),
    "export": ("dataset.export.__main__", "write clips in the file layouts of other training code"),
    "push": ("dataset.push", "publish a dataset on the Hugging Face Hub"),
    "remove": ("dataset.remove", "remove identities, videos or clips (takedown requests)"),
    "train": ("jobs.train", "train a model"),
    "evaluate": ("jobs.evaluate", "measure a trained model"),
    "animate": ("jobs.animate", "animate an image with a driving video (First Order Motion Model)"),
    "finetune": ("jobs.finetune", "fine-tune talking heads to a person"),
    "drive": ("jobs.drive", "drive a fine-tuned person with a video"),
    "edit": ("jobs.edit", "edit the expression of a face (GANimation)"),
    "rotate": ("jobs.rotate", "rotate a head (face rotator)"),
    "export-model": ("jobs.export_model", "export a trained model as ONNX, LiteRT or torch.export graphs"),
    "completion": ("completion", "print a shell completion script"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns its exit status."""
    name, *rest = (sys.argv[1:] if arguments is None else list(arguments)) or ["--help"]
    if name in ("--help", "-h"):
        print(_help())
        return 0
    if name == "--version":
        print(f"motionshards {__version__}")
        return 0
    if name not in COMMANDS:
        close = get_close_matches(name, COMMANDS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        print(f"error: motionshards has no command {name!r}{hint} (see motionshards --help)", file=sys.stderr)
        return 2
    return _run(COMMANDS[name][0], rest)


def find_command(module: str) -> "Command[Any]":
    """Import a module of the package and return its command."""
    found: Command[Any] = import_module(f"motionshards.{module}").main
    return found


def run_module() -> NoReturn:
    """Run the command whose module was started by `python -m`, and exit.

    Such a module is named `__main__`, so that workers could not unpickle its classes. It therefore defines nothing; the copy in
    the package is run instead.
    """
    started = sys.modules["__main__"].__spec__
    assert started is not None, "commands are run by python -m"
    sys.exit(_run(started.name.removeprefix("motionshards."), sys.argv[1:]))


def _run(module: str, arguments: list[str]) -> int:
    from motionshards.dataset.commandline import INTERRUPTED, end, stop_on_signals

    stop_on_signals()
    try:
        status: int = find_command(module)(arguments)
    except KeyboardInterrupt:  # while modules load; commands handle their own
        return end(INTERRUPTED, "interrupted")
    return status


def _help() -> str:
    width = max(map(len, COMMANDS))
    rows = [f"  {name:{width}}  {what}" for name, (_, what) in COMMANDS.items()]
    lines = ["Usage: motionshards COMMAND …", "", "Commands (motionshards COMMAND --help lists its options):", *rows]
    return "\n".join(lines)
