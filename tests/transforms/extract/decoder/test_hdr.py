"""HDR videos are mapped to SDR, with the same result on every processor."""

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from all_frames import all_frames
from numpy.typing import NDArray
from videos import MakeVideo, ffmpeg

from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.frames import Display, Frames
from motionshards.transforms.extract.decode import decode
from motionshards.transforms.extract.decoder.tone import peak_of, tone_mapped
from motionshards.transforms.extract.ffmpeg import ffmpeg_path
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.timeline import Timeline, timeline_by_decoding, timeline_from_packets

TAGS = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
TO_LINEAR = f"{TAGS},zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt2020"
TRANSFERS = {"hlg": "arib-std-b67", "pq": "smpte2084"}


def hdr_of(sdr: Path, transfer: str) -> Path:
    """The video with its white at 203 nits, 10 bits, BT.2020."""
    target = sdr.with_name(f"{transfer}.mkv")
    graph = f"{TO_LINEAR},zscale=t={transfer}:m=2020_ncl:r=tv:npl=203,format=yuv420p10le"
    ffmpeg("-i", sdr, "-vf", graph, "-c:v", "ffv1", target)
    return target


def line_of(path: Path) -> Timeline:
    return timeline_from_packets(Media.at(path), 60)


def frames_of(path: Path, how: str = "tonemap") -> Frames:
    return decode(Media.at(path), line_of(path), np.arange(0, 10, 3), 64, "squash", 60, None, how)


@pytest.fixture
def sdr(make_video: MakeVideo) -> Path:
    return make_video("sdr.mkv", "-c:v", "ffv1", source="smptehdbars=size=96x64:rate=10:duration=1,format=yuv420p")


@pytest.mark.parametrize("kind", TRANSFERS)
def test_mapped_hdr_matches_the_original_sdr(sdr: Path, kind: str) -> None:
    path = hdr_of(sdr, TRANSFERS[kind])
    expected, mapped, flat = frames_of(sdr).rgb, frames_of(path), frames_of(path, "keep").rgb
    assert mapped.display == Display(1.0, TRANSFERS[kind], "bt2020")
    spread = expected.std()
    assert mapped.rgb.std() == pytest.approx(spread, rel=0.15)
    assert flat.std() < 0.85 * spread
    assert np.abs(mapped.rgb.astype(int) - expected).mean() < 0.5 * np.abs(flat.astype(int) - expected).mean()


@pytest.mark.parametrize("timeline_of", [timeline_from_packets, timeline_by_decoding])
def test_hdr_with_only_a_transfer_function_is_assumed_to_be_bt2020(
    sdr: Path, timeline_of: Callable[[Media, float], Timeline]
) -> None:
    tagged = hdr_of(sdr, "arib-std-b67")
    bare = tagged.with_name("bare.mkv")
    tags = "setparams=colorspace=unknown:color_primaries=unknown:color_trc=arib-std-b67"
    ffmpeg("-i", tagged, "-vf", tags, "-c:v", "ffv1", bare)
    line = timeline_of(Media.at(bare), 60)
    assert line.hdr and line.untagged and not timeline_of(Media.at(tagged), 60).untagged
    frames = decode(Media.at(bare), line, np.arange(0, 10, 3), 64, "squash", 60)
    assert frames.display == Display(1.0, "arib-std-b67", None)
    np.testing.assert_array_equal(frames.rgb, frames_of(tagged).rgb)


def test_all_decoding_paths_map_pixels_equally(sdr: Path) -> None:
    path = hdr_of(sdr, "smpte2084")
    line, whole = timeline_by_decoding(Media.at(path), 60), frames_of(path)
    assert line.hdr and line_of(path).hdr and not line_of(sdr).hdr
    window = decode(Media.at(path), line, np.arange(0, 10, 3), 64, "pad", 60, (0, 0, 96, 64)).rgb
    streamed = np.array(list(all_frames(Media.at(path), line, 0, 10, (64, 64))))[::3]
    np.testing.assert_allclose(window.astype(int), whole.rgb, atol=3)
    np.testing.assert_allclose(streamed.astype(int), whole.rgb, atol=3)


def test_hdr_frames_with_an_sdr_header_are_rejected(sdr: Path) -> None:
    path = hdr_of(sdr, "smpte2084")
    with pytest.raises(ClipRejected, match="transfer function differs from the header"):
        decode(Media.at(path), Timeline(line_of(path).raw_s, (96, 64)), np.array([0]), 64, "pad", 60)


def deep(rgb: NDArray[np.uint16]) -> av.VideoFrame:
    frame = av.VideoFrame(rgb.shape[1], len(rgb), "rgb48le")
    np.frombuffer(frame.planes[0], np.uint16).reshape(len(rgb), -1)[:, : 3 * rgb.shape[1]] = rgb.reshape(len(rgb), -1)
    return frame


@pytest.mark.parametrize(("transfer", "digest"), [(18, "45aebe782ef919ec"), (16, "9e393d0ac5a0a181")])
def test_mapped_pixels_do_not_depend_on_the_processor(transfer: int, digest: str) -> None:
    """Tables and single operations in float32 are rounded equally everywhere; and a frame is mapped in bands."""
    rgb = np.random.default_rng(0).integers(0, 65536, (300, 301, 3)).astype(np.uint16)
    whole = tone_mapped(deep(rgb), transfer, 10.0).to_ndarray()
    assert hashlib.sha256(whole.tobytes()).hexdigest()[:16] == digest
    parts = [tone_mapped(deep(part), transfer, 10.0).to_ndarray() for part in np.array_split(rgb, 3)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_the_peak_of_a_video_is_read_from_its_metadata(sdr: Path) -> None:
    path = hdr_of(sdr, "smpte2084")
    bright = path.with_name("bright.mp4")
    x265 = ("-c:v", "libx265", "-x265-params", "log-level=error:max-cll=4000,400:hdr10=1")
    subprocess.run([ffmpeg_path(), "-v", "error", "-i", path, *x265, "-pix_fmt", "yuv420p10le", bright], check=True)
    with av.open(bright) as video, av.open(path) as plain:
        assert (peak_of(next(video.decode(video=0))), peak_of(next(plain.decode(video=0)))) == (40.0, 10.0)
