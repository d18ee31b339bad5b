"""CSV files joined to frames of real videos: each stored frame has the row of its frame number."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from aus_csv import csvs_of, frames_of, write_csv
from openface_program import intensities

from motionshards.dataset import build, verify
from motionshards.dataset.index import Dataset
from motionshards.schemas.manifest import Manifest

pytestmark = pytest.mark.usefixtures("quick")

WHAT = ["--landmarks", "none", "--size", "64", "--workers", "1", "--quiet"]


# 25 frames at 25 Hz, then 15 at 8.3 Hz: except for the first, no frame is at its number divided by the mean rate of 14.7 Hz.
VARIABLE = ["-vf", "setpts='if(lt(N,25),N,25+(N-25)*3)/25/TB'", "-fps_mode", "vfr", "-enc_time_base", "1/25", "-bf", "2"]


MEAN_HZ = 40 / 2.72


def run(videos: Path, out: Path, *more: str) -> int:
    return build.main(["--source", "folder", "--input", str(videos), "--output", str(out), *WHAT, *more])


def check(out: Path, clips: int) -> list[list[int]]:
    """Check that every stored frame has its own row; returns the frame numbers of each clip."""
    assert verify.verify(out).faults == ()
    samples = list(Dataset.open(out).samples())
    assert len(samples) == clips
    for sample in samples:
        values = [intensities(b"%d" % number) for number in sample.meta["frame_index"]]
        assert sample.aus is not None and sample.meta["au_valid"] == [True] * len(values)
        np.testing.assert_array_equal(sample.aus, np.array(values, np.float32))
    return [sample.meta["frame_index"] for sample in samples]


@pytest.fixture
def videos(make_video, tmp_path: Path) -> Path:  # type: ignore[no-untyped-def]
    """anna/a.mp4 with a variable frame rate, and its file in csv/."""
    video = make_video("videos/anna/a.mp4", *VARIABLE, source="testsrc2=size=96x64:rate=25:duration=1.6")
    assert frames_of(video) == 40
    write_csv(tmp_path / "csv/anna/anna/a.csv", 40, MEAN_HZ)
    return video.parents[1]


def test_every_frame_of_a_video_of_variable_frame_rate_has_its_own_row(videos: Path, tmp_path: Path) -> None:
    """Built with all frames, extended from three, and added to a finished dataset."""
    aus, grown, added = ["--aus", f"csv:{tmp_path / 'csv'}"], tmp_path / "grown", tmp_path / "added"
    assert run(videos, tmp_path / "whole", *aus, "--frames", "40") == 0
    assert check(tmp_path / "whole", 1) == [list(range(40))]
    assert run(videos, grown, *aus, "--frames", "3") == 0
    assert build.main(["--output", str(grown), "--extend-frames", "20", "--input", str(videos), *WHAT[4:], *aus]) == 0
    assert len(check(grown, 1)[0]) == 20
    assert run(videos, added, "--frames", "40") == 0
    assert build.main(["--output", str(added), "--add", "aus", *WHAT[4:], *aus]) == 0
    check(added, 1)
    times = next(iter(Dataset.open(added).samples())).meta["pts_s"]
    assert max(abs(time - number / MEAN_HZ) for number, time in enumerate(times)) > 0.5, "joining by time would pick other rows"


def test_a_csv_of_another_length_rejects_its_clip_and_adds_nothing(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_csv(tmp_path / "csv/anna/anna/a.csv", 30, MEAN_HZ)
    aus = ["--aus", f"csv:{tmp_path / 'csv'}"]
    assert run(videos, tmp_path / "built", *aus) == 1
    (lost,) = pq.read_table(tmp_path / "built/rejections.parquet").to_pylist()
    assert (lost["reason"], lost["detail"]) == ("bad_aus_csv", "anna/anna/a.csv: it has 30 frames, the video has 40")
    assert run(videos, tmp_path / "added") == 0
    capsys.readouterr()
    assert build.main(["--output", str(tmp_path / "added"), "--add", "aus", *WHAT[4:], *aus]) == 0
    assert "aus added to 1 clips; 1 of them have no frame with valid action units" in capsys.readouterr().out


@pytest.mark.parametrize("add", [False, True], ids=["built", "added"])
def test_a_csv_covers_the_whole_file_if_a_clip_is_a_part_of_it(videos: Path, tmp_path: Path, add: bool) -> None:
    """An annotation selects frames 10 to 23. A CSV of this part only is detected by its length."""
    header = "video_id,start,end,bbox,fps,width,height,partition,person_id"
    (tmp_path / "clips.csv").write_text(f"{header}\na,10,24,0-0-64-64,25,96,64,train,anna\n")
    (tmp_path / "flat").symlink_to(videos / "anna", target_is_directory=True)
    aus, clips = ["--aus", f"csv:{tmp_path / 'csv'}"], ["--metadata", str(tmp_path / "clips.csv"), "--frames", "9"]
    path = tmp_path / "csv/anna/a/a.csv"

    def make(out: Path) -> int:
        options: Sequence[str] = clips if add else [*clips, *aus]
        status = run(tmp_path / "flat", out, *options)
        return build.main(["--output", str(out), "--add", "aus", *WHAT[4:], *aus]) if add else status

    write_csv(path, 40, MEAN_HZ)
    assert make(tmp_path / "whole") == 0
    (frames,) = check(tmp_path / "whole", 1)
    assert len(frames) == 9 and min(frames) >= 10 and max(frames) < 24
    write_csv(path, 14)
    assert make(tmp_path / "part") == (0 if add else 1)
    if add:
        assert not any(any(sample.meta["au_valid"]) for sample in Dataset.open(tmp_path / "part").samples())
    else:
        assert Manifest.read(tmp_path / "part").counts["rejected"] == {"bad_aus_csv": 1}


def test_tubes_use_the_rows_of_the_file_they_were_cut_from(demo_videos: Path, tmp_path: Path) -> None:
    folder = csvs_of(demo_videos / "test", tmp_path / "csv")
    what = [
        "--recipe",
        "track",
        "--tube-min-px",
        "96",
        "--tube-min-frames",
        "20",
        "--tube-max-frames",
        "30",
        "--landmarks",
        "dlib",
    ]
    source = ["--source", "voxceleb2", "--input", str(demo_videos), "--split", "test", "--limit", "1", "--frames", "4"]
    options = ["--output", str(tmp_path / "out"), "--size", "64", "--workers", "1", "--quiet", "--aus", f"csv:{folder}"]
    assert build.main([*source, *options, *what]) == 0
    frames = check(tmp_path / "out", len(list(Dataset.open(tmp_path / "out").samples())))
    assert len(frames) > 1 and max(map(max, frames)) > 30, "later tubes start in the middle of the file"
