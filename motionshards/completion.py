"""Print a script by which a shell completes the commands of `motionshards` and their options.

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
    """The shell that is to read the script."""


@command("completion")
def main(options: CompletionOptions) -> None:
    """Print a script that completes commands and options in a shell."""
    whole = App(name="motionshards", version_flags=["--version"])
    for name, (module, _) in COMMANDS.items():
        whole.command(find_command(module).app(), name=name)
    show(whole.generate_completion(shell=options.shell))
