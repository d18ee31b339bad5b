"""Recipes that track faces, on real pixels: one face per clip, split at cuts, gaps bridged, a single decoding pass."""

import functools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from videos import ffmpeg

from motionshards.dataset import build
from motionshards.dataset.index import Dataset
from motionshards.dataset.verify import verify
from motionshards.pipeline.clips import find_tubes as module
from motionshards.pipeline.clips.clip import build_clip, read_clip
from motionshards.pipeline.clips.read import ReadClip
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.layout import planned_key
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.records import Clip, ClipSpec, Rejected, Span
from motionshards.transforms.extract.crop import square_window
from motionshards.transforms.extract.decode import decode
from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.timeline import timeline_from_packets

CONFIG = BuildConfig(source="folder", recipe="track", frames=5, size=128, tube_min_px=96, tube_min_frames=20)
TRACK = "Identity  : \tid1\n\nFRAME \tX \tY \tW \tH \n"


@pytest.fixture(scope="module")
def videos(demo_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people side by side, one after the other, and one dissolving into the other; a face that is hidden twice."""
    root = tmp_path_factory.mktemp("tracked")
    one, other = sorted((demo_videos / "dev").rglob("*.mp4"))[0], sorted((demo_videos / "test").rglob("*.mp4"))[0]
    draw(root / "pair.mp4", "[0][1]hstack", one, other)
    draw(root / "scenes.mp4", "[0]trim=end_frame=40[a];[1]trim=end_frame=35,setpts=PTS-STARTPTS[b];[a][b]concat", one, other)
    turn = "[0]trim=end_frame=52[a];[1]trim=end_frame=47,setpts=PTS-STARTPTS[b];[a][b]xfade=duration=0.48:offset=1.6"
    draw(root / "dissolve.mp4", turn, one, other)
    box = "drawbox=x=62:y=62:w=100:h=130:color=gray:t=fill:enable='{}'"
    draw(root / "covered.mp4", box.format("between(n,20,24)+between(n,50,64)"), one)
    draw(root / "edge.mp4", "crop=150:224:50:0", one)
    return root


def draw(path: Path, graph: str, *inputs: Path) -> None:
    files = [word for name in inputs for word in ("-i", name)]
    options = ["-c:v", "libx264", "-crf", "10", "-pix_fmt", "yuv420p", "-an"]
    ffmpeg(*files, "-filter_complex", graph, *options, path)


def spec(name: str, **where: Any) -> ClipSpec:
    return ClipSpec(f"a/{name}/video", "folder", "train", "a", name, (Span(f"{name}.mp4", **where),), 1.0)


@functools.cache
def read(videos: Path, name: str, config: BuildConfig = CONFIG, **where: Any) -> list[ReadClip | Rejected]:
    return read_clip(spec(name, **where), videos, models.load("dlib"), config)


def kept(outcomes: list[ReadClip | Rejected]) -> list[ReadClip]:
    assert all(isinstance(one, ReadClip) for one in outcomes), [getattr(one, "detail", "") for one in outcomes]
    return [one for one in outcomes if isinstance(one, ReadClip)]


def center_x(clip: ReadClip) -> float:
    box = clip.spec.spans[0].box
    assert box is not None
    return (box[0] + box[2]) / 2


def frames_of(clip: ReadClip) -> tuple[int, int]:
    """First frame and the one after the last, from the times of the span."""
    return round(clip.spec.spans[0].start_s * 25), round(clip.spec.spans[0].end_s * 25)


@pytest.mark.parametrize(("x", "side"), [(0, 0), (224, 1)])
def test_annotated_person_is_tracked(videos: Path, x: int, side: int) -> None:
    where = {"box": (x + 40, 40, x + 190, 200), "reference_px": (448, 224), "end_s": 3.0}
    (clip,) = kept(read(videos, "pair", **where))
    assert center_x(clip) // 224 == side
    assert clip.track is not None
    assert clip.track.faces.tolist() == [2] * 5
    assert clip.track.found.all()


def test_without_annotation_exactly_one_person_is_tracked(videos: Path) -> None:
    clips = kept(read(videos, "pair"))
    assert sum(clip.source_frames for clip in clips) > 60
    for clip in clips:
        box = clip.spec.spans[0].box
        assert box is not None
        assert box[0] // 224 == box[2] // 224


def test_each_scene_becomes_a_separate_clip(videos: Path) -> None:
    first, second = kept(read(videos, "scenes"))
    assert frames_of(first) == (0, 40)
    assert frames_of(second) == (40, 75)
    assert [clip.spec.key for clip in (first, second)] == ["a/scenes/video@000000", "a/scenes/video@000040"]
    assert second.crop.placement.index.min() >= 40
    assert [clip.source_frames for clip in (first, second)] == [40, 35]


def test_frames_of_a_dissolve_are_in_no_tube(videos: Path) -> None:
    """Frames 41 to 51 are blended; those with less than 10 % of one person may count as the other's."""
    first, second = kept(read(videos, "dissolve"))
    assert frames_of(first)[0] == 0 and 39 <= frames_of(first)[1] <= 43
    assert 49 <= frames_of(second)[0] <= 53 and frames_of(second)[1] == 87


def test_a_short_gap_is_bridged_and_a_long_one_is_not(videos: Path) -> None:
    first, last = read(videos, "covered")
    assert isinstance(first, ReadClip)
    assert frames_of(first)[0] == 0
    assert 49 <= frames_of(first)[1] <= 51
    assert isinstance(last, Rejected)
    assert last.reason == "tube_too_short"
    assert last.spec.key.startswith("a/covered/video@00006")


def test_interpolated_boxes_have_no_score(videos: Path) -> None:
    config = replace(CONFIG, frames=45, tube_min_frames=45)
    clip = kept([one for one in read(videos, "covered", config) if isinstance(one, ReadClip)])[0]
    assert clip.track is not None
    hidden = (clip.crop.placement.index >= 20) & (clip.crop.placement.index <= 24)
    assert hidden.sum() >= 3
    np.testing.assert_array_equal(np.isnan(clip.track.scores), hidden)
    assert np.isfinite(clip.track.boxes_px).all()


def test_pixels_are_those_of_the_recipe_bbox_with_the_same_window(videos: Path) -> None:
    (clip,) = kept(read(videos, "pair", box=(264, 40, 414, 200), reference_px=(448, 224), end_s=3.0))
    box = np.array(clip.spec.spans[0].box)
    center, side = (box[:2] + box[2:]) / 2, 1.2 * (box[2:] - box[:2]).max()
    window = square_window(np.concatenate([center - side / 2, center + side / 2]), (448, 224))
    media = Media.at(videos / "pair.mp4")
    expected = decode(media, timeline_from_packets(media, 60), clip.crop.placement.index.astype(np.int64), 128, "pad", 60, window)
    np.testing.assert_array_equal(clip.crop.rgb, expected.rgb)
    np.testing.assert_allclose(clip.crop.placement.source_to_crop, expected.source_to_frame)
    np.testing.assert_allclose(clip.crop.placement.pts_s, expected.pts_s)


def test_landmarks_map_back_to_the_source(videos: Path) -> None:
    """Crop landmarks, mapped back by the affine, match those that dlib finds in the source frame."""
    model = models.load("dlib")
    assert model is not None
    (clip,) = [one for one in build_clip(spec("scenes"), videos, model, CONFIG) if "@000000" in one.spec.key]
    assert isinstance(clip, Clip) and clip.landmarks is not None
    media = Media.at(videos / "scenes.mp4")
    frames = decode(media, timeline_from_packets(media, 60), clip.placement.index.astype(np.int64), 224, "pad", 60)
    found = model.detect(frames.rgb)
    in_source = model.landmarks(frames.rgb, np.array([one.boxes_px[0] for one in found]))
    for points, affine, truth in zip(clip.landmarks.points_px, clip.placement.source_to_crop, in_source.points_px, strict=True):
        back = np.linalg.solve(affine[:, :2], (points - affine[:, 2]).T).T
        assert np.median(np.linalg.norm(back - truth, axis=1)) < 3.0


def test_every_frame_is_searched_in_one_decoding_pass(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded, decode_images = [], module.decode_images

    def counted(*arguments: Any, **options: Any) -> Iterator[Any]:
        for images in decode_images(*arguments, **options):
            decoded.append([None if image is None else image.shape for image in images])
            yield images

    monkeypatch.setattr(module, "decode_images", counted)
    assert len(read(videos, "scenes", replace(CONFIG, detect_every=4))) == 2
    assert [image is not None for image, _ in decoded] == [number % 4 == 0 for number in range(75)]
    assert {thumbnail for _, thumbnail in decoded} == {(27, 48, 3)}


def test_larger_sample_contains_the_smaller(videos: Path) -> None:
    few, many = (kept(read(videos, "scenes", replace(CONFIG, frames=n))) for n in (5, 11))
    for small, large in zip(few, many, strict=True):
        assert small.spec == large.spec
        assert set(small.crop.placement.index.tolist()) < set(large.crop.placement.index.tolist())


def test_detect_every_finds_the_same_tubes(videos: Path) -> None:
    every_frame, some = kept(read(videos, "scenes")), kept(read(videos, "scenes", replace(CONFIG, detect_every=5)))
    assert [clip.spec.key for clip in some] == [clip.spec.key for clip in every_frame]
    for a, b in zip(every_frame, some, strict=True):
        assert 0 <= frames_of(a)[1] - frames_of(b)[1] < 5
        np.testing.assert_allclose(a.spec.spans[0].box, b.spec.spans[0].box, atol=20)


def test_a_face_at_the_border_is_shifted_or_with_parity_dropped(videos: Path) -> None:
    (clip,) = kept(read(videos, "edge", replace(CONFIG, tube_min_frames=40)))
    assert (clip.crop.placement.content_px[:, 2:] <= 128).all()
    outcomes = read(videos, "edge", replace(CONFIG, recipe="fomm-track"))
    assert {one.reason for one in outcomes if isinstance(one, Rejected)} == {"tube_outside"}


def reason(outcomes: list[ReadClip | Rejected]) -> tuple[str, str]:
    (lost,) = outcomes
    assert isinstance(lost, Rejected)
    return lost.spec.key, lost.reason


def test_small_tubes_small_faces_and_no_face_have_distinct_reasons(videos: Path) -> None:
    tube, clip = "a/covered/video@000000", "a/covered/video"
    assert reason(read(videos, "covered", replace(CONFIG, tube_min_px=165), end_s=1.9)) == (tube, "tube_too_small")
    (small,) = read(videos, "covered", replace(CONFIG, tube_min_px=600), end_s=1.9)
    assert reason([small]) == (clip, "face_too_small")
    assert isinstance(small, Rejected) and small.detail.endswith(" px in the source; faces of at least 400 px are tracked")
    assert 80 < float(small.detail.split()[0]) < 180
    assert reason(read(videos, "covered", start_s=2.04, end_s=2.56)) == (clip, "no_face")


def test_two_people_are_tracked_simultaneously(videos: Path) -> None:
    clips = kept(read(videos, "pair", replace(CONFIG, faces="all")))
    assert [clip.spec.key for clip in clips] == ["a/pair/video@000000", "a/pair/video@000000-2"]
    assert {center_x(clip) // 224 for clip in clips} == {0, 1}
    for clip in clips:
        assert clip.track is not None and clip.track.found.all() and set(clip.track.faces.tolist()) == {2}
    (main,) = kept(read(videos, "pair"))
    assert main.spec == clips[0].spec, "the main face is the first of both tubes"
    np.testing.assert_array_equal(main.crop.rgb, clips[0].crop.rgb)


def test_the_margin_is_added_to_each_side_of_the_union(videos: Path) -> None:
    where = {"box": (264, 40, 414, 200), "reference_px": (448, 224), "end_s": 3.0}
    sides = []
    for margin in (0.0, 0.25):
        (clip,) = kept(read(videos, "pair", replace(CONFIG, tube_margin=margin), **where))
        sides.append(CONFIG.size / clip.crop.placement.source_to_crop[0, 0, 0])
    assert sides[1] == pytest.approx(1.5 * sides[0], abs=2)


def test_portraits_are_framed_by_eyes_and_mouth_whatever_the_size_of_the_source(videos: Path, tmp_path: Path) -> None:
    shapes, config = [], replace(CONFIG, recipe="face", detect_every=5, tube_min_frames=30)
    for name, graph in (("small", "pad=480:320:200:60"), ("large", "pad=480:320:160:60,scale=960:640")):
        draw(tmp_path / f"{name}.mp4", f"trim=end_frame=40,{graph}", videos / "edge.mp4")
        (clip,) = build_clip(spec(name), tmp_path, models.load("dlib"), config)
        assert isinstance(clip, Clip) and clip.landmarks is not None
        points = np.median(clip.landmarks.points_px, axis=0)
        left, right, mouth = points[36:42].mean(axis=0), points[42:48].mean(axis=0), points[[48, 54]].mean(axis=0)
        apart, down = np.linalg.norm(right - left), np.linalg.norm(mouth - (left + right) / 2)
        assert 2 * max(2.0 * apart, 1.8 * down) * config.face_scale == pytest.approx(config.size, rel=0.08)
        shapes.append(np.concatenate([(left + right) / 2, mouth]) / config.size)
    np.testing.assert_allclose(shapes[0], shapes[1], atol=0.06)


def test_annotated_boxes_follow_the_face(videos: Path, tmp_path: Path) -> None:
    """A VoxCeleb file annotates one person in each frame: here the right one first, then the left one."""
    (tmp_path / "pair.mp4").symlink_to(videos / "pair.mp4")
    lines = [f"{n} \t{round((264 if n < 35 else 40) * 360 / 224)} \t64 \t240 \t256 " for n in range(70)]
    (tmp_path / "00001.txt").write_text(TRACK + "\n".join(lines))
    first, second = kept(read(tmp_path, "pair", track_uri="00001.txt"))
    assert [center_x(clip) // 224 for clip in (first, second)] == [1, 0]
    assert frames_of(first)[1] <= 35


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def run(out: Path, videos: Path, *more: str) -> int:
    options = ["--recipe", "track", "--tube-min-px", "96", "--tube-min-frames", "20", "--frames", "5", "--size", "96", "--quiet"]
    return build.main(["--source", "folder", "--input", str(videos), "--output", str(out), *options, *more])


@pytest.mark.slow
def test_build_of_tubes_counts_verifies_and_resumes(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(out, videos, "--workers", "2") == 0
    counts = Manifest.read(out).counts
    index, lost = (pq.read_table(out / name) for name in ("index.parquet", "rejections.parquet"))
    assert counts["planned"] == 5
    assert counts["kept"] + sum(counts["rejected"].values()) == len(index) + len(lost) > 4
    assert {planned_key(key) for key in [*index["key"].to_pylist(), *lost["key"].to_pylist()]} == {
        f"{name}/{name}/video" for name in ("pair", "scenes", "dissolve", "covered", "edge")
    }
    assert not verify(out).faults
    before = {path: path.read_bytes() for path in out.rglob("*.parquet")}
    assert run(out, videos, "--retry", "tube_too_short") == 0
    assert {path: path.read_bytes() for path in out.rglob("*.parquet")} == before
    assert len(list(Dataset.open(out).samples())) == counts["kept"]
    assert run(tmp_path / "one", videos, "--workers", "1") == 0
    assert content(out / "train") == content(tmp_path / "one" / "train")


@pytest.mark.slow
def test_a_clip_missing_from_the_index_is_detected(videos: Path, tmp_path: Path) -> None:
    """Every planned clip must be accounted for: a dataset that lost all tubes of a clip is invalid."""
    out = tmp_path / "out"
    assert run(out, videos) == 0
    index = pq.read_table(out / "index.parquet")
    pq.write_table(index.slice(1), out / "index.parquet")
    assert any(index["key"][0].as_py() in fault for fault in verify(out).faults)


@pytest.mark.parametrize("options", [["--landmarks", "none"], ["--unit", "video"], ["--tube-max-frames", "10"]])
def test_incompatible_settings_are_refused(videos: Path, tmp_path: Path, options: list[str]) -> None:
    assert run(tmp_path / "out", videos, *options) == 2
