"""Decoded frames of source videos are identical to the stored ones, wherever the video is."""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from in_process import in_this_process
from videos import MakeVideo, ffmpeg

import motionshards.dataset.build
from motionshards.dataset.drawing.source_frames import Sources, middle_frame, source_frames, source_to_shown
from motionshards.dataset.index import Dataset
from motionshards.schemas.errors import ClipRejected, ConfigError, StoreFailed
from motionshards.schemas.layout import path_to_uri
from motionshards.transforms.extract.decode import decode
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.timeline import timeline_from_packets

FAST = ["--landmarks", "none", "--quiet", "--workers", "1"]


def build(source: str, videos: list[Path], out: Path, *more: str) -> Path:
    """A dataset built from the videos."""
    arguments = ["--source", source, "--input", *map(str, videos), "--output", str(out), *FAST, *more]
    with in_this_process():
        assert motionshards.dataset.build.main(arguments) == 0
    return out


def clips(out: Path) -> Iterator[tuple[dict[str, Any], Any]]:
    """The rows of the index, each with its sample."""
    data = Dataset.open(out)
    for row in data.index().to_pylist():
        yield row, data.read(row)


def expected(meta: dict[str, Any]) -> list[tuple[int, int]]:
    return list(zip(meta["span"], meta["frame_index"], strict=True))


def span_of(path: Path, **more: Any) -> dict[str, Any]:
    """A span as in a row of the index, for a complete video in its directory."""
    names = ("box", "reference_px", "track_uri", "packed", "track_packed")
    return {"uri": path_to_uri(path.name), "start_s": 0.0, "end_s": float("inf"), **dict.fromkeys(names), **more}


def warped(image: np.ndarray, affine: np.ndarray, size: int) -> np.ndarray:
    """uint8 [H,W,3] seen through an affine to crop pixels, bilinear, black outside: float64 [size,size,3]."""
    whole = np.vstack([affine, [0, 0, 1]])
    grid = np.stack([*np.meshgrid(np.arange(size), np.arange(size)), np.ones((size, size))], -1)
    x, y = np.moveaxis((grid @ np.linalg.inv(whole).T)[..., :2], -1, 0)
    padded = np.pad(image.astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    x, y = (np.clip(v + 1, 0, edge - 1.001) for v, edge in ((x, padded.shape[1]), (y, padded.shape[0])))
    left, top = x.astype(int), y.astype(int)
    across, down = (x - left)[..., None], (y - top)[..., None]
    upper = padded[top, left] * (1 - across) + padded[top, left + 1] * across
    lower = padded[top + 1, left] * (1 - across) + padded[top + 1, left + 1] * across
    return upper * (1 - down) + lower * down


@pytest.fixture(scope="session")
def one_person(demo_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four utterances, stored at their original size."""
    return build("voxceleb2", [demo_videos], tmp_path_factory.mktemp("sources") / "data", "--size", "224", "--split", "train")


def test_frames_are_those_that_were_stored(one_person: Path, demo_videos: Path) -> None:
    for row, sample in clips(one_person):
        shown = source_frames(demo_videos, row["spans"], expected(sample.meta), 224)
        assert [image.shape for image in shown] == [(224, 224, 3)] * 9
        worst = [np.abs(a.astype(int) - b).mean() for a, b in zip(shown, sample.frames, strict=True)]
        assert max(worst) < 2  # JPEG


def test_frames_can_be_requested_in_any_order_repeatedly_or_not_at_all(one_person: Path, demo_videos: Path) -> None:
    row, _ = next(clips(one_person))
    few = source_frames(demo_videos, row["spans"], [(0, 7), (0, 2), (0, 7)], 100)
    again = source_frames(demo_videos, row["spans"], [(0, 2), (0, 7)], 100)
    np.testing.assert_array_equal(few[0], few[2])
    np.testing.assert_array_equal(few[1], again[0])
    assert np.abs(few[0].astype(int) - few[1]).mean() > 0.5
    assert source_frames(demo_videos, row["spans"], [], 100) == []


def test_videos_in_an_archive_are_decoded(demo_videos: Path, tmp_path: Path) -> None:
    packed = tmp_path / "dev.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((demo_videos / "dev").rglob("*.mp4")):
            archive.write(path, path.relative_to(demo_videos))
    out = build("voxceleb2", [packed], tmp_path / "data", "--size", "64", "--unit", "video")
    row, sample = next(clips(out))
    assert row["spans"][0]["packed"]["archive"] == "dev.zip"
    places = expected(sample.meta)
    assert len({span for span, _ in places}) == 2
    shown = source_frames(tmp_path, row["spans"], places, 64)
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(shown, sample.frames, strict=True)) < 4
    assert middle_frame(tmp_path, row["spans"], 64) is not None
    packed.write_bytes(packed.read_bytes()[:5000])
    assert middle_frame(tmp_path, row["spans"], 64) is None


def test_the_stored_affine_finds_the_crop_in_a_real_frame(corpus: Path, tmp_path: Path) -> None:
    """With an annotated box, the crop is a part of the frame; it must match the stored image."""
    out = build("voxceleb1", [corpus / "voxceleb1"], tmp_path / "data", "--size", "128")
    for row, sample in clips(out):
        images = source_frames(corpus / "voxceleb1", row["spans"], expected(sample.meta)[:2], 4096)
        for image, frame, size, stored in zip(
            images, sample.frames, sample.meta["source_size_px"], sample.meta["source_to_crop"], strict=False
        ):
            assert image.shape == (size[1], size[0], 3)
            factor = max(1, round(1 / stored[0][0]))  # number of source pixels per stored pixel
            fine = np.array(stored) * factor
            fine[:, 2] += 0.5 * factor - 0.5
            small = warped(image, fine, 128 * factor).reshape(128, factor, 128, factor, 3).mean((1, 3))
            right = np.abs(small - frame).mean()
            shifted = min(np.abs(np.roll(small, step, axis) - frame).mean() for step in (-2, 2) for axis in (0, 1))
            assert right < 4
            assert right < shifted


def test_videos_in_an_object_store(make_video: MakeVideo) -> None:
    path = make_video("stored.mp4")
    fsspec.filesystem("memory").pipe("/source-frames/stored.mp4", path.read_bytes())
    root = Sources.found("memory://source-frames", "").root
    assert root is not None
    np.testing.assert_array_equal(
        source_frames(root, [span_of(path)], [(0, 3)], 96), source_frames(path.parent, [span_of(path)], [(0, 3)], 96)
    )
    with pytest.raises((ClipRejected, StoreFailed)):
        source_frames(root, [span_of(Path("gone.mp4"))], [(0, 3)], 96)


def test_the_location_of_the_videos_is_resolved(tmp_path: Path) -> None:
    (tmp_path / "dev.zip").touch()
    assert Sources.found(None, str(tmp_path)) == Sources.found(str(tmp_path / "dev.zip"), "elsewhere") == Sources(tmp_path)
    for recorded, why in (
        ("", "does not record an input"),
        (str(tmp_path / "gone"), "does not exist"),
        ("foo://x", "^foo://x: Protocol"),
    ):
        missing = Sources.found(None, recorded)
        assert missing.root is None
        assert re.search(why, missing.missing)
    with pytest.raises(ConfigError, match=r"--input .*gone does not exist"):
        Sources.found(str(tmp_path / "gone"), str(tmp_path))


def test_a_wide_image_is_scaled_by_its_longer_side_and_never_up(make_video: MakeVideo) -> None:
    path = make_video("wide.mp4")  # 96 x 64
    (small,) = source_frames(path.parent, [span_of(path)], [(0, 3)], 48)
    (whole,) = source_frames(path.parent, [span_of(path)], [(0, 3)], 1000)
    assert (small.shape, whole.shape) == ((32, 48, 3), (64, 96, 3))
    place = source_to_shown((96, 64), small)
    np.testing.assert_allclose(place @ [-0.5, -0.5, 1], [-0.5, -0.5])
    np.testing.assert_allclose(place @ [95.5, 63.5, 1], [47.5, 31.5])


def test_pixels_that_are_not_square_are_displayed_at_their_aspect(make_video: MakeVideo) -> None:
    path = make_video("anamorphic.mp4", "-vf", "setsar=2")
    (image,) = source_frames(path.parent, [span_of(path)], [(0, 0)], 96)
    assert image.shape == (32, 96, 3)
    np.testing.assert_allclose(source_to_shown((96, 64), image) @ [95.5, 63.5, 1], [95.5, 31.5])


def test_hdr_is_mapped_as_in_the_dataset(make_video: MakeVideo) -> None:
    tags = "setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc=smpte2084:range=tv"
    bars = "smptehdbars=size=96x64:rate=10:duration=1,format=yuv420p10le"
    path = make_video("pq.mkv", "-vf", tags, "-c:v", "ffv1", source=bars)
    shown = {hdr: source_frames(path.parent, [span_of(path)], [(0, 4)], 96, hdr)[0] for hdr in ("tonemap", "keep")}
    line = timeline_from_packets(Media.at(path), 60)
    for hdr, image in shown.items():
        expected = decode(Media.at(path), line, np.array([4]), 96, "pad", 60, hdr=hdr).rgb[0, 16:-16]
        np.testing.assert_array_equal(image, expected)
    assert np.abs(shown["tonemap"].astype(int) - shown["keep"]).mean() > 10


@pytest.mark.parametrize("number", [-1, 50, 10**9])
def test_a_missing_frame_is_rejected(make_video: MakeVideo, number: int) -> None:
    path = make_video("short.mp4")
    with pytest.raises(ClipRejected, match="of 50"):
        source_frames(path.parent, [span_of(path)], [(0, number)], 48)


def test_a_missing_video_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ClipRejected, match="No such file"):
        source_frames(tmp_path, [span_of(tmp_path / "gone.mp4")], [(0, 0)], 48)


def test_the_middle_frame_is_that_of_the_span(make_video: MakeVideo) -> None:
    path = make_video("long.mp4")
    span = span_of(path, start_s=0.4, end_s=0.84)  # frames 10 to 20
    middle = middle_frame(path.parent, [span], 96)
    assert middle is not None
    np.testing.assert_array_equal(middle, source_frames(path.parent, [span], [(0, 15)], 96)[0])
    beyond = middle_frame(path.parent, [span_of(path, start_s=100.0)], 96)
    assert beyond is not None
    np.testing.assert_array_equal(beyond, source_frames(path.parent, [span], [(0, 25)], 96)[0])


def test_damaged_videos_fall_back_to_a_decodable_frame(make_video: MakeVideo, tmp_path: Path) -> None:
    whole = make_video("whole.mp4", "-movflags", "faststart")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    empty = tmp_path / "empty.mp4"
    empty.touch()
    gone = [span_of(path) for path in (text, empty, tmp_path / "gone.mp4", tmp_path)]
    assert middle_frame(tmp_path, gone, 48) is None
    assert middle_frame(tmp_path, [], 48) is None
    first = middle_frame(tmp_path, [*gone, span_of(cut)], 48)
    assert first is not None
    assert first.shape == (32, 48, 3)
    np.testing.assert_allclose(first.astype(int), source_frames(tmp_path, [span_of(whole)], [(0, 0)], 48)[0], atol=3)


def test_a_file_with_sound_only_has_no_image(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", path)
    assert middle_frame(tmp_path, [span_of(path)], 48) is None
