"""Frames far into a long file: a seek gives exactly the pixels of decoding from the start, or is not used."""

import time

import numpy as np
import pytest
from videos import MakeVideo, ffmpeg

from motionshards.transforms.extract.decode import decode, decode_from, seek_s
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.timeline import timeline_by_decoding, timeline_from_packets

LONG = "testsrc2=size=96x64:rate=25:duration=40"
KINDS = {
    "h264": ("a.mp4", "-c:v", "libx264"),
    "h264, many B-frames": ("a.mp4", "-c:v", "libx264", "-bf", "8", "-g", "100"),
    "h264, open groups": ("a.mp4", "-c:v", "libx264", "-x264-params", "open-gop=1:keyint=60:bframes=3"),
    "h264, one keyframe": ("a.mkv", "-c:v", "libx264", "-g", "9999"),
    "h264, no keyframes but a refresh": ("a.ts", "-c:v", "libx264", "-x264-params", "intra-refresh=1:keyint=50"),
    "h264, sound first": (
        "a.mp4",
        "-f",
        "lavfi",
        "-itsoffset",
        "-0.4",
        "-i",
        "sine=duration=40",
        "-c:v",
        "libx264",
        "-c:a",
        "aac",
    ),
    "h264, 29.97": ("a.mkv", "-c:v", "libx264", "-r", "30000/1001"),
    "hevc": ("a.mp4", "-c:v", "libx265", "-x265-params", "log-level=none:keyint=60"),
    "mpeg4 in avi": ("a.avi", "-c:v", "mpeg4"),
    "mpeg2": ("a.mpg", "-c:v", "mpeg2video", "-bf", "2"),
    "vp9": ("a.webm", "-c:v", "libvpx-vp9", "-cpu-used", "8"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_match_decoding_from_the_start(make_video: MakeVideo, kind: str) -> None:
    name, *options = KINDS[kind]
    encoders = ffmpeg("-encoders").decode()
    codec = options[options.index("-c:v") + 1]
    if f" {codec} " not in encoders:
        pytest.skip(f"this ffmpeg has no encoder {codec}")
    path = Media.at(make_video(name, *options, source=LONG))
    line = (timeline_by_decoding if codec == "mpeg2video" else timeline_from_packets)(path, 60)
    for first in (300, 555, len(line.raw_s) - 9):
        indices = np.array([first, first + 1, first + 5, first + 8])
        assert seek_s(line, indices) > 0
        found = decode(path, line, indices, 64, "pad", 60)
        plain = decode_from(0, path, line, indices, 64, "pad", 60, None)
        np.testing.assert_array_equal(found.rgb, plain.rgb)
        np.testing.assert_array_equal(found.pts_s, plain.pts_s)


def test_a_seek_is_used_and_saves_time(make_video: MakeVideo) -> None:
    path = Media.at(
        make_video("a.mp4", "-c:v", "libx264", "-preset", "ultrafast", source="testsrc2=size=640x360:rate=25:duration=120")
    )
    line = timeline_from_packets(path, 60)
    indices = np.array([2950, 2990])
    times = []
    for start_s in (seek_s(line, indices), 0):
        before = time.perf_counter()
        decode_from(start_s, path, line, indices, 64, "pad", 60, None)
        times.append(time.perf_counter() - before)
    assert times[0] < times[1] / 2


def test_short_clips_are_decoded_from_their_start(make_video: MakeVideo) -> None:
    line = timeline_from_packets(Media.at(make_video("a.mp4")), 60)
    assert seek_s(line, np.array([49])) == 0
