"""The demo corpus: its layout, resumption, and rendered motion that matches the stated motion."""

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from videos import ffmpeg

from motionshards.pipeline.sources import demo_render
from motionshards.pipeline.sources.demo_render import FIRST_TEST_IDENTITY, FRAME_SIZE, Motion, demo_motion, mirrored, render_demo

# Landmark i of a mirrored face is landmark MIRROR[i] of the face itself (68 points, dlib's order).
MIRROR = [
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), 45, 44, 43, 42, 47, 46,
    39, 38, 37, 36, 41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65,
]  # fmt: skip


@pytest.fixture(scope="module")
def tree(demo_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(demo_videos, tmp_path_factory.mktemp("demo") / "videos"))


def decode(path: Path) -> NDArray[np.uint8]:
    """All frames of a clip, uint8 [T, 224, 224, 3] RGB."""
    raw = ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1")
    return np.frombuffer(raw, np.uint8).reshape(-1, FRAME_SIZE, FRAME_SIZE, 3)


def clips_of(root: Path, split: str) -> list[Path]:
    return sorted((root / split / "mp4").glob("id9????/???????????/0000[12].mp4"))


def test_the_tree_has_the_layout_of_voxceleb2(tree: Path) -> None:
    assert len(clips_of(tree, "dev")) == len(clips_of(tree, "test")) == 4
    assert len([path for path in tree.rglob("*") if path.is_file()]) == 8
    assert all(70 <= len(decode(path)) <= 80 for path in clips_of(tree, "dev"))


@pytest.mark.parametrize(("identities", "in_test"), [(1, 0), (2, 1), (3, 1), (4, 2), (6, 2), (9, 2)])
def test_people_never_change_their_split(identities: int, in_test: int) -> None:
    people = [(path.relative_to("root").parts[0], who) for path, who, *_ in demo_render._clips(Path("root"), identities, 0)]
    assert len(set(people)) == identities
    assert sum(split == "test" for split, _ in set(people)) == in_test
    assert all((split == "test") == (who >= FIRST_TEST_IDENTITY) for split, who in people)


def test_only_missing_clips_are_rendered_with_the_same_bytes(tree: Path) -> None:
    lost, *kept = clips_of(tree, "dev")
    before, mtimes = lost.read_bytes(), [path.stat().st_mtime_ns for path in kept]
    lost.unlink()
    assert render_demo(tree, identities=2) == 8
    assert lost.read_bytes() == before
    assert [path.stat().st_mtime_ns for path in kept] == mtimes


def test_another_seed_gives_other_bytes(tree: Path, tmp_path: Path) -> None:
    demo_render._render_clip((tmp_path / "other.mp4", 0, 0, 0), seed=1)
    assert (tmp_path / "other.mp4").read_bytes() not in [path.read_bytes() for path in clips_of(tree, "dev")]


def test_a_clip_is_complete_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(frames: bytes, path: Path) -> None:
        path.write_bytes(frames[:100])
        raise OSError("no space left on device")

    monkeypatch.setattr(demo_render, "_encode", full_disk)
    with pytest.raises(OSError, match="no space"):
        demo_render._render_clip((tmp_path / "00001.mp4", 0, 0, 0), seed=0)
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_run_are_not_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_render, "_encode", lambda frames, path: path.write_bytes(b"whole"))
    monkeypatch.setattr(demo_render, "render_frame", lambda image, motion, t: np.zeros((2, 2, 3), np.uint8))
    clip = next(demo_render._clips(tmp_path, 1, 0))[0]
    clip.parent.mkdir(parents=True)
    clip.with_name(f"{clip.name}.1.part").write_bytes(b"half")
    assert render_demo(tmp_path, identities=1) == 4
    assert [path.read_bytes() for path in clips_of(tmp_path, "dev")] == [b"whole"] * 4


@pytest.mark.parametrize("identity", [0, 1, 2, 3, FIRST_TEST_IDENTITY])
def test_warp_points_is_the_inverse_of_the_rendering_map(identity: int) -> None:
    x, y = np.meshgrid(np.linspace(130, 320, 40), np.linspace(40, 230, 40))
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    motion = demo_motion(identity, 1, 1, seed=5)
    for t in range(0, len(motion), 10):
        assert np.abs(motion.source_points(motion.warp_points(points, t), t) - points).max() < 1e-5


def test_mapping_without_inverse_is_refused() -> None:
    affine = np.array([[[1.0, 0, 0], [0, 1, 0]]])
    motion = Motion(25.0, affine, np.array([[50.0, 50, 10, 10]]), np.array([[[30.0, 0]]]))
    with pytest.raises(ValueError, match="not invertible"):
        motion.warp_points(np.array([[52.0, 50.0]]), 0)


@pytest.mark.parametrize("identity", [0, 1])
def test_bright_dots_are_rendered_at_warp_points(identity: int) -> None:
    dots = np.array([[202.0, 143], [223, 170], [252, 91], [187, 150], [225, 60], [160, 120]])
    y, x = np.mgrid[:512, :512]
    blobs = [255.0 * np.exp(-((x - dot_x) ** 2 + (y - dot_y) ** 2) / (2 * 1.5**2)) for dot_x, dot_y in dots]
    image = np.repeat(np.sum(blobs, axis=0).astype(np.uint8)[:, :, None], 3, axis=2)
    motion = demo_motion(identity, 0, 0, seed=0)
    for t in (0, 30, 60):
        frame = demo_render.render_frame(image, motion, t)[:, :, 1].astype(float)
        for where in motion.warp_points(dots, t):
            assert np.abs(center_of_mass(frame, where) - where).max() < 0.5


def center_of_mass(frame: NDArray[np.floating[Any]], near: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """The (x, y) of the light within 8 px of `near`, frame px."""
    y, x = np.mgrid[: frame.shape[0], : frame.shape[1]]
    light = frame * (np.hypot(x - near[0], y - near[1]) < 8)
    return np.array([(x * light).sum() / light.sum(), (y * light).sum() / light.sum()])


def test_a_frame_that_leaves_the_image_is_reflected_not_black() -> None:
    affine = np.array([[[1.0, 0, 20.5], [0, 1, 20]]])
    still = Motion(25.0, affine, np.zeros((0, 4)), np.zeros((1, 0, 2)))
    ramp = np.repeat(np.tile(np.arange(10, 210, 5, dtype=np.uint8), (40, 1))[:, :, None], 3, axis=2)
    frame = demo_render.render_frame(ramp, still, 0, size=60)
    assert frame.min() >= 10
    assert frame[30, [20, 21, 22], 0].tolist() == [13, 13, 18]


@pytest.fixture(scope="module")
def face_points() -> Callable[[NDArray[np.uint8]], list[NDArray[np.float64]]]:
    """Landmarks [68, 2] of each face dlib finds in an image, without upsampling."""
    dlib = pytest.importorskip("dlib")
    package = importlib.util.find_spec("face_recognition_models")
    if package is None or not package.submodule_search_locations:
        pytest.skip("the landmark model comes with face_recognition_models")
    detect = dlib.get_frontal_face_detector()
    model = Path(package.submodule_search_locations[0]) / "models" / "shape_predictor_68_face_landmarks.dat"
    predict = dlib.shape_predictor(str(model))

    def find(image: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
        shapes = [predict(image, box) for box in detect(image, 0)]
        return [np.array([(point.x, point.y) for point in shape.parts()], dtype=np.float64) for shape in shapes]

    return find


@pytest.mark.parametrize("identity", [0, FIRST_TEST_IDENTITY])
def test_landmarks_found_by_dlib_match_the_stated_motion(
    identity: int, tree: Path, face_points: Callable[[NDArray[np.uint8]], list[NDArray[np.float64]]]
) -> None:
    from skimage import data

    path = next(path for path, who, *_ in demo_render._clips(tree, 2, 0) if who == identity)
    motion, frames = demo_motion(identity, 0, 0, seed=0), decode(path)
    assert len(frames) == len(motion)
    (still,) = face_points(data.astronaut())
    named = still[MIRROR] if mirrored(identity) else still
    found = {t: face_points(frames[t]) for t in range(0, len(frames), 4)}
    assert np.mean([len(faces) == 1 for faces in found.values()]) >= 0.95
    seen = {t: faces[0] for t, faces in found.items() if len(faces) == 1}
    assert median_error(motion, named, seen) < 2.0
    rigid = Motion(motion.fps, motion.source_to_frame, motion.bumps_px, np.zeros_like(motion.pushes_px))
    assert median_error(motion, named, seen) < median_error(rigid, named, seen)


def median_error(motion: Motion, source_px: NDArray[np.float64], seen: dict[int, NDArray[np.float64]]) -> float:
    """Median distance, frame px, of the points seen in frame t from where `motion` carries `source_px` [N, 2]."""
    offsets = np.concatenate([points - motion.warp_points(source_px, t) for t, points in seen.items()])
    return float(np.median(np.hypot(offsets[:, 0], offsets[:, 1])))
