"""VoxCeleb1, TaiChi-HD, Fashion and folders: what users hold, what goes wrong in it, and the authors' rule for frames."""

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from motionshards.dataset import build
from motionshards.pipeline.clips.annotations import Annotation, annotation, read_track
from motionshards.pipeline.inputs.tree import DirectoryTree
from motionshards.pipeline.planning.hygiene import hygiene
from motionshards.pipeline.planning.plan import listing_table
from motionshards.pipeline.sources import fashion, folder, taichi, voxceleb1, voxceleb2
from motionshards.pipeline.sources.listing import Listing
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import ClipRejected, ConfigError
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.records import ClipSpec, Span
from motionshards.transforms.extract.crop import exact_window
from motionshards.transforms.extract.timeline import Timeline

COLUMNS = "video_id,start,end,bbox,fps,width,height,partition,person_id"
TRACK = "Identity  : \tid1\nReference : \tvid\nOffset    : \t0\n\nFRAME \tX \tY \tW \tH \n"


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def write_csv(path: Path, *rows: str) -> Path:
    path.write_text("\n".join([COLUMNS, *rows]) + "\n")
    return path


def brief(clips: list[ClipSpec]) -> list[tuple[str, str, str]]:
    return [(clip.split, clip.key, clip.spans[0].uri) for clip in clips]


def test_voxceleb1_by_its_annotations(tmp_path: Path) -> None:
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


def test_voxceleb2_by_its_annotations(tmp_path: Path) -> None:
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
    ("row", "said"),
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
def test_a_malformed_line_is_named_and_the_rest_is_listed(tmp_path: Path, row: str, said: str) -> None:
    good = "v,10,20,1-2-3-4,25,64,48,train,i"
    listing = Listing(DirectoryTree(tmp_path), metadata=write_csv(tmp_path / "m.csv", good, row, good))
    assert len(list(voxceleb1.list_clips(listing))) == 2
    assert len(listing.malformed) == 1
    assert listing.malformed[0].startswith("m.csv line 3: ")
    assert said in listing.malformed[0]


def test_a_csv_of_another_form_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taichi-metadata.csv").write_text("name,url\na,b\n")
    with pytest.raises(ConfigError, match="lacks the columns video_id, start"):
        list(taichi.list_clips(Listing(DirectoryTree(tmp_path))))
    with pytest.raises(ConfigError, match="cannot read"):
        list(taichi.list_clips(Listing(DirectoryTree(tmp_path), metadata=tmp_path / "nowhere.csv")))


def test_fashion_by_folders_and_by_lists(tmp_path: Path) -> None:
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


def track_file(path: Path, *lines: str) -> Path:
    path.write_text(TRACK + "".join(f"{line}\n" for line in lines))
    return path


def test_voxceleb_boxes_become_their_union_in_source_pixels(tmp_path: Path) -> None:
    track_file(tmp_path / "one.txt", "000010 \t90 \t36 \t72 \t72 ", "000011 \t100 \t30 \t72 \t72 ")
    known = annotation(Span("v.mp4", track_uri="one.txt"), tmp_path, (1280, 720))
    assert (known.start_s, known.end_s) == (0.4, 0.48)
    assert known.box_px is not None
    assert known.box_px.tolist() == [180, 60, 344, 216]
    track_file(tmp_path / "two.txt", "0 \t0.25 \t0.5 \t0.25 \t0.25 ")
    known = annotation(Span("v.mp4", track_uri="two.txt"), tmp_path, (1280, 720))
    assert known.box_px is not None
    assert known.box_px.tolist() == [320, 360, 640, 540]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no line FRAME"),
        (TRACK, "no boxes"),
        (TRACK + "1 2 3 4\n", "line 6: 4 fields"),
        (TRACK + "1 2 3 4 5\n1 2 x 4 5\n", "line 7: Y is 'x'"),
    ],
)
def test_a_malformed_annotation_is_a_reason_with_line_and_field(content: str, said: str) -> None:
    with pytest.raises(ClipRejected) as lost:
        read_track("a.txt", content.encode())
    assert lost.value.reason == "bad_annotation"
    assert said in lost.value.detail


@pytest.mark.parametrize("actual_fps", [15.79, 23.976, 24, 25, 29.97, 30, 50, 59.94])
@pytest.mark.parametrize("fps", [15.79, 25, 29.97, 30, 59.94])
def test_frames_are_those_of_the_authors_rule(fps: float, actual_fps: float) -> None:
    """Frame i of the actual video is in the clip when start/fps <= i/actual_fps < end/fps."""
    line = Timeline(np.arange(4000) / actual_fps, (640, 480), actual_fps)
    chance = np.random.default_rng(0)
    for start in chance.integers(0, 3000, 50):
        end = start + int(chance.integers(1, 400))
        theirs = [i for i in range(4000) if start / fps <= i / actual_fps < end / fps]
        assert Annotation(start / fps, end / fps, by_number=True).frames(line).tolist() == theirs


def test_a_variable_rate_is_taken_by_its_timestamps() -> None:
    times = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.12, 500))
    line = Timeline(times, (640, 480), 25.0)
    inside = Annotation(3.0, 7.0, by_number=True).frames(line)
    shifted = times - times[0]
    assert inside.tolist() == np.flatnonzero((shifted >= 3) & (shifted < 7)).tolist()


@pytest.mark.parametrize("ntsc", [24, 30, 60])
def test_header_rates_that_are_rounded_choose_the_same_frames(ntsc: int) -> None:
    """29.97 in a header stands for 30000/1001: the frame at which a clip starts must be in it."""
    header = round(ntsc * 1000 / 1001, 2)
    line = Timeline(np.arange(20_000) * 1001 / (ntsc * 1000), (640, 480), header)
    for start in (0, 1, 80, 575, 1499):
        known = Annotation(start / header, (start + 100) / header, by_number=True)
        assert known.frames(line).tolist() == list(range(start, start + 100))


def test_boxes_are_the_authors_on_the_published_rows(corpus: Path) -> None:
    """int(edge / (reference size / actual size)), cut at the frame, for every row and several actual sizes."""
    path = corpus.parent / "metadata" / "vox-metadata.csv"
    specs = list(voxceleb1.list_clips(Listing(DirectoryTree(path.parent), metadata=path)))
    with path.open() as stream:
        rows = list(csv.DictReader(stream))
    for spec, row in list(zip(specs, rows, strict=True))[::50]:
        for width, height in ((int(row["width"]), int(row["height"])), (1280, 720), (640, 360), (854, 480)):
            left, top, right, bottom = map(int, row["bbox"].split("-"))
            across, down = int(row["width"]) / width, int(row["height"]) / height
            theirs = (int(left / across), int(top / down), min(int(right / across), width), min(int(bottom / down), height))
            known = annotation(spec.spans[0], path.parent, (width, height))
            assert known.box_px is not None
            assert exact_window(known.box_px, (width, height)) == theirs


def test_hygiene_of_made_up_rows(tmp_path: Path) -> None:
    rows = [
        "a,0,50,10-10-50-50,25,64,64,train,id1",
        "a,0,50,10-10-50-50,25,64,64,train,id1",
        "a,0,50,10-10-50-50,25,64,64,train,id1",
        "b,0,50,10-10-65-50,25,64,64,train,id1",
        "c,0,50,10-10-50-50,25,64,64,test,id1",
        "a,60,90,10-10-50-50,25,64,64,test,id2",
        "d,0,50,0-0-64-64,25,64,64,train,id3",
    ]
    listing = Listing(DirectoryTree(tmp_path), metadata=write_csv(tmp_path / "m.csv", *rows, "bad"))
    report = hygiene(listing_table(voxceleb1.list_clips(listing), BuildConfig(source="voxceleb1")), listing.malformed)
    assert report["listed"] == 7
    assert report["duplicates"] == {"count": 1, "first": ["id1/a/000000-000050"]}
    assert report["boxes_outside"] == {"count": 1, "first": ["id1/b/000000-000050"]}
    assert report["videos_in_both_splits"] == {"count": 1, "first": ["a"]}
    assert report["identities_in_both_splits"] == {"count": 1, "first": ["id1"]}
    assert report["malformed"]["count"] == 1


def test_hygiene_of_the_published_list(corpus: Path) -> None:
    path = corpus.parent / "metadata" / "vox-metadata.csv"
    listing = Listing(DirectoryTree(path.parent), metadata=path)
    report = hygiene(listing_table(voxceleb1.list_clips(listing), BuildConfig(source="voxceleb1")), listing.malformed)
    assert report["listed"] == 20_075
    counts = {name: report[name]["count"] for name in report if name != "listed"}
    assert counts == {
        "duplicates": 299,
        "boxes_outside": 866,
        "videos_in_both_splits": 2,
        "identities_in_both_splits": 2,
        "malformed": 0,
    }


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
    told = capsys.readouterr()
    assert "6 planned = 3 kept + 3 rejected (bad_annotation 1, past_the_end 1, unreadable 1)" in told.out
    assert "annotated past the end of the video: 2 clips" in told.err
    assert "vox-metadata.csv line 4: bbox is '30-20-200'" in told.err
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


def test_landmarks_can_be_carried_back_to_source_pixels(demo_videos: Path, tmp_path: Path) -> None:
    """The same frames cut by `bbox` and taken whole give the same face in source pixels."""
    from motionshards.pipeline.clips.clip import build_clip
    from motionshards.schemas.records import Clip
    from motionshards.transforms.extract.landmarks import models

    video = sorted(demo_videos.rglob("*.mp4"))[0]
    (tmp_path / "v.mp4").write_bytes(video.read_bytes())
    span = Span("v.mp4", box=(20, 10, 215, 220), reference_px=(224, 224))
    spec = ClipSpec("id/v/c", "x", "train", "id", "v", (span,), 1.0)
    points = []
    for recipe in ("bbox", "fomm-bbox", "resize"):
        (clip,) = build_clip(spec, tmp_path, models.load("dlib"), BuildConfig(source="x", recipe=recipe))
        assert isinstance(clip, Clip)
        assert clip.landmarks is not None
        affine = clip.placement.source_to_crop
        points.append((clip.landmarks.points_px - affine[:, None, :, 2]) / affine[:, None, [0, 1], [0, 1]])
    for other in points[1:]:
        assert np.nanmedian(np.abs(points[0] - other)) < 1.5
