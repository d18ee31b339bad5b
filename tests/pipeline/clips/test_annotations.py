"""Annotated boxes and times: the frame and crop rules of the lists' authors, and malformed annotations."""

import csv
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from published_lists import celebvhq_clip

from motionshards.pipeline.clips.annotations import Annotation, annotation, read_track
from motionshards.pipeline.clips.read import annotated_frames, past_end_s
from motionshards.pipeline.inputs.tree import DirectoryTree
from motionshards.pipeline.sources import voxceleb1
from motionshards.pipeline.sources.celebvhq import _clip
from motionshards.pipeline.sources.listing import Listing
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.records import ClipSpec, Span
from motionshards.transforms.extract.crop import exact_window, inner_window
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
    ("content", "message"),
    [
        ("", "no line FRAME"),
        (TRACK, "no boxes"),
        (TRACK + "1 2 3 4\n", "line 6: 4 fields"),
        (TRACK + "1 2 3 4 5\n1 2 x 4 5\n", "line 7: Y is 'x'"),
    ],
)
def test_a_malformed_annotation_is_rejected_naming_line_and_field(content: str, message: str) -> None:
    with pytest.raises(ClipRejected) as lost:
        read_track("a.txt", content.encode())
    assert lost.value.reason == "bad_annotation"
    assert message in lost.value.detail


@pytest.mark.parametrize("actual_fps", [15.79, 23.976, 24, 25, 29.97, 30, 50, 59.94])
@pytest.mark.parametrize("fps", [15.79, 25, 29.97, 30, 59.94])
def test_frames_match_the_rule_of_the_authors(fps: float, actual_fps: float) -> None:
    """Frame i of the actual video is in the clip when start/fps <= i/actual_fps < end/fps."""
    line = Timeline(np.arange(4000) / actual_fps, (640, 480), actual_fps)
    rng = np.random.default_rng(0)
    for start in rng.integers(0, 3000, 50):
        end = start + int(rng.integers(1, 400))
        expected = [i for i in range(4000) if start / fps <= i / actual_fps < end / fps]
        assert Annotation(start / fps, end / fps, by_number=True).frames(line).tolist() == expected


def test_frames_of_a_variable_rate_are_selected_by_timestamps() -> None:
    times = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.12, 500))
    line = Timeline(times, (640, 480), 25.0)
    inside = Annotation(3.0, 7.0, by_number=True).frames(line)
    shifted = times - times[0]
    assert inside.tolist() == np.flatnonzero((shifted >= 3) & (shifted < 7)).tolist()


@pytest.mark.parametrize("ntsc", [24, 30, 60])
def test_rounded_nominal_rates_choose_the_same_frames(ntsc: int) -> None:
    """29.97 in a header stands for 30000/1001: the frame at which a clip starts must be in it."""
    header = round(ntsc * 1000 / 1001, 2)
    line = Timeline(np.arange(20_000) * 1001 / (ntsc * 1000), (640, 480), header)
    for start in (0, 1, 80, 575, 1499):
        known = Annotation(start / header, (start + 100) / header, by_number=True)
        assert known.frames(line).tolist() == list(range(start, start + 100))


def test_boxes_of_the_published_rows_match_those_of_the_authors(corpus: Path) -> None:
    """int(edge / (reference size / actual size)), clipped to the frame, for every row and several actual sizes."""
    path = corpus.parent / "metadata" / "vox-metadata.csv"
    specs = list(voxceleb1.list_clips(Listing(DirectoryTree(path.parent), metadata=path)))
    with path.open() as stream:
        rows = list(csv.DictReader(stream))
    for spec, row in list(zip(specs, rows, strict=True))[::50]:
        for width, height in ((int(row["width"]), int(row["height"])), (1280, 720), (640, 360), (854, 480)):
            left, top, right, bottom = map(int, row["bbox"].split("-"))
            across, down = int(row["width"]) / width, int(row["height"]) / height
            expected = (int(left / across), int(top / down), min(int(right / across), width), min(int(bottom / down), height))
            known = annotation(spec.spans[0], path.parent, (width, height))
            assert known.box_px is not None
            assert exact_window(known.box_px, (width, height)) == expected


def test_frames_by_number_are_those_of_the_file_whatever_its_times() -> None:
    line = Timeline(5 + np.cumsum(np.random.default_rng(0).uniform(0.01, 0.12, 500)), (640, 480), 25.0)
    known = annotation(Span("v.mp4", box=(1, 2, 3, 4), reference_px=(64, 48), frames=(90, 300)), Path(), (640, 480))
    assert known.box_px is not None and known.box_px.tolist() == [10, 20, 30, 40]
    assert known.frames(line).tolist() == list(range(90, 300))
    assert past_end_s(known, line) == 0
    late = replace(known, span_frames=(490, 510))
    assert late.frames(line).tolist() == list(range(490, 500))
    assert past_end_s(late, line) == pytest.approx(10 * line.duration_s / 500)
    with pytest.raises(ClipRejected, match="past_the_end"):
        annotated_frames(replace(known, span_frames=(500, 501)), line)


def test_shown_times_are_compared_with_timestamps() -> None:
    """The nominal rate is off by 0.4 %, which affects timestamps but not frame numbers over the nominal rate."""
    line = Timeline(np.arange(20_000) / 25.1, (640, 480), 25.0)
    box = Span("v.mp4", 400, 500, (1, 2, 3, 4), (64, 48))
    shown, numbered = (annotation(span, Path(), (640, 480)) for span in (replace(box, shown_times=True), box))
    assert shown.frames(line).tolist() == np.flatnonzero((line.pts_s >= 400) & (line.pts_s < 500)).tolist()
    assert numbered.frames(line).tolist() == list(range(10_000, 12_500))


def test_reference_without_width_is_scaled_by_height() -> None:
    """Square pixels as displayed: an anamorphic frame of 720x540, shown 4/3 as wide, is one of 960x540."""
    span = Span("v.mp4", box=(100, 20, 300, 220), reference_px=(0, 1080), shown_times=True)
    for size_px, aspect, scale in (((1920, 1080), Fraction(1), 1), ((640, 360), Fraction(1), 3), ((720, 540), Fraction(4, 3), 2)):
        box_px = annotation(span, Path(), size_px, aspect).box_px
        assert box_px is not None
        across = scale * float(aspect)
        assert box_px == pytest.approx([100 / across, 20 / scale, 300 / across, 220 / scale])


def test_inner_squares_match_those_of_celebvhq() -> None:
    """Fractions enlarged by 0.02, rounded to pixels, then a square on the shorter side; whole pixels, rounded down."""
    rng = np.random.default_rng(0)
    for _ in range(10_000):
        left, right = sorted(rng.integers(0, 10_001, 2) / 10_000)
        top, bottom = sorted(rng.integers(0, 10_001, 2) / 10_000)
        width, height = (int(side) for side in rng.choice([360, 480, 640, 720, 854, 1080, 1280, 1920], 2))
        clip = celebvhq_clip("v", 0, 1, (left, top, right, bottom))
        y0, y1 = round(max(top - 0.02, 0) * height), round(min(bottom + 0.02, 1) * height)
        x0, x1 = round(max(left - 0.02, 0) * width), round(min(right + 0.02, 1) * width)
        half = min(y1 - y0, x1 - x0) // 2
        expected = tuple(int(edge) for edge in ((x0 + x1) / 2 - half, (y0 + y1) / 2 - half, 2 * half, 2 * half))
        span = _clip("v_0", clip, {}).span
        box_px = annotation(span, Path(), (width, height)).box_px
        assert box_px is not None
        a, b, c, d = inner_window(box_px, (width, height))
        assert (a, b, c - a, d - b) == expected


def test_inner_squares_are_square_as_displayed_and_within_the_frame() -> None:
    assert inner_window(np.array([100.0, 0, 400, 300]), (720, 576), Fraction(2)) == (175, 0, 325, 300)
    assert inner_window(np.array([-100.0, 10, 100, 700]), (640, 480)) == (0, 195, 100, 295)
    for box in ([10.0, 10, 11, 300], [700.0, 0, 800, 100]):
        with pytest.raises(ClipRejected, match="bad_annotation"):
            inner_window(np.array(box), (640, 480))


def test_boxes_match_those_of_talkinghead1kh() -> None:
    """int(left / W * width) of every edge."""
    rng = np.random.default_rng(0)
    for _ in range(1_000):
        x0, y0 = int(rng.integers(0, 1200)), int(rng.integers(0, 700))
        x1, y1 = x0 + int(rng.integers(4, 80)), y0 + int(rng.integers(4, 20))
        width, height = int(rng.integers(640, 2000)), int(rng.integers(360, 1100))
        expected = tuple(
            int(edge / side * of) for edge, side, of in zip((x0, y0, x1, y1), (1280, 720) * 2, (width, height) * 2, strict=True)
        )
        span = Span("v.mp4", box=(x0, y0, x1, y1), reference_px=(1280, 720), frames=(0, 9))
        box_px = annotation(span, Path(), (width, height)).box_px
        assert box_px is not None
        assert exact_window(box_px, (width, height)) == expected


def test_landmarks_map_back_to_source_pixels(demo_videos: Path, tmp_path: Path) -> None:
    """The same frames, cropped by `bbox` and uncropped, give the same landmarks in source pixels."""
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
