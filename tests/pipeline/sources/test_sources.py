"""VoxCeleb1, VoxCeleb2 annotations, TaiChi-HD, Fashion and folders: listed clips, and malformed lines."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from source_trees import touch, write_csv

from motionshards.dataset import build
from motionshards.pipeline.inputs.tree import DirectoryTree
from motionshards.pipeline.sources import fashion, folder, taichi, voxceleb1, voxceleb2
from motionshards.pipeline.sources.listing import Listing
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.records import ClipSpec, Span


def brief(clips: list[ClipSpec]) -> list[tuple[str, str, str]]:
    return [(clip.split, clip.key, clip.spans[0].uri) for clip in clips]


def test_voxceleb1_annotations(tmp_path: Path) -> None:
    touch(tmp_path, "txt/id10001/vid/00001.txt", "txt/id10001/vid/00002.txt", "txt/id10270/-v_2/00001.txt", "videos/vid.mp4")
    clips = list(voxceleb1.list_clips(Listing(DirectoryTree(tmp_path))))
    assert brief(clips) == [
        ("train", "id10001/vid/00001", "videos/vid.mp4"),
        ("train", "id10001/vid/00002", "videos/vid.mp4"),
        ("test", "id10270/-v_2/00001", "videos/-v_2.mp4"),
    ]
    assert clips[0].spans[0].track_uri == "txt/id10001/vid/00001.txt"
    videos = list(voxceleb1.list_clips(Listing(DirectoryTree(tmp_path), "video")))
    assert [(clip.key, len(clip.spans)) for clip in videos] == [("id10001/vid/video", 2), ("id10270/-v_2/video", 1)]


def test_voxceleb2_annotations(tmp_path: Path) -> None:
    touch(tmp_path, "dev/txt/id1/vid/00001.txt", "test/txt/id2/vid/00001.txt", "videos/vid.webm")
    clips = list(voxceleb2.list_clips(Listing(DirectoryTree(tmp_path))))
    assert brief(clips) == [("train", "id1/vid/00001", "videos/vid.webm"), ("test", "id2/vid/00001", "videos/vid.webm")]
    assert voxceleb2.recipe(DirectoryTree(tmp_path), None) == "bbox"


def test_a_metadata_csv(tmp_path: Path) -> None:
    touch(tmp_path, "videos/a-b.mp4")
    write_csv(
        tmp_path / "vox-metadata.csv", "a-b,80,300,118-82-508-472,25,640,480,train,id1", "gone,0,9,1-2-3-4,29.97,64,48,test,id2"
    )
    first, second = voxceleb1.list_clips(Listing(DirectoryTree(tmp_path)))
    assert (first.key, first.identity, first.split) == ("id1/a-b/000080-000300", "id1", "train")
    assert first.spans == (Span("videos/a-b.mp4", 3.2, 12.0, (118, 82, 508, 472), (640, 480)),)
    assert (second.spans[0].uri, second.split) == ("videos/gone.mp4", "test")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("v,ten,20,1-2-3-4,25,64,48,train,i", "start is 'ten'"),
        ("v,10,,1-2-3-4,25,64,48,train,i", "end is ''"),
        ("v,20,20,1-2-3-4,25,64,48,train,i", "end is 20"),
        ("v,10,20,1-2-3,25,64,48,train,i", "bbox is '1-2-3'"),
        ("v,10,20,1-2-3-4,0,64,48,train,i", "fps is 0"),
        ("v,10,20,1-2-3-4,nan,64,48,train,i", "fps is nan"),
        ("v,10,20,1-2-3-4,25,64,48,dev,i", "partition is 'dev'"),
        (",10,20,1-2-3-4,25,64,48,train,i", "video_id is empty"),
        ("v,10", "end is None"),
    ],
)
def test_a_malformed_line_is_reported_and_the_others_are_listed(tmp_path: Path, row: str, message: str) -> None:
    good = "v,10,20,1-2-3-4,25,64,48,train,i"
    listing = Listing(DirectoryTree(tmp_path), metadata=write_csv(tmp_path / "m.csv", good, row, good))
    assert len(list(voxceleb1.list_clips(listing))) == 2
    assert len(listing.malformed) == 1
    assert listing.malformed[0].startswith("m.csv line 3: ")
    assert message in listing.malformed[0]


def test_a_csv_with_other_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taichi-metadata.csv").write_text("name,url\na,b\n")
    with pytest.raises(ConfigError, match="lacks the columns video_id, start"):
        list(taichi.list_clips(Listing(DirectoryTree(tmp_path))))
    with pytest.raises(ConfigError, match="cannot read"):
        list(taichi.list_clips(Listing(DirectoryTree(tmp_path), metadata=tmp_path / "nowhere.csv")))


def test_fashion_directories_and_lists(tmp_path: Path) -> None:
    touch(tmp_path, "train/91-3003CN5S.mp4", "test/A1F1j+kNaDS.mp4", "train/notes.txt")
    assert brief(list(fashion.list_clips(Listing(DirectoryTree(tmp_path))))) == [
        ("train", "91-3003CN5S/91-3003CN5S/video", "train/91-3003CN5S.mp4"),
        ("test", "A1F1j+kNaDS/A1F1j+kNaDS/video", "test/A1F1j+kNaDS.mp4"),
    ]
    lists = tmp_path / "lists"
    touch(lists, "videos/91-3003CN5S.mp4")
    (lists / "fashion_train.txt").write_text("https://example.org/I/91-3003CN5S.mp4\n\nno url\nhttps://example.org/I/gone.mp4\n")
    (lists / "fashion_test.txt").write_text("https://example.org/I/A1F1j%2BkNaDS.mp4\n")
    listing = Listing(DirectoryTree(lists))
    assert [(split, uri) for split, _, uri in brief(list(fashion.list_clips(listing)))] == [
        ("train", "videos/91-3003CN5S.mp4"),
        ("train", "videos/gone.mp4"),
        ("test", "videos/A1F1j+kNaDS.mp4"),
    ]
    assert listing.malformed == ["fashion_train.txt line 3: URL is 'no url', must end with a video's name"]


def test_a_folder_of_any_depth(tmp_path: Path) -> None:
    touch(tmp_path, "lone.mp4", "ann/a.mp4", "ann/a.mkv", "ann/trip/b.MOV", "test/bob/c.webm", "ann/readme.md", ".hidden/x.mp4")
    (tmp_path / "round").symlink_to(tmp_path, target_is_directory=True)
    clips = list(folder.list_clips(Listing(DirectoryTree(tmp_path))))
    assert [(clip.split, clip.identity, clip.spans[0].uri) for clip in clips] == [
        ("train", "ann", "ann/a.mkv"),
        ("train", "ann", "ann/a.mp4"),
        ("train", "ann", "ann/trip/b.MOV"),
        ("train", "lone", "lone.mp4"),
        ("test", "bob", "test/bob/c.webm"),
    ]
    assert len({clip.key for clip in clips}) == 5


def test_an_annotated_video_is_built_end_to_end(demo_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One csv with a good row, a repeated one, a malformed one, a box outside the frame, a time past the end, no video."""
    root = tmp_path / "in"
    (root / "videos").mkdir(parents=True)
    (root / "videos" / "v.mp4").write_bytes(sorted(demo_videos.rglob("*.mp4"))[0].read_bytes())
    write_csv(
        root / "vox-metadata.csv",
        "v,5,60,30-20-200-210,25,224,224,train,id1",
        "v,5,60,30-20-200-210,25,224,224,train,id1",
        "v,5,60,30-20-200,25,224,224,train,id1",
        "v,5,61,300-20-400-210,25,224,224,train,id1",
        "v,500,600,30-20-200-210,25,224,224,train,id1",
        "v,20,100,30-20-200-210,25,224,224,train,id1",
        "gone,5,60,30-20-200-210,25,224,224,test,id2",
    )
    out = tmp_path / "out"
    arguments = ["--source", "voxceleb1", "--input", str(root), "--output", str(out), "--size", "96", "--workers", "1"]
    assert build.main(arguments) == 0
    output = capsys.readouterr()
    assert "6 planned = 3 kept + 3 rejected (bad_annotation 1, past_the_end 1, unreadable 1)" in output.out
    assert "annotation extends past the end of the video: 2 clips" in output.err
    assert "vox-metadata.csv line 4: bbox is '30-20-200'" in output.err
    manifest = Manifest.read(out)
    assert manifest.config.recipe == "bbox"
    assert manifest.hygiene["duplicates"]["count"] == manifest.hygiene["malformed"]["count"] == 1
    assert sorted(manifest.hygiene["past_the_end"]["first"]) == ["id1/v/000020-000100", "id1/v/000500-000600"]
    card = (out / "README.md").read_text()
    assert "| past the end | 2 |" in card
    assert "| duplicates | 1 |" in card
    late = {row["key"]: row["past_end_s"] for row in pq.read_table(out / "index.parquet").to_pylist()}
    assert late.pop("id1/v/000020-000100") == pytest.approx(1.0, abs=0.2)
    assert set(late.values()) == {0.0}
    before = (out / "dataset.json").read_bytes()
    assert build.main(arguments) == 0
    assert (out / "dataset.json").read_bytes() == before, "what was found while building is not forgotten by another planning"


def test_a_folder_without_directories_of_splits_is_reported(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.mp4").touch()
    listing = Listing(DirectoryTree(tmp_path))
    list(folder.list_clips(listing))
    assert [note.partition(";")[0] for note in listing.notes] == ["3 identities, all in train"]
    (tmp_path / "test").mkdir()
    (tmp_path / "test/3.mp4").touch()
    listing = Listing(DirectoryTree(tmp_path))
    list(folder.list_clips(listing))
    assert listing.notes == []
