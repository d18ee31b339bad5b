"""Inputs of `benchmarks.clips`: videos of the corpus with generated sound, unchanged or re-encoded at VoxCeleb2's bit rate."""

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks.report import ROOT
from motionshards.dataset.index import Dataset
from motionshards.pipeline.inputs.tree import DirectoryTree
from motionshards.pipeline.sources.listing import Listing
from motionshards.pipeline.sources.voxceleb2 import list_clips
from motionshards.schemas.layout import SOUND, VIDEO, is_main_frame, uri_to_path
from motionshards.transforms.extract.ffmpeg import ffmpeg_path

FRAMES, SIZE_PX = 150, 224
_HZ = 48_000
_SPEECH_S = 8.0
_COPIED = ("-map", "1:v", "-c:v", "copy")
# Forwards and backwards, because many clips of the corpus are shorter; x264's default key frames, up to 250 frames apart, and
# B-frames. Rate control ends at about 130 kb/s.
_ENCODED = (
    "-filter_complex",
    f"[1:v]scale={SIZE_PX}:{SIZE_PX},split[a][b];[b]reverse[r];[a][r]concat,trim=end_frame={FRAMES}[v]",
    *("-map", "[v]", "-r", "25", "-c:v", "libx264", "-b:v", "150k", "-pix_fmt", "yuv420p", "-threads", "1"),
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Mean bytes of a clip by kind of content."""

    frames: float
    sound: float


def with_sound(source: Path, target: Path, clips: int, *, encoded: bool) -> Path:
    """Add sound to up to `clips` clips of a VoxCeleb2 tree; `encoded`: also re-encode to 6 s of 224 px, 25 frames/s, 130 kb/s."""
    for number, spec in zip(range(clips), list_clips(Listing(DirectoryTree(source))), strict=False):
        path = uri_to_path(spec.spans[0].uri)
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        command = [ffmpeg_path(), "-v", "error", "-f", "s16le", "-ar", str(_HZ), "-ac", "1", "-i", "-", "-i", str(source / path)]
        command += [*(_ENCODED if encoded else _COPIED), "-map", "0:a", "-c:a", "aac", "-b:a", "64k", "-shortest"]
        subprocess.run([*command, str(target / path)], input=speech(_SPEECH_S, number).tobytes(), check=True)
    return target


def speech(seconds: float, seed: int) -> NDArray[np.int16]:
    """Sound with the spectrum and rhythm of speech: a gliding pitch, three formants, four syllables per second, and pauses.

    int16 [samples] at 48 kHz.
    """
    draw = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * _HZ)) / _HZ
    pitch_hz = draw.uniform(90, 220)
    phase = 2 * np.pi * np.cumsum(pitch_hz * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * time_s))) / _HZ
    formants_hz = draw.uniform([300, 900, 2200], [800, 2000, 3000])
    voice = np.zeros_like(time_s)
    for harmonic in range(1, 30):
        gain = 0.1 + np.exp(-(((harmonic * pitch_hz - formants_hz) / 200) ** 2)).sum()
        voice += gain / harmonic * np.sin(harmonic * phase)
    syllables = np.sqrt(np.clip(np.sin(2 * np.pi * 4 * time_s + draw.uniform(0, 6)), 0, None))
    talks = np.sin(2 * np.pi * 0.4 * time_s + draw.uniform(0, 6)) > -0.7
    sound = 0.3 * voice / np.abs(voice).max() * syllables * talks + draw.normal(0, 0.002, len(time_s))
    samples: NDArray[np.int16] = np.round(sound * 32767).astype(np.int16)
    return samples


def build(root: Path, out: Path, *settings: str, landmarks: str = "none") -> Path:
    """Build a dataset of `root` with the command that a user would run."""
    command = [*(sys.executable, "-m", "dataset.build", "--source", "voxceleb2", "--landmarks", landmarks, "--quiet", "--json")]
    command += ["--input", str(root), "--output", str(out), *settings]
    ledger = json.loads(subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
    if ledger["kept"] < ledger["planned"]:
        raise SystemExit(f"a build rejected clips: {ledger}")
    return out


def stored_sizes(data: Path) -> Sizes:
    """Mean bytes of a clip of a dataset."""
    return _mean(_stored(members) for members in Dataset.open(data).index(["members"])["members"].to_pylist())


def source_sizes(root: Path) -> Sizes:
    """Mean bytes of the streams of a video."""
    return _mean(_streamed(path) for path in root.rglob("*.mp4"))


def _stored(members: list[dict[str, Any]]) -> Sizes:
    frames = sum(member["size"] for member in members if member["suffix"] == VIDEO or is_main_frame(member["suffix"]))
    return Sizes(frames, sum(member["size"] for member in members if member["suffix"] == SOUND))


def _streamed(path: Path) -> Sizes:
    sizes = {"video": 0, "audio": 0}
    with av.open(str(path)) as container:
        for packet in container.demux():
            sizes[packet.stream.type] += packet.size
    return Sizes(sizes["video"], sizes["audio"])


def _mean(clips: Iterable[Sizes]) -> Sizes:
    every = list(clips)
    return Sizes(sum(one.frames for one in every) / len(every), sum(one.sound for one in every) / len(every))
