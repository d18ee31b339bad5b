"""OpenFace on sequences, with a program that imitates it: several clips per call, and the effect of failures."""

import hashlib
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from openface_program import INTENSITIES, PRESENCES, sequence

from motionshards.schemas.action_units import ActionUnits, SourceFrames
from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.action_units.openface import OpenFace
from motionshards.transforms.extract.action_units.options import resolve
from motionshards.transforms.extract.action_units.png import png
from motionshards.transforms.extract.action_units.source import StoredClip

FRAMES, SIZE, STORED = 10, 48, [2, 7]
Command = Callable[..., list[str]]


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def clip(number: int, scratch: Path) -> StoredClip:
    """A clip whose stored frames show half of the area of its images, at half their scale; the face is in the middle."""
    images, rng = scratch / f"images-{number}", np.random.default_rng(number)
    images.mkdir()
    for frame in range(FRAMES):
        (images / f"{frame:04d}.png").write_bytes(png(rng.integers(0, 255, (2 * SIZE, 2 * SIZE, 3), np.uint8)))
    boxes = np.tile(np.array([8, 8, 40, 40], np.float32), (2, 1))
    numbers = np.arange(FRAMES, dtype=np.int32)
    return StoredClip(
        f"i/v/{number}",
        ("a.mp4",),
        (b"",) * 2,
        boxes,
        np.zeros(2, np.int32),
        np.array(STORED, np.int32),
        (FRAMES,),
        np.tile(np.eye(2, 3), (2, 1, 1)),
        SourceFrames(np.zeros(FRAMES, np.int32), numbers, numbers / 25),
        keep_every=True,
        images=images,
        shown_px=np.tile(np.array([0, 0, SIZE, SIZE], np.int32), (2, 1)),
    )


def images_of(clip: StoredClip) -> list[bytes]:
    assert clip.images is not None
    return [path.read_bytes() for path in sorted(clip.images.iterdir())]


def run(command: Sequence[str], clips: Sequence[StoredClip], scratch: Path) -> list[ActionUnits | ClipRejected]:
    found = OpenFace(tuple(command)).action_units(clips, scratch)
    assert sorted(path.name for path in scratch.iterdir()) == sorted(one.images.name for one in clips if one.images is not None)
    return found


def expected(clip: StoredClip, names: Sequence[str] = INTENSITIES, suffix: str = "_r", lost_every: int = 0) -> np.ndarray:
    rows = sequence(images_of(clip), {"lost_every": lost_every})
    return np.array([[row[f"{name}{suffix}"] for name in names] for row in rows], np.float32)


def is_right(found: ActionUnits | ClipRejected, clip: StoredClip) -> bool:
    assert isinstance(found, ActionUnits) and found.sequence is not None, found
    intensity, presence = expected(clip), expected(clip, PRESENCES, "_c")
    stored = (found.intensity == intensity[STORED]).all() and (found.presence == presence[STORED]).all()
    return bool(stored and found.valid.all() and (found.sequence.intensity == intensity).all())


def calls(tmp_path: Path) -> list[int]:
    """Number of sequences in each call."""
    return [int(line.split()[1]) for line in (tmp_path / "openface.log").read_text().splitlines()]


def reason(found: ActionUnits | ClipRejected) -> str:
    assert isinstance(found, ClipRejected) and found.reason == "aus_failed", found
    return found.detail


@pytest.mark.parametrize("spelling", [{}, {"separator": ","}, {"reverse": True}], ids=str)
def test_many_clips_are_passed_in_one_call_with_a_directory_and_a_name_each(
    openface: Command, scratch: Path, tmp_path: Path, spelling: dict[str, object]
) -> None:
    clips = [clip(number, scratch) for number in range(4)]
    assert all(map(is_right, run(openface(**spelling), clips, scratch), clips))
    assert calls(tmp_path) == [4]
    plain = run(openface(), [replace(one, keep_every=False) for one in clips], scratch)
    assert all(isinstance(one, ActionUnits) and one.sequence is None and one.valid.all() for one in plain)


def test_frames_without_valid_action_units_are_nan_also_a_first_detection_with_success_1(
    openface: Command, scratch: Path
) -> None:
    clips = [clip(number, scratch) for number in range(8)]
    successes = set()
    for one, found in zip(clips, run(openface(lost_every=3), clips, scratch), strict=True):
        rows, values = sequence(images_of(one), {"lost_every": 3}), expected(one, lost_every=3)
        lost = ~values.any(axis=1)
        successes |= {(row["success"], row["confidence"]) for row, missing in zip(rows, lost, strict=True) if missing}
        assert isinstance(found, ActionUnits) and found.sequence is not None
        np.testing.assert_array_equal(found.sequence.intensity, np.where(lost[:, None], np.nan, values))
        np.testing.assert_array_equal(found.valid, ~lost[STORED])
    assert {(1, 0.68), (0, 0.68), (0, 0.0)} <= successes, "every kind of row occurs"


def test_a_crash_rejects_its_clip_only(openface: Command, scratch: Path, tmp_path: Path) -> None:
    clips = [clip(number, scratch) for number in range(5)]
    command = openface(crash_on=[hashlib.sha256(images_of(clips[2])[4]).hexdigest()])
    found = run(command, clips, scratch)
    assert all(is_right(found[number], clips[number]) for number in (0, 1, 3, 4))
    assert reason(found[2]).startswith("a result is damaged: line 2: AU") and "OpenFace: status -8" in reason(found[2])
    assert calls(tmp_path) == [5, 1, 1, 1]
    assert reason(run(command, clips[2:3] + clips[:2] + clips[3:], scratch)[0]) == reason(found[2]), "with any other clips"


def test_a_corrupt_image_kills_the_call_and_rejects_its_clip_only(openface: Command, scratch: Path) -> None:
    clips = [clip(number, scratch) for number in range(2)]
    assert clips[0].images is not None
    victim = min(clips[0].images.iterdir())
    victim.write_bytes(victim.read_bytes()[:-9])
    first, second = run(openface(), clips, scratch)
    assert "status -8" in reason(first) and is_right(second, clips[1])


def test_a_directory_without_images_ends_the_program_with_status_0_and_rejects_its_clip_only(
    openface: Command, scratch: Path
) -> None:
    clips = [clip(number, scratch) for number in range(3)]
    for empty in (True, False):
        assert clips[1].images is not None
        shutil.rmtree(clips[1].images)
        if empty:
            clips[1].images.mkdir()
        found = OpenFace(tuple(openface())).action_units(clips, scratch)
        assert is_right(found[0], clips[0]) and is_right(found[2], clips[2])
        assert reason(found[1]).startswith(
            "no result was written; OpenFace: status 0: Attempting to read from directory: {dir}/images-1"
        )


def test_a_killed_run_and_a_missing_model_give_no_action_units(openface: Command, scratch: Path) -> None:
    clips = [clip(0, scratch)]
    assert "AU" in reason(run(openface(fail="killed"), clips, scratch)[0])
    assert "the csv of a completed run; OpenFace: status -9" in reason(run(openface(fail="killed"), clips, scratch)[0])
    assert "status 1" in reason(run(openface(fail="exit"), clips, scratch)[0])


def test_a_hang_is_terminated_and_rejects_its_clip_only(
    openface: Command, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("motionshards.transforms.extract.action_units.openface._FRAME_S", 0.01)
    clips = [clip(number, scratch) for number in range(2)]
    first, second = OpenFace(tuple(openface(fail="hang")), start_s=1).action_units(clips, scratch)
    assert is_right(first, clips[0]) and "OpenFace: timed out after 1 s" in reason(second)
    assert calls(tmp_path) == [2, 1]


def test_a_result_with_another_number_of_frames_is_rejected(openface: Command, scratch: Path) -> None:
    one = clip(0, scratch)
    assert one.every is not None
    more = SourceFrames(*(np.concatenate([array, array[-1:]]) for array in (one.every.span, one.every.index, one.every.pts_s)))
    assert reason(run(openface(), [replace(one, every=more)], scratch)[0]).startswith(
        "a result has 10 of 11 frames; OpenFace: status 0"
    )


def test_a_bystander_invalidates_the_frames_around_a_stored_one(openface: Command, scratch: Path) -> None:
    """Boxes are known in stored frames only; up to half-way to the next, the tracked face is assumed to be the same."""
    one = clip(0, scratch)
    assert one.boxes_px is not None
    boxes = one.boxes_px.copy()
    boxes[1] = [0, 0, 6, 6]
    (found,) = run(openface(), [replace(one, boxes_px=boxes)], scratch)
    assert isinstance(found, ActionUnits) and found.sequence is not None and found.valid.tolist() == [True, False]
    assert np.isfinite(found.sequence.intensity).all(axis=1).tolist() == [True] * 5 + [False] * 5


def test_a_container_receives_the_directory_of_images_and_results(openface: Command, scratch: Path, tmp_path: Path) -> None:
    script = tmp_path / "container.py"
    script.write_text(
        "import subprocess, sys\n"
        "mount, arguments = sys.argv[1], sys.argv[2:]\n"
        "names = [after for before, after in zip(arguments, arguments[1:]) if before in ('-fdir', '-out_dir')]\n"
        "assert names and all(name.startswith(mount + '/') for name in names), sys.argv\n"
        "sys.exit(subprocess.run(arguments).returncode)\n"
    )
    source = resolve("openface", f"{sys.executable} {script} {{dir}} {' '.join(openface())}")
    assert isinstance(source, OpenFace)
    one = clip(0, scratch)
    assert is_right(run(source.command, [one], scratch)[0], one)
