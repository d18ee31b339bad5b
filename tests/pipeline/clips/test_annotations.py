"""Annotated boxes and times: the authors' rules for frames and crops, and malformed annotations."""

import csv
from pathlib import Path

import numpy as np
import pytest

from motionshards.pipeline.clips.annotations import Annotation, annotation, read_track
from motionshards.pipeline.inputs.tree import DirectoryTree
from motionshards.pipeline.sources import voxceleb1
from motionshards.pipeline.sources.listing import Listing
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.records import ClipSpec, Span
from motionshards.transforms.extract.crop import exact_window
from motionshards.transforms.extract.timeline import Timeline

TRACK = "Identity  : \tid1\nReference : \tvid\nOffset    : \t0\n\nFRAME \tX \tY \tW \tH \n"


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
