"""A clip with video and sound is removed: none of its bytes are left, and all other samples keep theirs."""

import shutil
from pathlib import Path

import pytest
from moving_builds import VIDEO, build_into
from removals import samples, sound, words

from motionshards.dataset import build, remove
from motionshards.schemas.manifest import Manifest

pytestmark = pytest.mark.usefixtures("quick")

KEY = "anna/anna/0%2Emp4"


@pytest.mark.parametrize("store", ["both", "video"])
def test_no_byte_of_the_removed_video_and_sound_is_left(spoken: Path, tmp_path: Path, store: str) -> None:
    what = ("--landmarks", "none", "--store", store, "--clips-per-shard", "3", *VIDEO)
    out = build_into(spoken, tmp_path / "data", *what)
    before = samples(out)
    removed = before.pop(KEY)
    assert removed["flac"][-200:] in words(out) and removed["mp4"][-200:] in words(out)
    assert remove.main([str(out), "--key", KEY]) == 0
    assert samples(out) == before and sound(out)
    remaining = words(out)
    for suffix in ("mp4", "flac", "frames.npy"):
        pieces = [removed[suffix][start : start + 64] for start in range(256, len(removed[suffix]) - 64, 64)]
        kept = b"".join(members.get(suffix, b"") for members in before.values())
        assert not [piece for piece in pieces if piece in remaining and piece not in kept]
    counts = Manifest.read(out).counts
    assert counts["rejected"] == {"removed": 1} and counts["kept"] == 2
    assert counts["video_frames"] == sum(len(members["frames.npy"]) - 128 for members in before.values()) // 24
    build_again = ["--source", "folder", "--input", str(spoken), "--output", str(out), "--recipe", "resize", "--size", "64"]
    assert build.main([*build_again, "--frames", "3", "--workers", "1", "--quiet", *what]) == 0
    assert samples(out) == before


def test_a_clip_stays_removed_when_video_is_added(spoken: Path, spoken_stills: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(spoken_stills, tmp_path / "data"))
    assert remove.main([str(out), "--key", KEY]) == 0
    add_video = ["--output", str(out), "--add", "video", "--input", str(spoken), "--workers", "1", "--quiet"]
    assert build.main(add_video) == 0 and sound(out)
    assert len(samples(out)) == 2 and all("mp4" in members for members in samples(out).values())
