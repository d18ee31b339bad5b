"""TalkingHead-1KH: videos are cut into the chunks that its lists refer to, and clips are found in them by frame number."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from downloads import Fetch
from in_process import in_this_process
from published_lists import write_talkinghead1kh
from video_server import Reply, VideoServer, files
from videos import ffmpeg

pytest.importorskip("yt_dlp", reason="yt-dlp is not installed")

from motionshards.dataset import build, verify
from motionshards.dataset.index import Dataset
from motionshards.jobs import download_cut
from motionshards.transforms.extract.ffmpeg import ffmpeg_path
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.timeline import timeline_from_packets

RATE, SECONDS, KEY_EVERY = 10, 130, 70
# The brightness of a frame is its number, modulo 200.
PAINTED = f"nullsrc=size=32x32:rate={RATE}:duration={SECONDS},geq=lum='20+mod(N,200)':cb=128:cr=128"
LIST = "one_0001, 32, 32, 30, 49, 4, 4, 28, 28\none_0002, 32, 32, 0, 9, 0, 0, 32, 32\none_0002, 32, 32, 50, 60, 0, 0, 32, 32\n"


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A video whose key frames are 7 s apart, so that chunks begin at 0, 63 and 126 s."""
    path = tmp_path_factory.mktemp("painted") / "v.mp4"
    keys = ["-g", str(KEY_EVERY), "-keyint_min", str(KEY_EVERY), "-sc_threshold", "0", "-crf", "1", "-preset", "ultrafast"]
    sound = ["-f", "lavfi", "-i", f"sine=duration={SECONDS}"]
    ffmpeg("-f", "lavfi", "-i", PAINTED, *sound, "-c:v", "libx264", "-bf", "2", *keys, "-pix_fmt", "yuv420p", path)
    return path.read_bytes()


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    write_talkinghead1kh(tmp_path / "lists", train=LIST)
    return tmp_path / "lists"


def frames_of(chunk: Path) -> int:
    return len(timeline_from_packets(Media.at(chunk), 60.0).raw_s)


def test_a_video_is_fetched_cut_and_built(
    server: VideoServer, painted: bytes, fetch: Fetch, lists: Path, out: Path, tmp_path: Path
) -> None:
    server.files["/one.mp4"] = painted
    row = fetch(source="talkinghead1kh", metadata=lists).rows["one"]
    chunks = sorted((out / "videos/one").iterdir())
    assert [chunk.name for chunk in chunks] == [f"one_000{number}.mp4" for number in range(3)]
    assert (row["status"], row["path"], row["has_audio"]) == ("available", "videos/one", True)
    assert row["bytes"] == sum(chunk.stat().st_size for chunk in chunks)
    assert set(files(out)) == {f"videos/one/{chunk.name}" for chunk in chunks} and not (out / ".work").exists()
    assert [frames_of(chunk) for chunk in chunks] == [630, 630, 40]
    server.requests.clear()
    assert fetch(source="talkinghead1kh", metadata=lists, retry=frozenset({"silent"})).rows["one"] == row
    assert not server.requests

    (out / "data_list").symlink_to(lists / "data_list")
    what = ["--landmarks", "none", "--size", "32", "--frames", "3", "--workers", "1", "--quiet"]
    with in_this_process():
        assert build.main(["--source", "talkinghead1kh", "--input", str(out), "--output", str(tmp_path / "built"), *what]) == 0
    assert verify.verify(tmp_path / "built").faults == ()
    samples = {sample.key.rpartition("/")[2]: sample for sample in Dataset.open(tmp_path / "built").samples()}
    assert len(samples) == 2, "the third starts after the end of its chunk"
    for name, start, first, last in (("0001_S30", 630, 30, 49), ("0002_S0", 1260, 0, 9)):
        (sample,) = (each for key, each in samples.items() if key.startswith(name))
        assert sample.meta["source_frames"] == last - first + 1
        numbers = np.array(sample.meta["frame_index"])
        assert first <= numbers.min() and numbers.max() <= last
        luma = np.array(sample.meta["brightness"]) * 219 / 255 + 16
        assert luma == pytest.approx(20 + (start + numbers) % 200, abs=0.6)


def test_chunks_match_those_of_the_authors_command(painted: bytes, tmp_path: Path) -> None:
    out, theirs = tmp_path / "100%d", tmp_path / "theirs"
    for place in (out / "videos", theirs):
        place.mkdir(parents=True)
    (out / "videos/one.mp4").write_bytes(painted)
    options = ["-c", "copy", "-map", "0", "-segment_time", "00:01:00", "-f", "segment", str(theirs / "one_%04d.mp4")]
    subprocess.run([ffmpeg_path(), "-v", "error", "-i", str(out / "videos/one.mp4"), *options], check=True)
    assert download_cut.cut(out / "videos/one.mp4", out)[0] == "videos/one"
    assert [path.read_bytes() for path in sorted((out / "videos/one").iterdir())] == [
        path.read_bytes() for path in sorted(theirs.iterdir())
    ]


def test_whole_videos_on_disk_are_cut_without_a_request(
    server: VideoServer, painted: bytes, fetch: Fetch, lists: Path, out: Path
) -> None:
    """As after a kill before the cut, with leftovers of an earlier cut."""
    for name, content in (("one.mp4", painted), ("one/one_0000.mp4", b"old"), ("other.mp4", painted)):
        (out / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (out / "videos" / name).write_bytes(content)
    result = fetch(source="talkinghead1kh", metadata=lists)
    assert result.rows["one"]["status"] == "available" and not server.requests and "one.mp4: cut into chunks" in result.messages
    assert set(files(out)) == {"videos/other.mp4", *(f"videos/one/one_000{number}.mp4" for number in range(3))}
    assert frames_of(out / "videos/one/one_0000.mp4") == 630


def test_videos_that_cannot_be_cut_are_reported_as_failed(server: VideoServer, fetch: Fetch, lists: Path, out: Path) -> None:
    (out / "videos").mkdir(parents=True)
    (out / "videos/one.mp4").write_bytes(b"no video")
    server.script["/one.mp4"] = [Reply(404)]
    result = fetch(source="talkinghead1kh", metadata=lists)
    assert any(line.startswith("one.mp4: cannot be cut: ") for line in result.messages)
    assert result.rows["one"]["status"] == "dead" and files(out) == {"videos/one.mp4": b"no video"}
