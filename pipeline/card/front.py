"""The YAML front matter of a data card: metadata for the Hugging Face Hub, and the split definitions of `datasets`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import yaml

from motionshards.pipeline.card.fields import STILLS, members
from motionshards.pipeline.card.sources import Corpus
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.layout import IDENTITY, META, SOUND, VIDEO, frame_suffix
from motionshards.schemas.samples.members import ROWS

# ISO 639-2 codes: no linguistic content (frames without audio), and undetermined.
_NO_LANGUAGE, _UNKNOWN_LANGUAGE = "zxx", "und"

_BUCKETS = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B")


def front_matter(corpus: Corpus, config: BuildConfig, kept_by_split: Mapping[str, int]) -> str:
    """The YAML block including its delimiter lines; valid for any split names."""
    text: str = yaml.safe_dump(
        _content(corpus, config, kept_by_split), sort_keys=False, allow_unicode=True, width=10_000, default_flow_style=False
    )
    return f"---\n{text}---\n"


def _content(corpus: Corpus, config: BuildConfig, kept_by_split: Mapping[str, int]) -> dict[str, Any]:
    licence = {"license_name": corpus.licence_name, "license_link": corpus.licence_link} if corpus.licence == "other" else {}
    return {
        "pretty_name": corpus.title,
        "license": corpus.licence,
        **licence,
        "language": [language(config)],
        "annotations_creators": ["no-annotation" if config.landmarks == config.aus == "none" else "machine-generated"],
        "source_datasets": [corpus.based_on],
        "size_categories": [size_category(sum(kept_by_split.values()))],
        "task_categories": ["image-to-video"] + ["keypoint-detection"] * (config.landmarks != "none"),
        "tags": tags(corpus, config),
        **_configs(kept_by_split),
        **({"dataset_info": {"features": _features(config)}} if config.stores_video else {}),
    }


def language(config: BuildConfig) -> str:
    """Language code of the clips' speech."""
    return _UNKNOWN_LANGUAGE if config.stores_audio else _NO_LANGUAGE


def tags(corpus: Corpus, config: BuildConfig) -> list[str]:
    """Search tags of the dataset."""
    shown = {"face": ["talking-head", "face-animation"], "body": ["human-motion"]}.get(corpus.shows, [])
    computed = ["facial-landmarks"] * (config.landmarks != "none") + ["action-units"] * (config.aus != "none")
    computed += ["biometric-data"] * config.identity_embedding
    computed += ["audio"] * config.stores_audio
    return ["webdataset", "video", "image-animation", *shown, *computed]


def _features(config: BuildConfig) -> list[dict[str, Any]]:
    """The fields of a sample with their types in `datasets`.

    Without them, `datasets` refuses a dataset whose first samples differ in their members, such as with and without audio.
    """
    suffixes = [
        name.replace(STILLS, frame_suffix(number))
        for name in members(config)
        for number in range(config.frames if name.endswith(STILLS) else 1)
    ]
    return [{"name": name, **_type_of(name)} for name in (*suffixes, "__key__", "__url__")]


def _type_of(name: str) -> dict[str, Any]:
    if name in ROWS:
        dtype, row = ROWS[name]
        return _nested(np.dtype(dtype).name, 1 + len(row))
    if name == IDENTITY:
        return _nested("float32", 1)
    kinds = {VIDEO: "video", SOUND: "audio", META: "json", "jpg": "image"}
    return {"dtype": kinds.get(name) or kinds.get(name.rpartition(".")[2], "string")}


def _nested(dtype: str, depth: int) -> dict[str, Any]:
    """Nested lists of a type, in the YAML notation of `datasets`."""
    return {"list": dtype if depth == 1 else _nested(dtype, depth - 1)}


def size_category(clips: int) -> str:
    """The Hub's size category for a number of samples."""
    for power, bucket in enumerate(_BUCKETS):
        if clips < 1_000 * 10**power:
            return bucket
    return "other"


def _configs(kept_by_split: Mapping[str, int]) -> dict[str, Any]:
    """The files of each split; empty if no clip was kept, since `datasets` refuses an empty list."""
    files = [{"split": split, "path": f"{split}/*.tar"} for split, clips in sorted(kept_by_split.items()) if clips]
    return {"configs": [{"config_name": "default", "data_files": files}]} if files else {}
