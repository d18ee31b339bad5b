"""The data card: valid front matter for the Hub, all sections present, and figures that match the tables."""

import ast
import inspect
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import DatasetCard, DatasetCardData
from made import make_dataset

from motionshards.pipeline.card.card import data_card
from motionshards.pipeline.card.fields import INDEX_COLUMNS, REJECTION_COLUMNS
from motionshards.pipeline.card.figures import read_figures
from motionshards.pipeline.card.front import front_matter, size_category
from motionshards.pipeline.card.sources import CORPORA, corpus_of
from motionshards.pipeline.sources import SOURCES
from motionshards.schemas.action_units import INTENSITIES
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.layout import INDEX
from motionshards.schemas.manifest import Addition, Manifest
from motionshards.schemas.tables import INDEX as INDEX_SCHEMA
from motionshards.schemas.tables import REJECTIONS as REJECTIONS_SCHEMA

COUNTS: dict[str, Any] = {
    "planned": 66,
    "kept": 60,
    "rejected": {"no_face": 4, "removed": 2},
    "kept_by_split": {"test": 12, "train": 48},
    "identities": 7,
    "frames": 390,
    "source_hours": 1.5,
    "bytes": 1234567,
}
HYGIENE = {"listed": 66, "duplicates": {"count": 3, "first": ["id00/secret/name"]}}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("card") / "out", split=lambda clip: "test" if clip % 5 == 0 else "train")


@pytest.fixture(scope="module")
def empty(out: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset without kept clips."""
    place = tmp_path_factory.mktemp("empty")
    pq.write_table(INDEX_SCHEMA.empty_table(), place / INDEX)
    return place


def manifest_of(out: Path, **config: Any) -> Manifest:
    """The card that a build with these settings would have written for the dataset in `out`."""
    changed = BuildConfig(**{"source": "demo", **config})
    return replace(Manifest.read(out), config=changed, provenance={"ffmpeg": "7"}, counts=COUNTS, hygiene=HYGIENE)


def front_of(card: str) -> dict[str, Any]:
    assert card.startswith("---\n")
    text, body = card.removeprefix("---\n").split("\n---\n", 1)
    assert body.startswith("\n# ")
    front = yaml.safe_load(text)
    assert isinstance(front, dict)
    return front


@pytest.mark.parametrize("landmarks", ["dlib", "none"])
@pytest.mark.parametrize("aus", ["openface", "none"])
@pytest.mark.parametrize("source", [*SOURCES, "of another version"])
def test_the_front_matter_parses_in_every_configuration(out: Path, source: str, aus: str, landmarks: str) -> None:
    text = data_card(manifest_of(out, source=source, aus=aus, landmarks=landmarks), out)
    front = front_of(text)
    assert DatasetCard(text).data.to_dict() == front and DatasetCardData(**front).to_dict() == front
    # DatasetCardData accepts any name: these four are in the Hub's specification, but are not parameters of the class.
    known = {*inspect.signature(DatasetCardData).parameters, "license_name", "license_link", "tags", "configs"}
    assert front.keys() <= known
    assert (front["license"] == "other") == ("license_name" in front) == ("license_link" in front)
    assert front["language"] == ["zxx"] and front["size_categories"] == ["n<1K"]
    assert front["configs"][0]["data_files"] == [{"split": name, "path": f"{name}/*.tar"} for name in ("test", "train")]
    assert ("action-units" in front["tags"]) == (aus != "none") and ("facial-landmarks" in front["tags"]) == (landmarks != "none")
    assert ("keypoint-detection" in front["task_categories"]) == (landmarks != "none")


def test_action_units_have_their_mode_and_a_row_each(tmp_path: Path) -> None:
    out = make_dataset(tmp_path / "out", 40, aus=True)
    manifest = replace(Manifest.read(out), counts=COUNTS)
    for mode, text in (
        ("openface-still", "contain a person-specific offset"),
        ("openface", "as a sequence"),
        ("csv", "csv files"),
    ):
        card = data_card(replace(manifest, config=replace(manifest.config, aus=mode)), out)
        assert text in card and re.search(r"\d\d\.\d% of the frames are valid", card)
        rows = re.findall(
            r"^\| AU(\d\d) \| [\d.]+ \| [\d.]+ \| [\d.]+ \| `.{10}` \| [\d.e-]+ \| [\d.]+ \| \d+% \|$", card, re.MULTILINE
        )
        assert rows == [name.removeprefix("AU") for name in INTENSITIES]


def test_every_source_is_described() -> None:
    assert set(CORPORA) == set(SOURCES)
    for name, corpus in CORPORA.items():
        assert bool(corpus.citation) == bool(corpus.real and corpus.shows), name
        assert corpus.licence == "unknown" or (corpus.licence_name and corpus.licence_link.startswith("https://")), name
        assert re.fullmatch(r"[a-z0-9.-]*", corpus.licence_name), "the Hub accepts only lower-case names without spaces"


POINTS = {
    "both": ["points.npy", "point_scores.npy", "landmarks.npy", "landmark_scores.npy"],
    "video": ["points.npy", "point_scores.npy"],
}


@pytest.mark.parametrize("audio", ["mono", "none"])
@pytest.mark.parametrize("store", ["video", "both"])
def test_video_and_audio_are_described(out: Path, store: str, audio: str) -> None:
    counts = {**COUNTS, "video_frames": 5_000, "sound_hours": 0.75}
    manifest = manifest_of(out, store=store, audio=audio, fps="30000/1001", frames=2)
    card, sounding = data_card(replace(manifest, counts=counts), out), audio == "mono"
    front = front_of(card)
    assert DatasetCard(card).data.to_dict() == front
    stills, flac = ["000.jpg", "001.jpg"] * (store == "both"), ["flac"] * sounding
    names = [field["name"] for field in front["dataset_info"]["features"]]
    assert names == [*stills, "mp4", *flac, "frames.npy", *POINTS[store], "meta.json", "__key__", "__url__"]
    assert front["language"] == ["und" if sounding else "zxx"] and ("audio" in front["tags"]) == sounding
    assert "video of 30000/1001 frames per second at 256×256 px" in card and "| frames of stored video | 5,000 |" in card
    for text in ("| hours of audio | 0.75 |", "| clips with audio | 0 (0%) |", "16-bit FLAC, 16000 Hz mono", "audio=True"):
        assert (text in card) == sounding


def test_front_matter_of_stills_is_unchanged(out: Path) -> None:
    assert list(front_of(data_card(manifest_of(out), out))) == [
        *("pretty_name", "license", "license_name", "license_link", "language", "annotations_creators", "source_datasets"),
        *("size_categories", "task_categories", "tags", "configs"),
    ]


HOSTILE = ["a: b", "- x", "*.tar", "{}", "no", "'\"", "x\n---\ny: z", "\x00\x1b[2J", "\udcff", "|<script>", "`", "日本"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_break_neither_front_matter_nor_tables(empty: Path, name: str) -> None:
    split = {name: 3, "train": 4}
    front = front_matter(corpus_of(name), BuildConfig(source=name), split)
    (files,) = (config["data_files"] for config in front_of(front + "\n# x")["configs"])
    assert sorted(file["split"] for file in files) == sorted(split)
    plain = Manifest(config=BuildConfig(source="folder"), provenance={}, input="", counts={**COUNTS, "rejected": {"x": 1}})
    addition = Addition(1, name, "now", name, {}, {})
    hostile = Manifest(
        config=BuildConfig(source=name, landmarks=name),
        provenance={name: name},
        input=name,
        counts={**COUNTS, "rejected": {name: 1}},
        hygiene={name: {"count": 1, "first": [name]}},
        additions=(addition,),
    )
    card = data_card(hostile, empty)
    card.encode()
    assert "<script>" not in re.sub(r"`[^`\n]*`", "", card)
    assert headings(card) == headings(data_card(plain, empty))
    for line in card.splitlines():
        assert not line.startswith("| ") or len(re.findall(r"(?<!\\)\|", line)) in (3, 6, 8), line


def headings(card: str) -> list[str]:
    return [line for line in card.splitlines() if line.startswith("#") and "clips of" not in line]


def test_the_sections_of_the_hubs_template_are_there(out: Path) -> None:
    card = data_card(manifest_of(out, source="voxceleb2", aus="openface"), out)
    sections = [line.removeprefix("## ") for line in card.splitlines() if line.startswith("## ")]
    assert sections == [
        "Summary",
        "How to load it",
        "Structure",
        "Action units",
        "Splits",
        "How it was made",
        "Considerations",
        "Licences",
        "Citation",
    ]
    assert "CC BY 4.0" in card and "iBUG 300-W" in card and "OpenFace's licence" in card
    assert "dataset.remove" in card and "2 clips have been removed from this dataset on request" in card
    assert "title = {{VoxCeleb2}: Deep Speaker Recognition}" in card


def test_card_contains_no_name_of_a_person_or_file(out: Path) -> None:
    card = data_card(replace(manifest_of(out), input="/home/anna/videos"), out)
    assert not [name for name in ("id00", "video0", "clip0", "secret", "anna") if name in card]


def test_python_examples_parse_and_use_existing_names(out: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", data_card(manifest_of(out), out), re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        imports = [node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(imports, []), "card", "exec"), {})


def test_figures_match_the_table(out: Path) -> None:
    rows = pq.read_table(out / INDEX).to_pandas()
    figures = read_figures(out)
    assert figures.splits["test"].clips == (rows.split == "test").sum() == 12
    assert figures.splits["train"].identities == rows[rows.split == "train"].identity.nunique()
    assert figures.clips_per_identity == (8, 9.0, 9) and figures.share_of_ten == 1
    assert figures.turned == pytest.approx((rows.yaw_deg.abs() > 45).mean())
    spread = figures.spreads["blur"]
    assert (spread.low, spread.median, spread.high) == pytest.approx(tuple(np.quantile(rows.blur, [0.05, 0.5, 0.95])), rel=1e-5)
    assert spread.missing == 0


def test_dataset_without_clips_has_a_card(empty: Path) -> None:
    counts = {**COUNTS, "kept": 0, "kept_by_split": {}, "rejected": {"no_face": 66}}
    figures = read_figures(empty)
    assert figures.clips_per_identity is None and figures.turned is None and not figures.splits
    card = data_card(Manifest(config=BuildConfig(source="fashion"), provenance={}, input="", counts=counts), empty)
    assert "configs" not in front_of(card) and "No clip was kept." in card


def test_every_column_is_explained() -> None:
    assert list(INDEX_COLUMNS) == INDEX_SCHEMA.names
    assert list(REJECTION_COLUMNS) == REJECTIONS_SCHEMA.names


@pytest.mark.parametrize(
    ("clips", "bucket"),
    [(0, "n<1K"), (999, "n<1K"), (1_000, "1K<n<10K"), (1_128_246, "1M<n<10M"), (999_999, "100K<n<1M"), (10**9, "other")],
)
def test_buckets_of_the_hub(clips: int, bucket: str) -> None:
    assert size_category(clips) == bucket
