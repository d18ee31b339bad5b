"""HDTF, CelebV-HQ and TalkingHead-1KH: listed clips, and malformed lines."""

from pathlib import Path
from typing import Any

import pytest
from published_lists import HDTF, celebvhq_clip, write_celebvhq, write_hdtf, write_talkinghead1kh
from source_trees import touch

from motionshards.pipeline.inputs.tree import DirectoryTree
from motionshards.pipeline.planning.hygiene import hygiene
from motionshards.pipeline.planning.plan import Subset, listing_table, plan_new, read_unit, units
from motionshards.pipeline.sources import SOURCES, hdtf
from motionshards.pipeline.sources.listing import Listing
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.records import ClipSpec, Span

ID = "M2Ohb0FAaJU"
TUBE = "_x-_y1_0003, 720, 1280, 90, 299, 400, 100, 700, 400\n"


def list_clips(source: str, root: Path, unit: str = "utterance") -> tuple[list[ClipSpec], Listing]:
    listing = Listing(DirectoryTree(root), unit)
    return list(SOURCES[source].list_clips(listing)), listing


@pytest.mark.parametrize("place", ["", "HDTF_dataset"])
def test_hdtf(place: str, tmp_path: Path) -> None:
    write_hdtf(tmp_path / place)
    touch(tmp_path, "videos/RD_Radio1.mkv", "videos/Radio2.mp4", "videos/ccccccccccc.webm", "videos/aaaaaaaaaaa.mp4")
    clips, listing = list_clips("hdtf", tmp_path)
    assert listing.malformed == []
    assert [(clip.key, clip.split, clip.spans[0]) for clip in clips] == [
        (
            "Radio1/Radio1/0",
            "train",
            Span("videos/RD_Radio1.mkv", 20, 95, (483, 0, 873, 390), (0, 720), shown_times=True),
        ),
        ("Radio2/Radio2/0", "train", Span("videos/Radio2.mp4", 30, 60, shown_times=True)),
        ("Radio2/Radio2/1", "train", Span("videos/Radio2.mp4", 90, 150, shown_times=True)),
        (
            "AdamSmith/AdamSmith1/0",
            "train",
            Span("videos/ccccccccccc.webm", 2, 295, (532, -4, 1490, 954), (0, 1080), shown_times=True),
        ),
    ]
    videos, _ = list_clips("hdtf", tmp_path, "video")
    assert [(clip.key, len(clip.spans)) for clip in videos] == [
        ("Radio1/Radio1/video", 1),
        ("Radio2/Radio2/video", 2),
        ("AdamSmith/AdamSmith1/video", 1),
    ]


def test_hdtf_urls_and_a_video_that_is_absent(tmp_path: Path) -> None:
    write_hdtf(tmp_path)
    urls = hdtf.urls(DirectoryTree(tmp_path))
    assert list(urls) == ["Radio1", "Radio2", "AdamSmith1"]
    assert urls["Radio2"] == "https://www.youtube.com/watch?v=bbbbbbbbbbb&t=6s"
    assert {clip.spans[0].uri for clip in list_clips("hdtf", tmp_path)[0]} == {f"videos/{video}.mp4" for video in urls}


@pytest.mark.parametrize(
    ("name", "line", "said", "left"),
    [
        ("RD_annotion_time", "../x.mp4 00:01-00:02", "RD_annotion_time.txt line 2: video is '../x', must be a file name", 1),
        ("RD_annotion_time", "Radio9.mp4 00:10-00:ab", "RD_annotion_time.txt line 2: time is '00:10-00:ab', must be MM:SS", 1),
        ("RD_annotion_time", "Radio9.mp4 00:10 00:01-00:02", "line 2: time is '00:10', must be MM:SS-MM:SS", 2),
        ("RD_annotion_time", "Radio9.mp4 00:10-00:10", "line 2: time is '00:10-00:10', must end after its start", 1),
        ("RD_resolution", "Radio9.mp4 high", "RD_resolution.txt line 3: 'high' must be 1 whole number", 3),
        ("RD_crop_wh", "Radio9_0.mp4 1 2 3", "RD_crop_wh.txt line 3: '1 2 3' must be 4 whole numbers", 3),
        ("RD_video_url", "Radio9 https://www.youtube.com/watch?v=ddddddddddd", "line 3: 'Radio9' has no times in RD_annotion", 3),
    ],
)
def test_a_bad_line_of_hdtf_is_named(name: str, line: str, said: str, left: int, tmp_path: Path) -> None:
    only_rd = {f"WDA_{kind}": "" for kind in hdtf.KINDS}
    before = "Radio1.mp4 00:20-01:35\n" if name == "RD_annotion_time" else HDTF[f"{name}.txt"]
    more = {"RD_video_url": HDTF["RD_video_url.txt"].split("\n")[0] + "\n"} if name == "RD_annotion_time" else {}
    write_hdtf(tmp_path, **only_rd, **more, **{name: f"{before}{line}\n"})
    clips, listing = list_clips("hdtf", tmp_path)
    assert len(clips) == left
    (told,) = listing.malformed
    assert said in told


def test_hdtf_clips_keep_their_numbers_where_one_is_malformed(tmp_path: Path) -> None:
    write_hdtf(tmp_path, RD_annotion_time="Radio2.mp4 bad 01:30-1:02:30.5\n", RD_video_url="")
    clip = list_clips("hdtf", tmp_path)[0][0]
    assert (clip.key, clip.spans[0].start_s, clip.spans[0].end_s) == ("Radio2/Radio2/1", 90, 3750.5)


def test_celebvhq(tmp_path: Path) -> None:
    clips = {
        f"{ID}_1": celebvhq_clip(ID, 81.62, 86.17, (0.1964, 0.0, 0.6922, 0.8815)),
        f"{ID}_0": celebvhq_clip(ID, 0, 5, (0.5, 0.5, 1.0, 0.99)),
        "other": celebvhq_clip("gone", 1, 2, (0, 0, 1, 1)),
    }
    write_celebvhq(tmp_path, clips)
    touch(tmp_path, f"videos/{ID}.mp4")
    found, listing = list_clips("celebvhq", tmp_path)
    assert listing.malformed == []
    assert [clip.key for clip in found] == [f"{ID}/{ID}/1", f"{ID}/{ID}/0", "gone/gone/other"]
    first, second = (clip.spans[0] for clip in found[:2])
    assert (first.uri, first.start_s, first.end_s, first.shown_times) == (f"videos/{ID}.mp4", 81.62, 86.17, True)
    assert first.box == (0.1964 - 0.02, 0.0, 0.6922 + 0.02, 0.8815 + 0.02) and first.reference_px == (1, 1)
    assert second.box == (0.48, 0.48, 1.0, 1.0)
    assert found[2].spans[0].uri == "videos/gone.mp4"
    assert [len(clip.spans) for clip in list_clips("celebvhq", tmp_path, "video")[0]] == [2, 1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ytb_id": "../x"}, "ytb_id is '../x', must be a file name"),
        ({"ytb_id": 5}, "ytb_id is 5"),
        ({"duration": None}, "duration is None, must be an object"),
        ({"duration": {"start_sec": 1}}, "end_sec is None, must be a number"),
        ({"duration": {"start_sec": 3, "end_sec": 3}}, "end_sec is 3, must be after start_sec"),
        ({"duration": {"start_sec": 1, "end_sec": 10**400}}, "end_sec is 1000"),
        ({"bbox": {"top": 0, "bottom": 1.5, "left": 0, "right": 1}}, "bottom is 1.5, must be a number from 0 to 1"),
        ({"bbox": {"top": True, "bottom": 1, "left": 0, "right": 1}}, "top is True"),
        ({"bbox": {"top": float("nan"), "bottom": 1, "left": 0, "right": 1}}, "top is nan"),
    ],
)
def test_a_bad_clip_of_celebvhq_is_named(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    good = celebvhq_clip(ID, 1, 2, (0, 0, 1, 1))
    write_celebvhq(tmp_path, {f"{ID}_0": good, f"{ID}_1": {**good, **change}, f"{ID}_2": good})
    clips, listing = list_clips("celebvhq", tmp_path)
    assert len(clips) == 2
    (told,) = listing.malformed
    assert told.startswith(f"celebvhq_info.json '{ID}_1': ") and said in told and len(told) < 300


@pytest.mark.parametrize("text", ["", "[", '{"clips": []}', "[1]", "[" * 100_000, "\xff"])
def test_a_celebvhq_list_of_another_form_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "celebvhq_info.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"cannot read celebvhq_info.json: [^\n]*$"):
        list_clips("celebvhq", tmp_path)


@pytest.mark.parametrize(
    "chunk",
    ["videos/_x-_y1/_x-_y1_0003.mp4", "videos/_x-_y1_0003.mp4", "1min_clips/_x-_y1_0003.mp4", "train/1min_clips/_x-_y1_0003.mkv"],
)
def test_talkinghead1kh(chunk: str, tmp_path: Path) -> None:
    write_talkinghead1kh(tmp_path, train=TUBE, small=TUBE, val=TUBE.replace("_y1_", "_y2_").replace(", ", ","))
    touch(tmp_path, chunk)
    (first, second), listing = list_clips("talkinghead1kh", tmp_path)
    assert (listing.malformed, listing.notes) == ([], [])
    assert (first.key, first.split) == ("_x-_y1/_x-_y1/0003_S90_E299_L400_T100_R700_B400", "train")
    assert first.spans == (Span(chunk, box=(400, 100, 700, 400), reference_px=(1280, 720), frames=(90, 300)),)
    assert (second.split, second.spans[0].uri) == ("val", "videos/_x-_y2/_x-_y2_0003.mp4")


def test_the_small_list_counts_where_train_is_absent(tmp_path: Path) -> None:
    write_talkinghead1kh(tmp_path, small=TUBE * 2 + "\n", val=TUBE)
    (tmp_path / "videos").mkdir()
    clips, _ = list_clips("talkinghead1kh", tmp_path)
    assert [clip.split for clip in clips] == ["train", "train", "val"]
    report = hygiene(listing_table(iter(clips), BuildConfig(source="talkinghead1kh")), [])
    assert report["duplicates"]["count"] == 1 and report["videos_in_both_splits"]["count"] == 1


def test_uncut_video_of_talkinghead1kh_is_reported(tmp_path: Path) -> None:
    write_talkinghead1kh(tmp_path, train=TUBE + TUBE.replace("_0003", "_0004"))
    touch(tmp_path, "videos/_x-_y1.mp4")
    clips, listing = list_clips("talkinghead1kh", tmp_path)
    assert [clip.spans[0].uri for clip in clips] == [f"videos/_x-_y1/_x-_y1_000{number}.mp4" for number in (3, 4)]
    assert listing.notes == ["videos not cut into chunks: 1, such as videos/_x-_y1.mp4; `motionshards download` cuts them"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a_0001,1,2,3", "4 fields, expected 9"),
        ("a,720,1280,0,9,0,0,9,9", "name is 'a', must be <youtube id>_<NNNN>"),
        ("../a_0001,720,1280,0,9,0,0,9,9", "name is '../a_0001', must be a file name"),
        ("a_0001,720,1280,x,9,0,0,9,9", "S is 'x', must be a whole number"),
        ("a_0001,720,0,0,9,0,0,9,9", "H, W, S, E are 720, 0, 0, 9"),
        ("a_0001,720,1280,9,8,0,0,9,9", "H, W, S, E are 720, 1280, 9, 8"),
        (f"a_0001,720,1280,0,{'9' * 4000},0,0,9,9", "E is '999"),
    ],
)
def test_a_bad_line_of_talkinghead1kh_is_named(line: str, said: str, tmp_path: Path) -> None:
    write_talkinghead1kh(tmp_path, train=f"{TUBE}{line}\n{TUBE}")
    clips, listing = list_clips("talkinghead1kh", tmp_path)
    assert len(clips) == 2
    (told,) = listing.malformed
    assert told.startswith("train_video_tubes.txt line 2: ") and said in told and len(told) < 200


def test_boxes_with_unknown_width_are_checked_by_height(tmp_path: Path) -> None:
    write_hdtf(tmp_path)
    report = hygiene(listing_table(SOURCES["hdtf"].list_clips(Listing(DirectoryTree(tmp_path))), BuildConfig(source="hdtf")), [])
    assert report["boxes_outside"]["first"] == ["AdamSmith/AdamSmith1/0"]


@pytest.mark.parametrize("source", ["hdtf", "celebvhq", "talkinghead1kh"])
def test_the_plan_keeps_every_field(source: str, tmp_path: Path) -> None:
    write_hdtf(tmp_path)
    write_celebvhq(tmp_path, {f"{ID}_1": celebvhq_clip(ID, 81.62, 86.17, (0.1964, 0.0, 0.6922, 0.8815))})
    write_talkinghead1kh(tmp_path, train=TUBE)
    clips, _ = list_clips(source, tmp_path)
    config = BuildConfig(source=source)
    listed = listing_table(iter(clips), config)
    plan_new(tmp_path / "out", listed, config, Subset())
    (unit,) = units(tmp_path / "out")
    planned = sorted(read_unit(tmp_path / "out", unit), key=lambda clip: clip.key)
    assert [clip.spans for clip in planned] == [clip.spans for clip in sorted(clips, key=lambda clip: clip.key)]
