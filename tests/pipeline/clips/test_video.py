"""Clips with stored video: its frames, their measures, and stills that are unaffected by it."""

import io
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from moving import SIZE, image, mp4_of, seen_in

from motionshards.pipeline.clips.clip import build_clip
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.records import Clip, ClipSpec, Rejected, Span
from motionshards.schemas.samples.encode import encode_sample
from motionshards.transforms.extract.landmarks import models

NUMBERED = BuildConfig(source="folder", size=SIZE, frames=4, store="video", landmarks="none", landmarks_every=3)


def spec_of(*spans: Span) -> ClipSpec:
    return ClipSpec("a/b/c", "folder", "train", "a", "b", spans, 1.0)


def built(root: Path, config: BuildConfig, *spans: Span) -> Clip:
    (clip,) = build_clip(spec_of(*spans), root, models.load(config.landmarks), config)
    assert isinstance(clip, Clip), clip
    return clip


def numbered(path: Path, clip: int, frames: int, rate: Fraction) -> None:
    path.write_bytes(mp4_of([image(clip, number) for number in range(frames)], rate))


def shown(clip: Clip) -> list[tuple[int, int]]:
    """Clip and frame number encoded in the pixels of each frame of the stored video."""
    assert clip.video is not None
    with av.open(io.BytesIO(clip.video.mp4)) as file:
        assert file.streams.video[0].average_rate == clip.video.rate
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in file.decode(video=0)]
    assert [time for time, _ in frames] == pytest.approx([number / clip.video.rate for number in range(len(frames))])
    return [seen_in(rgb) for _, rgb in frames]


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (Fraction(25), list(range(20))),
        (Fraction(50), list(range(0, 40, 2))),
        (Fraction(30), [0, 1, 2, 4, 5, 6, 7, 8, 10, 11]),
        (Fraction(10), [0, 0, 1, 1, 2, 2, 2, 3, 3, 4]),
    ],
)
def test_each_frame_shows_the_nearest_of_the_source(tmp_path: Path, rate: Fraction, expected: list[int]) -> None:
    numbered(tmp_path / "a.mp4", 3, 40, rate)
    clip = built(tmp_path, NUMBERED, Span("a.mp4"))
    assert clip.video is not None and not clip.jpegs and clip.sound is None
    assert len(clip.video) == round(40 / rate * 25) == len(shown(clip))
    assert [frame for _, frame in shown(clip)] == clip.video.source.index.tolist()
    assert clip.video.source.index.tolist()[: len(expected)] == expected
    np.testing.assert_allclose(clip.video.source.pts_s, clip.video.source.index / float(rate), atol=1e-3)
    assert clip.placement.index.tolist() == clip.video.source.index.tolist()[::3]


def test_the_frame_rate_of_the_source_keeps_every_frame_once(tmp_path: Path) -> None:
    numbered(tmp_path / "a.mp4", 3, 31, Fraction(30000, 1001))
    clip = built(tmp_path, replace(NUMBERED, fps="source"), Span("a.mp4"))
    assert clip.video is not None and clip.video.rate == Fraction(30000, 1001)
    assert [frame for _, frame in shown(clip)] == list(range(31))


def test_a_stretch_of_a_file_begins_at_its_own_first_frame(tmp_path: Path) -> None:
    numbered(tmp_path / "a.mp4", 3, 60, Fraction(30))
    clip = built(tmp_path, NUMBERED, Span("a.mp4", start_s=0.5, end_s=1.5))
    assert [frame for _, frame in shown(clip)][:6] == [15, 16, 17, 19, 20, 21]
    assert clip.video is not None and len(clip.video) == 25


def test_several_files_become_one_video_in_which_every_nth_frame_is_measured(tmp_path: Path) -> None:
    for number, frames in enumerate((10, 1, 14)):
        numbered(tmp_path / f"{number}.mp4", number, frames, Fraction(25))
    for store in ("video", "both"):
        config = replace(NUMBERED, unit="video", store=store)
        clip = built(tmp_path, config, *(Span(f"{number}.mp4") for number in range(3)))
        assert shown(clip) == [(0, one) for one in range(10)] + [(1, 0)] + [(2, one) for one in range(14)]
        assert clip.video is not None
        assert clip.video.source.span.tolist() == [0] * 10 + [1] + [2] * 14
        rows = clip.video.measured.placement if clip.video.measured else clip.placement
        assert list(zip(rows.span.tolist(), rows.index.tolist(), strict=True)) == shown(clip)[::3]


@pytest.mark.parametrize("recipe", ["resize", "bbox", "track"])
def test_stills_are_unaffected_by_stored_video(demo_videos: Path, recipe: str) -> None:
    video = sorted(demo_videos.rglob("*.mp4"))[0]
    annotated = (
        Span(video.name, box=(20.0, 20.0, 200.0, 200.0), reference_px=(256.0, 256.0)) if recipe == "bbox" else Span(video.name)
    )
    config = BuildConfig(source="folder", size=96, frames=3, recipe=recipe, tube_min_px=64, tube_min_frames=10)
    stills, both, moving = (built(video.parent, replace(config, store=store), annotated) for store in ("stills", "both", "video"))
    beside = encode_sample(both)
    assert {name: beside[name] for name in encode_sample(stills) if name != "meta.json"} == {
        name: content for name, content in encode_sample(stills).items() if name != "meta.json"
    }
    assert (
        both.quality.yaw_deg.tolist() == stills.quality.yaw_deg.tolist()
        and both.placement.index.tolist() == stills.placement.index.tolist()
    )
    assert both.video is not None and both.video.measured is not None and moving.video is not None
    assert both.video.mp4 == moving.video.mp4
    np.testing.assert_array_equal(both.video.measured.quality.yaw_deg, moving.quality.yaw_deg)
    assert moving.track is not None and moving.track.found.mean() > 0.9
    assert moving.landmarks is not None and both.video.measured.landmarks is not None
    np.testing.assert_array_equal(moving.landmarks.points_px, both.video.measured.landmarks.points_px)
    assert len(moving) == -(-len(moving.video) // 5)


def test_packets_are_copied_if_nothing_changes(tmp_path: Path) -> None:
    numbered(tmp_path / "a.mp4", 3, 20, Fraction(25))
    config = replace(NUMBERED, video_copy=True)
    copied, other = built(tmp_path, config, Span("a.mp4")), built(tmp_path, config, Span("a.mp4", end_s=0.4))
    assert copied.video is not None and copied.video.crf is None and other.video is not None and other.video.crf == 18
    assert shown(copied) == [(3, number) for number in range(20)]
    assert shown(other) == [(3, number) for number in range(10)]
    twice = built(tmp_path, replace(config, unit="video"), Span("a.mp4"), Span("a.mp4"))
    assert twice.video is not None and twice.video.crf == 18


@pytest.mark.parametrize(("open_gop", "crf"), [(0, None), (1, 18)])
def test_only_packets_of_closed_groups_are_copied(tmp_path: Path, open_gop: int, crf: int | None) -> None:
    options = {"x264-params": f"keyint=8:scenecut=0:bframes=2:b-adapt=0:open-gop={open_gop}"}
    (tmp_path / "a.mp4").write_bytes(mp4_of([image(3, number) for number in range(20)], options=options, reordered=True))
    clip = built(tmp_path, replace(NUMBERED, video_copy=True), Span("a.mp4"))
    assert clip.video is not None and clip.video.crf == crf
    assert shown(clip) == [(3, number) for number in range(20)]


def test_a_video_without_a_face_is_rejected_with_and_without_stills(tmp_path: Path) -> None:
    numbered(tmp_path / "a.mp4", 3, 20, Fraction(25))
    for store in ("stills", "video", "both"):
        config = replace(NUMBERED, landmarks="dlib", store=store, landmarks_every=5)
        (lost,) = build_clip(spec_of(Span("a.mp4")), tmp_path, models.load("dlib"), config)
        assert isinstance(lost, Rejected) and lost.reason == "no_face"


def test_too_many_measured_frames_are_refused_before_they_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbered(tmp_path / "a.mp4", 3, 20, Fraction(25))
    monkeypatch.setattr("motionshards.pipeline.clips.video._MAX_MEASURED_BYTES", 6 * SIZE**2 * 3)
    (lost,) = build_clip(spec_of(Span("a.mp4")), tmp_path, None, NUMBERED)
    assert isinstance(lost, Rejected) and lost.reason == "too_much_memory" and "--landmarks-every" in lost.detail
