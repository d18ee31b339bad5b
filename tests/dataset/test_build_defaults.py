"""Builds without --recipe, with a wrong one, and with a corrected one afterwards."""

from pathlib import Path

import pytest
from published_lists import celebvhq_clip, write_celebvhq, write_hdtf, write_talkinghead1kh

from motionshards.dataset import build, remove, verify
from motionshards.dataset.index import Dataset
from motionshards.pipeline.planning import start_over
from motionshards.pipeline.sources import SOURCES
from motionshards.schemas.manifest import Manifest

pytestmark = pytest.mark.usefixtures("quick")

HEADER = "video_id,start,end,bbox,fps,width,height,partition,person_id\n"


ROW = "clip,0,20,16-0-80-64,25,96,64,train,anna\n"


WHAT = ["--landmarks", "none", "--size", "64", "--frames", "2", "--workers", "1"]


def run(source: str, videos: Path, out: Path, *more: str) -> int:
    return build.main(["--source", source, "--input", str(videos), "--output", str(out), *WHAT, *more])


@pytest.fixture
def layouts(make_video, tmp_path: Path) -> Path:  # type: ignore[no-untyped-def]
    """A directory with one clip for each source, and clips.csv."""
    video = make_video("folder/clip.mp4", source="testsrc2=size=96x64:rate=25:duration=0.8")
    (tmp_path / "clips.csv").write_text(HEADER + ROW)
    for place in (
        "voxceleb1/videos/clip.mp4",
        "voxceleb2/dev/mp4/anna/clip/00001.mp4",
        "annotated/videos/clip.mp4",
        "taichi/videos/clip.mp4",
        "fashion/train/clip.mp4",
        "hdtf/videos/clip.mp4",
        "celebvhq/videos/clip.mp4",
        "talkinghead1kh/videos/clip/clip_0000.mp4",
    ):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).symlink_to(video)
    (tmp_path / "taichi/taichi-metadata.csv").write_text(HEADER + ROW)
    write_hdtf(
        tmp_path / "hdtf",
        RD_annotion_time="clip.mp4 00:00-00:01\n",
        RD_resolution="clip.mp4 64\n",
        RD_crop_wh="clip_0.mp4 16 64 0 64\n",
    )
    write_celebvhq(tmp_path / "celebvhq", {"clip_0": celebvhq_clip("clip", 0, 1, (1 / 6, 0, 5 / 6, 1))})
    write_talkinghead1kh(tmp_path / "talkinghead1kh", train="clip_0000, 64, 96, 0, 19, 16, 0, 80, 64\n")
    for name, box in (("voxceleb1", "90 0 360 360"), ("annotated", "0.16 0.0 0.66 1.0")):
        track = tmp_path / name / "txt/anna/clip/00001.txt"
        track.parent.mkdir(parents=True)
        track.write_text("Identity  : \tanna\n\nFRAME \tX \tY \tW \tH \n" + "".join(f"{n} {box}\n" for n in range(20)))
    return tmp_path


@pytest.mark.parametrize(
    ("source", "tree", "recipe", "with_csv"),
    [
        ("voxceleb1", "voxceleb1", "bbox", "bbox"),
        ("voxceleb2", "voxceleb2", "resize", None),
        ("voxceleb2", "annotated", "bbox", None),
        ("taichi", "taichi", "bbox", "bbox"),
        ("fashion", "fashion", "resize", None),
        ("folder", "folder", "resize", "bbox"),
        ("hdtf", "hdtf", "bbox", None),
        ("celebvhq", "celebvhq", "inner-bbox", None),
        ("talkinghead1kh", "talkinghead1kh", "bbox", None),
        ("demo", "voxceleb2", "resize", None),
    ],
)
def test_the_default_recipe_is_bbox_if_clips_have_boxes(
    layouts: Path, source: str, tree: str, recipe: str, with_csv: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each source without and with --metadata; recipe None: the source rejects --metadata."""
    if source != "demo":  # demo would render its corpus here
        assert run(source, layouts / tree, layouts / "plain") == 0
        assert built(layouts / "plain") == recipe
    capsys.readouterr()
    status = run(source, layouts / tree, layouts / "csv", "--metadata", str(layouts / "clips.csv"))
    output = capsys.readouterr().err
    if with_csv is None:
        assert (status, output.count("\n")) == (2, 1)
        assert f"--metadata cannot be used with --source {source}, only with voxceleb1, taichi, folder" in output
        assert not (layouts / "csv").exists()
    else:
        assert status == 0 and built(layouts / "csv") == with_csv


def built(out: Path) -> str:
    """The recipe of a dataset of one clip; checks that the crop is the whole frame only with `resize`."""
    (sample,) = Dataset.open(out).samples()
    x0, y0, x1, y1 = sample.meta["content_px"][0]
    recipe = Manifest.read(out).config.recipe
    assert (x1 - x0, y1 - y0) == ((64, 64) if recipe in ("bbox", "inner-bbox") else (64, 43))
    return recipe


def test_every_source_is_in_the_table() -> None:
    (mark,) = test_the_default_recipe_is_bbox_if_clips_have_boxes.pytestmark  # type: ignore[attr-defined]
    assert {source for source, *_ in mark.args[1]} == set(SOURCES)


@pytest.mark.parametrize("recipe", ["bbox", "fomm-bbox"])
def test_recipes_that_need_boxes_are_refused_if_no_clip_has_one(
    layouts: Path, recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("folder", layouts / "folder", layouts / "out", "--recipe", recipe, "--quiet") == 2
    output = capsys.readouterr().err
    assert f"--recipe {recipe} needs boxes, but none of the 1 clips has one" in output and output.count("\n") == 1
    assert not (layouts / "out").exists()
    assert run("folder", layouts / "folder", layouts / "out") == 0, "the corrected command"


def test_an_output_without_kept_clips_is_rebuilt_with_other_settings(layouts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos, out = layouts / "folder", layouts / "out"
    assert run("folder", videos, out, "--frames", "30") == 1
    assert Manifest.read(out).counts["rejected"] == {"too_few_frames": 1}
    assert run("folder", videos, out, "--frames", "30", "--quiet") == 1, "the same command does not start over"
    capsys.readouterr()
    assert run("folder", videos, out) == 0
    output = capsys.readouterr().err
    assert f"{out} holds a build with different settings that kept no clips (frames: 30 -> 2): starting over" in output
    assert Manifest.read(out).counts["kept"] == 1 and verify.verify(out).faults == ()
    assert run("folder", videos, layouts / "fresh") == 0
    for path in sorted((layouts / "fresh").glob("*/*")):
        assert path.read_bytes() == (out / path.relative_to(layouts / "fresh")).read_bytes()


def test_an_output_with_kept_or_removed_clips_is_not_started_over(layouts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos, out = layouts / "folder", layouts / "out"
    assert run("folder", videos, out) == 0
    assert run("folder", videos, out, "--frames", "3") == 2
    assert "already holds a dataset built with different settings (frames: 2 -> 3)" in capsys.readouterr().err
    assert remove.main([str(out), "--identity", "clip"]) == 0
    assert Manifest.read(out).counts["kept"] == 0
    assert run("folder", videos, out, "--frames", "3") == 2, "otherwise the removed clip would return"


def test_an_interrupted_restart_is_finished(layouts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos, out = layouts / "folder", layouts / "out"
    assert run("folder", videos, out, "--frames", "30") == 1
    unlink, done = Path.unlink, []

    def failing(path: Path, missing_ok: bool = False) -> None:
        if out in path.parents and len(done) == 4:
            raise OSError(5, "Input/output error", str(path))
        done.append(path)
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(start_over.Path, "unlink", failing)
        assert run("folder", videos, out) == 1
    assert (out / "dataset.json").exists()
    assert run("folder", videos, out, "--recipe", "bbox") == 2, "a failed plan leaves nothing behind"
    assert not out.exists()
    assert run("folder", videos, out) == 0 and verify.verify(out).faults == ()
