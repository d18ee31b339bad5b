"""croissant.json: the reference reader reports no errors, and reads the contents of tables and tars."""

import hashlib
import io
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from in_process import in_this_process
from moving import make_moving_dataset
from removals import samples

from motionshards.dataset import build
from motionshards.dataset.index import Dataset
from motionshards.pipeline.card.croissant import croissant
from motionshards.pipeline.card.sources import CORPORA
from motionshards.schemas.atomic import sha256_of
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.layout import CROISSANT, INDEX, REJECTIONS
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.tables import INDEX as INDEX_SCHEMA
from motionshards.schemas.tables import REJECTIONS as REJECTIONS_SCHEMA

mlcroissant = pytest.importorskip("mlcroissant")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The inplace keyword")  # of the reader's libraries

# Recommended by Croissant, but unknown to a build.
UNKNOWN = {"datePublished"}
KINDS = {"video": "mp4", "sound": "flac", "video_frames": "frames.npy", "points": "points.npy"}


@dataclass(frozen=True, slots=True)
class Read:
    """A file as the reference reader sees it.

    missing: names of the properties that it recommends and does not find
    records(name): the records of a record set; a second time there are none
    """

    missing: set[str]
    records: Callable[[str], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def built(demo_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build with one rejected clip."""
    out = tmp_path_factory.mktemp("croissant") / "out"
    videos = tmp_path_factory.mktemp("videos")
    for path in sorted(demo_videos.rglob("*.mp4"))[:5]:
        place = videos / path.relative_to(demo_videos)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(path)
    (place.parent / "00009.mp4").write_bytes(b"no video at all")
    with in_this_process():
        status = build.main(
            ["--source", "voxceleb2", "--input", str(videos), "--output", str(out), "--size", "64", "--frames", "3"]
        )
    assert status == 0
    return out


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Callable[[Path], Read]:
    """read(path) -> the file parsed by the reference reader, which unpacks archives below tmp_path."""
    from etils import epath
    from mlcroissant._src.operation_graph.operations import extract

    monkeypatch.setattr(extract, "EXTRACT_PATH", epath.Path(tmp_path / "unpacked"))

    def reader(path: Path) -> Read:
        with caplog.at_level(logging.WARNING):
            data = mlcroissant.Dataset(jsonld=str(path))
        issues = data.metadata.ctx.issues
        assert not issues.errors
        assert "not standard" not in caplog.text
        missing = {warning.partition('"')[2].partition('"')[0].rpartition("/")[2] for warning in issues.warnings}
        return Read(missing, lambda name: list(data.records(name)))

    return reader


def test_the_reference_reader_reports_no_problem(built: Path, read: Callable[[Path], Read]) -> None:
    assert read(built / CROISSANT).missing == UNKNOWN


def test_clips_are_read(built: Path, read: Callable[[Path], Read]) -> None:
    rows = Dataset.open(built).index().to_pylist()
    clips = read(built / CROISSANT).records("clips")
    assert len(clips) == len(rows) == 5
    for clip, row in zip(clips, rows, strict=True):
        assert {name.removeprefix("clips/") for name in clip} == set(INDEX_SCHEMA.names)
        assert clip["clips/key"].decode() == row["key"] and clip["clips/split"].decode() == row["split"]
        assert clip["clips/blur"] == row["blur"] and clip["clips/n_frames"] == row["n_frames"]
        assert clip["clips/frame_yaw_deg"] == pytest.approx(row["frame_yaw_deg"], nan_ok=True)
        assert clip["clips/au_valid"] is None
        assert [span["clips/spans/uri"].decode() for span in clip["clips/spans"]] == [span["uri"] for span in row["spans"]]
        members = [{name.rpartition("/")[2]: value for name, value in member.items()} for member in clip["clips/members"]]
        assert [{**member, "suffix": member["suffix"].decode()} for member in members] == row["members"]


def test_rejections_and_splits_are_read(built: Path, read: Callable[[Path], Read]) -> None:
    file = read(built / CROISSANT)
    (lost,) = file.records("rejections")
    assert lost["rejections/reason"] == b"not_a_video" and lost["rejections/key"].endswith(b"/00009")
    kept = Dataset.open(built).manifest.counts["kept_by_split"]
    assert {split["splits/name"]: split["splits/clips"] for split in file.records("splits")} == kept


def test_members_of_the_shards_are_read(built: Path, read: Callable[[Path], Read]) -> None:
    data, file = Dataset.open(built), read(built / CROISSANT)
    samples = {row["key"]: data.read(row) for row in data.index().to_pylist()}
    frames = file.records("frames")
    assert len(frames) == sum(len(sample.frames) for sample in samples.values())
    for frame in frames:
        expected = samples[frame["frames/key"].decode()].frames[int(frame["frames/number"])]
        pixels = np.asarray(frame["frames/content"].convert("RGB"))
        assert pixels.shape == expected.shape and np.abs(pixels.astype(int) - expected).max() <= 8, (
            "JPEG decoders round differently"
        )
    landmarks, scores, metas = (file.records(name) for name in ("landmarks", "landmark_scores", "meta"))
    assert len(landmarks) == len(scores) == len(metas) == len(samples)
    for record in landmarks:
        points = np.load(io.BytesIO(record["landmarks/content"]))
        np.testing.assert_array_equal(points, samples[record["landmarks/key"].decode()].landmarks)
    for record in metas:
        assert json.loads(record["meta/content"]) == samples[record["meta/key"].decode()].meta


@pytest.mark.parametrize("store", ["video", "both"])
def test_video_and_audio_are_read(store: str, tmp_path: Path, read: Callable[[Path], Read]) -> None:
    smaller = (32,) if store == "both" else ()
    out = make_moving_dataset(tmp_path / "out", 3, store=store, sound=lambda clip: clip != 1, per_shard=2, smaller=smaller)
    pq.write_table(REJECTIONS_SCHEMA.empty_table(), out / REJECTIONS)
    counts = {"planned": 3, "kept": 3, "rejected": {}, "kept_by_split": {"train": 3}}
    files = {name: sha256_of(out / name) for name in (INDEX, REJECTIONS)}
    (out / CROISSANT).write_text(croissant(replace(Manifest.read(out), counts=counts, files=files), out))
    file = read(out / CROISSANT)
    assert file.missing == UNKNOWN | {"citeAs"}
    sets = json.loads((out / CROISSANT).read_text())["recordSet"]
    types = {node["@id"]: node.get("dataType") for one in sets for node in one["field"]}
    assert (types["video/content"], types["sound/content"]) == ("sc:VideoObject", "sc:AudioObject")
    kinds = KINDS | {f"video_{size}": f"{size}.mp4" for size in smaller}
    members = {name: {one[f"{name}/key"].decode(): one[f"{name}/content"] for one in file.records(name)} for name in kinds}
    for key, content in samples(out).items():
        for name, suffix in kinds.items():
            assert members[name].get(key) == content.get(suffix)
    assert len(members["video"]) == 3 and len(members["sound"]) == 2 and ("frames/content" in types) == (store == "both")
    for name in ("frames", "frames_32") if smaller else ():
        stills = {(one[f"{name}/key"].decode(), one[f"{name}/number"].decode()) for one in file.records(name)}
        assert stills == {(key, f"{number:03d}") for key in samples(out) for number in range(5)}


def test_hashes_match_the_files(built: Path) -> None:
    content = json.loads((built / CROISSANT).read_text())
    files = {node["contentUrl"]: node for node in content["distribution"] if node["@type"] == "cr:FileObject"}
    assert set(files) == {INDEX, REJECTIONS, *(path.relative_to(built).as_posix() for path in built.glob("t*/*.tar"))}
    for name, node in files.items():
        assert node["sha256"] == hashlib.sha256((built / name).read_bytes()).hexdigest()
        assert node["contentSize"] == f"{(built / name).stat().st_size} B"


@pytest.mark.parametrize("source", [*CORPORA, "of another version"])
@pytest.mark.parametrize("aus", ["none", "csv"])
def test_file_is_valid_for_every_source(source: str, aus: str, built: Path, tmp_path: Path, read: Callable[[Path], Read]) -> None:
    config = BuildConfig(source=source, aus=aus, landmarks="none" if aus == "none" else "dlib")
    (tmp_path / CROISSANT).write_text(croissant(replace(Manifest.read(built), config=config), built))
    real = source in CORPORA and CORPORA[source].citation
    assert read(tmp_path / CROISSANT).missing == UNKNOWN | (set() if real else {"citeAs"})


def test_many_shards_are_listed_as_sets_only(
    built: Path, tmp_path: Path, read: Callable[[Path], Read], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("motionshards.pipeline.card.croissant.LISTED", 1)
    for name in (INDEX, REJECTIONS):
        (tmp_path / name).write_bytes((built / name).read_bytes())
    (tmp_path / CROISSANT).write_text(croissant(Manifest.read(built), tmp_path))
    sets = {node["@id"]: node for node in json.loads((tmp_path / CROISSANT).read_text())["distribution"]}
    assert sets["frames-files"]["containedIn"] == [{"@id": "shards-test"}, {"@id": "shards-train"}]
    assert not [name for name in sets if name.endswith(".tar")]
    file = read(tmp_path / CROISSANT)
    assert file.missing == UNKNOWN and len(file.records("clips")) == 5


def test_content_does_not_depend_on_time_or_location(built: Path, tmp_path: Path) -> None:
    for name in (INDEX, REJECTIONS):
        (tmp_path / name).write_bytes((built / name).read_bytes())
    manifest = replace(Manifest.read(built), input="elsewhere")
    text = croissant(manifest, tmp_path)
    assert text == (built / CROISSANT).read_text()
    assert str(tmp_path) not in text and "elsewhere" not in text


def test_dataset_without_clips_is_valid(tmp_path: Path, read: Callable[[Path], Read]) -> None:
    for name, schema in ((INDEX, INDEX_SCHEMA), (REJECTIONS, REJECTIONS_SCHEMA)):
        pq.write_table(schema.empty_table(), tmp_path / name)
    counts = {"planned": 1, "kept": 0, "rejected": {"no_face": 1}, "kept_by_split": {}}
    files = {name: sha256_of(tmp_path / name) for name in (INDEX, REJECTIONS)}
    manifest = Manifest(config=BuildConfig(source="taichi"), provenance={}, input="", counts=counts, files=files)
    (tmp_path / CROISSANT).write_text(croissant(manifest, tmp_path))
    file = read(tmp_path / CROISSANT)
    assert file.missing == UNKNOWN and file.records("rejections") == []
