"""Driving videos and written videos: each frame once and in order, frame rates, and sound in sync."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from videos import MakeVideo, ffmpeg

from motionshards.schemas.errors import ConfigError
from motionshards.trainers.images import read_square
from motionshards.trainers.video import Driving, Rgb, write

MOVING = "testsrc2=size=96x64:rate=25:duration=2"
TONE = ("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=16000:duration=2")


def packets(path: Path) -> list[tuple[int, ...]]:
    """Time, duration and size of the packets of the first sound track, in microseconds from the container's start."""
    listed = ffmpeg("-i", path, "-map", "0:a:0", "-c", "copy", "-f", "framecrc", "-").decode()
    scale = next(Fraction(line.split()[2]) for line in listed.splitlines() if line.startswith("#tb 0:"))
    rows = [line.split(",") for line in listed.splitlines() if not line.startswith("#")]
    return [(round(int(row[2]) * scale * 10**6), round(int(row[3]) * scale * 10**6), int(row[4])) for row in rows]


def grays(count: int, size: int = 32) -> list[Rgb]:
    """Frames whose brightness encodes their number."""
    return [np.full((size, size, 3), 4 * number + 8, np.uint8) for number in range(count)]


def numbers(path: Path, size: int = 32) -> list[int]:
    """The numbers of the frames of a video of `grays`."""
    return [round((float(frame.mean()) - 8) / 4) for frame in Driving.at(path).frames(size)]


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        ("25", Fraction(25)),
        ("30000/1001", Fraction(30000, 1001)),
        ("24000/1001", Fraction(24000, 1001)),
        ("12.5", Fraction(25, 2)),
    ],
)
def test_rates_are_kept_exactly(make_video: MakeVideo, tmp_path: Path, rate: str, expected: Fraction) -> None:
    driving = Driving.at(make_video("a.mp4", source=f"testsrc2=size=96x64:rate={rate}:duration=2"))
    assert driving.rate == expected
    assert driving.shown(driving.rate).tolist() == [1] * len(driving)
    assert write(tmp_path / "out.mp4", driving.frames(32), 32, driving.rate) == len(driving)
    again = Driving.at(tmp_path / "out.mp4")
    assert (again.rate, len(again), again.timeline.size_px) == (expected, len(driving), (32, 32))


def test_frames_are_written_once_and_in_order(tmp_path: Path) -> None:
    assert write(tmp_path / "new" / "out.mp4", iter(grays(60)), 32, Fraction(25)) == 60
    assert numbers(tmp_path / "new" / "out.mp4") == list(range(60))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out.mp4"]


def test_colors_are_preserved(tmp_path: Path) -> None:
    colors = [(200, 40, 40), (40, 180, 60), (30, 60, 210), (128, 128, 128)]
    write(tmp_path / "out.mp4", [np.full((32, 32, 3), color, np.uint8) for color in colors], 32, Fraction(25))
    found = [frame.mean(axis=(0, 1)) for frame in Driving.at(tmp_path / "out.mp4").frames(32)]
    np.testing.assert_allclose(found, colors, atol=4)


def test_frames_with_uneven_times_stay_in_sync(make_video: MakeVideo) -> None:
    """Ten frames, the fifth of which stays for half a second."""
    slow = "settb=1/1000,setpts='if(lt(N,5),N*40,N*40+500)'"
    path = make_video(
        "a.mkv", "-vf", slow, "-fps_mode", "vfr", "-c:v", "mpeg4", source="testsrc2=size=96x64:rate=25:duration=0.4"
    )
    driving = Driving.at(path)
    shown = driving.shown(Fraction(25))
    times = np.concatenate([[0], shown.cumsum()[:-1]]) / 25
    assert len(shown) == 10
    np.testing.assert_allclose(times, driving.timeline.pts_s, atol=0.021)
    assert shown[4] in (13, 14) and (shown[[0, 1, 2, 3, 5, 6, 7, 8]] == 1).all()


@pytest.mark.parametrize(("rate", "frames"), [(5, 10), (50, 100), (24, 48)])
def test_another_rate_keeps_the_duration(make_video: MakeVideo, rate: int, frames: int) -> None:
    shown = Driving.at(make_video("a.mp4", source=MOVING)).shown(Fraction(rate))
    assert shown.sum() == frames and shown[0] >= 1
    assert (shown <= 1).all() if rate <= 25 else (shown == 2).all()


@pytest.mark.parametrize("codec", ["aac", "libmp3lame"])
def test_sound_is_copied_packet_by_packet(make_video: MakeVideo, tmp_path: Path, codec: str) -> None:
    source = make_video("a.mp4", *TONE, "-c:a", codec, source=MOVING)
    driving = Driving.at(source)
    assert len(driving.audio) == 1
    write(tmp_path / "out.mp4", driving.frames(32), 32, driving.rate, driving)
    assert packets(tmp_path / "out.mp4") == packets(source)
    write(tmp_path / "still.mp4", driving.frames(32), 32, driving.rate)
    assert Driving.at(tmp_path / "still.mp4").audio == ()


def test_sound_that_mp4_does_not_support_becomes_aac(make_video: MakeVideo, tmp_path: Path) -> None:
    driving = Driving.at(make_video("a.mkv", *TONE, "-c:a", "pcm_s16le", source=MOVING))
    assert driving.audio == ("pcm_s16le",)
    write(tmp_path / "out.mp4", driving.frames(32), 32, driving.rate, driving)
    assert Driving.at(tmp_path / "out.mp4").audio == ("aac",)


@pytest.mark.parametrize("late_s", [0.4, -0.4])
def test_sound_stays_in_sync(make_video: MakeVideo, tmp_path: Path, late_s: float) -> None:
    """Frames begin before or after the sound; in the output the first frame is at 0, and the sound is shifted with it."""
    plain = make_video("plain.mp4", *TONE, "-c:a", "aac", source=MOVING)
    shifted = tmp_path / "shifted.mkv"
    ffmpeg("-itsoffset", str(late_s), "-i", plain, "-i", plain, "-map", "0:v", "-map", "1:a", "-c", "copy", shifted)
    driving = Driving.at(shifted)
    write(tmp_path / "out.mp4", driving.frames(32), 32, driving.rate, driving)

    def lag_s(path: Path) -> float:
        """Time from the first frame to the first sound."""
        return packets(path)[0][0] / 1e6 - float(Driving.at(path).timeline.raw_s[0])

    assert lag_s(shifted) == pytest.approx(-late_s, abs=0.08), "the test video has the intended offset"
    assert lag_s(tmp_path / "out.mp4") == pytest.approx(lag_s(shifted), abs=0.005)


def test_a_video_of_one_frame(make_video: MakeVideo, tmp_path: Path) -> None:
    driving = Driving.at(make_video("a.mp4", "-frames:v", "1", source=MOVING))
    assert (len(driving), driving.shown(driving.rate).tolist()) == (1, [1])
    write(tmp_path / "out.mp4", driving.frames(32), 32, driving.rate, driving)
    assert len(Driving.at(tmp_path / "out.mp4")) == 1


def test_errors_keep_the_existing_file(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    target.write_bytes(b"before")

    def breaking() -> Iterator[Rgb]:
        yield from grays(3)
        raise ConfigError("the driving video is cut")

    with pytest.raises(ConfigError, match="is cut"):
        write(target, breaking(), 32, Fraction(25))
    for count in (1, 500):  # H.264 requires even sides: ffmpeg fails before or after all frames are written
        with pytest.raises(ConfigError, match="cannot be written"):
            write(target, count * grays(1, 33), 33, Fraction(25))
    assert target.read_bytes() == b"before" and [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_unusable_videos_are_refused_in_one_line(make_video: MakeVideo, tmp_path: Path) -> None:
    whole = make_video("a.mp4", source=MOVING).read_bytes()
    for name, content in {"cut.mp4": whole[: len(whole) // 2], "text.mp4": b"no video at all\n" * 50, "empty.mp4": b""}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match=name) as caught:
            Driving.at(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"absent\.mp4: unreadable: No such file"):
        Driving.at(tmp_path / "absent.mp4")


def test_a_saved_frame_equals_that_of_the_video(corpus: Path, tmp_path: Path) -> None:
    path = next(iter(sorted((corpus / "voxceleb2").rglob("*.mp4"))))
    driving = Driving.at(path)
    first = next(driving.frames(driving.timeline.size_px[0]))
    Image.fromarray(first).save(tmp_path / "first.png")
    np.testing.assert_array_equal(read_square(tmp_path / "first.png", 64), next(driving.frames(64)))


def test_images_are_upright_and_opaque(tmp_path: Path) -> None:
    halves = np.zeros((40, 60, 4), np.uint8)
    halves[:20] = (250, 10, 20, 0)
    halves[20:] = (10, 20, 250, 255)
    Image.fromarray(halves).save(tmp_path / "a.png")
    found = read_square(tmp_path / "a.png", 32)
    assert found.shape == (32, 32, 3) and found.dtype == np.uint8
    np.testing.assert_allclose(found[4].mean(axis=0), 255, atol=2)
    assert np.abs(read_square(tmp_path / "a.png", 32, "#102030")[4].mean(axis=0) - (16, 32, 48)).max() <= 2
    np.testing.assert_allclose(found[-4].mean(axis=0), (10, 20, 250), atol=2)
    turned = Image.Exif()
    turned[0x0112] = 6  # rotate 90 degrees clockwise
    Image.fromarray(halves[..., :3]).save(tmp_path / "b.jpg", exif=turned, quality=95, subsampling=0)
    np.testing.assert_allclose(read_square(tmp_path / "b.jpg", 32)[:, -4].mean(axis=0), (250, 10, 20), atol=8)


def test_unusable_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:5000])
    for name in ("text.png", "cut.png"):
        with pytest.raises(ConfigError, match=f"{name} cannot be read as an image"):
            read_square(tmp_path / name, 32)
    with pytest.raises(ConfigError, match="does not exist"):
        read_square(tmp_path / "absent.png", 32)
    with pytest.raises(ConfigError, match="cannot be read as an image"):
        read_square(tmp_path, 32)
