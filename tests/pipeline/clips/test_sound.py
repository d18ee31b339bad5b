"""Audio of built clips: synchronous with the video, of exactly its duration, and dropped without losing the clip."""

import io
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from impulses import HZ, KINDS, can_write, clicks_near, write_impulses
from videos import ffmpeg

from motionshards.pipeline.clips.clip import build_clip
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.moving import samples_at
from motionshards.schemas.records import Clip, ClipSpec, Rejected, Span
from motionshards.transforms.extract.sound import flac_samples

CONFIG = BuildConfig(source="folder", size=64, frames=4, store="video", landmarks="none", landmarks_every=25)


def built(root: Path, config: BuildConfig, *spans: Span) -> Clip:
    (clip,) = build_clip(ClipSpec("a/b/c", "folder", "train", "a", "b", spans, 1.0), root, None, config)
    assert isinstance(clip, Clip), clip
    return clip


def flashes_s(clip: Clip) -> list[np.ndarray]:
    """Times at which the stored video is white: those of the frames of each flash, several with a variable rate."""
    assert clip.video is not None
    with av.open(io.BytesIO(clip.video.mp4)) as file:
        white = np.array([frame.to_ndarray(format="gray").mean() > 128 for frame in file.decode(video=0)])
    frames = np.flatnonzero(white)
    return [run / float(clip.video.rate) for run in np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1)]


def farthest_s(clip: Clip, flashes: list[np.ndarray]) -> float:
    """Largest offset of a click from the nearest frame of its flash, in seconds."""
    clicks = clicks_near(samples_of(clip)[:, 0], np.array([run[0] for run in flashes]))
    return max(float(np.abs(run - click).min()) for run, click in zip(flashes, clicks, strict=True))


def samples_of(clip: Clip) -> np.ndarray:
    assert clip.sound is not None and clip.video is not None
    pcm = flac_samples(clip.sound.flac, 60)
    assert (clip.sound.hz, clip.sound.channels, clip.sound.samples) == (pcm.hz, pcm.samples.shape[1], len(pcm.samples))
    assert len(pcm.samples) == samples_at(len(clip.video), clip.video.rate, pcm.hz)
    return pcm.samples


@pytest.mark.parametrize(
    ("name", "within_s"),
    [("mp4 AAC, sound 0.7 s early", 1e-3), ("mkv FLAC, variable rate", 0.02), ("webm Opus, sound 0.7 s late", 1.1e-3)],
)
def test_flash_and_click_are_stored_together(tmp_path: Path, name: str, within_s: float) -> None:
    kind = KINDS[name]
    if not can_write(kind):
        pytest.skip(f"this ffmpeg cannot write {name}")
    path = tmp_path / f"a.{kind.suffix}"
    write_impulses(path, kind)
    clip = built(tmp_path, CONFIG, Span(path.name))
    flashes = flashes_s(clip)
    assert len(flashes) == 3 and farthest_s(clip, flashes) <= within_s


def test_audio_starts_with_its_stretch_and_covers_all_files_of_a_clip(tmp_path: Path) -> None:
    kind = KINDS["mp4 AAC"]
    once_s = write_impulses(tmp_path / "a.mp4", kind)
    ffmpeg("-i", tmp_path / "a.mp4", "-an", "-c", "copy", tmp_path / "silent.mp4")
    spans = (Span("a.mp4", start_s=0.5, end_s=3.62), Span("silent.mp4", end_s=2.0), Span("a.mp4", start_s=2.6))
    clip = built(tmp_path, replace(CONFIG, unit="video", fps="30000/1001"), *spans)
    (click,) = clicks_near(samples_of(clip)[:, 0], once_s[:1] - 0.52)
    assert click == pytest.approx(once_s[0] - 0.52, abs=1e-3)  # the first frame from 0.5 s on is at 0.52 s
    flashes = flashes_s(clip)
    assert len(flashes) == 5
    assert not samples_of(clip)[int(HZ * 3.3) : int(HZ * 5.0)].any()
    assert farthest_s(clip, [flashes[number] for number in (0, 1, 3, 4)]) <= 0.021


def test_audio_of_the_source_keeps_rate_and_channels(tmp_path: Path) -> None:
    write_impulses(tmp_path / "a.mp4", KINDS["mp4 AAC"])
    clip = built(tmp_path, replace(CONFIG, audio="source"), Span("a.mp4"))
    assert samples_of(clip).shape == (6 * 44_100, 2)
    assert built(tmp_path, replace(CONFIG, audio="none"), Span("a.mp4")).sound is None


def test_a_clip_is_kept_with_damaged_audio_and_rejected_with_damaged_video(tmp_path: Path) -> None:
    write_impulses(tmp_path / "a.mkv", KINDS["mkv FLAC, variable rate"])
    whole, sizes = (tmp_path / "a.mkv").read_bytes(), {}
    with av.open(str(tmp_path / "a.mkv")) as file:
        for packet in file.demux():
            if packet.size > 100:
                sizes.setdefault(packet.stream.type, []).append(bytes(packet))
    for kind in ("audio", "video"):
        packet = sizes[kind][len(sizes[kind]) // 2]
        at = whole.index(packet)
        (tmp_path / f"{kind}.mkv").write_bytes(whole[: at + 8] + bytes(len(packet) - 8) + whole[at + len(packet) :])
    clip = built(tmp_path, CONFIG, Span("audio.mkv"))
    assert clip.sound is None and clip.sound_lost == "corrupt"
    (lost,) = build_clip(ClipSpec("a/b/c", "folder", "train", "a", "b", (Span("video.mkv"),), 1.0), tmp_path, None, CONFIG)
    assert isinstance(lost, Rejected) and lost.reason == "corrupt"
