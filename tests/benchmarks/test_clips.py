"""The sides of `benchmarks.clips` read the requested frames, and its inputs have the documented properties."""

import importlib.util
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from videos import MakeVideo

pytest.importorskip("cv2")
import moving

from benchmarks import clips_ours, clips_peers
from benchmarks.clips_input import FRAMES, SIZE_PX, source_sizes, speech, stored_sizes, with_sound
from benchmarks.clips_read import GOALS, SIDES, link_ffmpeg
from benchmarks.loader_run import Order
from motionshards.dataset.index import Dataset


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 numbered frames with a key frame every twelve."""
    path = tmp_path_factory.mktemp("video") / "numbered.mp4"
    path.write_bytes(moving.mp4_of([moving.image(3, number) for number in range(60)]))
    return path


@pytest.mark.parametrize("start", [0, 11, 12, 31, 44])
@pytest.mark.parametrize("name", ["pyav", "opencv", "decord", "torchcodec"])
def test_a_peer_reads_the_requested_frames(video: Path, name: str, start: int) -> None:
    if name in ("decord", "torchcodec") and importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed here")
    frames = getattr(clips_peers, f"read_{name}")(str(video), start, 16)
    assert [moving.seen_in(frame) for frame in frames] == [(3, number) for number in range(start, start + 16)]


def test_the_limit_decodes_the_requested_frames(video: Path) -> None:
    clip = clips_ours.in_memory(video)
    codec = av.VideoCodecContext.create("h264", "r")
    codec.extradata = clip.header
    for start in (31, 0, 44):
        frames = [frame.to_ndarray(format="rgb24") for frame in clips_ours.decoded(codec, clip, start, 16)]
        assert [moving.seen_in(frame)[1] for frame in frames] == list(range(start, start + 16))


def test_mp4_members_are_written_as_files(tmp_path: Path) -> None:
    data = moving.make_moving_dataset(tmp_path / "data", 3, store="video", frames=lambda clip: 20)
    form = tmp_path / "mp4"
    form.mkdir()
    clips_ours.mp4_files(Order(side="", data=str(data), form=str(form), cores=1))
    sizes = [path.stat().st_size for path in form.iterdir()]
    assert len(sizes) == len(Dataset.open(data)) == 3
    assert stored_sizes(data).frames == np.mean(sizes) and stored_sizes(data).sound > 0


def test_inputs_have_sound_and_the_bit_rate_of_voxceleb2(tmp_path: Path, make_video: MakeVideo) -> None:
    place = tmp_path / "source" / "dev" / "mp4" / "id1" / "video" / "00001.mp4"
    place.parent.mkdir(parents=True)
    shutil.copyfile(make_video("drawn.mp4", source="testsrc2=size=96x64:rate=25:duration=3.2"), place)
    for encoded in (False, True):
        root = with_sound(tmp_path / "source", tmp_path / str(encoded), 1, encoded=encoded)
        (path,) = root.rglob("*.mp4")
        with av.open(str(path)) as container:
            (video,), (sound,) = container.streams.video, container.streams.audio
            assert abs(float(video.duration * video.time_base) - float(sound.duration * sound.time_base)) < 0.05
            assert not encoded or (video.frames, video.width) == (FRAMES, SIZE_PX)
        assert source_sizes(root).sound > 1000


def test_speech_has_pauses_and_differs_from_clip_to_clip() -> None:
    sound = speech(4.0, 0).astype(float)
    level = np.sqrt((sound[: len(sound) // 960 * 960].reshape(-1, 960) ** 2).mean(axis=1))
    assert 0.1 < (level < 200).mean() < 0.8 and 3000 < np.abs(sound).max() < 32000
    assert not np.array_equal(sound, speech(4.0, 1))


def test_torchcodec_finds_the_ffmpeg_of_pyav(tmp_path: Path) -> None:
    folder = link_ffmpeg(tmp_path / "ffmpeg")
    major = av.library_versions["libavcodec"][0]
    assert (folder / f"libavcodec.so.{major}").resolve().is_file()


def test_ratios_include_measured_sides_only() -> None:
    assert {side for _, ours, others, _ in GOALS for side in (ours, *others)} <= set(SIDES)
