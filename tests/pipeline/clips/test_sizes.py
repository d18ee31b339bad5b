"""Clips at several sizes: stills and video at each size have the same bytes as a build at only that size."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from moving import SIZE, X264, image, mp4_of

from motionshards.pipeline.clips.clip import build_clip
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.records import Clip, ClipSpec, Span
from motionshards.schemas.samples.encode import encode_sample
from motionshards.transforms.extract.landmarks import models

SIZES = (96, 64, 32)
CONFIG = BuildConfig(source="folder", size=SIZES[0], frames=3, landmarks="none", store="both", fps="source", audio="none")
BOX: dict[str, Any] = {"box": (20.0, 20.0, 150.0, 200.0), "reference_px": (256.0, 256.0)}


def built(root: Path, config: BuildConfig, *spans: Span) -> Clip:
    spec = ClipSpec("a/b/c", "folder", "train", "a", "b", spans, 1.0)
    (clip,) = build_clip(spec, root, models.load(config.landmarks), config)
    assert isinstance(clip, Clip), clip
    return clip


def check(root: Path, config: BuildConfig, *spans: Span) -> Clip:
    """Build at all SIZES at once and at each separately, and compare; returns the clip with all sizes."""
    together = built(root, replace(config, smaller_sizes=SIZES[1:]), *spans)
    for one in together.smaller:
        alone = built(root, replace(config, size=one.size_px), *spans)
        assert one.jpegs == alone.jpegs and one.mp4 == (alone.video and alone.video.mp4)
    members, main = encode_sample(together), encode_sample(built(root, config, *spans))
    assert {name: content for name, content in members.items() if name.partition(".")[0] not in ("64", "32")} == main
    assert tuple(one.size_px for one in together.smaller) == SIZES[1:] and list(members)[-1] == "meta.json"
    assert len(members) == len(main) + (len(SIZES) - 1) * (len(together.jpegs) + config.stores_video)
    return together


@pytest.mark.parametrize(
    "settings",
    [
        {"recipe": "resize", "hdr": "keep"},
        {"recipe": "resize", "store": "stills", "fps": "25", "audio": "mono"},
        {"recipe": "bbox", "store": "video"},
        {"recipe": "fomm-bbox", "fit": "squash", "video_psnr": 36.0},
    ],
    ids=str,
)
def test_recipes_without_faces(demo_videos: Path, settings: dict[str, Any]) -> None:
    video = sorted(demo_videos.rglob("*.mp4"))[0]
    where = {} if settings["recipe"] == "resize" else BOX
    check(video.parent, replace(CONFIG, **settings), Span(video.name, end_s=0.6, **where))


def test_a_tube_of_a_face(demo_videos: Path) -> None:
    video = sorted(demo_videos.rglob("*.mp4"))[0]
    face = {"recipe": "face", "landmarks": "dlib", "tube_min_frames": 5, "detect_every": 5, "landmarks_every": 20}
    check(video.parent, replace(CONFIG, **face), Span(video.name, end_s=0.5))


def test_several_files_of_a_video(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.mp4").write_bytes(mp4_of([image(number, frame) for frame in range(9)]))
    clip = check(tmp_path, replace(CONFIG, unit="video", frames=7), *(Span(f"{number}.mp4") for number in range(3)))
    assert clip.video is not None and len(clip.video) == 27


OPEN_GROUPS = {"x264-params": "keyint=6:min-keyint=6:scenecut=0:bframes=2:b-adapt=0:open-gop=1"}


@pytest.mark.parametrize(
    ("frames", "options", "copied"),
    [(12, X264, True), (40, X264, False), (24, OPEN_GROUPS, False)],
    ids=["copied", "cut", "encoded"],
)
def test_packets_are_copied_only_at_the_size_of_the_source(
    tmp_path: Path, frames: int, options: dict[str, str], copied: bool
) -> None:
    """Two clips must be encoded: 30 of 40 frames, and one whose packets cannot be copied."""
    assert SIZE in SIZES[1:]
    images = [image(0, frame) for frame in range(frames)]
    (tmp_path / "a.mp4").write_bytes(mp4_of(images, options=options, reordered=options is OPEN_GROUPS))
    clip = check(tmp_path, replace(CONFIG, video_copy=True), Span("a.mp4", end_s=1.2))
    source, stored = (tmp_path / "a.mp4").read_bytes(), clip.smaller[0].mp4
    assert stored is not None and clip.video is not None and clip.video.crf == CONFIG.crf
    assert (source[source.index(b"mdat") :][:400] == stored[stored.index(b"mdat") :][:400]) == copied
