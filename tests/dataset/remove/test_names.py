"""After a removal, no file of the dataset contains the name, wherever the source had it: archives, paths, CSV files, warnings."""

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from in_process import in_this_process
from openface_program import as_csv, row

from motionshards.dataset import build, remove, verify
from motionshards.dataset.index import Dataset
from motionshards.dataset.report.__main__ import main as report
from motionshards.pipeline.shards import remove_clips
from motionshards.schemas.layout import DATASET_JSON
from motionshards.schemas.manifest import Manifest
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.timeline import timeline_from_packets

pytestmark = pytest.mark.usefixtures("quick")


PERSON, OTHER = "id90000", "id99001"


def archive(path: Path, root: Path, below: str) -> Path:
    """A zip of the videos below a directory of `root`."""
    with zipfile.ZipFile(path, "w") as content:
        for video in sorted((root / below).rglob("*.mp4")):
            content.write(video, video.relative_to(root))
    return path


@pytest.fixture(scope="module")
def build_args(demo_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of a build of two people from two archives and a directory of CSV files, all named after one of them."""
    place = tmp_path_factory.mktemp("names") / f"takedown of {PERSON}"
    place.mkdir()
    archives = [
        archive(place / f"{PERSON}.zip", demo_videos, "dev"),
        archive(place / f"{PERSON}_and_more.zip", demo_videos, "test"),
    ]
    folder = place / f"csv_{PERSON}"
    for video in demo_videos.rglob("*.mp4"):
        path = folder / video.relative_to(video.parents[2]).with_suffix(".csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        frames = len(timeline_from_packets(Media.at(video), 60).raw_s)
        rows = [{**row(n + 1, b"%d" % n, 64, {}), "timestamp": round(n / 25, 3)} for n in range(frames)]
        path.write_text(as_csv(rows, {"separator": ","}))
    how = ["--size", "64", "--landmarks", "none", "--frames", "2", "--workers", "1", "--quiet", "--clips-per-shard", "2"]
    return ["--source", "voxceleb2", "--input", *map(str, archives), "--aus", f"csv:{folder}", *how]


@pytest.fixture(scope="module")
def original(build_args: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("names") / "data"
    with in_this_process():
        assert build.main([*build_args, "--output", str(out)]) == 0
    manifest = Manifest.read(out)
    cases = {"count": 2, "first": [f"{PERSON}/a/1", f"txt/{PERSON}.txt: line 3"]}
    replace(manifest, hygiene={**manifest.hygiene, "duplicates": cases}).write(out)
    assert report([str(out), "--quiet"]) == 0
    return out


@pytest.fixture
def out(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "data"))


def where(out: Path, names: set[str]) -> set[str]:
    """The files that contain one of the names; tables are searched decompressed."""
    found = set()
    for path in (path for path in out.rglob("*") if path.is_file()):
        content = path.read_bytes() + path.name.encode()
        if path.suffix == ".parquet":
            content += str(pq.ParquetFile(path).read().to_pylist()).encode()
        if any(name.encode() in content for name in names):
            found.add(path.relative_to(out).as_posix())
    return found


def names_of(out: Path) -> set[str]:
    rows = Dataset.open(out).index(["identity", "video"]).to_pylist()
    return {PERSON} | {row["video"] for row in rows if row["identity"] == PERSON}


def test_no_file_has_the_name_of_a_removed_person(out: Path, build_args: list[str], capsys: Any) -> None:
    names = names_of(out)
    assert where(out, names) >= {DATASET_JSON, "index.parquet", "plan/plan-000000.parquet", "report.html"}
    assert len(names) == 3 and set(Manifest.read(out).archives) == {f"{PERSON}.zip", f"{PERSON}_and_more.zip"}
    before = {sample.key: sample for sample in Dataset.open(out).samples()}
    assert remove.main([str(out), "--identity", PERSON]) == 0
    assert where(out, names) == set()
    manifest = Manifest.read(out)
    assert (manifest.input, manifest.aus_from, manifest.hygiene["duplicates"]) == ("", "", {"count": 2, "first": []})
    ((name, parts),) = manifest.archives.items()
    assert name.startswith("removed/") and list(parts) == [name], "the archive of remaining clips is renamed to a digest"
    samples = {sample.key: sample for sample in Dataset.open(out).samples()}
    assert set(samples) == {key for key in before if key.startswith(OTHER)} and len(samples) == 4
    assert all((samples[key].frames == before[key].frames).all() for key in samples)
    assert verify.verify(out).faults == ()
    assert build.main([*build_args, "--output", str(out)]) == 0, "the same build again has nothing to do"
    assert where(out, names) == set() and verify.verify(out).faults == ()


def test_a_renamed_archive_can_be_used_to_extend_frames(out: Path, build_args: list[str], tmp_path: Path) -> None:
    assert remove.main([str(out), "--identity", PERSON]) == 0
    (name,) = Manifest.read(out).archives
    (tmp_path / "in" / name).parent.mkdir(parents=True)
    shutil.copy(next(Path(one) for one in build_args if one.endswith("_and_more.zip")), tmp_path / "in" / name)
    more = ["--extend-frames", "3", "--input", str(tmp_path / "in"), "--workers", "1", "--quiet"]
    assert build.main(["--output", str(out), *more, "--aus", build_args[build_args.index("--aus") + 1]]) == 0
    assert Dataset.open(out).index(["n_frames"])["n_frames"].to_pylist() == [3] * 4 and verify.verify(out).faults == ()


@pytest.mark.parametrize("step", [1, 2, 3])
def test_an_interrupted_removal_leaves_no_name(out: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    names, calls, unpatched = names_of(out), [0], remove_clips.replace_shard

    def interrupted(*arguments: Any) -> None:
        calls[0] += 1
        if calls[0] == step:
            raise KeyboardInterrupt
        unpatched(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(remove_clips, "replace_shard", interrupted)
        assert remove.main([str(out), "--identity", PERSON]) == 130
    assert PERSON not in (out / DATASET_JSON).read_text()
    assert remove.main([str(out)]) == 0
    assert where(out, names) == set() and verify.verify(out).faults == ()


def test_the_archive_of_a_removed_video_keeps_its_name(out: Path) -> None:
    assert remove.main([str(out), "--video", next(iter(names_of(out) - {PERSON}))]) == 0
    assert set(Manifest.read(out).archives) == {f"{PERSON}.zip", f"{PERSON}_and_more.zip"}
