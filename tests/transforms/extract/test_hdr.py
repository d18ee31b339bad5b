"""HDR videos come out as they would look in SDR, and the same with any number of threads."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from videos import MakeVideo, ffmpeg

from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.records import Display, Frames
from motionshards.transforms.extract import hdr
from motionshards.transforms.extract.decode import decode
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.stream import stream
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
def test_hdr_looks_as_the_sdr_that_it_was_made_of(sdr: Path, kind: str) -> None:
    path = hdr_of(sdr, TRANSFERS[kind])
    expected, mapped, flat = frames_of(sdr).rgb, frames_of(path), frames_of(path, "keep").rgb
    assert mapped.display == Display(1.0, TRANSFERS[kind], "bt2020")
    spread = expected.std()
    assert mapped.rgb.std() == pytest.approx(spread, rel=0.15)
    assert flat.std() < 0.85 * spread
    assert np.abs(mapped.rgb.astype(int) - expected).mean() < 0.5 * np.abs(flat.astype(int) - expected).mean()


@pytest.mark.parametrize("timeline_of", [timeline_from_packets, timeline_by_decoding])
def test_hdr_that_names_only_its_transfer_is_of_bt2020(sdr: Path, timeline_of: Callable[[Media, float], Timeline]) -> None:
    tagged = hdr_of(sdr, "arib-std-b67")
    bare = tagged.with_name("bare.mkv")
    tags = "setparams=colorspace=unknown:color_primaries=unknown:color_trc=arib-std-b67"
    ffmpeg("-i", tagged, "-vf", tags, "-c:v", "ffv1", bare)
    line = timeline_of(Media.at(bare), 60)
    assert line.hdr and line.untagged and not timeline_of(Media.at(tagged), 60).untagged
    frames = decode(Media.at(bare), line, np.arange(0, 10, 3), 64, "squash", 60)
    assert frames.display == Display(1.0, "arib-std-b67", None)
    np.testing.assert_array_equal(frames.rgb, frames_of(tagged).rgb)


def test_every_way_to_the_pixels_maps_them_alike(sdr: Path) -> None:
    path = hdr_of(sdr, "smpte2084")
    line, whole = timeline_by_decoding(Media.at(path), 60), frames_of(path)
    assert line.hdr and line_of(path).hdr and not line_of(sdr).hdr
    window = decode(Media.at(path), line, np.arange(0, 10, 3), 64, "pad", 60, (0, 0, 96, 64)).rgb
    streamed = np.array([small for _, small in stream(Media.at(path), line, 0, 10, (64, 64), 60)])[::3]
    np.testing.assert_allclose(window.astype(int), whole.rgb, atol=3)
    np.testing.assert_allclose(streamed.astype(int), whole.rgb, atol=3)


def test_a_header_that_says_sdr_of_hdr_frames_is_not_believed(sdr: Path) -> None:
    path = hdr_of(sdr, "smpte2084")
    with pytest.raises(ClipRejected, match="frames of another transfer function"):
        decode(Media.at(path), Timeline(line_of(path).raw_s, (96, 64)), np.array([0]), 64, "pad", 60)


@pytest.mark.parametrize("threads", ["2", "5"])
def test_pixels_do_not_depend_on_the_number_of_threads(sdr: Path, monkeypatch: pytest.MonkeyPatch, threads: str) -> None:
    path = hdr_of(sdr, "arib-std-b67")
    expected = frames_of(path).rgb
    plain = Media.at(path)
    from motionshards.transforms.extract import media

    original = media.arguments_for
    monkeypatch.setattr(media, "arguments_for", lambda *given: ["-filter_threads", threads, *original(*given)])
    found = decode(plain, line_of(path), np.arange(0, 10, 3), 64, "squash", 60).rgb
    np.testing.assert_array_equal(found, expected)


def test_an_ffmpeg_without_the_filters_is_a_reason(sdr: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = hdr_of(sdr, "arib-std-b67")
    monkeypatch.setattr(hdr, "_can", lambda: False)
    with pytest.raises(ClipRejected, match=r"no_tone_mapping.*zscale and tonemap"):
        frames_of(path)
    assert len(frames_of(path, "keep")) == len(frames_of(sdr)) == 4
