"""Evaluate a trained model, and compare evaluations.

    python -m jobs.evaluate --model fomm --checkpoint RUN/last.pt --data OUT --output DIR
    python -m jobs.evaluate --compare DIR OTHER

Frames of each clip are reconstructed from others: fomm takes the first frame, talking_heads K frames and the landmarks of the
target, ganimation a frame and the action units of the target, face_rotator the most frontal frame and the pose of the target.
Writes evaluation.json, with a row for each clip, and evaluation.jpg to DIR. Exit status: 0 evaluated, 1 failed, 2 invalid
arguments or data, 130 interrupted.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import simplejpeg
import torch
from cyclopts import Group, Parameter
from cyclopts.types import PositiveFloat, PositiveInt

from motionshards.dataset.commandline import Command, LocalDatasetArgument, OutputOptions, choice, command
from motionshards.dataset.index import Dataset
from motionshards.jobs.options import AlignCornersOption, BatchOption, writing
from motionshards.schemas.atomic import sha256_of, write_whole
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import DATASET_JSON
from motionshards.schemas.output import only_writer, refuse_foreign_files
from motionshards.trainers.evaluation.action_units import ActionUnitMeasure
from motionshards.trainers.evaluation.arcface import ArcFace
from motionshards.trainers.evaluation.compare import TABLE, VERSION, compare
from motionshards.trainers.evaluation.evaluate import Rows, evaluate, reasons
from motionshards.trainers.evaluation.fid import Inception
from motionshards.trainers.evaluation.lpips import LpipsMeasure
from motionshards.trainers.evaluation.measures import FaceMeasure, Measure, PixelMeasure
from motionshards.trainers.evaluation.reconstruction import Reconstructor
from motionshards.trainers.evaluation.scores import METRICS, Scores, format_value, missing_faces, note, text_table
from motionshards.trainers.evaluation.sheet import sheet
from motionshards.trainers.face_rotator.evaluate import FRONTAL_DEG, FaceRotatorReconstructor
from motionshards.trainers.fomm.evaluate import FommReconstructor
from motionshards.trainers.ganimation.evaluate import GanimationReconstructor
from motionshards.trainers.models import MODELS
from motionshards.trainers.parallel import choose_device
from motionshards.trainers.talking_heads.evaluate import TalkingHeadsReconstructor
from motionshards.transforms.extract.action_units.options import resolve
from motionshards.transforms.extract.identity import descriptor
from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.extract.landmarks.options import ModelOptions

IMAGE = "evaluation.jpg"
_QUALITY = 95
_RECORDED = ("model", "config", "split", "limit", "k", "frontal_deg", "landmarks")  # options, in evaluation.json
_METRICS = Group("Metrics", sort_key=2)


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(OutputOptions, BatchOption, AlignCornersOption, LocalDatasetArgument):
    """Options of `motionshards evaluate`."""

    model: Annotated[str, choice(sorted(MODELS))] = "fomm"
    """The kind of model."""
    checkpoint: Path
    """Checkpoint of `motionshards train` or of the original repository."""
    config: Annotated[str | None, Parameter(metavar="NAME|FILE")] = None
    """Settings of a checkpoint that does not contain its own: a name as in `motionshards train --help`, or a YAML file."""
    output: Path
    """Directory for evaluation.json and evaluation.jpg."""
    split: str = "test"
    """The split to evaluate."""
    limit: PositiveInt | None = None
    """Evaluate only this number of clips, evenly spaced in the index."""
    k: PositiveInt | None = None
    """Number of frames of a clip that talking_heads receives; by default as in its training."""
    frontal_deg: PositiveFloat | None = None
    """Largest yaw, pitch and roll of the frames from which face_rotator starts; by default 3, as in its training."""
    compare: tuple[Path, Path] | None = None  # for --help: words with it are a CompareOptions
    """Compare two --output directories instead: `motionshards evaluate --compare A B`; only --quiet and --json go with it."""
    landmarks: Annotated[Literal["dlib", "fan", "none"], Parameter(group=_METRICS)] = "dlib"
    """The landmark model; the papers used fan, and none omits all metrics of faces."""
    no_identity: Annotated[bool, Parameter(group=_METRICS)] = False
    """Omit the distance of face descriptors (AED), which takes 0.1 s per frame."""
    arcface: Annotated[Path | None, Parameter(group=_METRICS)] = None
    """ONNX file of an ArcFace network of InsightFace, for CSIM."""
    lpips: Annotated[Path | None, Parameter(group=_METRICS)] = None
    """The linear layers of LPIPS with VGG16 (vgg.pth of version 0.1), for LPIPS."""
    vgg: Annotated[str | None, Parameter(group=_METRICS, metavar="FILE")] = None
    """File of VGG16 weights for --lpips; by default from torch hub's cache."""
    inception: Annotated[Path | None, Parameter(group=_METRICS)] = None
    """TorchScript file of the Inception network (NVIDIA's inception-2015-12-05.pt), for FID of all frames."""
    aus: Annotated[Literal["openface-still", "none"], Parameter(group=_METRICS)] = "none"
    """Measure the error of action units by OpenFace on still images."""
    openface: Annotated[str | None, Parameter(group=_METRICS, metavar="COMMAND")] = None
    """OpenFace's FeatureExtraction; by default $OPENFACE_BIN, or FeatureExtraction on the PATH."""

    def __post_init__(self) -> None:
        """Raise ConfigError for options that contradict each other."""
        of_one_model = (
            ("--k", self.k, "talking_heads"),
            ("--frontal-deg", self.frontal_deg, "face_rotator"),
            ("--align-corners", self.align_corners, "fomm"),
        )
        for option, value, model in of_one_model:
            if value is not None and self.model != model:
                raise ConfigError(f"{option} is for {model}, and --model is {self.model}")
        if self.config is not None and self.model == "face_rotator":
            raise ConfigError("--config is not for face_rotator: its checkpoints contain their settings")
        if self.arcface is not None and self.landmarks == "none":
            raise ConfigError("--arcface cannot be combined with --landmarks none")
        if self.vgg is not None and self.lpips is None:
            raise ConfigError("--vgg needs --lpips")


@dataclass(frozen=True, kw_only=True)
class CompareOptions(OutputOptions):
    """Options of `motionshards evaluate --compare`."""

    compare: tuple[Path, Path]
    """Two directories of `motionshards evaluate --output` to compare."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured.

    measured: number of frames by metric in which the model could be measured
    """

    output: str
    model: str
    split: str
    clips: int
    frames: int
    skipped: dict[str, int]
    model_scores: dict[str, float | None]
    copy_scores: dict[str, float | None]
    measured: dict[str, int]

    def __str__(self) -> str:
        skipped = f"; skipped {reasons(self.skipped)}" if self.skipped else ""
        rows = [("", self.model, "copy", "better is", "")]
        for name, value in self.model_scores.items():
            values = format_value(value, name), format_value(self.copy_scores[name], name)
            rows.append((METRICS[name].label, *values, METRICS[name].better, note(name, self.measured[name], self.frames)))
        heading = f"{self.output}: {self.frames} frames of {self.clips} clips of --split {self.split}{skipped}"
        return f"{heading}\n{text_table(rows, 2)}{missing_faces(self.model_scores.get('missing'), self.model)}"


@command("evaluate --compare")
def compare_main(options: CompareOptions) -> None:
    """Compare two evaluations of the same frames."""
    options.print_result(compare(*options.compare))


def _variant(words: Sequence[str]) -> Command[CompareOptions] | None:
    """The command for a comparison if the words request one, else None."""
    return compare_main if any(word.partition("=")[0] == "--compare" for word in words) else None


@command("evaluate", after=lambda options: "Nothing was written", variant=_variant)
def main(options: EvaluateOptions) -> None:
    """Evaluate how well a trained model reconstructs clips, or compare two evaluations."""
    refuse_foreign_files(options.output, "evaluation", (TABLE, IMAGE))
    options.print_result(_evaluate(options))
    if options.model == "fomm":
        inputs = "--image face.png --driving video.mp4 --output out.mp4"
        options.suggest(f"motionshards animate --checkpoint {options.checkpoint} {inputs}")


def _evaluate(options: EvaluateOptions) -> Evaluation:
    device = choose_device(options.device)
    data = Dataset.open(options.data)
    measures, provenance = _measures(options, device)
    inception = None if options.inception is None else Inception(options.inception, device)
    provenance |= {} if inception is None else inception.provenance()
    model = _model(options, device, data)

    def progress(rows: Rows) -> Iterator[dict[str, Any]]:
        with options.bar("clip", len(rows)) as bar:
            for row in rows:
                yield row
                bar.update()

    batch = options.batch_size(device)
    # Fail before hours of computation if the directory cannot be written.
    with writing(options.output):
        options.output.mkdir(parents=True, exist_ok=True)
    with only_writer(options.output):
        scores = evaluate(
            model,
            data,
            measures,
            inception=inception,
            split=options.split,
            limit=options.limit,
            batch=batch,
            progress=progress,
        )
        _write(options, data, scores, {"size_px": model.size_px, "provenance": provenance})
    of_model, of_copy = ({name: score.mean for name, score in each.items()} for each in (scores.model, scores.copy))
    measured = {name: score.frames for name, score in scores.model.items()}
    about = (str(options.output), options.model, options.split, scores.clips, scores.frames, dict(scores.skipped))
    return Evaluation(*about, of_model, of_copy, measured)


def _model(options: EvaluateOptions, device: torch.device, data: Dataset) -> Reconstructor:
    """Load the model of a checkpoint."""
    checkpoint, config = options.checkpoint, options.config
    if options.model == "talking_heads":
        return TalkingHeadsReconstructor.restored(checkpoint, config, device, options.k)
    if options.model == "ganimation":
        return GanimationReconstructor.restored(checkpoint, config, device, data.manifest.config.aus)
    if options.model == "face_rotator":
        return FaceRotatorReconstructor.restored(checkpoint, options.frontal_deg or FRONTAL_DEG, device)
    return FommReconstructor.restored(checkpoint, config, device, options.aligned())


def _measures(options: EvaluateOptions, device: torch.device) -> tuple[list[Measure], dict[str, str]]:
    """The metrics to compute, with the versions and digests behind their values. Raises ConfigError: weights are missing."""
    measures: list[Measure] = [PixelMeasure()]
    provenance: dict[str, str] = {}
    if options.lpips is not None:
        lpips = LpipsMeasure(options.lpips, options.vgg, device)
        measures.append(lpips)
        provenance |= lpips.provenance()
    name, _ = models.resolve(options.landmarks)
    if faces := models.load(name, ModelOptions(device=str(device))):
        arcface = None if options.arcface is None else ArcFace(options.arcface, str(device))
        measures.append(FaceMeasure(faces, not options.no_identity, arcface))
        provenance |= models.provenance(name) | (arcface.provenance() if arcface else {})
        provenance |= {} if options.no_identity else descriptor.provenance()
    if source := resolve(options.aus, options.openface):
        units = ActionUnitMeasure(source)
        measures.append(units)
        provenance |= units.provenance()
    return measures, provenance


def _write(options: EvaluateOptions, data: Dataset, scores: Scores, about: dict[str, Any]) -> None:
    stored = {
        "version": VERSION,
        **{name: getattr(options, name) for name in _RECORDED},
        "align_corners": options.aligned(),
        "checkpoint": str(options.checkpoint),
        "data": str(options.data),
        "dataset_sha256": sha256_of(data.out / DATASET_JSON),
        "torch": torch.__version__,
        **about,
        **scores.to_json(),
    }
    title = f"{options.model}: {options.checkpoint}"
    image = simplejpeg.encode_jpeg(sheet(scores.examples, title), _QUALITY, "RGB", "444")
    with writing(options.output):
        write_whole(options.output, options.output / TABLE, json.dumps(stored, indent=1).encode() + b"\n")
        write_whole(options.output, options.output / IMAGE, image)
