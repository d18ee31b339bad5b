"""Csv files of action units, joined to stored frames by frame number; and mismatched files."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkout import ROOT, SHARED
from openface_program import as_csv, intensities, row, video_rows

from motionshards.schemas.action_units import ActionUnits, AuFile
from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.action_units.csv_folder import CsvFolder
from motionshards.transforms.extract.action_units.source import StoredClip

KEY = "id1/video/00001"
GENUINE = SHARED / "openface"


def stored(
    frames: list[int],
    total: int | None = 40,
    key: str = KEY,
    uris: tuple[str, ...] = ("dev/a.mp4",),
    span: list[int] | None = None,
) -> StoredClip:
    """A clip with these frames of videos of `total` frames each."""
    t = len(frames)
    spans, affine = np.array(span or [0] * t, np.int32), np.tile(np.eye(2, 3), (t, 1, 1))
    return StoredClip(key, uris, (b"",) * t, None, spans, np.array(frames, np.int32), (total,) * len(uris), affine)


def rows(frames: int, name: str = "") -> list[dict[str, Any]]:
    return video_rows([f"{name}{number}".encode() for number in range(frames)])


def write(path: Path, frames: int = 40, name: str = "") -> Path:
    """A csv of a video with this number of frames; values depend on the frame number, from 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(as_csv(rows(frames, name), {}))
    return path


def joined(folder: Path, clip: StoredClip) -> ActionUnits:
    (found,) = CsvFolder(folder).action_units([clip], None)
    assert isinstance(found, ActionUnits), found
    return found


def refused(folder: Path, clip: StoredClip | None = None) -> str:
    (found,) = CsvFolder(folder).action_units([clip or stored([3, 9])], None)
    assert isinstance(found, ClipRejected) and found.reason == "bad_aus_csv"
    return found.detail.removeprefix(f"{KEY}.csv: ")


def numbers(found: ActionUnits, name: str = "") -> list[int | None]:
    """The frame number that each row of values belongs to."""
    known = {tuple(np.array(intensities(f"{name}{number}".encode()), np.float32)): number for number in range(100)}
    return [known[tuple(values)] if valid else None for values, valid in zip(found.intensity, found.valid, strict=True)]


def test_rows_are_joined_by_frame_number_not_by_timestamp(tmp_path: Path) -> None:
    path = write(tmp_path / f"{KEY}.csv")
    found = joined(tmp_path, stored([0, 7, 8, 39]))
    assert numbers(found) == [0, 7, 8, 39]
    assert found.files == (AuFile(f"{KEY}.csv", hashlib.sha256(path.read_bytes()).hexdigest()),)
    for orders in ({"without": ["timestamp", "face_id"]}, {"reverse": True, "separator": ","}):
        path.write_text(as_csv([{**each, "timestamp": 0.0} for each in rows(40)], orders))
        assert numbers(joined(tmp_path, stored([0, 7, 8, 39]))) == [0, 7, 8, 39]


@pytest.mark.parametrize("total", [39, 40, 41, None])
def test_the_last_frame_may_be_missing_on_either_side(tmp_path: Path, total: int | None) -> None:
    write(tmp_path / f"{KEY}.csv")
    assert numbers(joined(tmp_path, stored([0, 38], total))) == [0, 38]
    if total == 41:
        assert numbers(joined(tmp_path, stored([0, 40], total))) == [0, None]


def test_a_csv_with_another_number_of_frames_is_refused(tmp_path: Path) -> None:
    """A run that was killed, the csv of a part of the video, or of every fifth frame."""
    write(tmp_path / f"{KEY}.csv")
    assert refused(tmp_path, stored([3], 42)) == "it has 40 frames, the video has 42"
    assert refused(tmp_path, stored([3], 38)) == "it has more than 39 frames, the video has 38"
    assert refused(tmp_path, stored([3, 41], None)) == "it has 40 frames, the video has at least 42"


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ([1, 2, 4], "frame 4 follows frame 2"),
        ([1, 3, 2], "frame 3 follows frame 1"),
        ([1, 2, 2, 3], "frame 2 follows frame 2"),
        ([2, 3, 4], "frame 2 comes first"),
        ([0, 1, 2], "frame 0 comes first"),
        ([1, 2, 3, 1, 2, 3], "frame 1 follows frame 3"),
    ],
    ids=str,
)
def test_frames_with_gaps_repeats_or_in_another_order_are_refused(tmp_path: Path, order: list[int], expected: str) -> None:
    path = write(tmp_path / f"{KEY}.csv")
    path.write_text(as_csv([row(number, b"a", 64, {}) for number in order], {}))
    message = refused(tmp_path, stored([0], 3))
    assert message == f"{expected}: frames must be numbered from 1, each once per face, without gaps"


def test_a_csv_is_found_by_key_flat_key_and_name_of_the_video(tmp_path: Path) -> None:
    for place in (f"{KEY}.csv", f"{KEY.replace('/', '_')}.csv", "id1/video/a.csv"):
        folder = tmp_path / place.replace("/", "-")
        write(folder / place)
        found = joined(folder, stored([3]))
        assert numbers(found) == [3] and found.files[0] is not None and found.files[0].path == place
    odd = stored([3], key="id%2E1/vi%40d/00%2E1")
    write(tmp_path / "plain/id.1/vi@d/00.1.csv")
    write(tmp_path / "escaped/id%2E1_vi%40d_00%2E1.csv")
    assert numbers(joined(tmp_path / "plain", odd)) == numbers(joined(tmp_path / "escaped", odd)) == [3]
    write(tmp_path / "tubes" / f"{KEY}.csv")
    assert numbers(joined(tmp_path / "tubes", stored([3], key=f"{KEY}@000002"))) == [3], "a tube's file is that of its video"


def test_a_key_cannot_leave_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "secret/00001.csv")
    (tmp_path / "folder/in").mkdir(parents=True)
    found = joined(tmp_path / "folder/in", stored([3], key="%2E%2E/%2E%2E/secret%2F00001"))
    assert found.files == (None,)


def test_a_sample_of_several_files_uses_the_csv_of_each(tmp_path: Path) -> None:
    write(tmp_path / "id1/video/00001.csv", 10, "a")
    write(tmp_path / "id1/video/00003.csv", 10, "c")
    clip = stored([2, 5, 2, 2], 10, "id1/video/video", ("x/00001.mp4", "x/00002.mp4", "x/00003.mp4"), [0, 0, 1, 2])
    found = joined(tmp_path, clip)
    assert found.valid.tolist() == [True, True, False, True]
    assert [file and file.path for file in found.files] == ["id1/video/00001.csv", None, "id1/video/00003.csv"]
    values = [intensities(name) for name in (b"a2", b"a5", b"c2")]
    np.testing.assert_array_equal(found.intensity[found.valid], np.array(values, np.float32))


def test_a_clip_without_a_csv_has_no_valid_frame(tmp_path: Path) -> None:
    found = joined(tmp_path, stored([1, 2]))
    assert not found.valid.any() and found.files == (None,) and np.isnan(found.intensity).all()


def test_a_truncated_csv_is_refused(tmp_path: Path) -> None:
    """A run that was killed, or is still running."""
    path = write(tmp_path / f"{KEY}.csv")
    whole = path.read_bytes()
    for cut in (1, 2, 20, 300):
        path.write_bytes(whole[:-cut])
        assert refused(tmp_path, stored([3])) == "the last line is truncated"
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:30]))
    assert refused(tmp_path, stored([3])) == "it has 29 frames, the video has 40"


def test_frames_without_success_are_empty_and_several_faces_are_distinguished(tmp_path: Path) -> None:
    path = write(tmp_path / f"{KEY}.csv")
    every = rows(10)
    every[7]["success"] = 0
    every.insert(3, {**row(4, b"x", 64, {"bystander": True}), "face_id": 1, "confidence": 0.98})
    path.write_text(as_csv(every, {}))
    boxes = np.tile(np.array([10, 10, 54, 54], np.float32), (2, 1))
    assert numbers(joined(tmp_path, replace(stored([3, 7], 10), boxes_px=boxes))) == [3, None]
    assert joined(tmp_path, stored([3], 10)).confidence == np.float32(0.98), "without a box, the highest confidence"


def test_unusable_files_reject_their_clip_with_the_reason(tmp_path: Path) -> None:
    path = write(tmp_path / f"{KEY}.csv")
    path.write_text(as_csv([row(1, b"a", 64, {})], {"without": ["frame", "AU06_c"]}))
    assert refused(tmp_path) == "columns are missing: frame, AU06_c"
    path.write_bytes(b"")
    assert refused(tmp_path) == "it is empty"
    path.write_text(as_csv(rows(1), {}).splitlines(keepends=True)[0])
    assert refused(tmp_path) == "it has a header but no rows"
    path.write_bytes(b"\xff\xfe\x00\n\n\x00\n")
    assert "columns are missing" in refused(tmp_path)


def test_a_csv_of_openface_is_joined_and_that_of_a_killed_run_is_refused(tmp_path: Path) -> None:
    if not GENUINE.is_dir():
        pytest.skip("the files of a genuine OpenFace are not beside this checkout")
    path = write(tmp_path / f"{KEY}.csv")
    path.write_bytes((GENUINE / "video_dynamic_2Dfp_aus_60rows.csv").read_bytes())
    assert joined(tmp_path, stored([0, 59], 60)).valid.all()
    path.write_bytes((GENUINE / "video_killed_before_postprocessing_12rows.csv").read_bytes())
    assert refused(tmp_path, stored([0, 11], 12)).startswith("line 2: AU04_r is -0.78, must be 0 to 5")


def test_mutated_files_are_joined_or_rejected(tmp_path: Path) -> None:
    """Hundreds of mutations of a csv: bytes flipped, cut, repeated, moved; lines lost, doubled, swapped; text inserted."""
    path = write(tmp_path / f"{KEY}.csv", 6)
    whole, rng, joins = path.read_bytes(), np.random.default_rng(0), 0
    texts = [b"nan", b"-inf", b"1e999", b"-1", b",", b"\n", b"\r\n", b"\x00", b"\xef\xbb\xbf", b"\xff", b'"', b"9" * 400, b""]
    for _ in range(800):
        content = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            start, end = sorted(rng.integers(0, len(content) + 1, 2).tolist())
            end = min(end, start + int(rng.choice([1, 5, 2000])))
            kind = rng.integers(0, 4)
            if kind == 0:
                content[start:end] = texts[rng.integers(len(texts))]
            elif kind == 1:
                content[start:end] = content[start:end] * 2
            elif kind == 2 and end > start:
                content[start] ^= 1 << int(rng.integers(8))
            else:
                lines = bytes(content).splitlines(keepends=True)
                content = (
                    bytearray(b"".join(lines[number] for number in rng.integers(0, len(lines), len(lines)))) if lines else content
                )
        path.write_bytes(content)
        (found,) = CsvFolder(tmp_path).action_units([stored([0, 2, 5], 6)], None)
        assert isinstance(found, ActionUnits) or (found.reason == "bad_aus_csv" and len(found.detail) < 400)
        joins += isinstance(found, ActionUnits)
    assert 8 < joins < 600, "some mutations keep the file valid and many do not"


def test_a_file_of_hundreds_of_megabytes_is_read_in_bounded_memory(tmp_path: Path) -> None:
    """Followed by 400 MB without a line break (a sparse file), in a process limited to half of that."""
    path = write(tmp_path / f"{KEY}.csv")
    program = (
        "import sys, resource; sys.path[:0] = sys.argv[2:]\n"
        "from pathlib import Path\n"
        "from tests.transforms.extract.action_units.test_csv_folder import CsvFolder, stored\n"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000,) * 2)\n"
        "print(CsvFolder(Path(sys.argv[1])).action_units([stored([3])], None)[0])\n"
    )
    whole = path.read_bytes()
    for content in (b"frame", whole):
        path.write_bytes(content)
        with path.open("r+b") as stream:
            stream.truncate(400_000_000)
        paths = [str(ROOT), str(ROOT / "tests" / "support")]
        done = subprocess.run([sys.executable, "-c", program, str(tmp_path), *paths], capture_output=True, text=True, check=False)
        assert "a line exceeds 65536 bytes" in done.stdout, done.stderr
