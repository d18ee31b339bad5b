"""Reading stored video for display: frames, sound, marks of a frame, and damaged clips."""

import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from moving import CLICK_EVERY, click_at, seen_in

from motionshards.dataset.clips.video import Sound, Video
from motionshards.dataset.drawing.motion import Motion, read_clip
from motionshards.dataset.index import Dataset
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.layout import VIDEO, tar_path


def motion_of(out: Path, clip: int) -> Motion:
    data = Dataset.open(out)
    motion = read_clip(data, data.index().to_pylist()[clip])[1]
    assert motion is not None
    return motion


def test_frames_and_sound_are_those_of_the_clip(moving: Path) -> None:
    motion = motion_of(moving, 1)
    assert (len(motion), motion.video.size_px, float(motion.video.rate), motion.video.every) == (45, 64, 25.0, 5)
    assert [seen_in(frame) for frame in motion.frames(np.array([3, 44, 0]))] == [(1, 3), (1, 44), (1, 0)]
    sound = motion.sound()
    assert sound is not None
    assert np.flatnonzero(sound.samples[:, 0]).tolist() == [click_at(frame) for frame in range(0, 45, CLICK_EVERY)]
    assert motion_of(moving, 0).sound() is None


def test_described_frames_are_evenly_spaced_over_the_clip(moving: Path) -> None:
    data = Dataset.open(moving)
    row = data.index().to_pylist()[2]
    every, _ = read_clip(data, row)
    some, _ = read_clip(data, row, 3)
    chosen = [0, 2, 4] if data.manifest.config.stores_stills else [0, 4, 9]
    assert len(every.frames) == row["n_frames"]
    for name in ("frames", "landmarks", "landmark_scores"):
        np.testing.assert_array_equal(getattr(some, name), getattr(every, name)[chosen])
    assert some.meta["pts_s"] == [every.meta["pts_s"][number] for number in chosen]
    if not data.manifest.config.stores_stills:
        assert [seen_in(frame) for frame in some.frames] == [(2, 0), (2, 20), (2, 45)]


def test_marks_between_measured_frames_are_interpolated_within_a_span(moving: Path) -> None:
    motion = motion_of(moving, 2)  # its second span begins at frame 25
    points, pose = motion.points_px, motion.pose_deg
    assert points is not None
    for number, expected in ((10, points[2]), (12, points[2] + 0.4 * (points[3] - points[2])), (23, points[4]), (48, points[9])):
        found = motion.marks(number)
        np.testing.assert_allclose(found.points_px, expected, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(found.box_px, [8, 8, 56, 56])
    assert motion.marks(13).pose_deg == pytest.approx((pose[2] + 0.6 * (pose[3] - pose[2])).tolist(), rel=1e-4)


def test_a_source_frame_is_mapped_to_its_time_in_the_clip(moving: Path) -> None:
    motion = motion_of(moving, 2)
    assert [motion.share_of(*place) for place in ((0, 0), (0, 20), (1, 30), (1, 3), (1, 99))] == [0, 0.4, 0.6, 0.5, 0.98]


@pytest.mark.parametrize("damage", ["mp4", "frames.npy", "flac"])
def test_a_damaged_clip_is_named(moving: Path, tmp_path: Path, damage: str) -> None:
    out = Path(shutil.copytree(moving, tmp_path / "data"))
    data = Dataset.open(out)
    row = data.index().to_pylist()[1]
    (member,) = (member for member in row["members"] if member["suffix"] == damage)
    path = tar_path(out, row["split"], row["shard"])
    with path.open("r+b") as stream:
        stream.seek(member["offset"] + member["size"] // 2)
        stream.write(b"\xff\x00\xff\x00")
    with pytest.raises(DatasetError, match=rf"{row['key']}: {damage} is damaged"):
        read_clip(data, row)
    row["members"].remove(member)
    with pytest.raises(DatasetError, match=rf"{row['key']}: {damage} or .* is missing|{VIDEO} or {damage} is missing"):
        read_clip(data, row)


def test_members_that_are_not_video_or_sound_are_named() -> None:
    nothing = np.zeros((1, 3))
    video, sound = Video(b"no video", 64, Fraction(25), np.zeros(1), 5), Sound(b"no sound", 16_000, 1, 640)
    motion = Motion("a.tar: key", video, sound, nothing, None, None, nothing.astype(np.float32))
    for read in (lambda: motion.frames(np.array([0])), motion.sound, motion.playable):
        with pytest.raises(DatasetError, match=r"a\.tar: key: "):
            read()
