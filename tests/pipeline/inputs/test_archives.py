"""Zip and tar archives, whole or cut anywhere, read in place: listed right, unpacked right, and what is missing is named."""

import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from archives import cut, everything, files, make_tar, make_zip, walk
from checkout import ROOT

from motionshards.dataset import build
from motionshards.pipeline.inputs import unpack
from motionshards.pipeline.inputs.accounting import AccountedTree
from motionshards.pipeline.inputs.input import check_archives, open_input
from motionshards.pipeline.inputs.parts import Parts, PartsStream, find_parts
from motionshards.schemas.errors import ClipRejected, ConfigError
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.records import Packed

MakeVideo = Callable[..., Path]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_cut_at_every_awkward_place_reads_as_the_whole(tmp_path: Path, method: int) -> None:
    """In a local header, right before and behind one, in a name, in the content, in the directory and in the end record."""
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
def test_a_tar_cut_anywhere_reads_as_the_whole(tmp_path: Path, form: int) -> None:
    contents = {**files(), ("deep/" * 30 + "long.mp4" if form != tarfile.USTAR_FORMAT else "short.mp4"): b"content"}
    path = make_tar(tmp_path / "whole.tar", contents, form)
    size = path.stat().st_size
    assert everything(path) == contents
    assert everything(cut(path, [100, 512, 513, 1000, size // 2, size - 1024, size - 1])) == contents


def test_parts_may_be_named_in_any_usual_way_and_by_any_of_them(tmp_path: Path) -> None:
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


def test_reading_by_place_is_reading_the_joined_file(tmp_path: Path) -> None:
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
    """A zip in five parts of equal size, but for the last."""
    path = make_zip(tmp_path / "vox2_dev_mp4.zip", files())
    step = path.stat().st_size // 4 - 100
    return find_parts(cut(path, [step, 2 * step, 3 * step, 4 * step]))


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as refused:
        open_input([path], ())
    return str(refused.value)


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_missing_part_is_named(in_parts: list[Path], number: int) -> None:
    in_parts[number].unlink()
    assert f"these parts are missing: vox2_dev_mp4_parta{'abcde'[number]}" in refusal(in_parts[4])


def test_the_part_that_is_named_may_be_the_one_that_is_missing(in_parts: list[Path], tmp_path: Path) -> None:
    in_parts[0].unlink()
    assert "these parts are missing: vox2_dev_mp4_partaa" in refusal(in_parts[0])
    assert "No such file" in refusal(tmp_path / "gone.zip")


def test_missing_last_parts_are_told(in_parts: list[Path]) -> None:
    in_parts[4].unlink()
    assert "the end of the zip is not in vox2_dev_mp4_partad: it is cut short, or parts after it are missing" in refusal(
        in_parts[0]
    )


@pytest.mark.parametrize("number", [0, 1, 3])
@pytest.mark.parametrize("lost", [1, 5000])
def test_a_short_part_is_named_with_its_size(in_parts: list[Path], number: int, lost: int) -> None:
    size = in_parts[number].stat().st_size
    os.truncate(in_parts[number], size - lost)
    said = refusal(in_parts[0])
    assert "bytes are missing" in said
    assert f"{in_parts[number].name} has {size - lost} bytes, most parts have {size}" in said


def test_a_short_last_part_is_named(in_parts: list[Path]) -> None:
    os.truncate(in_parts[4], in_parts[4].stat().st_size - 1)
    assert "the end of the zip is not in vox2_dev_mp4_partae" in refusal(in_parts[0])


def test_a_part_of_another_archive_is_named(in_parts: list[Path]) -> None:
    in_parts[0].write_bytes(b"\0" * in_parts[0].stat().st_size)
    said = refusal(in_parts[2])
    assert in_parts[0].name in said
    assert "damaged or of another archive" in said


def test_a_tar_without_its_end_is_refused(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "clips.tar", files())
    with tarfile.open(path) as archive:
        members = archive.getmembers()
    whole = path.read_bytes()
    for size in (members[-1].offset_data + 3, members[-1].offset, members[4].offset_data + 10):
        path.write_bytes(whole[:size])
        assert "tar" in refusal(path)
    path.write_bytes(whole[: members[5].offset] + b"rubbish".ljust(512, b"?") + whole[members[5].offset + 512 :])
    assert f"the tar is damaged at byte {members[5].offset}" in refusal(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x1f\x8b\x08rest", "compressed archives (gzip) cannot be read in place"),
        (b"<html>", "neither a directory nor a zip or tar"),
        (b"", "neither a directory nor a zip or tar"),
    ],
)
def test_what_cannot_be_read_by_place_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "clips.tar").write_bytes(content)
    assert said in refusal(tmp_path / "clips.tar")


def test_a_zip64_of_more_than_four_gigabytes(tmp_path: Path) -> None:
    """Sparse: a hole of 4.5 GB between two files. Sizes and offsets beyond 32 bits stand in zip64 fields."""
    path, hole = tmp_path / "big.zip", 4_500_000_000
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("first.txt", b"first")
        filler = zipfile.ZipInfo("filler.mp4")
        with archive.open(filler, "w", force_zip64=True) as stream:
            stream.write(b"")
    with path.open("r+b") as stream:
        _write_big_zip(stream, hole)
    assert path.stat().st_blocks * 512 < 10_000_000
    opened = open_input([path], ())
    by_name = {entry.name: entry for entry in walk(opened.tree)}
    assert by_name["filler.mp4"].packed == Packed("big.zip", 44, hole, hole, "stored", 0)
    last = by_name["last.txt"]
    assert last.packed is not None
    assert last.packed.offset > 2**32
    assert unpack.content(last.uri, last.packed, opened.root) == b"last"
    in_part = unpack.content("first.txt", by_name["first.txt"].packed, opened.root)
    assert in_part == b"first"


def _write_big_zip(stream: io.BufferedRandom, hole: int) -> None:
    """first.txt, filler.mp4 whose content is a hole, last.txt; written by the format's description (APPNOTE 4.3, 4.5.3)."""
    stream.truncate(0)
    stream.seek(0)
    entries = []

    def local(name: bytes, content: bytes, size: int) -> None:
        offset, big = stream.tell(), size > 2**32 - 1
        extra = struct.pack("<HHQQ", 1, 16, size, size) if big else b""
        stored = 2**32 - 1 if big else size
        crc32 = zlib.crc32(content)
        stream.write(
            struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 45, 0, 0, 0, 33, crc32, stored, stored, len(name), len(extra)) + name + extra
        )
        stream.write(content)
        stream.seek(size - len(content), os.SEEK_CUR)
        entries.append((name, crc32, size, offset))

    local(b"first.txt", b"first", 5)
    local(b"filler.mp4", b"", hole)
    local(b"last.txt", b"last", 4)
    start = stream.tell()
    for name, crc32, size, offset in entries:
        far = [value for value in (size, size, offset) if value > 2**32 - 1]
        extra = struct.pack(f"<HH{len(far)}Q", 1, 8 * len(far), *far) if far else b""
        small = min(size, 2**32 - 1), min(size, 2**32 - 1)
        fields = (45, 45, 0, 0, 0, 33, crc32, *small, len(name), len(extra), 0, 0, 0, 0, min(offset, 2**32 - 1))
        stream.write(struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", *fields) + name + extra)
    end = stream.tell()
    stream.write(struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 3, 3, end - start, start))
    stream.write(struct.pack("<4sIQI", b"PK\6\7", 0, end, 1))
    stream.write(struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 3, 3, end - start, 2**32 - 1, 0))


def lost(packed: Packed, root: Path) -> tuple[str, str]:
    with pytest.raises(ClipRejected) as rejected:
        unpack.content("a.mp4", packed, root)
    return rejected.value.reason, rejected.value.detail


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_flipped_bit_is_found(tmp_path: Path, method: int) -> None:
    content = b"".join(bytes([n % 251]) * 40 for n in range(500))
    path = make_zip(tmp_path / "a.zip", {"a.mp4": content}, method)
    packed = next(walk(open_input([path], ()).tree)).packed
    assert packed is not None
    raw = bytearray(path.read_bytes())
    raw[packed.offset + 60] ^= 0x10
    (tmp_path / "b.zip").write_bytes(raw)
    reason, detail = lost(replace(packed, archive="b.zip"), tmp_path)
    assert reason == "bad_member"
    assert "CRC" in detail or "damaged" in detail


def test_what_cannot_be_unpacked_says_why(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a.mp4": b"x" * 1000}, zipfile.ZIP_BZIP2)
    packed = next(walk(open_input([path], ()).tree)).packed
    assert packed is not None
    assert lost(packed, tmp_path) == ("bad_member", "compression 12 cannot be unpacked")
    raw = bytearray(make_zip(tmp_path / "b.zip", {"a.mp4": b"x" * 1000}).read_bytes())
    raw[raw.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "b.zip").write_bytes(raw)
    packed = next(walk(open_input([tmp_path / "b.zip"], ()).tree)).packed
    assert packed is not None
    assert lost(packed, tmp_path) == ("bad_member", "encrypted cannot be unpacked")
    assert lost(Packed("gone.zip", 0, 1, 1, "stored", 0), tmp_path)[0] == "unreadable"


def test_a_bomb_stops_at_its_promised_size(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a.mp4": b"\0" * 50_000_000}, zipfile.ZIP_DEFLATED)
    packed = next(walk(open_input([path], ()).tree)).packed
    assert packed is not None
    assert lost(replace(packed, bytes=1000), tmp_path) == ("bad_member", "1001 of 1000 bytes")


def test_names_that_lead_out_are_left_out_and_told(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"../evil.mp4": b"1", "/abs.mp4": b"2", "./good//a.mp4": b"3", "__MACOSX/._a.mp4": b"4"})
    opened = open_input([path], ())
    assert [entry.path for entry in walk(AccountedTree(opened.tree))] == ["good/a.mp4"]
    assert len(opened.refused) == 2
    assert "'../evil.mp4' leads out" in opened.refused[0]


def test_of_files_with_one_name_the_last_counts_and_a_directory_comes_before_archives(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x/a.mp4", b"old")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("x/a.mp4", b"new")
        archive.writestr("x/b.mp4", b"packed")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "b.mp4").write_bytes(b"on disk")
    opened = open_input([tmp_path, tmp_path / "a.zip"], ())
    found = {entry.path: entry.packed and unpack.content(entry.uri, entry.packed, opened.root) for entry in walk(opened.tree)}
    assert found == {"a.zip": None, "x/a.mp4": b"new", "x/b.mp4": None}


@pytest.mark.parametrize(
    ("name", "contents", "first"),
    [
        ("vox2_test_mp4.zip", "mp4/id1/v/1.mp4", "test/mp4/id1/v/1.mp4"),
        ("vox2_dev_mp4.zip", "dev/mp4/id1/v/1.mp4", "dev/mp4/id1/v/1.mp4"),
        ("vox2_latest.zip", "mp4/id1/v/1.mp4", "mp4/id1/v/1.mp4"),
    ],
)
def test_an_archive_of_one_split_is_put_there(tmp_path: Path, name: str, contents: str, first: str) -> None:
    opened = open_input([make_zip(tmp_path / name, {contents: b"x"})], ("dev", "test"))
    assert next(walk(opened.tree)).path == first
    assert opened.tree.is_directory("mp4") == first.startswith("mp4/")


def test_an_archive_that_changed_since_planning_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", files())
    archives = open_input([path], ()).archives
    check_archives(tmp_path, archives)
    with path.open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(ConfigError, match=r"a\.zip has .* bytes, the data set was planned from one with"):
        check_archives(tmp_path, archives)
    path.unlink()
    with pytest.raises(ConfigError, match="is missing, a part of the archive"):
        check_archives(tmp_path, archives)


def run(out: Path, *inputs: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "dataset.build",
        "--source",
        "voxceleb2",
        "--output",
        str(out),
        "--frames",
        "3",
        "--size",
        "96",
    ]
    done = subprocess.run(
        [*command, "--quiet", "--input", *map(str, inputs)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return out


def tars(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("t*/*.tar")}


@pytest.fixture(scope="module")
def packed_demo(demo_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo corpus as it is downloaded: dev as a split zip, test as a zip whose paths do not say test."""
    folder = tmp_path_factory.mktemp("packed")
    for half in ("dev", "test"):
        contents = {str(p.relative_to(demo_videos)): p.read_bytes() for p in sorted((demo_videos / half).rglob("*.mp4"))}
        if half == "test":
            contents = {name.removeprefix("test/"): content for name, content in contents.items()}
        path = make_zip(folder / f"vox2_{half}_mp4.zip", contents, zipfile.ZIP_DEFLATED if half == "test" else zipfile.ZIP_STORED)
        if half == "dev":
            step = path.stat().st_size // 3 + 1
            cut(path, [step, 2 * step])
    return folder


@pytest.mark.slow
def test_shards_are_the_same_from_archives_and_from_the_extracted_tree(
    demo_videos: Path, packed_demo: Path, tmp_path: Path
) -> None:
    """And nothing is extracted: not a byte lies in the output but the data set, nor anything new beside the archives."""
    before = sorted(packed_demo.iterdir())
    extracted = run(tmp_path / "extracted", demo_videos)
    archived = run(tmp_path / "archived", packed_demo / "vox2_dev_mp4_partaa", packed_demo / "vox2_test_mp4.zip")
    assert tars(archived) == tars(extracted)
    assert len(tars(archived)) > 1
    assert sorted(packed_demo.iterdir()) == before
    assert not list(archived.rglob("*.mp4"))
    spans = pq.read_table(archived / "index.parquet")["spans"].to_pylist()
    assert {span[0]["packed"]["archive"] for span in spans} == {"vox2_dev_mp4_partaa", "vox2_test_mp4.zip"}
    assert set(Manifest.read(archived).archives) == {"vox2_dev_mp4_partaa", "vox2_test_mp4.zip"}
    assert subprocess.run([sys.executable, "-m", "dataset.verify", str(archived)], cwd=ROOT, check=False).returncode == 0


@pytest.mark.slow
def test_a_damaged_clip_in_an_archive_is_a_rejection_and_the_rest_is_built(packed_demo: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(packed_demo / "vox2_test_mp4.zip", tmp_path))
    with zipfile.ZipFile(path) as archive:
        info = archive.infolist()[0]
    raw = bytearray(path.read_bytes())
    raw[info.header_offset + 200 : info.header_offset + 210] = b"\0" * 10
    path.write_bytes(raw)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("mp4/id9/empty/00001.mp4", b"")
        archive.writestr("mp4/id9/html/00001.mp4", "<!DOCTYPE html><html></html>")
    out = run(tmp_path / "out", path)
    rows = pq.read_table(out / "rejections.parquet").to_pylist()
    assert {row["reason"] for row in rows} == {"bad_member", "empty_file", "not_a_video"}
    assert json.loads((out / "dataset.json").read_text())["counts"]["kept"] == len(zipfile.ZipFile(path).infolist()) - 3
    assert not any("/dev/fd" in row["detail"] for row in rows)


def test_annotations_in_an_archive(make_video: MakeVideo, tmp_path: Path) -> None:
    """VoxCeleb's txt zip beside a directory of downloads."""
    text = "Identity  : \tid1\n\nFRAME \tX \tY \tW \tH \n" + "\n".join(f"{n} \t10 \t10 \t90 \t90 " for n in range(5, 30))
    make_zip(tmp_path / "vox1_dev_txt.zip", {"txt/id10001/vid/00001.txt": text.encode()})
    make_video("videos/vid.mp4", source="testsrc2=size=640x360:rate=25:duration=2")
    inputs = ["--input", str(tmp_path), str(tmp_path / "vox1_dev_txt.zip"), "--output", str(tmp_path / "out")]
    assert build.main(["--source", "voxceleb1", *inputs, "--landmarks", "none", "--quiet", "--workers", "1"]) == 0
    row = pq.read_table(tmp_path / "out" / "index.parquet").to_pylist()[0]
    assert (row["key"], row["source_frames"], row["spans"][0]["track_packed"]["method"]) == ("id10001/vid/00001", 25, "stored")


def test_a_directory_that_holds_only_archives_says_so(
    packed_demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build.main(["--source", "voxceleb2", "--input", str(packed_demo), "--output", str(tmp_path / "out"), "--quiet"]) == 2
    assert "vox2_dev_mp4_partaa: archives are read where --input names them" in capsys.readouterr().err
