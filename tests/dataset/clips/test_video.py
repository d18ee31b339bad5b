"""Single clips with stored video and sound; invalid descriptions are refused."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from moving import CLICK_EVERY, HZ, SIZE, click_at, make_moving_dataset, seen_in

from motionshards.dataset.clips.sample import sample_of
from motionshards.dataset.clips.video import Sound, Video
from motionshards.dataset.index import Dataset, Sample, read_members
from motionshards.schemas.layout import META, SOUND, VIDEO, VIDEO_FRAMES
from motionshards.schemas.samples.encode import decode_arrays


@pytest.fixture(scope="module", params=["video", "both"])
def samples(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    out = make_moving_dataset(tmp_path_factory.mktemp("moving"), 3, store=request.param, sound=lambda clip: clip != 1)
    return list(Dataset.open(out).samples())


def test_frames_are_stills_or_the_measured_frames(samples: list[Sample]) -> None:
    for clip, sample in enumerate(samples):
        assert sample.video is not None and sample.landmarks is not None and sample.landmark_scores is not None
        assert sample.frames.shape[1:] == (SIZE, SIZE, 3) and len(sample.frames) == len(sample.landmarks)
        assert len(sample.frames) == len(sample.landmark_scores) == len(sample.meta["pts_s"])
        if sample.frames.shape[0] == 5:  # the stills are noise
            continue
        assert [seen_in(frame) for frame in sample.frames] == [(clip, number) for number in range(0, len(sample.video), 5)]


def test_any_frames_and_parts_of_the_sound_can_be_read(samples: list[Sample]) -> None:
    for clip, sample in enumerate(samples):
        video, audio = sample.video, sample.audio
        assert video is not None and len(video) == 40 + 5 * clip and video.rate == Fraction(25) and video.every == 5
        np.testing.assert_allclose(video.pts_s, np.arange(len(video)) / 25)
        assert [seen_in(frame)[1] for frame in video.read([7, 3, 39])] == [7, 3, 39]
        assert video.read().shape == (len(video), SIZE, SIZE, 3) and video.read([]).shape == (0, SIZE, SIZE, 3)
        assert (audio is None) == (clip == 1)
        if audio is None:
            continue
        assert (audio.hz, len(audio)) == (HZ, len(video) * HZ // 25)
        clicks = [click_at(frame) for frame in range(0, len(video), CLICK_EVERY)]
        assert np.flatnonzero(audio.read() > 0.5).tolist() == clicks
        assert np.array_equal(audio.read(clicks[1], 3) > 0.5, [True, False, False])
        with pytest.raises(ValueError, match="samples"):
            audio.read(9, len(audio))


def test_a_dataset_of_stills_has_neither(samples: list[Sample], data: Path) -> None:
    sample = next(Dataset.open(data).samples())
    assert sample.video is None and sample.audio is None


DAMAGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "rate, frames, every": lambda meta: meta["mp4"].update(rate=[25, 0]),
    "mp4 has no rate": lambda meta: meta.update(mp4=[]),
    "measured frames": lambda meta: meta["mp4"].update(frames=99),
    "of flac is no": lambda meta: meta["flac"].update(samples="many"),
    "flac or its description": lambda meta: meta.pop("flac"),
    "impossible size": lambda meta: meta["mp4"].update(point_offset_px=-1e6),
}


@pytest.mark.parametrize("message", DAMAGES)
def test_an_invalid_description_is_refused(tmp_path: Path, message: str) -> None:
    data = Dataset.open(make_moving_dataset(tmp_path, 1))
    row = data.index().to_pylist()[0]
    with (tmp_path / "train" / f"{row['shard']}.tar").open("rb") as tar:
        members = read_members(tar, row["members"])
    meta = json.loads(members[META])
    DAMAGES[message](meta)
    with pytest.raises(ValueError, match=message):
        sample_of("key", {**members, META: json.dumps(meta).encode()}, "shard.tar")


@pytest.mark.parametrize("missing", [VIDEO, VIDEO_FRAMES, SOUND])
def test_a_missing_member_is_reported(tmp_path: Path, missing: str) -> None:
    row = Dataset.open(make_moving_dataset(tmp_path, 1)).index().to_pylist()[0]
    with (tmp_path / "train" / f"{row['shard']}.tar").open("rb") as tar:
        members = {name: content for name, content in read_members(tar, row["members"]).items() if name != missing}
    arrays = decode_arrays(members)
    with pytest.raises(ValueError, match="is missing"):
        (Sound if missing == SOUND else Video).of(members, arrays)
