"""Export a trained model as ONNX, LiteRT or torch.export graphs, which run without this project.

    python -m jobs.export_model --checkpoint RUN/last.pt --output DIR

ONNX (--format onnx) needs the packages of 'motionshards[export]', LiteRT (--format litert, for phones) those of
'motionshards[litert]'. The exported graphs are compared with the networks; the largest difference, the
root mean square relative to the output's contrast, and the time per frame are printed. `jobs.animate --backend onnx|litert`
runs them. `trainers.fomm.graphs` describes inputs and outputs.
Exit status: 0 exported, 1 a graph differs from the networks, 2 invalid arguments, 130 interrupted.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from motionshards.dataset.commandline import FAILED, OK, OutputOptions, choice, command, end
from motionshards.jobs.options import AlignCornersOption, named_in, writing
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.output import only_writer, refuse_foreign_files
from motionshards.trainers.fomm.config import CONFIGS
from motionshards.trainers.fomm.export import FORMATS, LIMITS, export
from motionshards.trainers.fomm.exported.model import EXPORT_JSON, GRAPHS, RUNTIMES
from motionshards.trainers.fomm.restore import restore


@dataclass(frozen=True, kw_only=True)
class ExportOptions(OutputOptions, AlignCornersOption):
    """Options of `motionshards export-model`."""

    checkpoint: Path
    """Checkpoint of `motionshards train` or of the original repository."""
    config: Annotated[str | None, named_in(CONFIGS)] = None
    output: Path
    """Directory for the graphs and export.json."""
    format: Annotated[str, choice(sorted(FORMATS))] = "onnx"
    """The format of the graphs."""
    precision: Annotated[str, choice(LIMITS)] = "fp32"
    """Number format of the weights; fp16 and int8 are for litert, and int8 also computes in 8 bits (dynamic quantization)."""

    def __post_init__(self) -> None:
        """Raise ConfigError for options that contradict each other."""
        if self.precision != "fp32" and self.format != "litert":
            raise ConfigError(f"--precision {self.precision} applies to --format litert, not to {self.format}")


@dataclass(frozen=True, slots=True)
class Exported:
    """A graph that was written.

    size_bytes: of its file
    largest_difference, mean_difference, relative_difference, relative_limit: from the networks, see trainers.fomm.export.Check
    ms_per_frame: on this machine
    """

    path: str
    size_bytes: int
    largest_difference: float
    mean_difference: float
    relative_difference: float
    relative_limit: float
    ms_per_frame: float

    def __str__(self) -> str:
        size, speed = f"{self.size_bytes / 1e6:.1f} MB", f"{self.ms_per_frame:.3g} ms a frame"
        relative = f"relative {self.relative_difference:.1e} (limit {self.relative_limit:g})"
        return f"{self.path}  {size}  {speed}  difference: max {self.largest_difference:.1e}, {relative}"


@dataclass(frozen=True, slots=True)
class Done:
    """What was written: graphs by name."""

    output: str
    graphs: dict[str, Exported]

    def __str__(self) -> str:
        return "\n".join(map(str, self.graphs.values()))


@command("export-model", after=lambda options: "Nothing usable was written")
def main(options: ExportOptions) -> int:
    """Export a trained model as ONNX, LiteRT or torch.export graphs."""
    refuse_foreign_files(options.output, "export", (EXPORT_JSON, *(f"{name}.*" for name in GRAPHS)))
    config, detector, generator = restore(options.checkpoint, options.config, align_corners=options.aligned())
    with writing(options.output):
        options.output.mkdir(parents=True, exist_ok=True)
        with only_writer(options.output):
            found = export(detector, generator, config, options.output, options.format, options.precision)
    files = {name: options.output / f"{name}{FORMATS[options.format]}" for name in found}
    graphs = {name: Exported(str(files[name]), files[name].stat().st_size, **asdict(check)) for name, check in found.items()}
    options.print_result(Done(str(options.output), graphs))
    wrong = {name: check for name, check in found.items() if not check.accepted}
    if wrong:
        figures = (f"{name} by {each.relative_difference:.2g} (limit {each.relative_limit:g})" for name, each in wrong.items())
        difference = f"differ from the networks, relative to the contrast of their output: {', '.join(figures)}"
        return end(FAILED, f"error: graphs in {options.precision} {difference}; no export.json is written")
    if options.format in RUNTIMES:
        options.suggest(
            f"motionshards animate --checkpoint {options.output} --image face.png --driving video.mp4 --output out.mp4"
        )
    return OK
