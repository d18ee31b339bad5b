"""Videos with non-square pixels: every recipe stores faces with their displayed aspect ratio."""

from pathlib import Path

import numpy as np
import pytest
from videos import ffmpeg

from motionshards.dataset.drawing.source_frames import source_frames, source_to_shown
from motionshards.pipeline.clips.annotations import annotation
from motionshards.pipeline.clips.clip import build_clip
from motionshards.schemas.config import RECIPES, BuildConfig
from motionshards.schemas.records import Clip, ClipSpec, Span
from motionshards.schemas.samples.encode import encode_sample
from motionshards.schemas.samples.restore import restore_clip
from motionshards.schemas.tables import clip_row, spec_row
from motionshards.transforms.extract.landmarks import models


@pytest.fixture(scope="module")
def videos(demo_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """square.mp4, and wide.mp4: the same scaled to 3/4 of its width, with the pixel aspect ratio that restores it on display."""
    root = tmp_path_factory.mktemp("aspect")
    face = sorted(demo_videos.rglob("*.mp4"))[0]
    for name, graph in (("square", "scale=240:240"), ("wide", "scale=180:240,setsar=4/3")):
        options = ["-frames:v", "12", "-an", "-c:v", "libx264", "-crf", "6", root / f"{name}.mp4"]
        ffmpeg("-i", face, "-vf", graph, *options)
    return root


def built(videos: Path, name: str, recipe: str) -> Clip:
    annotated = {"box": (40.0, 40.0, 190.0, 200.0), "reference_px": (240.0, 240.0)} if "bbox" in recipe else {}
    spec = ClipSpec(f"a/{name}/c", "folder", "train", "a", name, (Span(f"{name}.mp4", **annotated),), 1.0)  # type: ignore[arg-type]
    config = BuildConfig(source="folder", recipe=recipe, frames=2, size=192, tube_min_px=64, tube_min_frames=10)
    (clip,) = build_clip(spec, videos, models.load("dlib"), config)
    assert isinstance(clip, Clip), clip
    return clip


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_face_has_its_shape_and_pose(videos: Path, recipe: str) -> None:
    square, wide = (built(videos, name, recipe) for name in ("square", "wide"))
    shapes = []
    for clip in (square, wide):
        assert clip.landmarks is not None
        shapes.append(np.ptp(clip.landmarks.points_px, axis=1).mean(axis=0))
    np.testing.assert_allclose(shapes[1], shapes[0], rtol=0.04)
    np.testing.assert_allclose(wide.quality.yaw_deg, square.quality.yaw_deg, atol=2.5)
    assert wide.placement.source_size_px.tolist() == [[180, 240]] * 2
    scale = wide.placement.source_to_crop[0]
    if recipe != "fomm-bbox":  # which squashes its box
        assert scale[0, 0] / scale[1, 1] == pytest.approx(4 / 3, rel=0.02)
    assert (square.display.pixel_aspect, wide.display.pixel_aspect) == (1.0, pytest.approx(4 / 3))


def test_the_aspect_is_stored_and_read_back(videos: Path) -> None:
    wide, square = built(videos, "wide", "resize"), built(videos, "square", "resize")
    members = encode_sample(wide)
    assert b'"pixel_aspect":1.333333' in members["meta.json"]
    assert b"pixel_aspect" not in encode_sample(square)["meta.json"]
    row = clip_row(wide, "shard", [])
    assert restore_clip({**row, **spec_row(wide.spec)}, members).display == wide.display
    old = {name: value for name, value in row.items() if name not in ("pixel_aspect", "transfer", "primaries")}
    assert restore_clip(old, members).display.pixel_aspect == 1.0


def test_source_frames_are_shown_with_their_aspect_ratio(videos: Path) -> None:
    clip = built(videos, "wide", "track")
    spans = clip_row(clip, "shard", [])["spans"]
    (shown,) = source_frames(videos, spans, [(0, 0)], 240)
    assert shown.shape == (240, 240, 3)
    corners = np.array([[-0.5, -0.5, 1], [179.5, 239.5, 1]]) @ source_to_shown((180, 240), shown).T
    np.testing.assert_allclose(corners, [[-0.5, -0.5], [239.5, 239.5]])


def test_boxes_at_360_px_refer_to_the_displayed_frame(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("FRAME X Y W H\n0 320 90 160 180\n")
    known = annotation(Span("a.mp4", track_uri="a.txt"), tmp_path, (720, 540), 4 / 3)
    assert known.box_px is not None
    np.testing.assert_allclose(known.box_px, [360, 135, 540, 405])
