"""Print a shell completion script for the commands of `motionshards` and their options.

    motionshards completion bash > ~/.local/share/bash-completion/completions/motionshards
"""

from dataclasses import dataclass, field
from typing import Literal

from cyclopts import App

from motionshards.cli import COMMANDS, find_command
from motionshards.dataset.commandline import command, show


@dataclass(frozen=True, kw_only=True)
class CompletionOptions:
    """Options of `motionshards completion`."""

    shell: Literal["bash", "zsh", "fish"] = field(kw_only=False)
    """Shell to print the script for."""


@command("completion")
def main(options: CompletionOptions) -> None:
    """Print a shell completion script for commands and options."""
    root = App(name="motionshards", version_flags=["--version"])
    for name, (module, _) in COMMANDS.items():
        root.command(find_command(module).app(), name=name)
    show(root.generate_completion(shell=options.shell))
