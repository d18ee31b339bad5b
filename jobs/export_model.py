"""Export a trained model as ONNX or torch.export graphs, which run without this project.

    python -m jobs.export_model --checkpoint RUN/last.pt --output DIR

ONNX (--format onnx) needs the packages of 'motionshards[export]'. The exported graphs are run beside the networks, and the
largest difference is printed; `jobs.animate --backend onnx` runs them. `trainers.fomm.graphs` describes inputs and outputs.
Exit status: 0 written, 1 a graph computes something else than the networks, 2 unusable arguments, 130 stopped.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import argparse
from collections.abc import Sequence
from pathlib import Path

from motionshards.dataset.commandline import INTERRUPTED, UNUSABLE, OneLineParser, end, show
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.lock import only_writer
from motionshards.schemas.output import refuse_strangers
from motionshards.trainers.fomm.config import CONFIGS
from motionshards.trainers.fomm.export import FORMATS, TOLERANCE, export
from motionshards.trainers.fomm.onnx_backend import EXPORT_JSON, GRAPHS
from motionshards.trainers.fomm.restore import restore

DIFFERS = 1


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="motionshards export-model", description="Write a trained model as ONNX or torch.export graphs.")
    parser.add_argument("--checkpoint", required=True, type=Path, help="of a training here, or of the authors")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="directory for the graphs and export.json")
    parser.add_argument("--format", choices=sorted(FORMATS), default="onnx")
    parser.add_argument("--config", help=f"of a checkpoint that does not hold its own: {', '.join(CONFIGS)} or a YAML file")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; gives its exit status."""
    options = _parser().parse_args(arguments)
    try:
        return _export(options)
    except ConfigError as error:
        return end(UNUSABLE, f"error: {error}")
    except OSError as error:
        return end(UNUSABLE, f"error: {options.output} cannot be written: {error.strerror}")
    except KeyboardInterrupt:
        return end(INTERRUPTED, "stopped; nothing usable was written")


def _export(options: argparse.Namespace) -> int:
    refuse_strangers(options.output, "export", (EXPORT_JSON, *(f"{name}.*" for name in GRAPHS)))
    config, detector, generator = restore(options.checkpoint, options.config)
    options.output.mkdir(parents=True, exist_ok=True)
    with only_writer(options.output):
        found = export(detector, generator, config, options.output, options.format)
    for name, difference in found.items():
        path = options.output / f"{name}{FORMATS[options.format]}"
        show(f"{path}  {path.stat().st_size / 1e6:.1f} MB  largest difference {difference:.1e}")
    wrong = [name for name, difference in found.items() if not difference <= TOLERANCE]
    if wrong:
        return end(DIFFERS, f"error: {', '.join(wrong)} differs by more than {TOLERANCE:g}; no export.json is written")
    return 0
