"""Restoring a clip from its stored sample."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import moving
import numpy as np
import pyarrow.parquet as pq
import pytest

from motionshards.dataset.index import read_members
from motionshards.pipeline.clips.clip import build_clip
from motionshards.schemas.action_units import ActionUnits, AuFile, AuSequence
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.layout import tar_path
from motionshards.schemas.records import Clip, ClipSpec, Packed, Span
from motionshards.schemas.samples.encode import encode_sample
from motionshards.schemas.samples.restore import restore_clip
from motionshards.schemas.tables import MARKER, Member, clip_row, table
from motionshards.transforms.extract.landmarks import models

CONFIG = BuildConfig(source="voxceleb2", size=96, frames=4)


@pytest.fixture(scope="module")
def clip(demo_videos: Path) -> Clip:
    video = next(demo_videos.rglob("*.mp4"))
    spec = ClipSpec("id1/v/c", "voxceleb2", "train", "id1", "v", (Span(video.name),), 1.0)
    (built,) = build_clip(spec, video.parent, models.load("dlib"), CONFIG)
    assert isinstance(built, Clip)
    return built


def without_faces(clip: Clip) -> Clip:
    return replace(clip, track=None, landmarks=None)


def of_format_version_1(clip: Clip) -> Clip:
    return replace(clip, file_frames=())


def with_lost_face(clip: Clip) -> Clip:
    assert clip.track is not None and clip.landmarks is not None
    boxes, scores, points = clip.track.boxes_px.copy(), clip.track.scores.copy(), clip.landmarks.points_px.copy()
    boxes[2], scores[2], points[2] = np.nan, np.nan, np.nan
    quality = replace(clip.quality, yaw_deg=np.array([1, 2, np.nan, 0.125], np.float32))
    track, landmarks = replace(clip.track, boxes_px=boxes, scores=scores), replace(clip.landmarks, points_px=points)
    return replace(clip, track=track, landmarks=landmarks, quality=quality)


def with_aus(clip: Clip) -> Clip:
    valid = np.array([True, False, True, True])
    values = np.where(valid[:, None], np.float32(0.3), np.float32(np.nan))
    presence = np.where(valid[:, None], np.float32(1), np.float32(np.nan))
    confidence = np.array([0.9, np.nan, 0.5, 1 / 3], np.float32)
    files = (AuFile("a/b.csv", "0" * 64), None)
    aus = ActionUnits(np.repeat(values, 17, 1), np.repeat(presence, 18, 1), valid, confidence, files)
    packed = Packed("a.zip", 5, 6, 7, "stored", 2**32 - 1)
    span = Span("x", 1 / 3, 2.5, (0.0, 1.0, 2.0, 3.5), (4.0, 5.0), "t.txt", packed, packed)
    return replace(clip, aus=aus, spec=replace(clip.spec, spans=(span, span)), past_end_s=1 / 7)


def with_all_aus(clip: Clip) -> Clip:
    """Action units of a program without presence and confidence, including frames that are not stored."""
    valid = np.array([True, False, True, True])
    every = np.repeat(np.array([0.25, np.nan, 3, 1, np.nan, 5], np.float32)[:, None], 17, 1)
    sequence = AuSequence(every, np.arange(6) / 30, np.array([0, 1, 2, 5], np.int32))
    aus = ActionUnits(every[sequence.row], None, valid, np.full(4, np.nan, np.float32), sequence=sequence)
    return replace(clip, aus=aus)


CHANGES = [lambda clip: clip, without_faces, of_format_version_1, with_lost_face, with_aus, with_all_aus]


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_encoding_a_restored_clip_gives_the_same_bytes_and_row(clip: Clip, change) -> None:  # type: ignore[no-untyped-def]
    clip = change(clip)
    members = encode_sample(clip)
    places = [Member(suffix, 512, len(content), 1) for suffix, content in members.items()]
    stored = table([clip_row(clip, "s-train-000000", places)], MARKER)
    (row,) = stored.to_pylist()
    back = restore_clip(row, members)
    assert encode_sample(back) == members
    again = table([clip_row(back, row["shard"], places)], MARKER)
    assert again.to_pydict().keys() == stored.to_pydict().keys()
    np.testing.assert_equal(again.to_pylist(), stored.to_pylist())
    assert back.jpegs == clip.jpegs and back.file_frames == clip.file_frames and back.spec == replace(clip.spec, cost=1.0)
    assert (back.track is None, back.landmarks is None, back.aus is None) == tuple(
        one is None for one in (clip.track, clip.landmarks, clip.aus)
    )


def test_invalid_member_is_reported(clip: Clip) -> None:
    members = encode_sample(clip)
    row = clip_row(clip, "s", [])
    for suffix in ("meta.json", "landmarks.npy"):
        with pytest.raises(ValueError):  # noqa: PT011 -- whatever the parser says
            restore_clip(row, {**members, suffix: b"nonsense"})
    with pytest.raises(KeyError):
        restore_clip(row, {suffix: content for suffix, content in members.items() if suffix != "meta.json"})


@pytest.mark.parametrize(("store", "smaller"), [("video", ()), ("both", ()), ("video", (32,)), ("both", (32, 16))])
def test_clip_with_video_and_audio_round_trips_to_the_same_bytes(tmp_path: Path, store: str, smaller: tuple[int, ...]) -> None:
    data = moving.make_moving_dataset(tmp_path / "data", 2, store=store, sound=lambda clip: clip, smaller=smaller)
    for row, members in samples_of(data):
        clip = restore_clip(row, members)
        assert encode_sample(clip) == members and list(encode_sample(clip)) == list(members)
        assert tuple((one.size_px, len(one.jpegs)) for one in clip.smaller) == tuple((size, len(clip.jpegs)) for size in smaller)
        again = table([clip_row(clip, row["shard"], [Member(**one) for one in row["members"]])], MARKER).to_pylist()[0]
        assert {name: again[name] for name in row} == row
        assert clip.video is not None and len(clip.video) == row["video_frames"] and clip.video.size_px == moving.SIZE
        assert (clip.sound is not None) == row["has_audio"] == ("flac" in members)


def samples_of(data: Path) -> list[tuple[dict[str, Any], dict[str, bytes]]]:
    found = []
    for row in pq.read_table(data / "index.parquet").to_pylist():
        with open(tar_path(data, row["split"], row["shard"]), "rb") as stream:
            found.append((row, read_members(stream, row["members"])))
    return found
