"""Streams of stored video: frames, measurements and sound of every view match the clip, in every process and after resumption."""

import logging
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import moving
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moving import make_moving_dataset
from streams import interleaved, ordinary, seen, stream_of

from motionshards.dataset.index import Dataset, Sample
from motionshards.dataset.loader import make_loader
from motionshards.dataset.reading.view import View
from motionshards.dataset.sequential import TarStream
from motionshards.dataset.stream import KPlusOne, Pairs, PosePairs, Sequence, Singles, World
from motionshards.schemas.errors import ConfigError, DatasetError
from motionshards.schemas.layout import INDEX, VIDEO
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.records import Clip

VIEWS = [
    Pairs(2),
    Pairs(7),
    KPlusOne(4),
    KPlusOne(4, landmarks=True),
    Singles(target=False),
    PosePairs(30, 0, 90),
    Sequence(8),
    Sequence(5, fps=10, audio=True),
]
CLIPS = 24


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 clips of 40 to 50 frames, every eighth without sound; read-only."""
    return make_moving_dataset(tmp_path_factory.mktemp("video"), CLIPS, sound=lambda clip: clip % 8)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with five stills per clip; read-only."""
    return make_moving_dataset(tmp_path_factory.mktemp("both"), CLIPS, store="both", sound=lambda clip: clip % 8)


@pytest.fixture(scope="module")
def samples(video: Path) -> dict[str, Sample]:
    return {sample.key: sample for sample in Dataset.open(video).samples()}


@pytest.mark.parametrize("view", VIEWS, ids=repr)
def test_samples_match_the_stored_data(video: Path, samples: dict[str, Sample], view: View) -> None:
    """Measurements are NaN for frames that are not measured."""
    measured = 0
    for batch in stream_of(video, view=view, repeats=2):
        assert batch.landmarks is not None
        for row, key in enumerate(batch.keys):
            sample, numbers = samples[key], batch.number[row].numpy()
            assert sample.video is not None and sample.landmarks is not None
            np.testing.assert_array_equal(batch.frames[row], sample.video.read(numbers))
            here, rows = numbers % 5 == 0, numbers[numbers % 5 == 0] // 5
            np.testing.assert_array_equal(batch.landmarks[row][here], sample.landmarks[rows])
            pose = np.array([sample.meta[name] for name in ("yaw_deg", "pitch_deg", "roll_deg")]).T[rows]
            np.testing.assert_allclose(batch.pose[row][here], pose, atol=1e-4)
            assert batch.landmarks[row][~here].isnan().all() and batch.pose[row][~here].isnan().all()
            measured += len(rows)
    assert measured > 0
    if isinstance(view, PosePairs) or getattr(view, "landmarks", False):
        assert measured == 2 * CLIPS * view.n, "these views pick measured frames"


@pytest.mark.parametrize("view", VIEWS, ids=repr)
def test_ranks_share_one_sequence_which_is_resumed(video: Path, view: View) -> None:
    whole = seen(stream_of(video, view=view))
    assert interleaved([list(stream_of(video, view=view, world=World(rank, 2))) for rank in range(2)]) == whole
    stream = stream_of(video, view=view)
    assert seen(islice(stream, 2)) == whole[:12]
    resumed = stream_of(video, view=view, world=World(0, 1), global_batch_size=3)
    resumed.load_state_dict({**stream.state_dict(), "slot": 12})
    assert seen(resumed) == whole[12:] + seen(stream_of(video, view=view, global_batch_size=3))[len(whole) :]


@pytest.mark.parametrize("threads", [1, 4])
def test_loader_and_workers_yield_the_batches_of_the_stream(video: Path, threads: int) -> None:
    options = {"view": Sequence(5, fps=10, audio=True), "shuffle": "shard", "window": 2, "last": "pad", "global_batch_size": 5}
    plain = list(stream_of(video, **options))
    assert seen(ordinary(stream_of(video, **options), 2)) == seen(plain)
    with make_loader(stream_of(video, **options), processes=1, threads=threads) as loader:
        head = list(islice(loader, 2))
        loader.load_state_dict(loader.state_dict())
        for ours, expected in zip([*head, *loader], plain, strict=True):
            for name, tensor in expected.tensors().items():
                np.testing.assert_array_equal(ours.tensors()[name], tensor)
            assert ours.audio_hz == expected.audio_hz == 16_000 and ours.keys == expected.keys


def test_the_option_frames_selects_stills_or_video(video: Path, both: Path) -> None:
    assert stream_of(both).catalog.of_video is False and stream_of(both, view=Sequence(3)).catalog.of_video
    pairs = stream_of(both, frames="video")
    assert seen(pairs) == seen(stream_of(video)), "as in a dataset without stills"
    assert max(number for _, numbers, _ in seen(stream_of(both)) for number in numbers) == 4
    assert stream_of(both, view=Sequence(3), frames="stills").catalog.of_video is False
    with pytest.raises(ConfigError, match="built with --store video"):
        stream_of(video, frames="stills")
    for view in (KPlusOne(3, landmarks=True), PosePairs()):
        with pytest.raises(ConfigError, match="describes the stills, not the video"):
            stream_of(both, view=view, frames="video")
    with pytest.raises(ConfigError, match="frames must be None, stills or video, not 'all'"):
        stream_of(both, frames="all")


def test_a_state_of_stills_is_refused_for_video(both: Path) -> None:
    state = stream_of(both).state_dict()
    assert "frames" not in state["sequence"]
    with pytest.raises(ConfigError, match=r"clips: .* → "):
        stream_of(both, frames="video").load_state_dict(state)
    chosen = stream_of(both, view=KPlusOne(3), frames="video").state_dict()["sequence"]
    assert chosen["frames"] == "video"


def test_sequences_are_refused_for_unit_video(tmp_path: Path) -> None:
    data = make_moving_dataset(tmp_path, 4, spans=2)
    manifest = Manifest.read(data)
    replace(manifest, config=replace(manifest.config, unit="video")).write(data)
    with pytest.raises(ConfigError, match="--unit video join several files"):
        stream_of(data, view=Sequence(3))
    assert stream_of(data, view=Pairs(3), global_batch_size=4).slots == 4


def broken_video(clip: Clip) -> Clip:
    assert clip.video is not None
    return replace(clip, video=replace(clip.video, mp4=clip.video.mp4[: len(clip.video.mp4) // 3]))


def broken_sound(clip: Clip) -> Clip:
    assert clip.sound is not None
    return replace(clip, sound=replace(clip.sound, flac=clip.sound.flac[:99]))


def other_size(clip: Clip) -> Clip:
    assert clip.video is not None
    return replace(clip, video=replace(clip.video, mp4=moving.mp4_of([np.zeros((32, 32, 3), np.uint8)] * 40)))


@pytest.mark.parametrize("harm", [broken_video, broken_sound, other_size])
def test_clips_whose_video_or_sound_cannot_be_decoded_are_substituted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Clip], Clip]
) -> None:
    right = moving._clip
    monkeypatch.setattr(
        moving, "_clip", lambda number, *rest: harm(right(number, *rest)) if number == 3 else right(number, *rest)
    )
    data = make_moving_dataset(tmp_path / "data", 8)
    broken = Dataset.open(data).index(["key"])["key"].to_pylist()[3]
    options = {"view": Sequence(9, audio=True), "global_batch_size": 8}
    stream = stream_of(data, **options, quarantine=tmp_path / "bad")
    with caplog.at_level(logging.WARNING, "motionshards"):
        (batch,) = stream
    assert broken not in batch.keys and stream.faults.counts == {"undecodable": 1} and broken in caplog.text
    again = next(iter(stream_of(data, **options)))
    assert all(
        np.array_equal(tensor, again.tensors()[name], equal_nan=tensor.is_floating_point())
        for name, tensor in batch.tensors().items()
    )
    with pytest.raises(DatasetError, match=f"{broken} cannot be read: undecodable"):
        list(stream_of(data, **options, on_error="raise"))
    skipping = TarStream(sorted(data.glob("train/*.tar")), Sequence(9, audio=True), batch_size=8, on_error="skip")
    assert broken not in {key for key, _, _ in seen(skipping)} and skipping.faults == {"undecodable": 1}


@pytest.mark.parametrize("store", ["video", "both"])
@pytest.mark.parametrize("view", [Pairs(3), Sequence(6, audio=True)], ids=repr)
def test_tars_without_an_index_yield_the_same_clips(video: Path, both: Path, store: str, view: View) -> None:
    data = {"video": video, "both": both}[store]
    stream = TarStream(sorted(data.glob("train/*.tar")), view, batch_size=3, window=8)
    opened = {sample.key: sample for sample in Dataset.open(data).samples()}
    stills = store == "both" and isinstance(view, Pairs)
    batches = list(stream)
    assert len(batches) == (CLIPS - stream.excluded.total()) // 3 and stream.excluded.total() == (0 if view == Pairs(3) else 3)
    for batch in batches:
        for row, key in enumerate(batch.keys):
            sample, numbers = opened[key], batch.number[row].numpy()
            assert sample.video is not None
            np.testing.assert_array_equal(batch.frames[row], sample.frames[numbers] if stills else sample.video.read(numbers))
            if batch.audio is not None:
                assert sample.audio is not None
                np.testing.assert_array_equal(batch.audio[row], sample.audio.read(int(numbers[0]) * 640, 6 * 640))


def test_clips_without_video_are_excluded_if_both_are_stored(tmp_path: Path) -> None:
    """An addition leaves clips without video if their source is missing."""
    data = make_moving_dataset(tmp_path, 8, store="both")
    change(data, lambda row: row.update(video_frames=None, fps=None, has_audio=None, audio_hz=None, members=row["members"][:5]))
    assert stream_of(data, global_batch_size=8).slots == 8
    stream = stream_of(data, view=Sequence(4), global_batch_size=7)
    assert stream.excluded == {"no video": 1} and len(list(stream)) == 1


def change(data: Path, how: Callable[[dict[str, Any]], object], clip: int = 3) -> None:
    rows = pq.read_table(data / INDEX)
    changed = rows.to_pylist()
    how(changed[clip])
    pq.write_table(pa.Table.from_pylist(changed, rows.schema), data / INDEX)


@pytest.mark.parametrize(
    "how",
    [
        lambda row: row.update(video_frames=-3),
        lambda row: row.update(video_frames=2**31 - 1),
        lambda row: row.update(video_frames=None),
        lambda row: row.update(fps=0.0),
        lambda row: row.update(fps=float("nan")),
        lambda row: row.update(fps=1e300),
        lambda row: row.update(audio_hz=-16000),
        lambda row: row.update(audio_hz=None),
        lambda row: row.update(video_frames=row["video_frames"] + 5),
        lambda row: row.update(members=[one for one in row["members"] if one["suffix"] != VIDEO]),
    ],
)
def test_a_contradictory_index_raises_one_error(tmp_path: Path, how: Callable[[dict[str, Any]], object]) -> None:
    data = make_moving_dataset(tmp_path, 4)
    change(data, how)
    with pytest.raises(DatasetError, match=r"run dataset\.verify"):
        stream_of(data, view=Sequence(3), global_batch_size=4)
