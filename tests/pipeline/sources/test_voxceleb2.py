"""The supported layouts of VoxCeleb2."""

from pathlib import Path

import pytest
from source_trees import touch

from motionshards.pipeline.inputs.tree import DirectoryTree
from motionshards.pipeline.sources.listing import Listing
from motionshards.pipeline.sources.voxceleb2 import list_clips
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import uri_to_path


def listed(root: Path, unit: str = "utterance") -> list[tuple[str, str]]:
    return [(clip.split, clip.key) for clip in list_clips(Listing(DirectoryTree(root), unit))]


def test_the_official_tree(tmp_path: Path) -> None:
    touch(tmp_path, "dev/mp4/id2/vid/00002.mp4", "dev/mp4/id1/vid/00001.mp4", "test/mp4/id3/vid/00001.mp4", "vox2_meta.txt")
    assert listed(tmp_path) == [("train", "id1/vid/00001"), ("train", "id2/vid/00002"), ("test", "id3/vid/00001")]
    for clip in list_clips(Listing(DirectoryTree(tmp_path))):
        assert (tmp_path / uri_to_path(clip.spans[0].uri)).is_file()


@pytest.mark.parametrize("top", ["", "mp4/"])
def test_a_tree_of_identities_without_splits(tmp_path: Path, top: str) -> None:
    touch(tmp_path, f"{top}id1/vid/00001.mp4", f"{top}id2/vid/00001.mp4")
    assert listed(tmp_path) == [("train", "id1/vid/00001"), ("train", "id2/vid/00001")]


def test_without_dev_and_test_the_official_list_determines_the_split(tmp_path: Path) -> None:
    touch(tmp_path, "mp4/id1/vid/00001.mp4", "mp4/id2/vid/00001.mp4")
    (tmp_path / "vox2_meta.csv").write_text("VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set \nid1 ,n1 ,f ,dev \nid2 ,n2 ,m ,test \n")
    assert listed(tmp_path) == [("train", "id1/vid/00001"), ("test", "id2/vid/00001")]


def test_an_official_list_of_another_form_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "mp4/id1/vid/00001.mp4")
    (tmp_path / "vox2_meta.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match=r"vox2_meta\.csv"):
        listed(tmp_path)


@pytest.mark.parametrize(("half", "split"), [("dev", "train"), ("test", "test")])
def test_a_single_half_as_the_root_keeps_its_split(tmp_path: Path, half: str, split: str) -> None:
    touch(tmp_path, f"{half}/mp4/id1/vid/00001.mp4")
    assert listed(tmp_path / half) == [(split, "id1/vid/00001")]
    assert listed(tmp_path / half / "mp4")[0][1] == "id1/vid/00001"


def test_only_mp4_at_the_third_level_counts(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "dev/mp4/id1/vid/00001.mp4",
        "dev/mp4/id1/vid/._00001.mp4",
        "dev/mp4/id1/vid/a.txt",
        "dev/mp4/x.mp4",
        "dev/mp4/id1/y.mp4",
    )
    touch(tmp_path, "dev/mp4/id1/vid/00002.MP4")
    assert [key for _, key in listed(tmp_path)] == ["id1/vid/00001", "id1/vid/00002"]


def test_unit_video_joins_the_utterances_of_a_video(tmp_path: Path) -> None:
    touch(tmp_path, *(f"dev/mp4/id1/{video}/{n:05d}.mp4" for video in ("a", "b") for n in (1, 2, 3)))
    clips = list(list_clips(Listing(DirectoryTree(tmp_path), "video")))
    assert [clip.key for clip in clips] == ["id1/a/video", "id1/b/video"]
    assert [len(clip.spans) for clip in clips] == [3, 3]


def test_cost_grows_with_the_file(tmp_path: Path) -> None:
    touch(tmp_path, "dev/mp4/id1/a/00001.mp4", "dev/mp4/id1/b/00001.mp4")
    (tmp_path / "dev/mp4/id1/b/00001.mp4").write_bytes(b"x" * 10_000)
    small, large = list_clips(Listing(DirectoryTree(tmp_path)))
    assert small.cost < large.cost


def test_circular_links_terminate(tmp_path: Path) -> None:
    touch(tmp_path, "dev/mp4/id1/vid/00001.mp4")
    (tmp_path / "dev/mp4/id1/round").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "dev/mp4/id1/self").symlink_to(tmp_path / "dev/mp4/id1/self")
    assert [key for _, key in listed(tmp_path)] == ["id1/vid/00001"]


def test_the_real_corpus(corpus: Path) -> None:
    clips = list(list_clips(Listing(DirectoryTree(corpus / "voxceleb2"))))
    assert len(clips) == len({clip.key for clip in clips}) == len(list((corpus / "voxceleb2").rglob("*.mp4")))
    assert {clip.identity for clip in clips if clip.split == "test"} == {"id90007", "id90008"}
