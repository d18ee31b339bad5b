"""Action units of sequences: one decoding pass writes all frames, and result rows are assigned to the right frames."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from openface_program import INTENSITIES, sequence
from PIL import Image
from videos import side_by_side

from motionshards.pipeline.clips import action_units, sequences
from motionshards.pipeline.clips.clip import build_clip, read_clip
from motionshards.pipeline.clips.read import ReadClip
from motionshards.pipeline.clips.sequences import Sequences
from motionshards.pipeline.planning.plan import read_unit
from motionshards.pipeline.shards.build import BuildJob, build_shard
from motionshards.schemas.action_units import ActionUnits
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import BuildFailed
from motionshards.schemas.layout import marker_path, tar_path, tube_start
from motionshards.schemas.marker import read_marker
from motionshards.schemas.records import Clip, ClipSpec, Rejected, ShardUnit, Span
from motionshards.transforms.extract import decode
from motionshards.transforms.extract.action_units.openface import OpenFace
from motionshards.transforms.extract.action_units.png import png, png_size
from motionshards.transforms.extract.decoder.client import decoder_versions
from motionshards.transforms.extract.decoder.filters import RGB, scaled
from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.output_images import OutputImage
from motionshards.transforms.extract.stream import decode_images
from motionshards.transforms.extract.timeline import timeline_from_packets

CONFIG = BuildConfig(source="folder", size=64, frames=4, landmarks="none", aus="openface", aus_frames="all")
Command = Callable[..., list[str]]


def spec(*names: str, key: str = "i/v/c", **where: object) -> ClipSpec:
    return ClipSpec(key, "folder", "train", "i", "v", tuple(Span(name, **where) for name in names), 1.0)  # type: ignore[arg-type]


@pytest.fixture
def image_files(tmp_path: Path) -> Sequences:
    (tmp_path / "scratch").mkdir()
    return Sequences(tmp_path / "scratch")


def frames_of(path: Path, *filters: tuple[str, str]) -> list[bytes]:
    """All frames of a video as PNG files, decoded separately."""
    media = Media.at(path)
    line = timeline_from_packets(media, 60)
    outputs = OutputImage((*filters, scaled("iw", "ih"), RGB))
    return [png(image) for (image,) in decode_images(media, line, 0, len(line.raw_s), [outputs], 60) if image is not None]


def files(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(directory.iterdir())]


def values(images: list[bytes]) -> np.ndarray:
    """The intensities that the program returns for a sequence."""
    return np.array([[each[f"{name}_r"] for name in INTENSITIES] for each in sequence(images, {})], np.float32)


def built(where: ClipSpec, root: Path, image_files: Sequences, config: BuildConfig = CONFIG) -> Clip:
    (clip,) = build_clip(where, root, None, config, image_files)
    assert isinstance(clip, Clip), clip
    return clip


def computed(clips: list[Clip], openface: list[str], image_files: Sequences, config: BuildConfig = CONFIG) -> list[ActionUnits]:
    outcomes = action_units.with_action_units(
        iter([[clip] for clip in clips]), OpenFace(tuple(openface)), config, None, image_files
    )
    found = [one.aus for each in outcomes for one in each if isinstance(one, Clip)]
    assert not [path for path in image_files.top.rglob("*") if path.is_file()], "images are left behind"
    return [one for one in found if one is not None]


def test_pillow_reads_the_same_pixels_from_a_png(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (9, 13, 3), np.uint8)
    (tmp_path / "a.png").write_bytes(png(image))
    assert png_size(tmp_path / "a.png") == (13, 9)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), image)


def test_result_rows_are_assigned_by_frame_number(
    make_video: Callable[..., Path], image_files: Sequences, openface: Command
) -> None:
    """A video with a variable frame rate, whose timestamps differ from the frame numbers over the nominal rate."""
    vfr = ["-vf", "setpts='if(lt(N,25),N,25+(N-25)*3)/25/TB'", "-fps_mode", "vfr", "-enc_time_base", "1/25", "-bf", "2"]
    video = make_video("a.mp4", *vfr, source="testsrc2=size=96x64:rate=25:duration=1.6")
    clip = built(spec("a.mp4"), video.parent, image_files)
    images = files(image_files.images("i/v/c"))
    assert images == frames_of(video) and len(images) == clip.source_frames == 40
    plain = build_clip(spec("a.mp4"), video.parent, None, replace(CONFIG, aus="none", aus_frames="sampled"))[0]
    assert isinstance(plain, Clip) and plain.jpegs == clip.jpegs and plain.display == clip.display
    (found,) = computed([clip], openface(), image_files)
    expected = values(images)
    assert found.sequence is not None and found.valid.all()
    np.testing.assert_array_equal(found.sequence.intensity, expected)
    np.testing.assert_array_equal(found.intensity, expected[clip.placement.index])
    np.testing.assert_array_equal(found.sequence.row, clip.placement.index)
    np.testing.assert_array_equal(found.sequence.pts_s[clip.placement.index], clip.placement.pts_s)
    assert found.sequence.pts_s[-1] > 39 / 25


def test_a_clip_is_decoded_once(make_video: Callable[..., Path], image_files: Sequences, monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[str] = []
    ordered = decode.ordered
    monkeypatch.setattr(decode, "ordered", lambda *args, **order: orders.append(order["do"]) or ordered(*args, **order))
    video = make_video("a.mp4", source="testsrc2=size=96x64:rate=25:duration=1")
    built(spec("a.mp4"), video.parent, image_files)
    assert orders == ["frames"] and len(files(image_files.images("i/v/c"))) == 25


def test_a_window_is_cut_at_the_scale_of_the_source(
    make_video: Callable[..., Path], image_files: Sequences, openface: Command
) -> None:
    """A span far into a file, reached by seeking, and its box."""
    video = make_video("a.mp4", "-g", "12", source="testsrc2=size=128x96:rate=10:duration=16")
    where = spec("a.mp4", start_s=13.0, end_s=15.0, box=(20.0, 10.0, 60.0, 50.0), reference_px=(128.0, 96.0))
    config = replace(CONFIG, recipe="bbox")
    clip = built(where, video.parent, image_files, config)
    images = files(image_files.images("i/v/c"))
    assert images == frames_of(video, scaled("iw", "ih"), RGB, ("crop", "40:40:20:10"))[130:150] and len(images) == 20
    assert png_size(min(image_files.images("i/v/c").iterdir())) == (40, 40)
    (found,) = computed([clip], openface(), image_files, config)
    np.testing.assert_array_equal(found.intensity, values(images)[clip.placement.index - 130])


def test_spans_of_a_video_are_one_sequence(make_video: Callable[..., Path], image_files: Sequences, openface: Command) -> None:
    """Includes a span without stored frames."""
    first = make_video("a.mp4", source="testsrc2=size=96x64:rate=25:duration=1")
    second = make_video("b.mp4", source="testsrc=size=96x64:rate=25:duration=0.4")
    for frames in (1, 9):
        clip = built(spec("a.mp4", "b.mp4"), first.parent, image_files, config := replace(CONFIG, frames=frames))
        images = files(image_files.images("i/v/c"))
        assert images == frames_of(first) + frames_of(second)
        (found,) = computed([clip], openface(), image_files, config)
        row = clip.placement.index + 25 * clip.placement.span
        np.testing.assert_array_equal(found.intensity, values(images)[row])


def test_large_frames_are_scaled_down_and_long_clips_rejected(
    make_video: Callable[..., Path], image_files: Sequences, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = make_video("a.mp4", source="testsrc2=size=1200x300:rate=5:duration=1")
    built(spec("a.mp4"), video.parent, image_files)
    assert png_size(min(image_files.images("i/v/c").iterdir())) == (960, 240)
    monkeypatch.setattr(sequences, "MAX_IMAGES_BYTES", 3_000_000)
    (lost,) = build_clip(spec("a.mp4"), video.parent, None, CONFIG, image_files)
    assert isinstance(lost, Rejected) and lost.reason == "aus_failed"
    assert lost.detail == "5 frames of 960x240 px take 0.0 GB, more than 0.003 GB"
    assert not image_files.images("i/v/c").exists()


@pytest.fixture
def job(demo_videos: Path, tmp_path: Path, openface: Command) -> BuildJob:
    (tmp_path / "scratch").mkdir()
    config, aus = replace(CONFIG, source="voxceleb2", frames=3, clips_per_shard=1000), OpenFace(tuple(openface(lost_every=9)))
    ffmpeg, scratch = decoder_versions()["ffmpeg"], tmp_path / "scratch"
    return BuildJob(demo_videos, tmp_path / "out", config, ffmpeg, journal=scratch, scratch=scratch, aus=aus)


@pytest.fixture
def few(unit: ShardUnit) -> ShardUnit:
    """Three clips of the shard."""
    return replace(unit, stop=unit.start + 3)


def committed(job: BuildJob, unit: ShardUnit) -> tuple[bytes, bytes]:
    """Bytes of tar and marker of a newly built shard; checks that the scratch directory is empty afterwards."""
    marker_path(job.out, unit.split, unit.name).unlink(missing_ok=True)
    build_shard(unit, job)
    assert job.scratch is not None and not list(job.scratch.iterdir())
    return tar_path(job.out, unit.split, unit.name).read_bytes(), marker_path(job.out, unit.split, unit.name).read_bytes()


def calls(tmp_path: Path) -> list[list[int]]:
    """Images and sequences of each call of the program."""
    return [[int(word) for word in line.split()[:2]] for line in (tmp_path / "openface.log").read_text().splitlines()]


def test_shard_is_one_call_with_bytes_independent_of_batching(
    job: BuildJob, few: ShardUnit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = committed(job, few)
    _, rows = read_marker(marker_path(job.out, few.split, few.name))
    assert calls(tmp_path) == [[sum(rows["source_frames"].to_pylist()), len(few)]]
    one, *_ = read_unit(job.out, few)
    assert committed(replace(job, suspects=frozenset({one.key}), decoders=1), few) == first, (
        "also if built in an isolated process"
    )
    (tmp_path / "openface.log").unlink()
    monkeypatch.setattr(action_units, "_MAX_BYTES", 1)
    assert committed(job, few) == first
    assert len(calls(tmp_path)) == len(few), "images of two clips were stored at the same time"


def test_a_clip_that_crashes_the_program_is_rejected_alone(
    job: BuildJob, few: ShardUnit, tmp_path: Path, openface: Command
) -> None:
    victim, *others = read_unit(job.out, few)
    images = frames_of(job.root / victim.spans[0].uri)  # type: ignore[operator]
    openface(lost_every=9, crash_on=[hashlib.sha256(images[20]).hexdigest()])
    committed(job, few)
    _, rows = read_marker(marker_path(job.out, few.split, few.name))
    lost = {row["key"]: row["detail"] for row in rows.to_pylist() if not row["kept"]}
    assert list(lost) == [victim.key] and len(rows) == len(others) + 1
    assert "a result is damaged" in lost[victim.key] and "OpenFace: status -8" in lost[victim.key]


@pytest.fixture
def tracked(demo_videos: Path, image_files: Sequences) -> list[ReadClip | Rejected]:
    """Tubes of a rendered clip, one of them too short."""
    config = BuildConfig(
        source="folder", recipe="track", frames=3, size=64, tube_min_px=64, tube_min_frames=20, tube_max_frames=30
    )
    video = sorted(demo_videos.rglob("*.mp4"))[0]
    return read_clip(spec(video.name), video.parent, models.load("dlib"), config, image_files)


def test_tubes_have_the_frames_of_their_own_window(tracked: list[ReadClip | Rejected], image_files: Sequences) -> None:
    kept = [one for one in tracked if isinstance(one, ReadClip)]
    assert len(kept) > 1
    for one in kept:
        assert one.every is not None and len(files(image_files.images(one.spec.key))) == len(one.every) == one.source_frames
        assert one.every.index[0] == tube_start(one.spec.key) and one.every.pts_s[0] == one.spec.spans[0].start_s
    image_files.forget(kept[0].spec.key)
    assert not image_files.images(kept[0].spec.key).exists() and image_files.images(kept[1].spec.key).exists()
    image_files.forget("i/v/c")
    assert not any(image_files.top.iterdir()), "deleting a planned clip also deletes its tubes"


def test_images_of_portraits_match_the_stored_frames(demo_videos: Path, image_files: Sequences) -> None:
    """Two people at once, whose tubes start at the same frame."""
    root = image_files.top.parent
    side_by_side(root / "a.mp4", *(min((demo_videos / split).rglob("*.mp4")) for split in ("dev", "test")), frames=25)
    config = BuildConfig(source="folder", recipe="face", faces="all", frames=3, size=64, tube_min_px=64, tube_min_frames=20)
    found = [one for one in read_clip(spec("a.mp4"), root, models.load("dlib"), config, image_files) if isinstance(one, ReadClip)]
    assert [one.spec.key for one in found] == ["i/v/c@000000", "i/v/c@000000-2"]
    for one in found:
        images = sorted(image_files.images(one.spec.key).iterdir())
        assert one.every is not None and len(images) == len(one.every) == one.source_frames
        for number, stored in zip(one.crop.placement.index.tolist(), one.crop.rgb, strict=True):
            image = np.asarray(Image.open(images[number]).resize((64, 64), Image.Resampling.BICUBIC))
            assert np.abs(image.astype(np.float32) - stored).mean() < 3


def test_a_directory_that_cannot_be_written_stops_the_build_with_one_line(image_files: Sequences) -> None:
    sink = image_files.sink("i/v/c", np.arange(3), (16, 16)).sink
    sink.begin()
    (image_files.images("i/v/c") / "0000-0000000.png").mkdir()
    with pytest.raises(BuildFailed, match=r"cannot write frames for action units to .*scratch: Is a directory; set TMPDIR"):
        sink.take(np.zeros((16, 16, 3), np.uint8))
