"""Every file of an input is planned, or counted under the reason why it is not."""

import json
import time
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
from published_lists import celebvhq_clip, write_celebvhq, write_hdtf, write_talkinghead1kh
from source_trees import touch
from videos import MakeVideo

from motionshards.dataset import build
from motionshards.dataset.report import __main__ as report
from motionshards.pipeline.inputs.accounting import as_text
from motionshards.pipeline.inputs.files import VIDEO_SUFFIXES
from motionshards.pipeline.inputs.input import open_input
from motionshards.pipeline.inputs.tree import DirectoryTree, OverlayTree
from motionshards.pipeline.planning.plan import listing_table
from motionshards.pipeline.sources import SOURCES, folder
from motionshards.pipeline.sources.listing import Listing
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.manifest import Manifest

CSV = "video_id,start,end,bbox,fps,width,height,partition\na,0,9,1-2-30-40,25,64,48,train\n"


# Suffix, and the options for ffmpeg to write such a file.
CONTAINERS = {
    "MTS": ["-f", "mpegts"],
    "ts": [],
    "m2ts": [],
    "mpg": ["-c:v", "mpeg2video"],
    "VOB": ["-c:v", "mpeg2video", "-f", "vob"],
    "wmv": ["-c:v", "wmv2"],
    "flv": ["-c:v", "flv"],
    "3gp": [],
    "gif": [],
    "ogv": ["-c:v", "libtheora"],
    "mxf": ["-c:v", "mpeg2video"],
}


def account(source: str, root: Path, used: tuple[str, ...] = ()) -> tuple[list[str], dict[str, int]]:
    """The files that clips refer to, and the counts of unused files."""
    listing = Listing(open_input([root], SOURCES[source].splits).tree, used=used)
    table = listing_table(SOURCES[source].list_clips(listing), BuildConfig(source=source))
    spans = table["spans"].combine_chunks().flatten()
    planned = sorted({*spans.field("uri").to_pylist(), *spans.field("track_uri").drop_null().to_pylist()})
    return planned, listing.tree.left_out(pa.array(planned, pa.string()))


def test_each_container_is_planned_and_built(make_video: MakeVideo, tmp_path: Path) -> None:
    for suffix, options in CONTAINERS.items():
        make_video(f"in/{suffix}/a.{suffix}", *options, source="testsrc2=size=352x288:rate=25:duration=0.6")
    (tmp_path / "in/list").mkdir()
    (tmp_path / "in/list/a.ts").write_text("#EXTM3U\n#EXTINF:4,\n../ts/a.ts\n#EXT-X-ENDLIST\n")
    (tmp_path / "in/concat").mkdir()
    (tmp_path / "in/concat/a.mpg").write_text("ffconcat version 1.0\nfile ../mpg/a.mpg\n")
    arguments = ["--source", "folder", "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    assert build.main([*arguments, "--landmarks", "none", "--size", "32", "--quiet", "--workers", "1"]) == 0
    manifest = Manifest.read(tmp_path / "out")
    assert manifest.counts["kept"] == len(CONTAINERS) and manifest.counts["rejected"] == {"not_a_video": 2}
    assert manifest.left_out == {}


def test_a_folder_with_other_files(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "ann/a.mp4",
        "ann/a.JPG",
        "ann/b.jpg",
        "ann/README",
        "ann/c.john_smith_from_kiev",
        ".DS_Store",
        ".git/a",
        "z.zip",
    )
    planned, left_out = account("folder", tmp_path, ("z.zip",))
    assert planned == ["ann/a.mp4"]
    assert left_out == {".jpg": 2, "hidden": 2, "no suffix": 1, "other suffix": 1}
    assert as_text(left_out) == ".jpg 2, hidden 2, no suffix 1, other suffix 1"


@pytest.mark.parametrize(
    ("source", "planned", "others"),
    [
        ("voxceleb2", ["dev/mp4/id1/v/1.mp4"], ["dev/mp4/id1/v/1.mkv", "dev/mp4/id1/lost.mp4", "dev/x/y/z/deep/1.mp4", "a.mp4"]),
        ("voxceleb2", ["dev/txt/id1/v/1.txt", "videos/v.mp4"], ["dev/txt/id1/v/1.csv", "videos/w.mp4", "dev/mp4/id1/v/1.mp4"]),
        ("voxceleb1", ["txt/id1/v/1.txt", "videos/v.mp4"], ["txt/id1/1.txt", "videos/v.mkv", "videos/sub/w.mp4"]),
        ("taichi", ["videos/a.mp4"], ["videos/b.mp4", "other/a.mp4"]),
        ("fashion", ["train/a.mp4", "val/v.mkv", "test/b.mp4"], ["train/a.txt", "train/sub/c.mp4", "d.mp4"]),
        ("hdtf", ["videos/Radio1.mp4", "videos/Radio2.mp4", "videos/AdamSmith1.mkv"], ["videos/RD_Radio1.mp4", "Radio2.mp4"]),
        ("celebvhq", ["videos/a.mp4"], ["videos/b.mp4", "raw/a.mp4"]),
        ("talkinghead1kh", ["videos/a/a_0001.mp4"], ["videos/a/a_0002.mp4", "1min_clips/a_0001.mp4", "videos/a.mp4"]),
    ],
)
def test_every_source_counts_unplanned_files(source: str, planned: list[str], others: list[str], tmp_path: Path) -> None:
    touch(tmp_path, *planned, *others)
    if source == "taichi":
        (tmp_path / "taichi-metadata.csv").write_text(CSV)
    elif source == "hdtf":
        write_hdtf(tmp_path)
        (tmp_path / "WDA_crop_ratio.txt").unlink()
    elif source == "celebvhq":
        write_celebvhq(tmp_path, {"a_0": celebvhq_clip("a", 0, 1, (0, 0, 1, 1))})
    elif source == "talkinghead1kh":
        write_talkinghead1kh(tmp_path, train="a_0001,64,96,0,9,0,0,9,9\n")
    found, left_out = account(source, tmp_path)
    assert found == sorted(planned)
    assert sum(left_out.values()) == len(others)
    videos = sum(path.endswith(VIDEO_SUFFIXES) for path in others)
    assert sum(count for reason, count in left_out.items() if reason.startswith("unlisted .")) == videos


def test_linked_directories_are_followed_once(tmp_path: Path) -> None:
    """Forty directories that all link to each other: listing them along every path would never finish."""
    root, outside = tmp_path / "in", tmp_path / "outside"
    touch(outside, "real/a.mp4", "real/deep/b.mp4")
    touch(root, "own/c.mp4", ".store/d.mp4")
    for name, target in {
        "x": outside / "real",
        "y": outside / "real",
        "back": root,
        "s": root / ".store",
        "up": tmp_path,
    }.items():
        (root / name).symlink_to(target, target_is_directory=True)
    (outside / "real" / "home").symlink_to(root, target_is_directory=True)
    (root / "gone").symlink_to("nowhere")
    planned, left_out = account("folder", root)
    assert planned == ["own/c.mp4", "s/d.mp4", "x/a.mp4", "x/deep/b.mp4"]
    assert left_out == {"hidden": 1, "link loop": 3, "linked again": 1, "no suffix": 1}
    many = [tmp_path / "many" / f"d{n}" for n in range(40)]
    for one in many:
        touch(one, "a.mp4")
        for other in many:
            (one / other.name).symlink_to(other, target_is_directory=True)
    start_s = time.monotonic()
    clips = list(folder.list_clips(Listing(DirectoryTree(tmp_path / "many"))))
    assert len(clips) == 80 and time.monotonic() - start_s < 20


def test_a_path_may_be_deeper_than_the_recursion_limit(tmp_path: Path) -> None:
    path = "d/" * 3000 + "a.mp4"
    with zipfile.ZipFile(tmp_path / "deep.zip", "w") as archive:
        archive.writestr(path, b"x")
    assert account("folder", tmp_path / "deep.zip") == ([path], {})


def test_files_shadowed_by_another_input_are_counted(tmp_path: Path) -> None:
    touch(tmp_path / "a", "id/a.mp4", "id/b.mp4")
    touch(tmp_path / "b", "id/b.mp4", "id/c.mp4", "id/d.txt")
    listing = Listing(OverlayTree([DirectoryTree(tmp_path / "a"), DirectoryTree(tmp_path / "b")]))
    table = listing_table(folder.list_clips(listing), BuildConfig(source="folder"))
    uris = table["spans"].combine_chunks().flatten().field("uri")
    assert listing.tree.left_out(uris) == {".txt": 1, "shadowed": 1}


def test_the_ledger_lists_unused_files(make_video: MakeVideo, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Output, csv and archive within the input do not count as unused; a second run has the same counts."""
    make_video("in/val/ann/a.mp4")
    make_video("in/Train/ann/a.mp4")
    touch(tmp_path / "in", "notes.txt", "images/1.jpg", "images/2.jpg")
    arguments = ["--source", "folder", "--input", str(tmp_path / "in"), "--output", str(tmp_path / "in" / "out")]
    arguments += ["--landmarks", "none", "--size", "32", "--workers", "1"]
    assert build.main(arguments) == 0
    output = capsys.readouterr()
    assert "skipped 3 files (.jpg 2, .txt 1)\n" in output.err and "; 3 files skipped (.jpg 2, .txt 1); processed 2" in output.out
    assert build.main([*arguments, "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["left_out"] == {".jpg": 2, ".txt": 1}
    manifest = Manifest.read(tmp_path / "in" / "out")
    assert manifest.left_out == {".jpg": 2, ".txt": 1} and manifest.counts["kept_by_split"] == {"train": 1, "val": 1}
    card = (tmp_path / "in" / "out" / "README.md").read_text()
    assert "| `.jpg` | 2 |" in card and "split: val" in card
    assert report.main([str(tmp_path / "in" / "out"), "--samples", "1"]) == 0
    assert "Skipped files" in (tmp_path / "in" / "out" / "report.html").read_text()
