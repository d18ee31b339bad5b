"""`--aus` from the command line to a verified dataset."""

import dataclasses
import hashlib
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from aus_csv import csvs_of
from openface_program import intensities, presences

from motionshards.dataset import build, verify
from motionshards.dataset.checks.aus import check_action_units
from motionshards.dataset.checks.sample import check_sample, expected_suffixes
from motionshards.dataset.index import Dataset, read_members
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.layout import AUS, tar_path
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.samples.encode import npy_bytes

FAST = ["--size", "64", "--landmarks", "none", "--frames", "3", "--quiet"]
Command = Callable[..., list[str]]


def arguments(tree: Path, out: Path, *more: str) -> list[str]:
    return ["--source", "voxceleb2", "--input", str(tree), "--output", str(out), *FAST, "--workers", "1", *more]


def shards(out: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.glob("t*/*"))}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "flags"),
    [
        ("openface", "-fdir CLIP -of CLIP … -out_dir DIR -aus -2Dfp"),
        ("openface-still", "-fdir FRAME -of FRAME … -out_dir DIR -aus -2Dfp -au_static"),
    ],
)
def test_openface_results_do_not_depend_on_workers(
    demo_videos: Path, tmp_path: Path, openface: Command, capsys: pytest.CaptureFixture[str], mode: str, flags: str
) -> None:
    command = ["--aus", mode, "--openface", shlex.join(openface(lost_every=5))]
    assert build.main(arguments(demo_videos, tmp_path / "one", *command)) == 0
    assert build.main(arguments(demo_videos, tmp_path / "two", *command, "--workers", "2", "--decode-timeout", "300")) == 0
    assert shards(tmp_path / "one") == shards(tmp_path / "two")
    assert verify.verify(tmp_path / "one").faults == ()
    data = Dataset.open(tmp_path / "one")
    samples = list(data.samples())
    assert len(samples) == 8
    for sample in samples:
        assert sample.aus is not None and (sample.aus.shape, sample.aus.dtype) == ((3, 17), np.float32)
        np.testing.assert_array_equal(np.isnan(sample.aus).all(axis=1), ~np.array(sample.meta["au_valid"]))
    whole = {sample.key for sample in samples if all(sample.meta["au_valid"])}
    assert set(data.index(["key"], where=pc.field("au_valid") == 1)["key"].to_pylist()) == whole
    assert 0 < len(whole) < 8
    assert data.manifest.config.aus == mode and data.manifest.aus_from == ""
    assert data.manifest.provenance["openface_command"].endswith(flags)
    indexed = data.index().to_pylist()[0]
    with tar_path(data.out, indexed["split"], indexed["shard"]).open("rb") as stream:
        members = read_members(stream, indexed["members"])
    assert list(check_sample(members, indexed, data.manifest.config)) == []
    for array, message in (
        (np.zeros((3, 16), np.float32), "is not an npy file of float32 [N,17]"),
        (np.full((3, 17), 9, np.float32), "outside 0"),
    ):
        damaged = {**members, AUS: npy_bytes(array)}
        assert any(message in fault for fault in check_sample(damaged, indexed, data.manifest.config))
    assert "## Action units" in (tmp_path / "one/README.md").read_text()
    assert build.main(arguments(demo_videos, tmp_path / "one", "--aus", mode, "--openface", "true")) == 2
    assert "openface_command" in capsys.readouterr().err


@pytest.mark.slow
def test_clips_on_which_openface_fails_can_be_retried(demo_videos: Path, tmp_path: Path, openface: Command) -> None:
    out = tmp_path / "out"
    command = ["--aus", "openface", "--openface", shlex.join(openface(fail="killed")), "--openface-timeout", "30"]
    assert build.main(arguments(demo_videos, out, *command, "--split", "test")) == 1
    assert Manifest.read(out).counts["rejected"] == {"aus_failed": 4}
    openface()
    assert build.main(arguments(demo_videos, out, *command, "--split", "test", "--retry", "aus_failed")) == 0
    assert (Manifest.read(out).counts["rejected"], Manifest.read(out).counts["kept"]) == ({}, 4)
    assert verify.verify(out).faults == ()


def test_csv_files_are_joined_by_frame_number(demo_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "csv", tmp_path / "out"
    folder.mkdir()
    build_args = arguments(demo_videos, out, "--aus", f"csv:{folder}", "--workers", "2")
    assert build.main(build_args) == 2
    output = capsys.readouterr().err
    assert "none of 8 clips has a csv in" in output and "(expected e.g." in output and output.count("\n") == 1
    assert not out.exists()
    csvs_of(demo_videos, folder)
    files = sorted(folder.rglob("*.csv"))
    files[0].unlink()
    files[1].write_text("frame, timestamp\n")
    assert build.main(build_args) == 0
    assert verify.verify(out).faults == ()
    (lost,) = pq.read_table(out / "rejections.parquet").to_pylist()
    place = files[1].relative_to(folder).as_posix()
    assert (lost["key"], lost["reason"]) == (place.removesuffix(".csv"), "bad_aus_csv")
    assert lost["detail"].startswith(f"{place}: columns are missing: confidence, success")
    for sample in Dataset.open(out).samples():
        path = folder / f"{sample.key}.csv"
        assert sample.aus is not None
        if path == files[0]:
            assert np.isnan(sample.aus).all() and sample.meta["au_files"] == [None]
            continue
        values = [intensities(b"%d" % number) for number in sample.meta["frame_index"]]
        np.testing.assert_array_equal(sample.aus, np.array(values, np.float32))
        assert sample.meta["au_presence"] == [presences(b"%d" % number) for number in sample.meta["frame_index"]]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert sample.meta["au_files"] == [{"path": path.relative_to(folder).as_posix(), "sha256": digest}]
    assert Manifest.read(out).aus_from == str(folder) and Manifest.read(out).config.aus == "csv"
    csvs_of(demo_videos, moved := tmp_path / "moved")
    again = arguments(demo_videos, out, "--aus", f"csv:{moved}", "--retry", "bad_aus_csv")
    assert build.main(again) == 0, "the location of the directory does not matter"
    assert Manifest.read(out).counts["kept"] == 8


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--aus", "magic"], "--aus is 'magic', must be none, openface, openface-still, csv:DIR or pyfaceau"),
        (["--aus", "csv:/nowhere"], "csv:/nowhere: not a directory"),
        (["--aus", "openface", "--openface", "no-such-program"], "program not found: 'no-such-program'; build OpenFace"),
        (["--openface", "sh"], "--openface requires --aus openface or openface-still, but --aus is none"),
        (["--aus", "openface", "--openface", "sh", "--openface-timeout", "nan"], 'Invalid value "nan" for --openface-timeout'),
    ],
)
def test_invalid_choices_are_refused_before_the_build(
    demo_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: list[str], message: str
) -> None:
    assert build.main(arguments(demo_videos, tmp_path / "out", *extra)) == 2
    output = capsys.readouterr().err
    assert message in output and output.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def sample() -> tuple[np.ndarray, dict[str, Any], dict[str, Any]]:
    """An intact sample of three frames, the second without a face: intensities, meta and row of the index."""
    values = np.array([intensities(b"a"), [np.nan] * 17, intensities(b"c")], np.float32)
    valid = [True, False, True]
    meta = {"au_valid": valid, "au_confidence": [0.9, 0.2, 1], "au_presence": [presences(b"a"), [None] * 18, presences(b"c")]}
    return values, meta, {"au_valid": float(np.float32(2 / 3)), "frame_au_valid": valid}


def with_value(frame: int, unit: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        values = values.copy()
        values[frame, unit] = value
        return values

    return change


def test_an_intact_sample_has_no_faults(sample: tuple[np.ndarray, dict[str, Any], dict[str, Any]]) -> None:
    assert list(check_action_units(*sample)) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_value(0, 3, 5.01), "frame 0 is valid, but has values outside 0 to 5"),
        (with_value(2, 16, np.nan), "frame 2 is valid, but has values outside 0 to 5"),
        (with_value(1, 0, 0.0), "frame 1 is not valid, but has values"),
        ({"au_valid": [True, False, 1]}, "au_valid is not a list of 3 booleans"),
        ({"au_valid": [True, False]}, "au_valid is not a list of 3 booleans"),
        ({"au_valid": None}, "au_valid is not a list of 3 booleans"),
        ({"au_confidence": [0.9, None, None]}, "au_confidence is not a list of 3"),
        ({"au_confidence": [0.9, 1.2, 1]}, "au_confidence is not a list of 3"),
        ({"au_presence": [[0] * 18] * 3}, "au_presence is not 3 lists of 18"),
        ({"au_presence": [[0] * 18, [None] * 18, [2] * 18]}, "au_presence is not 3 lists of 18"),
        ({"au_presence": [[0] * 18, [None] * 18, [0] * 17]}, "au_presence is not 3 lists of 18"),
        ({"row": {"au_valid": 1.0}}, "au_valid differs from the index"),
        ({"row": {"frame_au_valid": [True, True, False]}}, "au_valid differs from the index"),
    ],
    ids=lambda one: getattr(one, "__qualname__", str(one)),
)
def test_each_damage_of_action_units_is_reported(
    sample: tuple[np.ndarray, dict[str, Any], dict[str, Any]], change: Any, message: str
) -> None:
    values, meta, indexed = sample
    if callable(change):
        faults = list(check_action_units(change(values), meta, indexed))
    else:
        faults = list(check_action_units(values, {**meta, **change}, {**indexed, **change.get("row", {})}))
    assert len(faults) == 1 and message in faults[0]


def test_the_member_is_expected_according_to_the_config() -> None:
    with_aus = BuildConfig(source="s", aus="csv")
    row = {"n_frames": 3, "video_frames": None}
    assert AUS in expected_suffixes(row, with_aus) and AUS not in expected_suffixes(
        row, dataclasses.replace(with_aus, aus="none")
    )
