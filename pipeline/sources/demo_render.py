"""Render the demo corpus: a small tree in the layout of VoxCeleb2, with videos generated offline from one real face.

The face is `skimage.data.astronaut()` (NASA, public domain), which ships with scikit-image. Every person of the demo is that
photograph with different colors and a slightly different face shape, possibly mirrored. The motion of every clip is known
exactly, so that tracking results can be checked against `Motion.warp_points`.

    root/{dev,test}/mp4/id9xxxx/<video id, 11 characters>/0000N.mp4

Pixel convention: x points right, y down, the center of the top left pixel is (0, 0). "source px" are pixels of the
512 x 512 photograph, "frame px" those of the 224 x 224 video. Points are (x, y) pairs.
"""

import colorsys
import functools
import os
import string
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motionshards.transforms.extract.ffmpeg import ffmpeg_path

# x and y, or one of them, in px: float64 for points of callers, float32 for the pixels of a rendered frame.
Points = NDArray[np.floating[Any]]

FRAME_SIZE = 224
FPS = 25
VIDEOS, CLIPS = 2, 2  # videos per person, clips per video
# First identity of the test split. A later call with more people therefore never moves anyone between splits.
FIRST_TEST_IDENTITY = 9001

# Purpose of a random generator. Each has a separate stream, so that adding a draw to one does not affect the others.
_LOOK, _LIGHT, _MOTION, _VIDEO_ID = range(4)

FACE_CENTER_PX = (225.0, 130.0)  # source px, between the eyes and the mouth
# Regions where the face is deformed: x, y of the center and the radii along x and y, source px. Left is the viewer's left.
_BUMPS = np.array(
    [
        (223.0, 172, 50, 36),  # chin
        (222, 154, 32, 19),  # lower lip
        (202, 143, 22, 22),  # left corner of the mouth
        (244, 143, 22, 22),  # right corner of the mouth
        (201, 86, 30, 24),  # left brow
        (252, 89, 30, 24),  # right brow
        (184, 150, 36, 44),  # left side of the jaw
        (268, 148, 36, 44),  # right side of the jaw
        (203, 102, 24, 18),  # left eye
        (247, 104, 24, 18),  # right eye
    ]
)
# Displacements of an action of strength 1: {row of _BUMPS: (x, y) in source px}.
_ACTIONS: tuple[dict[int, tuple[float, float]], ...] = (
    {0: (0.0, 3.5), 1: (0.0, 2.5)},  # the mouth opens
    {2: (-2.0, -1.0), 3: (2.0, -1.0)},  # the mouth widens
    {4: (0.0, -3.0), 5: (0.0, -3.0)},  # the brows rise
    {6: (-4.0, 0.0), 7: (4.0, 0.0)},  # a wider jaw
    {8: (-1.5, 0.0), 9: (1.5, 0.0)},  # eyes further apart
)
# Maximum strength of each action over time, and its frequency range in Hz. Actions with 0 only vary the face shape.
_SWING = np.array([0.7, 0.7, 0.8, 0.0, 0.0])
_SWING_HZ = ((1.5, 3.0), (0.5, 1.2), (0.3, 0.9), (0.1, 0.2), (0.1, 0.2))


@dataclass(frozen=True, slots=True)
class Motion:
    """The mapping between the photograph and each frame of a clip.

    Rendering uses the closed-form direction: frame px f -> q = affine⁻¹(f) -> p = q - push(q), where p is the source px whose
    color is shown. `warp_points` is its inverse, computed by fixed-point iteration.
    """

    fps: float
    """Frames per second, Hz."""
    source_to_frame: NDArray[np.float64]
    """[T, 2, 3], the affine part: source px (x, y, 1) to frame px (x, y). Contains pan, zoom, rotation and mirroring."""
    bumps_px: NDArray[np.float64]
    """[B, 4], the deformed regions: center x, y and radii along x, y, source px."""
    pushes_px: NDArray[np.float64]
    """[T, B, 2], displacement of the center of each region along x and y, source px, before the affine."""

    def __post_init__(self) -> None:
        frames, places = len(self.source_to_frame), len(self.bumps_px)
        shapes = (self.source_to_frame.shape, self.bumps_px.shape, self.pushes_px.shape)
        if shapes != ((frames, 2, 3), (places, 4), (frames, places, 2)):
            raise ValueError(f"shapes do not match: {shapes}")

    def __len__(self) -> int:
        return len(self.source_to_frame)

    def push(self, points_px: Points, t: int) -> Points:
        """The displacement [N, 2] at `points_px` [N, 2], source px, in frame t.

        The weight of each region is the polynomial (1 - r²)³: smooth, zero outside its radii, bit-exact on any processor.
        """
        (x, y), (moved_x, moved_y) = points_px.T, np.zeros_like(points_px.T)
        for (cx, cy, rx, ry), (dx, dy) in zip(self.bumps_px.tolist(), self.pushes_px[t].tolist(), strict=True):
            # Most points are outside all regions: a preceding box test more than halves the time.
            near = np.flatnonzero((x > cx - rx) & (x < cx + rx) & (y > cy - ry) & (y < cy + ry))
            inside = np.maximum(1.0 - ((x.take(near) - cx) / rx) ** 2 - ((y.take(near) - cy) / ry) ** 2, 0.0)
            weight = inside * inside * inside
            moved_x[near] += dx * weight
            moved_y[near] += dy * weight
        return np.stack([moved_x, moved_y]).T

    def source_points(self, points_px: Points, t: int) -> Points:
        """The source px [N, 2] shown at `points_px` [N, 2], frame px, in frame t; in closed form."""
        back = np.linalg.inv(self.source_to_frame[t, :, :2])
        upright = _affine(np.column_stack([back, -back @ self.source_to_frame[t, :, 2]]), points_px)
        return upright - self.push(upright, t)

    def warp_points(self, points_px: Points, t: int) -> Points:
        """The frame px [N, 2] at which `points_px` [N, 2], source px, appear in frame t, at t / fps seconds.

        Accurate to 1e-6 px. The iteration converges because the total slope of the displacements is below 1.
        """
        source = upright = np.asarray(points_px, dtype=np.float64)
        for _ in range(100):
            before, upright = upright, source + self.push(upright, t)
            if np.allclose(before, upright, rtol=0.0, atol=1e-7):
                break
        else:
            raise ValueError(f"the displacements of frame {t} are too steep: the mapping is not invertible")
        return _affine(self.source_to_frame[t], upright)


def render_demo(root: Path, *, identities: int = 6, seed: int = 0) -> int:
    """Render the missing clips of the demo tree under `root` and return the total number of clips.

    A person looks the same with every seed; the seed determines motion, light and video ids.
    """
    if identities < 1:
        raise ValueError(f"identities must be at least 1, got {identities}")
    clips = list(_clips(root, identities, seed))
    missing = [clip for clip in clips if not clip[0].exists()]
    with ThreadPoolExecutor(max_workers=2) as pool:  # numpy and the encoder release the GIL
        list(pool.map(functools.partial(_render_clip, seed=seed), missing))
    return len(clips)


def mirrored(identity: int) -> bool:
    """Whether this person is mirrored, which swaps left and right landmarks of the photograph."""
    return identity % 2 == 1


def demo_motion(identity: int, video: int, clip: int, seed: int) -> Motion:
    """The motion of one clip: the person's face shape plus smooth pan, zoom, rotation, and mouth and brow motion."""
    look = np.random.default_rng([_LOOK, identity])
    stretch = look.uniform(0.95, 1.05)
    shape = look.uniform(-1.0, 1.0, size=len(_ACTIONS)) * (0.4, 0.5, 0.4, 1.0, 1.0)
    rng = np.random.default_rng([_MOTION, seed, identity, video, clip])
    time_s = np.arange(3 * FPS + rng.integers(-5, 6)) / FPS
    strength = np.stack([_wave(rng, time_s, *hz) for hz in _SWING_HZ], axis=1) * _SWING + shape
    directions = np.array([[action.get(place, (0.0, 0.0)) for place in range(len(_BUMPS))] for action in _ACTIONS])
    return Motion(
        fps=FPS,
        source_to_frame=_affines(rng, time_s, np.array([-stretch if mirrored(identity) else stretch, 1.0 / stretch])),
        bumps_px=_BUMPS,
        pushes_px=np.einsum("ta,abk->tbk", strength, directions),
    )


def render_frame(image: NDArray[np.uint8], motion: Motion, t: int, size: int = FRAME_SIZE) -> NDArray[np.uint8]:
    """Render frame t: `image`, uint8 [H, W, 3] RGB, warped by `motion`, as uint8 [size, size, 3], without black borders."""
    height, width = image.shape[:2]
    points = motion.source_points(_frame_grid(size), t)
    x, y = _reflect(points[:, 0], width), _reflect(points[:, 1], height)
    left, top = np.minimum(x.astype(np.intp), width - 2), np.minimum(y.astype(np.intp), height - 2)
    right_share, lower_share = (x - left).astype(np.float32), (y - top).astype(np.float32)
    planes, corner = np.ascontiguousarray(image.reshape(-1, 3).T), top * width + left
    upper, lower = (_blend(planes, corner + row, right_share) for row in (0, width))
    rounded = (upper + (lower - upper) * lower_share + np.float32(0.5)).astype(np.uint8)
    return np.ascontiguousarray(rounded.T).reshape(size, size, 3)


def demo_image(identity: int, video: int, seed: int) -> NDArray[np.uint8]:
    """The photograph with the person's colors and the video's light, uint8 [512, 512, 3] RGB, not mirrored."""
    photograph, wall, face = _photograph()
    look, light = np.random.default_rng([_LOOK, identity, 1]), np.random.default_rng([_LIGHT, seed, identity, video])
    hue = (0.08 + identity * 0.618034) % 1.0  # golden ratio: consecutive numbers get very different hues
    wall_gain = np.array(colorsys.hsv_to_rgb(hue, look.uniform(0.15, 0.35), look.uniform(0.6, 0.95)))
    hair_gain = np.array(colorsys.hsv_to_rgb(look.uniform(0.03, 0.09), look.uniform(0.0, 0.35), look.uniform(0.5, 1.0)))
    skin_gain = look.uniform(0.85, 1.05) * np.array([1.0, 0.95, 0.92]) ** look.uniform(0.3, 2.0)  # paler to warmer
    gain = wall * wall_gain + face * skin_gain + (1.0 - wall - face) * hair_gain
    gamma = look.uniform(0.85, 1.2) * light.uniform(0.92, 1.08)
    bright = np.clip(photograph / 255.0 * gain * light.uniform(0.93, 1.07), 0.0, 1.0)
    return np.asarray(np.round(255.0 * bright**gamma), dtype=np.uint8)


def _affine(matrix: NDArray[np.float64], points_px: Points) -> Points:
    """Apply `matrix` [2, 3] to points [N, 2]. Written out: several times faster than a 2 x 2 matrix product."""
    x, y = points_px.T
    return np.stack([a * x + b * y + c for a, b, c in matrix.tolist()]).T


def _clips(root: Path, identities: int, seed: int) -> Iterator[tuple[Path, int, int, int]]:
    """Yield (path, identity, video, clip) of every clip. The last one or two people are the test split."""
    in_test = min(2, identities // 2)
    for identity in (*range(identities - in_test), *range(FIRST_TEST_IDENTITY, FIRST_TEST_IDENTITY + in_test)):
        split = "test" if identity >= FIRST_TEST_IDENTITY else "dev"
        for video in range(VIDEOS):
            folder = root / split / "mp4" / f"id9{identity:04d}" / _video_id(identity, video, seed)
            for clip in range(CLIPS):
                yield folder / f"{clip + 1:05d}.mp4", identity, video, clip


def _video_id(identity: int, video: int, seed: int) -> str:
    """Eleven characters like a YouTube id, but starting with a letter, so that commands do not mistake it for an option."""
    rng = np.random.default_rng([_VIDEO_ID, seed, identity, video])
    first, rest = list(string.ascii_letters), list(string.ascii_letters + string.digits + "_-")
    return str(rng.choice(first)) + "".join(rng.choice(rest, size=10))


def _render_clip(job: tuple[Path, int, int, int], seed: int) -> None:
    """Write one clip atomically. A file left by a crash ends in .part, which no source reads as a video."""
    path, identity, video, clip = job
    image, motion = demo_image(identity, video, seed), demo_motion(identity, video, clip, seed)
    frames = b"".join(render_frame(image, motion, t).tobytes() for t in range(len(motion)))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        _encode(frames, unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _encode(frames: bytes, path: Path) -> None:
    """Encode raw RGB frames as H.264 in MP4, deterministically: with one thread and the bitexact flags."""
    source = f"-f rawvideo -pix_fmt rgb24 -s {FRAME_SIZE}x{FRAME_SIZE} -r {FPS} -i pipe:0"
    exact = "-map_metadata -1 -fflags +bitexact -flags:v +bitexact -sws_flags bicubic+accurate_rnd+bitexact -threads 1"
    codec = "-c:v libx264 -preset veryfast -crf 20 -pix_fmt yuv420p -movflags +faststart -f mp4"
    arguments = ["-hide_banner", "-nostats", "-v", "error", "-y", *source.split(), *exact.split(), *codec.split()]
    subprocess.run([ffmpeg_path(), *arguments, path.absolute()], input=frames, check=True, timeout=120.0)


def _wave(rng: np.random.Generator, time_s: NDArray[np.float64], low_hz: float, high_hz: float) -> NDArray[np.float64]:
    """A smooth curve [T] within [-1, 1]: two random sines, rounded since the last bit of a sine differs between processors."""
    hz, phase = rng.uniform(low_hz, high_hz, size=2), rng.uniform(0.0, 1.0, size=2)
    first, second = np.sin(2.0 * np.pi * (time_s * hz[:, None] + phase[:, None]))
    return np.asarray(np.round(0.65 * first + 0.35 * second, 9))


def _affines(rng: np.random.Generator, time_s: NDArray[np.float64], stretch: Points) -> NDArray[np.float64]:
    """Affines [T, 2, 3], source px to frame px. The face is 93 source px wide and becomes 110 to 140 frame px wide.

    `stretch` [2] is the person's scale along x and y; a negative one mirrors.
    """
    zoom = rng.uniform(1.3, 1.4) * (1.0 + 0.04 * _wave(rng, time_s, 0.15, 0.4))
    angle = np.radians(rng.uniform(-3.0, 3.0) + 6.0 * _wave(rng, time_s, 0.2, 0.6))
    pan = np.stack([_wave(rng, time_s, 0.15, 0.5) for _ in range(2)], axis=1) * 9.0 + rng.uniform(-4.0, 4.0, size=2)
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1).reshape(-1, 2, 2)
    linear = turn * zoom[:, None, None] * stretch
    offset = (FRAME_SIZE - 1) / 2.0 + pan - linear @ np.array(FACE_CENTER_PX)
    return np.asarray(np.round(np.concatenate([linear, offset[:, :, None]], axis=2), 9))


@functools.cache
def _frame_grid(size: int) -> Points:
    """Pixel centers of a frame, float32 [size * size, 2] as (x, y), in row-major order; stored column-wise for speed."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    return np.stack([x.ravel(), y.ravel()]).T


def _reflect(coordinate: Points, length: int) -> Points:
    """Fold coordinates into [0, length - 1], reflecting once at the centers of the outermost pixels."""
    last = length - 1.0
    return np.clip(last - np.abs(last - np.abs(coordinate)), 0.0, last)


def _blend(planes: NDArray[np.uint8], index: NDArray[np.intp], share: NDArray[np.float32]) -> NDArray[np.float32]:
    """Interpolate `planes` [3, P] at `index` [N] with their right neighbors by weight `share` [N]: float32 [3, N]."""
    here, right = (planes.take(index + step, axis=1).astype(np.float32) for step in (0, 1))
    return here + (right - here) * share


@functools.cache
def _photograph() -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]]:
    """The photograph, uint8 [512, 512, 3] RGB, and soft masks [512, 512, 1] in [0, 1] of the wall and the face."""
    from scipy.ndimage import gaussian_filter, label
    from skimage import data

    photograph: NDArray[np.uint8] = data.astronaut()
    y, x = np.mgrid[: photograph.shape[0], : photograph.shape[1]]
    face = ((x - 225.0) / 47.0) ** 2 + ((y - 128.0) / 53.0) ** 2 < 1.0
    high, low = photograph.max(axis=2).astype(np.float64), photograph.min(axis=2)
    gray = label((high > 110.0) & (high - low < 0.25 * high))[0]  # the wall is bright and nearly colorless
    wall = (gray == gray[60, 120]) | (gray == gray[60, 330])  # its components contain these pixels, unlike teeth and highlights
    soft_wall = gaussian_filter(wall.astype(np.float64), 1.0)
    soft_face = gaussian_filter(face.astype(np.float64), 3.0) * (1.0 - soft_wall)
    return photograph, soft_wall[:, :, None], soft_face[:, :, None]
