"""The options of `motionshards build`, for builds and additions, and its default directories."""

import difflib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Group, Parameter
from cyclopts.types import PositiveInt
from cyclopts.validators import Number

from motionshards.dataset.commandline import OutputOptions, choice, warn_of_old_spelling
from motionshards.pipeline.clips.device import gpus
from motionshards.pipeline.runners.choose import DASK, LOCAL, WORKERS_TIMEOUT_S, Runner, unknown_to_beam
from motionshards.pipeline.sources import SOURCES, default_no_face
from motionshards.schemas.bucket import is_bucket
from motionshards.schemas.config import NO_FACE, RECIPES, BuildConfig, Detector, Precision, Settings
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import SPLITS
from motionshards.schemas.reasons import REASONS
from motionshards.transforms.extract.action_units import options as au_options
from motionshards.transforms.extract.action_units.openface import START_S
from motionshards.transforms.extract.action_units.source import AuSource
from motionshards.transforms.extract.landmarks import models

DATA = "MOTIONSHARDS_DATA"
# Clips removed on request are never built again.
_RETRY = [reason for reason in REASONS if reason != "removed"]
_SEVERAL_SIZES = re.compile(r"(--size=)?(\d+(?:,\d+)+)", re.ASCII)
_WHAT = Group("Contents (these options determine the bytes of the dataset)", sort_key=1)
_WHICH = Group("Selection of clips", sort_key=2)
_HOW = Group("Execution", sort_key=3)


@dataclass(frozen=True, kw_only=True)
class ExecutionOptions:
    """Options that choose where a build runs and which programs it uses."""

    runner: str = LOCAL
    """`local`, `dask`, `portable`, or the name of a Beam runner, whose own options follow after `--`."""
    workers: PositiveInt | None = None
    """Worker processes on this machine; by default one per core, or one per GPU with FAN."""
    dask_scheduler: str | None = None
    """Runner `dask`: address or scheduler file of the cluster; by default, `workers` processes on this machine."""
    workers_timeout_s: Annotated[float, Parameter(validator=Number(gte=1))] = WORKERS_TIMEOUT_S
    """Runner `dask`: give up when the scheduler has had no worker for this many seconds, at the start or during the build."""
    job_endpoint: str | None = None
    """Runner `portable`: HOST:PORT of the job server of Flink, Spark, …"""
    weights: Path | None = None
    """Directory with FAN's weight files; by default torch hub's cache, downloaded if missing."""
    compile: bool = False
    """Compile FAN; pays off in long builds."""
    openface: str | None = None
    """Command line of OpenFace's FeatureExtraction, for `--aus openface` and `openface-still`; by default $OPENFACE_BIN, else the
    one on the PATH."""
    openface_timeout_s: Annotated[float, Parameter(validator=Number(gte=1))] = START_S
    """Time limit of one OpenFace call in seconds, plus 0.5 s per frame of a sequence or 2 s per stored frame."""

    def runner_for(self, landmarks: str, beam_options: Sequence[str]) -> Runner:
        """The runner. Raises ConfigError: options cannot be combined."""
        return Runner(
            name=self.runner,
            workers=self.workers or gpus(landmarks) or len(os.sched_getaffinity(0)),
            scheduler=self.dask_scheduler,
            workers_timeout_s=self.workers_timeout_s,
            endpoint=self.job_endpoint,
            options=beam_options,
        )

    def au_source(self, aus: str) -> AuSource | None:
        """The source of action units that `--aus` names. Raises ConfigError: it cannot be used."""
        return au_options.resolve(aus, self.openface, self.openface_timeout_s)


def _check_source(_: object, name: str) -> None:
    """Raises ValueError: the corpus is unknown. Not `choice`: a plugin may add a corpus later."""
    if name not in SOURCES:
        similar = difflib.get_close_matches(name, SOURCES, 1)
        raise ValueError(f"Choose from: {', '.join(SOURCES)}{f'. Did you mean {similar[0]!r}?' if similar else ''}")


@dataclass(frozen=True, kw_only=True)
class BuildOptions(OutputOptions):
    """Options of a build."""

    source: Annotated[str, Parameter(validator=_check_source, help=f"The corpus: {', '.join(SOURCES)}.")]
    input: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = ()
    """Where the corpus is: a directory, a URL (s3://…), or zip or tar archives, which are read in place (of a split archive, give
    any part). By default $MOTIONSHARDS_DATA/SOURCE or data/SOURCE; for demo, OUTPUT-videos, where the videos are rendered."""
    metadata: Path | None = None
    """A csv file that lists clips in FOMM's format (voxceleb1, taichi, folder)."""
    output: str | None = None
    """Where to write the dataset: a directory, or a URL in an object store (s3://, gs://, abfs://); by default shards/SOURCE."""
    recipe: Annotated[str | None, choice(RECIPES), Parameter(group=_WHAT)] = None
    """How the crop is placed. By default `bbox` if the source has boxes, else `resize`; for a folder, `face` if faces fill little
    of the frame in the videos sampled while planning."""
    landmarks: Annotated[str, choice(models.CHOICES), Parameter(group=_WHAT)] = "auto"
    """Landmark model; `auto` is FAN where CUDA is available, else dlib."""
    no_face: Annotated[str | None, choice(NO_FACE), Parameter(group=_WHAT)] = None
    """What to do with clips in which no face is found; by default keep them for taichi and fashion, else reject them."""
    aus: Annotated[str, Parameter(group=_WHAT)] = "none"
    """Action units: `none`, `openface` (all frames as a sequence), `openface-still` (stored frames), `csv:DIR` or `pyfaceau`."""
    settings: Annotated[Settings, Parameter(name="*", group=_WHAT)] = Settings()  # noqa: RUF009 -- frozen
    split: Annotated[tuple[Literal[SPLITS], ...], Parameter(group=_WHICH)] = ()  # type: ignore[valid-type]
    """Build only this split; may be repeated."""
    limit: Annotated[PositiveInt | None, Parameter(group=_WHICH)] = None
    """Build at most this many clips, chosen at random; a larger limit adds clips to the same choice."""
    retry: Annotated[tuple[str, ...], choice(_RETRY), Parameter(group=_WHICH)] = ()
    """Retry clips that were rejected for this reason; may be repeated."""
    estimate: Annotated[PositiveInt | None, Parameter(group=_WHICH)] = None
    """Build nothing; estimate the time, disk space and yield of the build from this many randomly drawn clips."""
    running: Annotated[ExecutionOptions, Parameter(name="*", group=_HOW)] = ExecutionOptions()
    rest: Annotated[tuple[str, ...], Parameter(parse=False)] = ()
    """Options of Apache Beam: the words after `--`."""

    def config(self, recipe: str, landmarks: str, aus: AuSource | None) -> BuildConfig:
        """The settings of the build, with the given ones resolved. Raises ConfigError: they cannot be combined."""
        resolved: dict[str, Any] = {each.name: getattr(self.settings, each.name) for each in fields(Settings)}
        resolved |= {"source": self.source, "recipe": recipe, "landmarks": landmarks, "aus": aus.name if aus else "none"}
        resolved["no_face"] = self.no_face or default_no_face(self.source, landmarks, recipe)
        try:
            return BuildConfig(**resolved)
        except ValueError as error:
            raise ConfigError(str(error)) from error


@dataclass(frozen=True, kw_only=True)
class AddOptions(OutputOptions):
    """Options of an addition to a finished dataset."""

    output: Path
    """The dataset: its directory."""
    add: Literal["video", "audio", "landmarks", "aus", "identity", "quality", "speech"] | None = None
    """What to add. `video` (with sound) and `audio` (to stored video) are read from the source videos; everything else is
    computed from stored data (`aus` also from source videos). `identity`: face descriptors (biometric data); `speech`: the share
    of speech in the sound."""
    drop: Literal["identity"] | None = None
    """What to delete from the shards: face descriptors."""
    extend_frames: PositiveInt | None = None
    """Extend clips to this many stills; only new ones are decoded, from stored video if `--input` is not given."""
    source: str | None = None
    """The corpus; must match the dataset."""
    input: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = ()
    """Where the source videos are, as for a build; for `--add video`, `--add audio`, `--extend-frames`, and `--add aus` from
    sequences."""
    landmarks: Annotated[str, choice(name for name in models.CHOICES if name != "none")] = "auto"
    """Landmark model; `auto` is FAN where CUDA is available, else dlib."""
    detector: Detector = "sfd"
    """Face detector of FAN."""
    precision: Precision = "fp32"
    """Arithmetic of FAN."""
    aus: str = "none"
    """Action units, as for a build; for `--add aus`, and for `--extend-frames` of a dataset that has them."""
    aus_frames: Literal["sampled", "all"] = "sampled"
    """With `--add aus`: store action units of the sampled frames only, or of all frames of each clip."""
    fps: str = "25"
    """With `--add video`: frame rate: a number, a ratio such as 30000/1001, or `source`."""
    crf: int = 18
    """With `--add video`: quality, as x264's constant rate factor; smaller is better."""
    video_psnr: float | None = None
    """With `--add video`: instead of --crf, choose the quality of each video to reach this PSNR, in dB."""
    video_copy: bool = False
    """With `--add video`: copy the source's packets losslessly if the stored video shows exactly its frames."""
    landmarks_every: int = 5
    """With `--add video`: measure faces, landmarks and pose in every n-th frame."""
    audio: Literal["mono", "source", "none"] = "mono"
    """With `--add video` or `--add audio`: mono at --audio-hz, rate and channels of the source, or none."""
    audio_hz: int = 16_000
    """Sample rate of mono sound, in Hz."""
    running: Annotated[ExecutionOptions, Parameter(name="*", group=_HOW)] = ExecutionOptions()
    rest: Annotated[tuple[str, ...], Parameter(parse=False)] = ()
    """Options of Apache Beam: the words after `--`."""


def places(words: Sequence[str]) -> list[Path | str]:
    """Local paths as `Path`; URLs of object stores unchanged."""
    return [word if is_bucket(word) else Path(word.removeprefix("file://")) for word in words]


def output_of(options: BuildOptions) -> str:
    """Where to write the dataset: a path or URL."""
    return options.output or f"shards/{options.source}"


def input_of(options: BuildOptions) -> list[Path | str]:
    """Where to read the videos: paths or URLs. Raises ConfigError: the default does not exist."""
    if options.input:
        return places(options.input)
    source, output = options.source, output_of(options)
    if source == "demo":
        if is_bucket(output):
            raise ConfigError(f"--output {output} needs --input")
        out = Path(output.removeprefix("file://"))
        return [out.with_name(f"{out.name}-videos")]
    root = Path(os.environ.get(DATA) or "data") / source
    if not root.exists():
        how = f"pass --input, or set {DATA} to the directory that contains {source}/; see docs/sources/{source}.md for downloads"
        raise ConfigError(f"no --input given, and {root} does not exist. Expected there: {SOURCES[source].expected}; {how}")
    return [root]


def beam_options_last(app: App, words: list[str]) -> list[str]:
    """The words with options of Apache Beam moved after `--`; release 0.1 also accepted them before it."""
    at = words.index("--") if "--" in words else len(words)
    try:
        _, bound, unused, _ = app.parse_known_args(words[:at])
    except CycloptsError:  # parsing again reports it
        return words
    options = bound.arguments.get("options")
    if not unused or options is None or options.running.runner in (LOCAL, DASK) or unknown_to_beam(unused):
        return words
    own = words[:at]
    for word in reversed(unused):
        del own[len(own) - 1 - own[::-1].index(word)]
    warn_of_old_spelling(unused[0], f"-- {unused[0]}")
    return [*own, "--", *unused, *words[at + 1 :]]


def split_sizes(words: list[str]) -> list[str]:
    """Rewrite `--size 512,256` as `--size 512 --smaller-sizes 256`, largest first, whatever their order."""
    apart = list[str]()
    for before, word in zip(["", *words], words, strict=False):
        several = _SEVERAL_SIZES.fullmatch(word)
        if several and (several[1] or before == "--size"):
            largest, *smaller = sorted(map(int, several[2].split(",")), reverse=True)
            apart += [f"{several[1] or ''}{largest}", *(f"--smaller-sizes={size}" for size in smaller)]
        else:
            apart.append(word)
    return apart


def refuse_settings(words: list[str]) -> list[str]:
    """The words of an addition, unchanged. Raises ConfigError: one is an option of builds only."""
    of_an_addition = {each.name for kind in (AddOptions, ExecutionOptions) for each in fields(kind)}
    of_a_build = {each.name for kind in (BuildOptions, Settings) for each in fields(kind)}
    for word in words:
        name = word.partition("=")[0]
        if name.startswith("--") and name[2:].replace("-", "_") in of_a_build - of_an_addition:
            raise ConfigError(f"{name} cannot be used here: an addition keeps the dataset's settings")
    return words
