"""OpenFace on stored frames, with a program that imitates it; and handling of misbehaving programs."""

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from openface_program import confidence, intensities, is_lost, presences

from motionshards.schemas.action_units import ActionUnits
from motionshards.schemas.errors import BuildFailed, ClipRejected, ConfigError
from motionshards.transforms.extract.action_units.openface import OpenFace
from motionshards.transforms.extract.action_units.options import resolve
from motionshards.transforms.extract.action_units.source import StoredClip

SIZE, FRAMES = 64, 3
FACE = np.array([12, 12, 52, 52], np.float32)
Command = Callable[..., list[str]]


def clip(number: int, box: np.ndarray | None = FACE) -> StoredClip:
    """A clip of random images."""
    rng = np.random.default_rng(number)
    images = rng.integers(0, 255, (FRAMES, SIZE, SIZE, 3), dtype=np.uint8)
    boxes = None if box is None else np.tile(box, (FRAMES, 1)).astype(np.float32)
    jpegs = tuple(simplejpeg.encode_jpeg(image, 90) for image in images)
    affine, spans = np.tile(np.eye(2, 3), (FRAMES, 1, 1)), np.zeros(FRAMES, np.int32)
    return StoredClip(f"i/v/{number}", ("a.mp4",), jpegs, boxes, spans, np.arange(FRAMES, dtype=np.int32), (FRAMES,), affine)


CLIPS = [clip(number) for number in range(6)]


def sha(clip: StoredClip) -> list[str]:
    return [hashlib.sha256(jpeg).hexdigest() for jpeg in clip.jpegs]


def run(
    command: Sequence[str], tmp_path: Path, clips: Sequence[StoredClip] = CLIPS, **limits: float
) -> list[ActionUnits | ClipRejected]:
    """The result of the adapter; checks that no file is left behind."""
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    found = OpenFace(tuple(command), still=True, **limits).action_units(clips, scratch)
    assert not list(scratch.iterdir()), "temporary images remain"
    return found


def calls(tmp_path: Path) -> list[int]:
    """Number of images passed to the program in each call."""
    return [int(line.split()[0]) for line in (tmp_path / "openface.log").read_text().splitlines()]


def is_right(found: ActionUnits | ClipRejected, clip: StoredClip) -> bool:
    """Whether each frame has exactly the values of its own image."""
    assert isinstance(found, ActionUnits)
    expected = np.array([intensities(jpeg) for jpeg in clip.jpegs], np.float32)
    present = np.array([presences(jpeg) for jpeg in clip.jpegs], np.float32)
    return bool(found.valid.all() and (found.intensity == expected).all() and (found.presence == present).all())


def all_right(found: Sequence[ActionUnits | ClipRejected], clips: Sequence[StoredClip] = CLIPS) -> bool:
    return len(found) == len(clips) and all(map(is_right, found, clips))


@pytest.mark.parametrize("header", [{}, {"separator": ","}, {"reverse": True}, {"noise": True}], ids=str)
def test_frames_are_measured_independently_in_one_call(openface: Command, tmp_path: Path, header: dict[str, object]) -> None:
    """The program averages over the images of a sequence, so this fails if the frames of a clip are passed as one."""
    found = run(openface(**header), tmp_path)
    assert all_right(found)
    assert calls(tmp_path) == [len(CLIPS) * FRAMES]
    assert all(isinstance(one, ActionUnits) and np.allclose(one.confidence, 0.92) and one.files == () for one in found)


def test_frames_without_a_face_or_below_the_confidence_are_nan_and_not_valid(openface: Command, tmp_path: Path) -> None:
    found = run(openface(lost_every=2), tmp_path)
    lost = np.array([[is_lost(jpeg, 2) for jpeg in one.jpegs] for one in CLIPS])
    assert 0 < lost.sum() < lost.size
    for one, missing in zip(found, lost, strict=True):
        assert isinstance(one, ActionUnits)
        np.testing.assert_array_equal(one.valid, ~missing)
        assert np.isnan(one.intensity[missing]).all() and np.isnan(one.presence[missing]).all()
        assert np.isfinite(one.intensity[~missing]).all()
    expected = [[confidence(jpeg, 2) or np.nan for jpeg in each.jpegs] for each in CLIPS]
    np.testing.assert_array_equal([one.confidence for one in found], np.array(expected, np.float32))  # type: ignore[union-attr]
    assert {0.68, 0.72} <= set(np.array(expected)[lost]) and np.isnan(expected).any(), "every kind of lost frame occurs"


def test_a_clip_in_which_no_face_is_found_is_kept(openface: Command, tmp_path: Path) -> None:
    found = run(openface(lost_every=1), tmp_path, CLIPS[:1])
    assert isinstance(found[0], ActionUnits) and not found[0].valid.any() and np.isnan(found[0].intensity).all()


def test_the_widest_face_is_not_valid_if_it_is_a_bystander(openface: Command, tmp_path: Path) -> None:
    """OpenFace reports one face; if the clip's box is unknown, it is assumed to be the clip's."""
    (known, unknown) = run(openface(bystander=True), tmp_path, [CLIPS[0], clip(0, box=None)])
    assert isinstance(known, ActionUnits) and not known.valid.any() and (known.confidence == np.float32(0.92)).all()
    assert is_right(unknown, CLIPS[0])


def test_a_face_elsewhere_is_not_the_clips(openface: Command, tmp_path: Path) -> None:
    (elsewhere,) = run(openface(), tmp_path, [clip(0, box=np.array([0, 56, 8, 64]))])
    assert isinstance(elsewhere, ActionUnits) and not elsewhere.valid.any()
    (unseen,) = run(openface(), tmp_path, [clip(0, box=np.full(4, np.nan))])
    assert is_right(unseen, CLIPS[0])


def test_a_broken_program_rejects_all_clips_after_a_bounded_number_of_calls(openface: Command, tmp_path: Path) -> None:
    many = [clip(number) for number in range(20)]
    found = run(openface(fail="exit"), tmp_path, many)
    assert all(isinstance(one, ClipRejected) and one.reason == "aus_failed" for one in found)
    assert calls(tmp_path) == [20 * FRAMES] + [FRAMES] * 8
    first, last = found[0], found[-1]
    assert isinstance(first, ClipRejected) and isinstance(last, ClipRejected)
    assert (
        "status 1: Could not find CEN patch experts in {dir}/results ERROR: Could not load the landmark detector" in first.detail
        and str(tmp_path) not in first.detail
    )
    assert "not attempted" in last.detail


def test_a_transient_failure_rejects_no_clip(openface: Command, tmp_path: Path) -> None:
    assert all_right(run(openface(fail="first"), tmp_path))
    assert calls(tmp_path) == [18, 3, 15]


def test_a_single_clip_is_retried_too(openface: Command, tmp_path: Path) -> None:
    assert all_right(run(openface(fail="first"), tmp_path, CLIPS[:1]), CLIPS[:1])
    assert calls(tmp_path) == [3, 3]


@pytest.mark.parametrize("fail", ["half", "hang"])
def test_complete_results_of_an_aborted_call_are_kept(
    openface: Command, tmp_path: Path, fail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("motionshards.transforms.extract.action_units.openface._STILL_S", 0.01)
    begin = time.monotonic()
    found = run(openface(fail=fail), tmp_path, CLIPS[:4], start_s=2)
    # Half of the frames per call: 2 of 4 clips; the third fails alone, and so does the fourth.
    assert all_right(found[:2], CLIPS[:2])
    for one in found[2:]:
        assert isinstance(one, ClipRejected)
        assert ("status 1" if fail == "half" else "timed out after 2 s") in one.detail
        assert "truncated" in one.detail
    assert calls(tmp_path) == [12, 3, 3]
    assert time.monotonic() - begin < 20


def test_only_a_clip_that_always_crashes_it_is_rejected(openface: Command, tmp_path: Path) -> None:
    found = run(openface(crash_on=[sha(CLIPS[2])[1]]), tmp_path)
    assert all_right(found[:2] + found[3:], CLIPS[:2] + CLIPS[3:])
    rejected = found[2]
    assert isinstance(rejected, ClipRejected) and rejected.reason == "aus_failed" and "status -8" in rejected.detail
    assert calls(tmp_path) == [18, 3, 3, 6]


def test_many_bad_clips_between_good_ones_do_not_count_as_a_broken_program(openface: Command, tmp_path: Path) -> None:
    many = [clip(number) for number in range(20)]
    found = run(openface(crash_on=[sha(one)[0] for one in many[::2]]), tmp_path, many)
    assert all_right(found[1::2], many[1::2])
    assert all(isinstance(one, ClipRejected) and "status -8" in one.detail for one in found[::2])


def test_the_outcome_of_a_clip_does_not_depend_on_the_other_clips(openface: Command, tmp_path: Path) -> None:
    command = openface(crash_on=[sha(CLIPS[2])[1], sha(CLIPS[3])[0]], lost_every=3)
    together, shuffled = run(command, tmp_path), run(command, tmp_path, CLIPS[::-1])[::-1]
    alone = [run(command, tmp_path, [one])[0] for one in CLIPS]
    for first, second, third in zip(together, shuffled, alone, strict=True):
        if isinstance(first, ActionUnits):
            for name in ("intensity", "presence", "valid", "confidence"):
                for other in (second, third):
                    np.testing.assert_array_equal(getattr(first, name), getattr(other, name))
        else:
            assert {(str(first), str(second), str(third))} == {(str(first),) * 3}
    assert sum(isinstance(one, ClipRejected) for one in together) == 2


def test_truncated_results_are_rejected_even_with_status_0(openface: Command, tmp_path: Path) -> None:
    for one in run(openface(fail="cut"), tmp_path, CLIPS[:2]):
        assert (
            isinstance(one, ClipRejected) and "a result is damaged: the last line is truncated; OpenFace: status 0" in one.detail
        )


def test_missing_columns_are_named(openface: Command, tmp_path: Path) -> None:
    (rejected,) = run(openface(without=["AU45_r", "AU28_c"]), tmp_path, CLIPS[:1])
    assert isinstance(rejected, ClipRejected) and "columns are missing: AU45_r, AU28_c" in rejected.detail


def test_descendants_of_a_program_end_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell that waits for the program, as containers and wrappers do."""
    monkeypatch.setattr("motionshards.transforms.extract.action_units.openface._STILL_S", 0.01)
    script = tmp_path / "wrapper.sh"
    program = "import os, time; print(os.getpid(), flush=True); time.sleep(999)"
    script.write_text(f"#!/bin/sh\n{sys.executable} -c '{program}' > {tmp_path}/pid &\nwait\n")
    script.chmod(0o755)
    (rejected,) = run([str(script)], tmp_path, CLIPS[:1], start_s=1)
    assert isinstance(rejected, ClipRejected) and "timed out after 1 s" in rejected.detail
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]:
            return
        time.sleep(0.05)
    os.kill(pid, 9)
    raise AssertionError("the grandchild still runs")


def test_a_container_receives_the_directory_only(openface: Command, tmp_path: Path) -> None:
    script = tmp_path / "container.py"
    script.write_text(
        "import subprocess, sys\n"
        "mount, arguments = sys.argv[2], sys.argv[3:]\n"
        "there, here = mount.split(':')\n"
        "names = [after for before, after in zip(arguments, arguments[1:]) if before in ('-fdir', '-out_dir')]\n"
        "assert there == here and names and all(name.startswith(here + '/') for name in names), sys.argv\n"
        "sys.exit(subprocess.run(arguments).returncode)\n"
    )
    source = resolve("openface-still", f"{sys.executable} {script} -v {{dir}}:{{dir}} {' '.join(openface())}")
    assert isinstance(source, OpenFace)
    assert all_right(run(source.command, tmp_path))
    assert "{dir}:{dir}" in source.provenance()["openface_command"]


def test_a_program_that_cannot_be_started_fails_the_build_not_the_clip(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match=r"cannot be started: .*/no/such/program"):
        run(["/no/such/program"], tmp_path)


def test_a_missing_program_is_reported_in_one_line_with_the_remedies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("OPENFACE_BIN", raising=False)
    for choice, command in (("openface", None), ("openface", "nothing-of-that-name -x"), ("openface", ""), ("openface", "'")):
        with pytest.raises(ConfigError, match="openface") as raised:
            resolve(choice, command)
        assert "\n" not in str(raised.value)
    with pytest.raises(
        ConfigError, match=r"program not found: 'FeatureExtraction'; build .*OPENFACE_BIN.*docker run.*--aus csv:DIR"
    ):
        resolve("openface")


@pytest.mark.parametrize("choice", ["csv:", "csv", "", "OpenFace", "fan"])
def test_other_choices_are_refused(choice: str) -> None:
    with pytest.raises(ConfigError, match="none, openface, openface-still, csv:DIR or pyfaceau"):
        resolve(choice)


def test_a_command_for_another_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--openface requires --aus openface or openface-still, but --aus is none"):
        resolve("none", "FeatureExtraction")
    assert resolve("none") is None
    with pytest.raises(ConfigError, match="not a directory"):
        resolve(f"csv:{tmp_path / 'nowhere'}")


def test_the_program_is_found_by_variable_path_and_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The models are beside the real program, which looks for them beside the path that it is called by."""
    real, links = tmp_path / "open face/bin", tmp_path / "links"
    for name in ("AU_predictors", "model"):
        (real / name).mkdir(parents=True)
        (real / name / "a.dat").write_text(name)
    links.mkdir()
    (real / "FeatureExtraction").write_text("#!/bin/sh\n")
    (real / "FeatureExtraction").chmod(0o755)
    (links / "FeatureExtraction").symlink_to(real / "FeatureExtraction")
    found = (str(real / "FeatureExtraction"),)
    monkeypatch.setenv("PATH", str(links))
    monkeypatch.delenv("OPENFACE_BIN", raising=False)
    assert resolve("openface").command == found  # type: ignore[union-attr]
    monkeypatch.setenv("PATH", "/nowhere")
    for value in (str(real), str(real / "FeatureExtraction")):
        monkeypatch.setenv("OPENFACE_BIN", value)
        assert resolve("openface").command == found  # type: ignore[union-attr]
    assert resolve("openface", f"'{real}/FeatureExtraction' -wild").command == (*found, "-wild")  # type: ignore[union-attr]


def test_provenance_records_program_models_and_command_but_not_their_location(tmp_path: Path) -> None:
    def installed(name: str, model: str) -> OpenFace:
        (tmp_path / name / "AU_predictors").mkdir(parents=True)
        (tmp_path / name / "AU_predictors" / "svr.dat").write_text(model)
        (tmp_path / name / "FeatureExtraction").write_text("program")
        return OpenFace((str(tmp_path / name / "FeatureExtraction"), "-wild"))

    here, there, other = installed("here", "same"), installed("there", "same"), installed("other", "different")
    assert here.provenance() == there.provenance() != other.provenance()
    recorded = here.provenance()
    assert recorded["openface_program"] == f"sha256:{hashlib.sha256(b'program').hexdigest()}"
    assert recorded["openface_command"] == "FeatureExtraction -wild -fdir CLIP -of CLIP … -out_dir DIR -aus -2Dfp"
    assert "square pixels, at most 960 px" in recorded["openface_input"]
    still = replace(here, still=True).provenance()
    assert still["openface_command"] == "FeatureExtraction -wild -fdir FRAME -of FRAME … -out_dir DIR -aus -2Dfp -au_static"
    container = replace(here, command=(shutil.which("sh") or "sh", "-c", "run"))
    assert "openface_program" not in container.provenance() and "sh -c run" in container.provenance()["openface_command"]
