"""With --one-person, tubes that switch to another person, such as at an undetected cut, are rejected."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from videos import ffmpeg

from motionshards.pipeline.clips.clip import read_clip
from motionshards.pipeline.clips.read import ReadClip
from motionshards.pipeline.planning.provenance import provenance
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.records import ClipSpec, Rejected, Span
from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.extract.shots import finder

CONFIG = BuildConfig(source="folder", recipe="track", frames=3, size=64, tube_min_px=60, tube_min_frames=20, detect_every=5)
ONE, OTHER = "dev/mp4/id90003/liveD9aaaaa/00001", "test/mp4/id90008/liveD19aaaa/00001"


@pytest.fixture(scope="module")
def videos(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real faces: two.mp4 shows one person for a second, then another for a second; one.mp4 the first for two seconds."""
    root = tmp_path_factory.mktemp("joined")
    for name, second in (("two", OTHER), ("one", ONE)):
        inputs = [word for part in (ONE, second) for word in ("-i", f"file:{corpus / 'voxceleb2' / part}.mp4")]
        graph = "[0]trim=end=1,setsar=1[a];[1]trim=1:2,setpts=PTS-STARTPTS,setsar=1[b];[a][b]concat"
        ffmpeg(*inputs, "-filter_complex", graph, "-an", "-crf", "10", "-pix_fmt", "yuv420p", root / f"{name}.mp4")
    return root


@pytest.fixture
def no_cut_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finder, "may_change", lambda window: False)


def read(videos: Path, name: str, config: BuildConfig) -> list[ReadClip | Rejected]:
    spec = ClipSpec(f"a/{name}/video", "folder", "train", "a", name, (Span(f"{name}.mp4"),), 1.0)
    return read_clip(spec, videos, models.load("dlib"), config)


@pytest.mark.usefixtures("no_cut_is_detected")
def test_one_person_rejects_tubes_of_two_people_only(videos: Path) -> None:
    (unchecked,) = read(videos, "two", CONFIG)
    assert isinstance(unchecked, ReadClip) and unchecked.source_frames > 45
    checked = replace(CONFIG, one_person=True)
    (lost,) = read(videos, "two", checked)
    assert isinstance(lost, Rejected) and (lost.reason, lost.spec) == ("two_people", unchecked.spec)
    assert re.fullmatch(r"descriptors of 5 frames are up to [01]\.\d\d apart", lost.detail)
    (kept,) = read(videos, "one", checked)
    assert isinstance(kept, ReadClip)


def test_the_network_is_in_the_provenance_and_other_recipes_are_refused() -> None:
    assert "identity_model" in provenance(replace(CONFIG, one_person=True)) and "identity_model" not in provenance(CONFIG)
    with pytest.raises(ValueError, match="one_person requires a recipe that tracks faces: recipe is 'resize'"):
        replace(CONFIG, recipe="resize", one_person=True)
    with pytest.raises(ValueError, match="faces 'all' requires a recipe that tracks faces: recipe is 'resize'"):
        replace(CONFIG, recipe="resize", faces="all")
