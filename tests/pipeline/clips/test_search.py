"""Face detection at the resolution of the source: detected faces, faces that are too small, and clips without a face."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from heads import CORNER_PX, FRAME_PX, head_in_frame

from motionshards.pipeline.clips.clip import build_clip
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.records import Clip, ClipSpec, Rejected, Span
from motionshards.transforms.extract.landmarks import models

CONFIG = BuildConfig(source="folder", frames=3, size=128)


@pytest.fixture(scope="module")
def head(demo_videos: Path) -> Path:
    """A head that fills a large part of 224 px."""
    return min((demo_videos / "dev").rglob("*.mp4"))


def built(path: Path, config: BuildConfig = CONFIG, box: tuple[float, float, float, float] | None = None) -> Clip | Rejected:
    spec = ClipSpec("a/b/c", "folder", "train", "a", "b", (Span(path.name, box=box, reference_px=FRAME_PX),), 1.0)
    (outcome,) = build_clip(spec, path.parent, models.load("dlib"), config)
    return outcome


def face_at(clip: Clip) -> np.ndarray:
    """Face box of the first frame, edges in source pixels, relative to the drawn head."""
    assert clip.track is not None
    affine = clip.placement.source_to_crop[0]
    return (clip.track.boxes_px[0].reshape(2, 2) - affine[:, 2]) / affine[[0, 1], [0, 1]] + 0.5 - CORNER_PX


@pytest.mark.parametrize("side", [400, 224, 160])
def test_a_face_is_found_however_small_the_stored_frame_shows_it(head: Path, tmp_path: Path, side: int) -> None:
    """At 128 px a head of 160 px has 21 px; the detector needs 80."""
    clip = built(head_in_frame(tmp_path / "wide.mp4", head, side))
    assert isinstance(clip, Clip), clip
    low, high = face_at(clip) / side
    assert (np.abs(low - 0.2) < 0.15).all() and (np.abs(high - 0.8) < 0.2).all(), (low, high)
    assert clip.landmarks is not None and np.isfinite(clip.landmarks.points_px).all()
    assert clip.quality.face_size_px[0] == pytest.approx((high - low).max() * side, rel=0.01)


def test_within_an_annotated_box_the_source_is_searched_as_well(head: Path, tmp_path: Path) -> None:
    path, (x, y) = head_in_frame(tmp_path / "wide.mp4", head, 160), CORNER_PX
    clip = built(path, replace(CONFIG, recipe="bbox", size=32), (x - 40.0, y - 40.0, x + 200.0, y + 200.0))
    assert isinstance(clip, Clip), clip
    low, high = face_at(clip) / 160
    assert (np.abs(low - 0.2) < 0.2).all() and (np.abs(high - 0.8) < 0.25).all(), (low, high)


def test_small_face_is_too_small_and_no_face_is_no_face(head: Path, tmp_path: Path) -> None:
    tiny = built(head_in_frame(tmp_path / "tiny.mp4", head, 90))
    assert isinstance(tiny, Rejected) and (tiny.reason, tiny.detail[-16:]) == ("face_too_small", "px in the source")
    assert 40 <= float(tiny.detail.split()[0]) < 80
    large = head_in_frame(tmp_path / "large.mp4", head, 224)
    below_limit = built(large, replace(CONFIG, detect_min_px=240))
    assert isinstance(below_limit, Rejected) and below_limit.reason == "face_too_small"
    assert isinstance(built(large, replace(CONFIG, detect_min_px=120)), Clip)
    faceless = built(head_in_frame(tmp_path / "nobody.mp4", head, 16))
    assert isinstance(faceless, Rejected) and (faceless.reason, faceless.detail) == ("no_face", "in none of 3 sampled frames")


def test_a_kept_clip_without_a_face_is_not_searched_again(head: Path, tmp_path: Path) -> None:
    kept = built(head_in_frame(tmp_path / "tiny.mp4", head, 90), replace(CONFIG, no_face="keep"))
    assert isinstance(kept, Clip) and kept.track is not None and not kept.track.found.any()
