"""Datasets at several sizes are built, verified, extended and exported; each size has the bytes of a build at only that size."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from additions import add_args
from moving_builds import VIDEO, build_args, build_into, same_shards

from motionshards.dataset import build, remove, verify
from motionshards.dataset.export.__main__ import main as export
from motionshards.dataset.index import read_members
from motionshards.schemas.layout import INDEX, is_main_frame, tar_path
from motionshards.schemas.manifest import Manifest

pytestmark = pytest.mark.usefixtures("quick")

BOTH = ("--landmarks", "none", "--store", "both", *VIDEO)


@pytest.fixture(scope="module")
def several(spoken: Path, once: Callable[..., Path]) -> Path:
    """Stills, video and sound of three clips at 64 and 32 px; read-only."""
    return once("several-sizes", lambda path: build_into(spoken, path, *BOTH, "--size", "32,64"))


def samples(out: Path) -> dict[str, dict[str, bytes]]:
    """The members of each clip."""
    found = {}
    for row in pq.read_table(out / INDEX).to_pylist():
        with tar_path(out, row["split"], row["shard"]).open("rb") as stream:
            found[row["key"]] = read_members(stream, row["members"])
    return found


def of_size(members: dict[str, bytes], size: str) -> dict[str, bytes]:
    """The stills and the video of a smaller size, under the names of the dataset's size."""
    return {name.removeprefix(f"{size}."): content for name, content in members.items() if name.startswith(f"{size}.")}


def images(members: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in members.items() if is_main_frame(name) or name == "mp4"}


def test_each_size_is_that_of_a_build_at_that_size(several: Path, spoken: Path, spoken_both: Path, tmp_path: Path) -> None:
    assert Manifest.read(several).config.sizes == (64, 32) and verify.verify(several).faults == ()
    found, main = samples(several), samples(spoken_both)
    small = samples(build_into(spoken, tmp_path / "small", *BOTH, "--size", "32"))
    for key, members in found.items():
        assert of_size(members, "32") == images(small[key]) and len(images(small[key])) == 4
        assert {name: content for name, content in members.items() if not name.startswith("32.")} == main[key]
        assert list(members)[-5:] == ["32.000.jpg", "32.001.jpg", "32.002.jpg", "32.mp4", "meta.json"]


def test_additions_and_removals_keep_each_size(several: Path, spoken: Path, tmp_path: Path) -> None:
    out = build_into(spoken, tmp_path / "data", "--landmarks", "none", "--size", "64,32", "--frames", "2", "--min-frames", "2")
    more = ["--output", str(out), "--extend-frames", "3", "--workers", "1", "--quiet", "--input", str(spoken)]
    assert build.main(more) == 0
    assert build.main(add_args(out, "video", "--input", str(spoken), *VIDEO)) == 0
    assert {key: tuple(members.items()) for key, members in samples(out).items()} == {
        key: tuple(members.items()) for key, members in samples(several).items()
    }
    assert build.main(add_args(out, "quality")) == 0
    removed = next(iter(samples(several)))
    assert remove.main([str(out), "--key", removed, "--quiet"]) == 0
    assert verify.verify(out).faults == ()
    remaining = samples(out)
    assert remaining.keys() == samples(several).keys() - {removed}
    for key, members in remaining.items():  # the quality was measured on stored stills
        assert {**members, "meta.json": b""} == {**samples(several)[key], "meta.json": b""}


def test_stills_of_stored_video_are_added_at_each_size(several: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(several, tmp_path / "data"))
    assert build.main(["--output", str(out), "--extend-frames", "5", "--workers", "1", "--quiet"]) == 0
    assert verify.verify(out).faults == ()
    for key, members in samples(out).items():
        assert sum(map(is_main_frame, members)) == 5 == len(of_size(members, "32")) - 1
        assert set(images(samples(several)[key]).values()) < set(members.values())


def test_an_export_copies_the_video_of_a_stored_size(several: Path, tmp_path: Path) -> None:
    words = [str(several), "--format", "fomm", "--workers", "1", "--quiet", "--size", "32"]
    assert export([*words, "--output", str(tmp_path / "export")]) == 0
    written = {path.read_bytes() for path in (tmp_path / "export").rglob("*.mp4")}
    assert written == {members["32.mp4"] for members in samples(several).values()}


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("64,64", "sizes are 64, 64, must be in descending order"),
        ("64,8", "sizes are 64, 8, must be in descending order and at least 16"),
        ("8192,64", "size is 8192, must be between 16 and 4096"),
        ("64,33", "size is 33, must be even for stored video"),
        ("64,x", "--size"),
        ("64,", "--size"),
    ],
)
def test_invalid_sizes_are_refused(
    size: str, message: str, spoken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build.main(build_args(spoken, tmp_path / "out", *BOTH, f"--size={size}")) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_build_continues_only_with_the_same_sizes(several: Path, spoken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main(build_args(spoken, several, *BOTH, "--size", "64")) == 2
    assert "smaller_sizes" in capsys.readouterr().err
    assert build.main(build_args(spoken, several, *BOTH, "--size", "64,32")) == 0


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_workers(several: Path, spoken: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    assert build.main(build_args(spoken, out, *BOTH, "--size", "64,32", "--workers", "2")) == 0
    assert same_shards(out, several)
