"""Windows of stored video: frames at a constant rate, by exact arithmetic, with the sound of the same time."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moving import CLICK_EVERY, HZ, SIZE, click_at, make_moving_dataset, seen_in
from streams import stream_of

from motionshards.dataset.reading.catalog import Catalog, read_catalog
from motionshards.dataset.reading.index_arrays import COLUMNS, Kind
from motionshards.dataset.sequence import Sequence
from motionshards.dataset.stream import Pairs
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import INDEX
from motionshards.schemas.moving import samples_at

ALL = np.arange(12)
NTSC = Fraction(30000, 1001)


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips of 40 to 50 frames, every fourth without sound; read-only."""
    return make_moving_dataset(tmp_path_factory.mktemp("moving"), sound=lambda clip: clip % 4)


@pytest.fixture(scope="module")
def rows(moving: Path) -> pa.Table:
    return pq.read_table(moving / INDEX).select(list(COLUMNS))


def catalog_of(rows: pa.Table, rate: Fraction = Fraction(25), frames: int | None = None, hz: int = HZ) -> Catalog:
    """The clips with another frame rate, length and sample rate."""
    catalog = read_catalog([rows], None, Kind("video", SIZE, every=5))
    changed = {"rate": np.tile([rate.numerator, rate.denominator], (12, 1)), "audio_hz": np.full(12, hz)}
    if frames is not None:
        changed["video_frames"] = np.full(12, frames)
    arrays = {**catalog.arrays, **changed}
    return Catalog(arrays, catalog.keys, catalog.shards, catalog.identities, catalog.kind)


def nearest(number: int, rate: Fraction, fps: Fraction) -> int:
    """The stored frame nearest in time to frame `number`, the earlier of two."""
    time = number / fps
    around = int(time * rate)
    return min((around, around + 1), key=lambda frame: (abs(frame / rate - time), frame))


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30), NTSC, Fraction(10)])
@pytest.mark.parametrize("fps", [25, 12.5, 10, 5, Fraction(24000, 1001)])
def test_frames_are_the_nearest_in_time_and_the_earlier_of_two(rows: pa.Table, rate: Fraction, fps: float) -> None:
    view, catalog = Sequence(9, fps=fps), catalog_of(rows, rate, 200)
    expected = np.array([nearest(number, rate, Fraction(fps).limit_denominator(1001)) for number in range(9)])
    for turn in range(20):
        frames = view.pick(catalog, 3, ALL, np.full(12, turn)).frames
        assert np.array_equal(frames - frames[:, :1], np.tile(expected, (12, 1)))
        assert frames.min() >= 0 and frames.max() < 200


def test_a_stride_takes_every_nth_frame_and_all_possible_starts_occur(rows: pa.Table) -> None:
    view, catalog = Sequence(3, stride=4), catalog_of(rows, frames=12)
    starts = np.concatenate([view.pick(catalog, 3, ALL, np.full(12, turn)).frames for turn in range(40)])
    assert np.array_equal(starts - starts[:, :1], np.tile([0, 4, 8], (len(starts), 1)))
    assert set(starts[:, 0].tolist()) == {0, 1, 2, 3}
    short = dict(view.unusable(catalog_of(rows, frames=8)))
    assert short["fewer than 3 frames with a stride of 4"].all()
    assert not dict(view.unusable(catalog_of(rows, frames=9)))["fewer than 3 frames with a stride of 4"].any()


@pytest.mark.parametrize(("rate", "view"), [(NTSC, Sequence(7, audio=True)), (Fraction(30), Sequence(5, fps=12.5, audio=True))])
def test_the_sound_of_a_window_is_within_the_clip_and_starts_with_its_first_frame(
    rows: pa.Table, rate: Fraction, view: Sequence
) -> None:
    for frames in (20, 21, 40, 41):
        catalog, total = catalog_of(rows, rate, frames, 44_100), samples_at(frames, rate, 44_100)
        length, fps = view.samples(catalog), Fraction(view.fps or rate)
        assert length == samples_at(view.n, fps, 44_100)
        for turn in range(30):
            picks = view.pick(catalog, 3, ALL, np.full(12, turn))
            assert picks.audio_start is not None
            exact = [samples_at(frame, rate, 44_100) for frame in picks.frames[:, 0].tolist()]
            assert np.array_equal(picks.audio_start, np.minimum(exact, total - length))
            assert (picks.audio_start >= 0).all() and (np.array(exact) - picks.audio_start <= 1).all()


def test_frames_and_sound_are_in_sync(moving: Path) -> None:
    stream = stream_of(moving, view=Sequence(12, audio=True), repeats=5, global_batch_size=3)
    assert stream.excluded == {"no sound": 3}
    clicks = 0
    for batch in stream:
        assert batch.audio is not None and batch.audio.shape == (3, 12 * HZ // 25) and batch.audio_hz == HZ
        for key, frames, numbers, sound in zip(batch.keys, batch.frames, batch.number.tolist(), batch.audio, strict=True):
            assert [seen_in(frame.numpy()) for frame in frames] == [(int(key[-5:]), number) for number in numbers]
            heard = np.flatnonzero(sound.numpy() > 0.5) + click_at(numbers[0])
            assert heard.tolist() == [click_at(number) for number in numbers if number % CLICK_EVERY == 0]
            clicks += len(heard)
    assert clicks > 20


def test_sound_windows_of_different_lengths_are_refused(rows: pa.Table) -> None:
    catalog = catalog_of(rows)
    catalog.arrays["audio_hz"][3] = 44_100
    with pytest.raises(ConfigError, match=r"different audio_hz \(16000, 44100\).*where='audio_hz == …'"):
        list(Sequence(4, audio=True).unusable(catalog))
    catalog = catalog_of(rows)
    catalog.arrays["rate"][3] = [30, 1]
    with pytest.raises(ConfigError, match=r"different rate \(25, 30\).*fps="):
        list(Sequence(4, audio=True).unusable(catalog))
    assert [reason for reason, _ in Sequence(4, fps=25, audio=True).unusable(catalog)] == [
        "no sound",
        "fewer than 4 frames at 25 fps",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n must be an integer between 1 and 10,000, not 0"),
        ({"n": 4, "stride": 0}, "stride must be an integer between 1 and 1,000, not 0"),
        ({"n": 4, "stride": 2, "fps": 5}, "fps or stride, not both"),
        ({"n": 4, "fps": 0}, "fps must be a number between 1 and 1,000, not 0"),
        ({"n": 4, "fps": "25"}, "fps must be a number between 1 and 1,000, not '25'"),
    ],
)
def test_invalid_windows_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Sequence(**options)


def test_stills_have_neither_a_rate_nor_sound(data: Path) -> None:
    for view in (Sequence(3, fps=25), Sequence(3, stride=2), Sequence(3, audio=True)):
        with pytest.raises(ConfigError, match="needs stored video: build with --store video"):
            stream_of(data, view=view)


def test_the_repr_of_a_view_omits_defaults() -> None:
    """Saved states compare it, including states from before there was video."""
    assert repr(Sequence(8)) == "Sequence(n=8)"
    assert repr(Sequence(8, fps=29.97, audio=True)) == "Sequence(n=8, fps=2997/100, audio=True)"
    assert repr(Sequence(8, stride=2)) == "Sequence(n=8, stride=2)"
    assert Sequence(8, audio=True).in_time_order is False and Sequence(8).in_time_order and Pairs(2).in_time_order
