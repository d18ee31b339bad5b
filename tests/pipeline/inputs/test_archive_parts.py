"""Split archives are read like whole ones; missing, truncated and foreign parts are reported by name."""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from archives import cut, everything, files, make_tar, make_zip, refusal

from motionshards.pipeline.inputs.parts import Parts, PartsStream, find_parts


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_split_at_critical_offsets_reads_as_the_whole(tmp_path: Path, method: int) -> None:
    """Offsets within, right before and right after a local header, in a name, the content, the directory and the end record."""
    path = make_zip(tmp_path / "whole.zip", files(), method)
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        third, last = infos[3].header_offset, infos[-1].header_offset
        directory = archive.start_dir
    size = path.stat().st_size
    places = [1, third - 1, third, third + 2, third + 29, third + 33, infos[8].header_offset + 500_000, last + 5]
    places += [directory, directory + 10, size - 22, size - 21, size - 1]
    assert everything(path) == files()
    assert everything(cut(path, sorted(places))) == files()


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_split_anywhere_reads_as_the_whole(tmp_path: Path, form: int) -> None:
    contents = {**files(), ("deep/" * 30 + "long.mp4" if form != tarfile.USTAR_FORMAT else "short.mp4"): b"content"}
    path = make_tar(tmp_path / "whole.tar", contents, form)
    size = path.stat().st_size
    assert everything(path) == contents
    assert everything(cut(path, [100, 512, 513, 1000, size // 2, size - 1024, size - 1])) == contents


def test_any_part_under_common_names_opens_the_archive(tmp_path: Path) -> None:
    for number, names in enumerate(
        (lambda n: f"{n:03d}", lambda n: f"{n + 1:03d}", lambda n: f"part{n:02d}", lambda n: f"a{'abc'[n]}")
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        first = cut(make_zip(folder / "clips.zip", files()), [100, 5000], names)
        (folder / "clips.txt").write_text("no part")
        (folder / "other_partaa").write_text("of another archive")
        assert len(find_parts(first)) == 3
        assert everything(sorted(folder.glob("clips_*"))[2]) == files()
        assert everything(folder / "clips_*") == files()


def test_positional_reads_match_the_joined_file(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(1000)
    (tmp_path / "whole.zip").write_bytes(content)
    parts = Parts(find_parts(cut(tmp_path / "whole.zip", [10, 10, 11, 400])))
    for offset in range(0, 1005, 3):
        for count in (0, 1, 7, 390, 2000):
            assert parts.pread(offset, count) == content[offset : offset + count]
    stream = io.BufferedReader(PartsStream(parts), 64)
    stream.seek(-100, os.SEEK_END)
    assert stream.read(50) == content[900:950]
    assert stream.tell() == 950


@pytest.fixture
def in_parts(tmp_path: Path) -> list[Path]:
    """A zip in five parts, all but the last of equal size."""
    path = make_zip(tmp_path / "vox2_dev_mp4.zip", files())
    step = path.stat().st_size // 4 - 100
    return find_parts(cut(path, [step, 2 * step, 3 * step, 4 * step]))


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_missing_part_is_reported(in_parts: list[Path], number: int) -> None:
    in_parts[number].unlink()
    assert f"these parts are missing: vox2_dev_mp4_parta{'abcde'[number]}" in refusal(in_parts[4])


def test_a_missing_part_may_be_the_one_passed_to_input(in_parts: list[Path], tmp_path: Path) -> None:
    in_parts[0].unlink()
    assert "these parts are missing: vox2_dev_mp4_partaa" in refusal(in_parts[0])
    assert "No such file" in refusal(tmp_path / "gone.zip")


def test_missing_last_parts_are_reported(in_parts: list[Path]) -> None:
    in_parts[4].unlink()
    assert "the end of the zip is not in vox2_dev_mp4_partad: it is truncated, or parts after it are missing" in refusal(
        in_parts[0]
    )


@pytest.mark.parametrize("number", [0, 1, 3])
@pytest.mark.parametrize("lost", [1, 5000])
def test_a_truncated_part_is_reported_with_its_size(in_parts: list[Path], number: int, lost: int) -> None:
    size = in_parts[number].stat().st_size
    os.truncate(in_parts[number], size - lost)
    message = refusal(in_parts[0])
    assert "bytes are missing" in message
    assert f"{in_parts[number].name} has {size - lost} bytes, most parts have {size}" in message


def test_a_truncated_last_part_is_reported(in_parts: list[Path]) -> None:
    os.truncate(in_parts[4], in_parts[4].stat().st_size - 1)
    assert "the end of the zip is not in vox2_dev_mp4_partae" in refusal(in_parts[0])


def test_a_part_of_another_archive_is_reported(in_parts: list[Path]) -> None:
    in_parts[0].write_bytes(b"\0" * in_parts[0].stat().st_size)
    message = refusal(in_parts[2])
    assert in_parts[0].name in message
    assert "damaged or of another archive" in message
