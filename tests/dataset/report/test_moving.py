"""Reports on datasets with stored video: embedded videos, waveforms, and statistics of video and sound."""

import base64
import io
import re
from pathlib import Path

import av
import numpy as np
import pytest
from moving import make_moving_dataset, seen_in
from reports import plain, reject, report

from motionshards.dataset.index import Dataset
from motionshards.dataset.report import samples
from motionshards.dataset.report.clips import read_clips
from motionshards.dataset.report.figures import VideoTotals, figures
from motionshards.schemas.layout import INDEX

CLIPS = 6


@pytest.fixture(scope="module", params=["video", "both"])
def out(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips of 40, 45 and 50 frames; every third has no sound."""
    dataset = make_moving_dataset(
        tmp_path_factory.mktemp("report") / request.param, CLIPS, store=request.param, sound=lambda clip: clip % 3
    )
    return reject(dataset, [])


def videos_in(page: str) -> list[list[tuple[int, int]]]:
    """Clip and number of each frame of the videos in a page."""
    found = []
    for content in re.findall(r'<video src="data:video/mp4;base64,([^"]+)"', page):
        with av.open(io.BytesIO(base64.b64decode(content))) as file:
            found.append([seen_in(frame.to_ndarray(format="rgb24")) for frame in file.decode(video=0)])
    return found


def test_clips_play_and_have_waveforms(out: Path) -> None:
    page = report(out)
    lengths = [40 + 5 * (clip % 3) for clip in range(CLIPS)]
    assert sorted(videos_in(page)) == [[(clip, number) for number in range(lengths[clip])] for clip in range(CLIPS)]
    assert page.count('class="wave"') == 4
    assert page.count("data:image/jpeg") == page.count('class="lines"') == CLIPS
    assert "cannot be read" not in page
    assert "media-src data:; " in page
    assert "All clips can be played." in plain(page)


def test_the_frame_of_a_clip_without_stills_is_a_measured_one(out: Path) -> None:
    data = Dataset.open(out)
    for sample in samples.read_samples(out, np.arange(CLIPS), 0):
        assert sample.shown is not None and sample.shown.points_px is not None
        assert sample.shown.number == sample.row["n_frames"] // 2
        if not data.manifest.config.stores_stills:
            clip = int(sample.row["key"][-5:])
            assert seen_in(sample.shown.rgb) == (clip, 5 * sample.shown.number)


@pytest.mark.parametrize(("videos", "words"), [("2", "2 clips can be played."), ("0", "")])
def test_the_requested_number_of_clips_can_be_played(out: Path, videos: str, words: str) -> None:
    page = report(out, "--videos", videos)
    assert len(videos_in(page)) == page.count("<video") == int(videos)
    assert page.count('class="wave"') == 4
    assert words in plain(page) and ("can be played" in page) == bool(words)


def test_long_videos_are_truncated(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "_MOST_VIDEO_BYTES", 1500)
    page = report(out)
    for frames in videos_in(page):
        assert 5 < len(frames) < 40
    assert len(videos_in(page)) == CLIPS
    assert "All clips can be played, 6 of them only in part." in plain(page)


def test_statistics_of_video_and_sound_match_the_index(out: Path) -> None:
    rows = Dataset.open(out).index().to_pylist()
    found = figures(read_clips(out / INDEX))
    seconds = [row["video_frames"] / row["fps"] for row in rows]
    heard = [length for length, row in zip(seconds, rows, strict=True) if row["has_audio"]]
    assert found.moving == VideoTotals(CLIPS, 270, pytest.approx(sum(seconds)), 4, pytest.approx(sum(heard)))
    assert found.measures["audio_level_db"].present == 4
    assert found.measures["audio_speech"].present == 0
    page = plain(report(out))
    assert "10.8 s of stored video, 270 frames in 6 clips. 66.7 % of these clips have sound, 7.6 s in total." in page
    assert "Sound level p5 −42.3 dB" in page and "Speech" not in page
    assert ("one in 5." in page) == ("frames and video at 25 fps per utterance" not in page) == (out.name == "video")
    assert ("stored frames 270" in page) == (out.name == "video")
