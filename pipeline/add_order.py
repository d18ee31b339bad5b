"""The request to add data to a finished dataset, and the checks whether it is possible."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from motionshards.pipeline.clips.action_units import check_csvs, reads_videos
from motionshards.pipeline.clips.sound import AUDIO_LOSS_REASONS
from motionshards.pipeline.inputs.input import Input, check_archives, shown
from motionshards.pipeline.inputs.unpack import file_exists
from motionshards.pipeline.planning import plan
from motionshards.pipeline.runners.choose import Runner
from motionshards.schemas.config import BuildConfig, differences
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import INDEX
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.removal import is_placeholder
from motionshards.schemas.tables import open_parquet
from motionshards.transforms.extract.action_units.source import AuSource

_LOOKED_FOR = 200
_FROM_VIDEOS = ("frames", "video", "audio")


@dataclass(frozen=True, kw_only=True, slots=True)
class AddOrder:
    """A request to add data.

    out: the dataset
    what: what to add, see `manifest.Addition`
    config: the config fields that change, with their new values
    input: source videos, for `video`, `audio`, and `aus` from sequences; for `frames` unless stored video shows them
    aus: source of action units, for `aus`, and for `frames` of a dataset that has them
    weights, compile: directory that is searched first for weight files; whether to compile the networks
    runner: where to run
    """

    out: Path
    what: str
    config: dict[str, Any] = field(default_factory=dict)
    input: Input | None = None
    aus: AuSource | None = None
    weights: Path | None = None
    compile: bool = False
    runner: Runner = field(default_factory=Runner)
    quiet: bool = False

    @property
    def reads_videos(self) -> bool:
        """Whether the addition is computed from videos (source or stored ones), as in a build."""
        return self.what in _FROM_VIDEOS

    @property
    def adding(self) -> str:
        """The key of `shards.add.ADDERS`."""
        return "frames-of-video" if self.what == "frames" and self.input is None else self.what

    @property
    def option(self) -> str:
        """The command line option that requests it."""
        return {"frames": "--extend-frames", "no-identity": "--drop identity"}.get(self.what, f"--add {self.what}")


def count_lacking(out: Path, what: str, config: BuildConfig) -> int:
    """Count the clips of a finished dataset that lack an addition and may receive it if it is repeated.

    `frames`: clips with fewer stills than both the config and their source allow; `video`: clips without video; `audio`: clips
    without audio whose source may have some
    """
    if what not in _FROM_VIDEOS:
        return 0
    with open_parquet(out / INDEX) as file:
        rows = file.read(["n_frames", "source_frames", "video_frames", "audio_lost"])
    if what == "frames":
        lack = pc.less(rows["n_frames"], pc.min_element_wise(rows["source_frames"], config.frames))
    elif what == "video":
        lack = pc.is_null(rows["video_frames"])
    else:
        lack = pc.and_(pc.is_valid(rows["audio_lost"]), pc.invert(pc.is_in(rows["audio_lost"], pa.array(AUDIO_LOSS_REASONS))))
    return int(pc.sum(lack, min_count=0).as_py())


def count_with_audio(out: Path) -> int:
    """Count the clips of a finished dataset that have audio."""
    with open_parquet(out / INDEX) as file:
        return int(pc.sum(file.read(["has_audio"])["has_audio"], min_count=0).as_py())


def count_without_aus(out: Path) -> int:
    """Count the clips of a finished dataset whose action units are valid in no frame."""
    with open_parquet(out / INDEX) as file:
        return int(pc.sum(pc.equal(file.read(["au_valid"])["au_valid"], 0), min_count=0).as_py())


def has_addition(order: AddOrder, manifest: Manifest) -> bool:
    """Whether the dataset already has the addition; never true for action units and quality, which can be recomputed."""
    config = manifest.config
    same = order.what not in ("aus", "quality") and order.config.items() <= config.to_json().items()
    same = same and (config.stores_video or order.what != "audio")  # the setting has no effect without video
    return same and manifest.unfinished is None and not count_lacking(order.out, order.what, config)


def changed_config(config: BuildConfig, order: AddOrder) -> BuildConfig:
    """The config of the dataset with the addition. Raises ConfigError: the addition is not possible."""
    if order.what == "landmarks" and config.landmarks != "none":
        raise ConfigError(f"{order.out} already has landmarks ({config.landmarks})")
    if order.what == "frames":
        _check_frames(config, order)
    if order.what == "audio" and not config.stores_video:
        raise ConfigError(f"{order.out} stores no video, and audio is only stored with video: --add video adds both")
    stored = {"video": config.stores_video, "audio": config.stores_audio}.get(order.what, False)
    if stored and (changed := differences({name: getattr(config, name) for name in order.config}, order.config)):
        raise ConfigError(f"{order.out} already has {order.what} with different settings ({'; '.join(changed)})")
    try:
        return replace(config, **order.config)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _check_frames(config: BuildConfig, order: AddOrder) -> None:
    if not config.stores_stills:
        raise ConfigError(f"{order.out} stores no stills that could be extended; its video has all frames")
    if order.config["frames"] < config.frames:
        raise ConfigError(f"{order.out} already has {config.frames} frames per clip")
    if (requested := order.aus.name if order.aus else "none") != config.aus:
        raise ConfigError(f"{order.out} has action units of {config.aus}, but --aus is {requested}")


def check_needs_input(order: AddOrder, config: BuildConfig) -> None:
    """Raise ConfigError if the input is required but missing, or given but not used. `config` includes the addition."""
    sequences = order.aus is not None and reads_videos(order.aus, config)
    optional = order.what == "frames" and config.stores_video and config.unit == "utterance" and not sequences
    needed = (order.reads_videos or sequences) and not optional
    if not optional and (order.input is not None) != needed:
        how = f" --aus {config.aus}" + " --aus-frames all" * (config.aus_frames == "all") if order.what == "aus" else ""
        raise ConfigError(f"{order.option}{how} {'needs --input: it reads the videos' if needed else 'does not use --input'}")


def check_input(order: AddOrder, manifest: Manifest) -> None:
    """Raise ConfigError if videos or csv files are missing; otherwise every clip would fail and nothing would be added."""
    if order.what != "aus" and order.input is None:
        return
    planned = plan.read_plan(plan.plan_files(order.out)[0])
    planned = planned.filter(pa.array([not is_placeholder(key) for key in planned["key"].to_pylist()], pa.bool_()))
    if order.what == "aus":
        check_csvs(order.aus, planned)
    if order.input is None:
        return
    root = order.input.root
    check_archives(root, manifest.archives)
    spans = [row[0] for row in planned["spans"].slice(0, _LOOKED_FOR).to_pylist()]
    if spans and not any(span["packed"] or file_exists(root, span["uri"]) for span in spans):
        raise ConfigError(f"--input {shown(root)} contains none of {len(spans)} videos that {order.out} was built from")
