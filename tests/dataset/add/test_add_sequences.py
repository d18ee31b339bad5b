"""Action units of sequences in finished datasets: added from the videos, for all frames, and extended with the clips."""

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from aus_csv import csvs_of
from videos import side_by_side

from motionshards.dataset import build, remove, verify
from motionshards.dataset.index import Dataset, Sample
from motionshards.schemas.layout import INDEX
from motionshards.schemas.manifest import Manifest

pytestmark = pytest.mark.usefixtures("quick")

FAST = ["--size", "64", "--landmarks", "none", "--workers", "1", "--quiet"]
ALL = ["--aus-frames", "all"]
Command = Callable[..., list[str]]


@pytest.fixture
def videos(make_video: Callable[..., Path]) -> Path:
    """Three videos of two people, of 20, 20 and 3 frames."""
    for name, seconds in (("anna/a", 0.8), ("anna/b", 0.8), ("bert/c", 0.12)):
        make_video(f"videos/{name}.mp4", source=f"testsrc2=size=96x96:rate=25:duration={seconds}")
    return make_video("videos/bert/d.mp4", source="testsrc=size=96x96:rate=25:duration=0.8").parents[1]


@pytest.fixture
def program(openface: Command) -> list[str]:
    return ["--aus", "openface", "--openface", shlex.join(openface(lost_every=5))]


def build_args(videos: Path, out: Path, *more: str) -> list[str]:
    return ["--source", "folder", "--input", str(videos), "--output", str(out), *FAST, "--min-frames", "3", *more]


def add_args(videos: Path, out: Path, *more: str) -> list[str]:
    return ["--output", str(out), "--add", "aus", "--input", str(videos), *FAST[4:], *more]


def samples(out: Path) -> dict[str, Sample]:
    return {sample.key: sample for sample in Dataset.open(out).samples()}


def same(one: Path, other: Path) -> None:
    tars = sorted(one.rglob("*.tar"))
    assert tars
    for path in tars:
        assert path.read_bytes() == (other / path.relative_to(one)).read_bytes()
    assert repr(pq.read_table(one / INDEX).to_pylist()) == repr(pq.read_table(other / INDEX).to_pylist())


@pytest.mark.parametrize("kept", [[], ALL], ids=["sampled", "all"])
def test_added_and_extended_action_units_match_a_build(videos: Path, tmp_path: Path, program: list[str], kept: list[str]) -> None:
    fresh, added, grown = tmp_path / "fresh", tmp_path / "added", tmp_path / "grown"
    assert build.main(build_args(videos, fresh, *program, *kept, "--frames", "6")) == 0
    assert build.main(build_args(videos, added, "--frames", "6")) == 0
    assert build.main(add_args(videos, added, *program, *kept)) == 0
    assert build.main(build_args(videos, grown, *program, *kept, "--frames", "3")) == 0
    assert build.main(["--output", str(grown), "--extend-frames", "6", "--input", str(videos), *FAST[4:], *program]) == 0
    for out in (added, grown):
        assert verify.verify(out).faults == ()
        same(fresh, out)
    assert Manifest.read(added).additions[0].pixels == "decoded frames"
    for sample in samples(fresh).values():
        assert sample.aus is not None and (sample.aus_sequence is not None) == bool(kept)
        if sample.aus_sequence is not None:
            row = sample.meta["au_sequence_row"]
            assert sample.aus_sequence.shape == (sample.meta["source_frames"], 17) and row == sample.meta["frame_index"]
            np.testing.assert_array_equal(sample.aus_sequence[row], sample.aus)
            assert [sample.meta["au_sequence_pts_s"][place] for place in row] == sample.meta["pts_s"]


def test_clips_of_missing_and_changed_videos_have_no_action_units(
    videos: Path, tmp_path: Path, program: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert build.main(build_args(videos, out, "--frames", "3")) == 0
    (videos / "anna/a.mp4").unlink()
    shutil.copy(videos / "bert/c.mp4", videos / "anna/b.mp4")
    assert build.main(add_args(videos, out, *program, *ALL)) == 0
    assert "2 of them have no frame with valid action units" in capsys.readouterr().out
    assert verify.verify(out).faults == ()
    found = samples(out)
    assert sorted(key for key, sample in found.items() if sample.aus_sequence is None) == [
        "anna/anna/a%2Emp4",
        "anna/anna/b%2Emp4",
    ]
    assert remove.main([str(out), "--identity", "anna"]) == 0
    assert verify.verify(out).faults == () and samples(out).keys() == {key for key in found if not key.startswith("anna")}


def test_portraits_of_two_people_have_action_units_and_face_descriptors(
    demo_videos: Path, tmp_path: Path, openface: Command
) -> None:
    """Additions match a build; an extension computes both again."""
    out, added, videos = tmp_path / "out", tmp_path / "added", tmp_path / "videos"
    side_by_side(videos / "pair.mp4", *(min((demo_videos / split).rglob("*.mp4")) for split in ("dev", "test")), frames=25)
    program = ["--aus", "openface", "--openface", shlex.join(openface()), *ALL]
    faces = ["--size", "160", "--landmarks", "dlib", "--identity-embedding"]
    tubes = ["--recipe", "face", "--faces", "all", "--tube-min-frames", "20", "--tube-min-px", "64"]
    expected = [*build_args(videos, added, "--frames", "3"), *faces, *tubes]
    assert build.main([*expected, "--output", str(out), *program]) == build.main(expected) == 0
    assert build.main(add_args(videos, added, *program)) == 0
    same(out, added)
    before = samples(out)
    assert build.main(["--output", str(out), "--extend-frames", "7", "--input", str(videos), *FAST[4:], *program[:4]]) == 0
    assert verify.verify(out).faults == ()
    for key, sample in samples(out).items():
        old, found = before[key], (sample.aus, sample.aus_sequence, sample.embedding)
        assert all(array is not None and np.isfinite(array).all() for array in found) and len(sample.frames) == 7
        np.testing.assert_array_equal(sample.aus_sequence, old.aus_sequence)
        assert (sample.embedding != old.embedding).any(), "the mean of five frames instead of three"
    assert list(before) == [f"pair/pair/video@000000{other}" for other in ("", "-2")]


def test_all_rows_of_csv_files_are_kept(videos: Path, tmp_path: Path) -> None:
    """The member with all frames survives a removal."""
    folder, built, added = csvs_of(videos, tmp_path / "csv"), tmp_path / "built", tmp_path / "added"
    for path in list(folder.rglob("*.csv")):
        path.parent.joinpath(path.parent.name).mkdir(exist_ok=True)
        path.rename(path.parent / path.parent.name / path.name)
    csv = ["--aus", f"csv:{folder / 'videos'}", *ALL]
    assert build.main(build_args(videos, built, *csv, "--frames", "5")) == 0
    assert build.main(build_args(videos, added, "--frames", "5")) == 0
    assert build.main(add_args(videos, added, *csv)) == 0
    same(built, added)
    for sample in samples(built).values():
        assert sample.aus_sequence is not None and np.isfinite(sample.aus_sequence).all()
    assert remove.main([str(built), "--identity", "bert"]) == 0
    assert verify.verify(built).faults == () and len(samples(built)) == 2


def test_damage_of_all_frames_is_reported(videos: Path, tmp_path: Path, program: list[str]) -> None:
    from motionshards.dataset.checks.aus import check_sequence

    assert build.main(build_args(videos, tmp_path / "out", *program, *ALL, "--frames", "5")) == 0
    sample = next(iter(samples(tmp_path / "out").values()))
    every, stored, meta = sample.aus_sequence, sample.aus, sample.meta
    assert every is not None and stored is not None and not list(check_sequence(every, stored, meta))
    damages: list[tuple[Any, dict[str, Any], str]] = [
        (every[1:], {}, "meta.json does not match"),
        (np.where(every > 1, 7, every).astype(np.float32), {}, "must be 0 to 5"),
        (every[::-1].copy(), {}, "differ from aus.npy"),
        (every, {"au_sequence_row": [99] * len(stored)}, "row must be 0 to"),
        (every, {"au_sequence_pts_s": [0.0]}, "does not match"),
    ]
    for array, change, message in damages:
        faults = list(check_sequence(array, stored, {**meta, **change}))
        assert len(faults) == 1 and message in faults[0], faults
