"""Former name of `jobs.export_model`."""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

from motionshards.dataset.commandline import warn_of_old_spelling
from motionshards.jobs import export_model


def main(arguments: list[str] | None = None) -> int:
    """Run `jobs.export_model`, with a warning."""
    warn_of_old_spelling("jobs.export", "jobs.export_model")
    return export_model.main(arguments)
