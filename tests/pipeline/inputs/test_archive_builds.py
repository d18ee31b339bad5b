"""Datasets built from archives, compared with those built from the extracted files."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from archives import cut, make_zip
from checkout import ROOT
from videos import MakeVideo

from motionshards.dataset import build
from motionshards.schemas.manifest import Manifest


def run(out: Path, *inputs: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "dataset.build",
        "--source",
        "voxceleb2",
        "--output",
        str(out),
        "--frames",
        "3",
        "--size",
        "96",
    ]
    done = subprocess.run(
        [*command, "--quiet", "--input", *map(str, inputs)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return out


def tars(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("t*/*.tar")}


@pytest.fixture(scope="module")
def packed_demo(demo_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo corpus as it is downloaded: dev as a split zip, test as a zip whose paths do not contain test."""
    folder = tmp_path_factory.mktemp("packed")
    for half in ("dev", "test"):
        contents = {str(p.relative_to(demo_videos)): p.read_bytes() for p in sorted((demo_videos / half).rglob("*.mp4"))}
        if half == "test":
            contents = {name.removeprefix("test/"): content for name, content in contents.items()}
        path = make_zip(folder / f"vox2_{half}_mp4.zip", contents, zipfile.ZIP_DEFLATED if half == "test" else zipfile.ZIP_STORED)
        if half == "dev":
            step = path.stat().st_size // 3 + 1
            cut(path, [step, 2 * step])
    return folder


@pytest.mark.slow
def test_shards_are_the_same_from_archives_and_from_the_extracted_tree(
    demo_videos: Path, packed_demo: Path, tmp_path: Path
) -> None:
    """Nothing is extracted: the output contains only the dataset, and no files appear next to the archives."""
    before = sorted(packed_demo.iterdir())
    extracted = run(tmp_path / "extracted", demo_videos)
    archived = run(tmp_path / "archived", packed_demo / "vox2_dev_mp4_partaa", packed_demo / "vox2_test_mp4.zip")
    assert tars(archived) == tars(extracted)
    assert len(tars(archived)) > 1
    assert sorted(packed_demo.iterdir()) == before
    assert not list(archived.rglob("*.mp4"))
    spans = pq.read_table(archived / "index.parquet")["spans"].to_pylist()
    assert {span[0]["packed"]["archive"] for span in spans} == {"vox2_dev_mp4_partaa", "vox2_test_mp4.zip"}
    assert set(Manifest.read(archived).archives) == {"vox2_dev_mp4_partaa", "vox2_test_mp4.zip"}
    assert subprocess.run([sys.executable, "-m", "dataset.verify", str(archived)], cwd=ROOT, check=False).returncode == 0


@pytest.mark.slow
def test_damaged_clip_in_an_archive_is_rejected_and_others_are_built(packed_demo: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(packed_demo / "vox2_test_mp4.zip", tmp_path))
    with zipfile.ZipFile(path) as archive:
        info = archive.infolist()[0]
    raw = bytearray(path.read_bytes())
    raw[info.header_offset + 200 : info.header_offset + 210] = b"\0" * 10
    path.write_bytes(raw)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("mp4/id9/empty/00001.mp4", b"")
        archive.writestr("mp4/id9/html/00001.mp4", "<!DOCTYPE html><html></html>")
    out = run(tmp_path / "out", path)
    rows = pq.read_table(out / "rejections.parquet").to_pylist()
    assert {row["reason"] for row in rows} == {"bad_member", "empty_file", "not_a_video"}
    assert json.loads((out / "dataset.json").read_text())["counts"]["kept"] == len(zipfile.ZipFile(path).infolist()) - 3
    assert not any("/dev/fd" in row["detail"] for row in rows)


def test_annotations_in_an_archive(make_video: MakeVideo, tmp_path: Path) -> None:
    """VoxCeleb's txt zip next to a directory of downloads."""
    text = "Identity  : \tid1\n\nFRAME \tX \tY \tW \tH \n" + "\n".join(f"{n} \t10 \t10 \t90 \t90 " for n in range(5, 30))
    make_zip(tmp_path / "vox1_dev_txt.zip", {"txt/id10001/vid/00001.txt": text.encode()})
    make_video("videos/vid.mp4", source="testsrc2=size=640x360:rate=25:duration=2")
    inputs = ["--input", str(tmp_path), str(tmp_path / "vox1_dev_txt.zip"), "--output", str(tmp_path / "out")]
    assert build.main(["--source", "voxceleb1", *inputs, "--landmarks", "none", "--quiet", "--workers", "1"]) == 0
    row = pq.read_table(tmp_path / "out" / "index.parquet").to_pylist()[0]
    assert (row["key"], row["source_frames"], row["spans"][0]["track_packed"]["method"]) == ("id10001/vid/00001", 25, "stored")


def test_directory_with_only_archives_gives_a_hint(packed_demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main(["--source", "voxceleb2", "--input", str(packed_demo), "--output", str(tmp_path / "out"), "--quiet"]) == 2
    assert "found vox2_dev_mp4_partaa: to read archives, pass their paths to --input" in capsys.readouterr().err
