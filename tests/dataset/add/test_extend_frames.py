"""More frames for a finished dataset: old frames keep their bytes, and new ones equal those of a build with as many frames."""

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from aus_csv import csvs_of
from contents import tree
from in_process import in_this_process
from openface_program import intensities
from videos import ffmpeg

from motionshards.dataset import build, remove, verify
from motionshards.dataset.index import Dataset, Sample
from motionshards.pipeline.shards import reread
from motionshards.schemas.layout import INDEX, tar_path
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.tables import CLIP_MEASURES, FRAME_MEASURES

pytestmark = pytest.mark.usefixtures("quick")

FAST = ["--size", "96", "--clips-per-shard", "2", "--workers", "1", "--quiet"]


TUBES = ["--recipe", "track", "--tube-min-px", "64", "--tube-min-frames", "10", "--tube-max-frames", "40", "--detect-every", "10"]


Frames = dict[tuple[str, int, int], bytes]


def build_args(videos: Path, out: Path, *more: str) -> list[str]:
    return ["--source", "voxceleb2", "--input", str(videos), "--output", str(out), *FAST, *more]


def extend_args(videos: Path, out: Path, frames: int, *more: str) -> list[str]:
    return ["--output", str(out), "--input", str(videos), "--extend-frames", str(frames), "--workers", "1", "--quiet", *more]


@pytest.fixture(scope="session")
def videos(demo_videos: Path, make_short: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four utterances with a face, and a clip of four frames."""
    root = tmp_path_factory.mktemp("extend") / "videos"
    shutil.copytree(demo_videos / "dev", root / "dev")
    path = root / "dev/mp4/id90000/shortvideo0/00001.mp4"
    path.parent.mkdir()
    shutil.copy(make_short, path)
    return root


@pytest.fixture(scope="session")
def make_short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("short") / "short.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=96x96:rate=25:duration=0.16", path)
    return path


@pytest.fixture(scope="session")
def original(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("extend") / "data"
    with in_this_process():
        assert build.main(build_args(videos, out, "--landmarks", "none", "--frames", "3")) == 0
    return out


@pytest.fixture
def out(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "data"))


@pytest.fixture(scope="session")
def extended(original: Path, videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same extended to six frames without interruption; read-only."""
    out = Path(shutil.copytree(original, tmp_path_factory.mktemp("extended") / "data"))
    with in_this_process():
        assert build.main(extend_args(videos, out, 6)) == 0
    return out


def frames(out: Path) -> Frames:
    """The stored bytes of every frame, by clip, span and number in its file."""
    data, found = Dataset.open(out), {}
    for row in data.index().to_pylist():
        meta = data.read(row).meta
        content = tar_path(out, row["split"], row["shard"]).read_bytes()
        places = zip(meta["span"], meta["frame_index"], row["members"], strict=False)
        for span, index, member in places:
            found[row["key"], span, index] = content[member["offset"] : member["offset"] + member["size"]]
    return found


def samples(out: Path) -> dict[str, Sample]:
    return {sample.key: sample for sample in Dataset.open(out).samples()}


def test_the_result_equals_a_build_with_as_many_frames(original: Path, extended: Path, videos: Path, tmp_path: Path) -> None:
    """Without landmarks, frames, meta.json and index are bit-identical."""
    assert verify.verify(extended).faults == ()
    assert frames(original).items() < frames(extended).items()
    fresh = tmp_path / "fresh"
    assert build.main(build_args(videos, fresh, "--landmarks", "none", "--frames", "6", "--min-frames", "3")) == 0
    for path in fresh.rglob("*.tar"):
        assert path.read_bytes() == (extended / path.relative_to(fresh)).read_bytes()
    assert repr(pq.read_table(extended / INDEX).to_pylist()) == repr(pq.read_table(fresh / INDEX).to_pylist())
    assert Manifest.read(extended).config == Manifest.read(fresh).config
    assert Manifest.read(extended).counts == Manifest.read(fresh).counts
    lengths = {key: len(sample.frames) for key, sample in samples(extended).items()}
    assert lengths.pop("id90000/shortvideo0/00001") == 4, "the video has no more frames"
    assert set(lengths.values()) == {6}
    (addition,) = Manifest.read(extended).additions
    assert (addition.what, addition.pixels, addition.config) == ("frames", "decoded frames", {"frames": 6, "min_frames": 3})


def test_only_new_frames_are_decoded(out: Path, videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    unpatched = reread.read_frames

    def counted(*arguments: Any, **options: Any) -> Any:
        read = unpatched(*arguments, **options)
        counts.append(len(read.crop))
        return read

    monkeypatch.setattr(reread, "read_frames", counted)
    assert build.main(extend_args(videos, out, 6)) == 0
    assert sorted(counts) == [1, 3, 3, 3, 3]


def test_any_number_of_workers_writes_the_same_bytes(out: Path, extended: Path, videos: Path) -> None:
    assert build.main(extend_args(videos, out, 6, "--workers", "2")) == 0
    assert tree(out) == tree(extended)


def test_landmarks_of_new_frames_match_a_build(videos: Path, tmp_path: Path) -> None:
    """Both detect landmarks in decoded frames, so they are identical."""
    grown, fresh = tmp_path / "grown", tmp_path / "fresh"
    limit = ["--landmarks", "dlib", "--limit", "3"]
    assert build.main(build_args(videos, grown, *limit, "--frames", "2")) == 0
    assert build.main(extend_args(videos, grown, 5)) == 0
    assert build.main(build_args(videos, fresh, *limit, "--frames", "5", "--min-frames", "2")) == 0
    assert verify.verify(grown).faults == ()
    assert frames(grown) == frames(fresh)
    ours, theirs = samples(grown), samples(fresh)
    for key, sample in theirs.items():
        np.testing.assert_array_equal(ours[key].landmarks, sample.landmarks)
        assert ours[key].meta == sample.meta
    columns = ["key", *CLIP_MEASURES, *(f"frame_{name}" for name in FRAME_MEASURES)]
    assert repr(Dataset.open(grown).index(columns).to_pylist()) == repr(Dataset.open(fresh).index(columns).to_pylist())


def test_new_frames_of_tubes_match_a_build(videos: Path, tmp_path: Path) -> None:
    grown, fresh = tmp_path / "grown", tmp_path / "fresh"
    tubes = [*TUBES, "--landmarks", "dlib", "--limit", "2"]
    assert build.main(build_args(videos, grown, *tubes, "--frames", "2")) == 0
    old = frames(grown)
    assert build.main(extend_args(videos, grown, 5)) == 0
    assert build.main(build_args(videos, fresh, *tubes, "--frames", "5", "--min-frames", "2")) == 0
    assert verify.verify(grown).faults == ()
    assert frames(grown) == frames(fresh) and old.items() < frames(fresh).items()


def test_clips_of_missing_and_changed_videos_keep_their_frames(
    out: Path, extended: Path, videos: Path, tmp_path: Path, capsys: Any
) -> None:
    moved = Path(shutil.copytree(videos, tmp_path / "moved"))
    clips = sorted((moved / "dev/mp4/id90000").rglob("0*.mp4"))
    missing, other = [path for path in clips if "short" not in str(path)][:2]
    missing.unlink()
    shutil.copy(next((moved / "dev/mp4").rglob("shortvideo0/*.mp4")), other)
    old = frames(out)
    assert build.main(extend_args(moved, out, 6)) == 0
    assert (
        "frames, now 6, added to 3 clips; 2 keep their old frames, because their source video is unreadable"
        in capsys.readouterr().out
    )
    assert verify.verify(out).faults == () and old.items() < frames(out).items()
    # Once the videos are back, the same command extends these clips.
    assert build.main(extend_args(videos, out, 6)) == 0
    assert "added to 5 clips" in capsys.readouterr().out
    assert frames(out) == frames(extended)
    assert build.main(extend_args(videos, out, 6)) == 0 and "nothing to do" in capsys.readouterr().out


def test_action_units_of_new_frames_are_appended(videos: Path, tmp_path: Path, openface: Callable[..., list[str]]) -> None:
    program = ["--aus", "openface-still", "--openface", shlex.join(openface(lost_every=5))]
    grown, fresh = tmp_path / "grown", tmp_path / "fresh"
    assert build.main(build_args(videos, grown, "--landmarks", "none", "--frames", "2", "--limit", "2", *program)) == 0
    assert build.main(extend_args(videos, grown, 4)) == 2, "--aus is required"
    assert build.main(extend_args(videos, grown, 4, *program)) == 0
    assert (
        build.main(
            build_args(videos, fresh, "--landmarks", "none", "--frames", "4", "--min-frames", "2", "--limit", "2", *program)
        )
        == 0
    )
    assert verify.verify(grown).faults == ()
    for path in fresh.rglob("*.tar"):
        assert path.read_bytes() == (grown / path.relative_to(fresh)).read_bytes()


def test_added_action_units_match_a_build(
    out: Path, videos: Path, tmp_path: Path, openface: Callable[..., list[str]], capsys: Any
) -> None:
    """A build runs OpenFace on the stored JPEGs, too, so the results are identical."""
    program = ["--aus", "openface-still", "--openface", shlex.join(openface(lost_every=5))]
    add_args = ["--output", str(out), "--add", "aus", "--workers", "1", "--quiet", *program]
    assert build.main(add_args) == 0
    assert verify.verify(out).faults == ()
    assert build.main(build_args(videos, tmp_path / "fresh", "--landmarks", "none", "--frames", "3", *program)) == 0
    for path in (tmp_path / "fresh").rglob("*.tar"):
        assert path.read_bytes() == (out / path.relative_to(tmp_path / "fresh")).read_bytes()
    assert Manifest.read(out).provenance == Manifest.read(tmp_path / "fresh").provenance
    openface(lost_every=1)
    assert build.main(add_args) == 0, "they are computed again"
    assert "aus added to 5 clips; 5 of them have no frame with valid action units; rewrote" in capsys.readouterr().out
    assert all(sample.aus is not None and np.isnan(sample.aus).all() for sample in samples(out).values())
    folder = csvs_of(videos, tmp_path / "csv")
    assert build.main([*add_args[:-4], "--aus", f"csv:{folder}"]) == 0, "and replaced by those of another source"
    manifest = Manifest.read(out)
    assert manifest.config.aus == "csv" and manifest.aus_from == str(folder)
    assert not [name for name in manifest.provenance if name.startswith("openface")]
    assert verify.verify(out).faults == ()
    for sample in samples(out).values():
        values = [intensities(b"%d" % number) for number in sample.meta["frame_index"]]
        np.testing.assert_array_equal(sample.aus, np.array(values, np.float32))


def test_a_clip_on_which_openface_fails_is_kept_without_action_units(out: Path, openface: Callable[..., list[str]]) -> None:
    program = ["--aus", "openface-still", "--openface", shlex.join(openface(fail="cut")), "--openface-timeout", "30"]
    assert build.main(["--output", str(out), "--add", "aus", "--workers", "1", "--quiet", *program]) == 0
    assert verify.verify(out).faults == ()
    assert all(sample.aus is not None and np.isnan(sample.aus).all() for sample in samples(out).values())
    assert Manifest.read(out).counts["kept"] == 5


def test_removed_clips_are_not_extended(out: Path, videos: Path) -> None:
    assert remove.main([str(out), "--key", "id90000/shortvideo0/00001"]) == 0
    assert build.main(extend_args(videos, out, 6)) == 0
    assert verify.verify(out).faults == () and len(samples(out)) == 4


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--extend-frames", "6"], "--extend-frames needs --input"),
        (["--extend-frames", "2", "--input", "VIDEOS"], "already has 3 frames per clip"),
        (["--extend-frames", "0", "--input", "VIDEOS"], 'Invalid value "0" for --extend-frames'),
        (["--extend-frames", "1000", "--input", "VIDEOS"], "frames is 1000"),
        (["--extend-frames", "6", "--input", "/nowhere/at/all"], "contains none of 5 videos"),
        (["--extend-frames", "6", "--add", "quality", "--input", "VIDEOS"], "cannot be combined"),
        (["--add", "quality", "--input", "VIDEOS"], "--add quality does not use --input"),
        (["--add", "aus"], "--add aus --aus openface, openface-still, csv:DIR or pyfaceau"),
        (["--add", "aus", "--aus", "openface", "--openface", "sh"], "--add aus --aus openface needs --input"),
        (["--add", "aus", "--aus", "openface-still", "--openface", "sh", "--input", "VIDEOS"], "does not use --input"),
        (["--add", "aus", "--aus", "openface-still", "--openface", "sh", "--aus-frames", "all"], "aus_frames is 'all'"),
    ],
)
def test_invalid_arguments_exit_with_2_and_one_line(out: Path, videos: Path, capsys: Any, extra: list[str], message: str) -> None:
    before = tree(out)
    words = [str(videos) if word == "VIDEOS" else word for word in extra]
    status = build.main(["--output", str(out), "--quiet", *words])
    output = capsys.readouterr()
    assert (status, output.out) == (2, "") and message in output.err and output.err.count("\n") == 1
    assert tree(out) == before
