"""Packets of a source are copied if encoding would not change the images, and only then."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from videos import MakeVideo, ffmpeg

from motionshards.schemas.moving import Encoded
from motionshards.transforms.extract.constant_rate import shown_frames
from motionshards.transforms.extract.crop import Window
from motionshards.transforms.extract.decode import decode
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.output_images import ExtraOutputs, ToVideo
from motionshards.transforms.extract.stored_frames import frames_of_mp4, joined
from motionshards.transforms.extract.timeline import timeline_from_packets

SOURCE = "testsrc2=size=64x64:rate=25:duration=0.6"
X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "30")


def stored(path: Path, *, copy: bool = True, rate: int = 25, window: Window | None = None, first: int = 0) -> Encoded:
    media = Media.at(path)
    line = timeline_from_packets(media, 60)
    shown = first + shown_frames(line.raw_s[first:], line.duration_s * (1 - first / len(line.raw_s)), Fraction(rate))
    frames = decode(
        media, line, np.array([3, 9]), 64, "pad", 60, window, extra=ExtraOutputs(video=ToVideo(shown, Fraction(rate), copy=copy))
    )
    assert frames.video is not None
    return frames.video


@pytest.mark.parametrize(("name", "b_frames"), [("a.mp4", "0"), ("a.mp4", "3"), ("a.mkv", "1"), ("a.mov", "2")])
def test_a_copy_has_the_packets_and_frames_of_its_source_at_constant_rate(
    make_video: MakeVideo, name: str, b_frames: str
) -> None:
    path = make_video(name, *X264, "-bf", b_frames, source=SOURCE)
    video = stored(path)
    assert video.crf is None and video.frames == 15
    found, times, packets = [], [], []
    for content in (video.mp4, path.read_bytes()):
        with av.open(io.BytesIO(content)) as container:
            packets.append([bytes(packet) for packet in container.demux(video=0) if packet.size])
        with av.open(io.BytesIO(content)) as container:
            frames = list(container.decode(video=0))
            found.append(np.array([frame.to_ndarray() for frame in frames]))
            times.append([frame.pts * frame.time_base for frame in frames])
    assert packets[0] == packets[1]
    np.testing.assert_array_equal(*found)
    assert times[0] == [Fraction(number, 25) for number in range(15)]
    assert b"edts" not in video.mp4 and len(frames_of_mp4(video.mp4, np.arange(15), 60)) == 15


def test_a_copy_can_be_read_by_other_programs(make_video: MakeVideo, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    path = make_video("a.mkv", *X264, "-bf", "3", source=SOURCE)
    (copy := tmp_path / "copy.mp4").write_bytes(stored(path).mp4)
    raw = [ffmpeg("-i", file, "-fps_mode", "passthrough", "-f", "rawvideo", "-") for file in (path, copy)]
    assert raw[0] == raw[1]
    captures = [cv2.VideoCapture(str(file)) for file in (path, copy)]
    for _ in range(15):
        np.testing.assert_array_equal(*(capture.read()[1] for capture in captures))
    assert not captures[1].read()[0]


def test_sources_that_cannot_be_copied_are_encoded(make_video: MakeVideo, tmp_path: Path) -> None:
    plain = make_video("a.mp4", *X264, source=SOURCE)
    others = {
        "size": make_video("size.mp4", *X264, source=SOURCE.replace("64x64", "96x96")),
        "chroma": make_video("chroma.mp4", "-c:v", "libx264", "-pix_fmt", "yuv444p", source=SOURCE),
        "codec": make_video("codec.mp4", "-c:v", "mpeg4", source=SOURCE),
        "aspect": make_video("aspect.mp4", *X264, "-aspect", "4:3", source=SOURCE),
        "interlaced": make_video("interlaced.mp4", *X264, "-flags", "+ildct", source=SOURCE),
        "no headers": make_video("a.ts", *X264, source=SOURCE),
    }
    ffmpeg("-display_rotation", "90", "-i", plain, "-c", "copy", others.setdefault("turned", tmp_path / "turned.mp4"))
    for what, path in others.items():
        assert stored(path) == stored(path, copy=False) != stored(plain), what
    for more in ({"rate": 30}, {"window": (0, 0, 64, 64)}, {"first": 2}):
        video = stored(plain, **more)
        assert video.crf == 18 and video == stored(plain, copy=False, **more)


def test_copies_with_reordered_frames_are_not_joined(make_video: MakeVideo) -> None:
    copy = stored(make_video("a.mp4", *X264, "-bf", "3", source=SOURCE)).mp4
    with pytest.raises(ValueError, match="video 0 cannot be joined"):
        joined([copy, copy], 60)
