"""Zip and tar archives read in place: listing, unpacking, refusals, and damaged members."""

import io
import os
import struct
import tarfile
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from archives import files, make_tar, make_zip, refusal, walk

from motionshards.pipeline.inputs import unpack
from motionshards.pipeline.inputs.accounting import AccountedTree
from motionshards.pipeline.inputs.input import check_archives, open_input
from motionshards.schemas.errors import ClipRejected, ConfigError
from motionshards.schemas.records import Packed


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
    ("content", "message"),
    [
        (b"\x1f\x8b\x08rest", "compressed archives (gzip) cannot be read in place"),
        (b"<html>", "neither a directory nor a zip or tar"),
        (b"", "neither a directory nor a zip or tar"),
    ],
)
def test_compressed_archives_and_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "clips.tar").write_bytes(content)
    assert message in refusal(tmp_path / "clips.tar")


def test_a_zip64_of_more_than_four_gigabytes(tmp_path: Path) -> None:
    """Sparse, with a hole of 4.5 GB between two files. Sizes and offsets beyond 32 bits are in zip64 fields."""
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
    """first.txt, filler.mp4 whose content is a hole, last.txt; written according to APPNOTE 4.3 and 4.5.3."""
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
def test_a_flipped_bit_is_detected(tmp_path: Path, method: int) -> None:
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


def test_unsupported_members_are_rejected_with_a_reason(tmp_path: Path) -> None:
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


def test_zip_bomb_stops_at_its_declared_size(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a.mp4": b"\0" * 50_000_000}, zipfile.ZIP_DEFLATED)
    packed = next(walk(open_input([path], ()).tree)).packed
    assert packed is not None
    assert lost(replace(packed, bytes=1000), tmp_path) == ("bad_member", "1001 of 1000 bytes")


def test_paths_outside_the_archive_are_skipped_and_reported(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"../evil.mp4": b"1", "/abs.mp4": b"2", "./good//a.mp4": b"3", "__MACOSX/._a.mp4": b"4"})
    opened = open_input([path], ())
    assert [entry.path for entry in walk(AccountedTree(opened.tree))] == ["good/a.mp4"]
    assert len(opened.refused) == 2
    assert "'../evil.mp4' is outside the archive" in opened.refused[0]


def test_last_file_of_a_name_counts_and_directories_precede_archives(tmp_path: Path) -> None:
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
def test_an_archive_named_after_a_split_is_placed_below_it(tmp_path: Path, name: str, contents: str, first: str) -> None:
    opened = open_input([make_zip(tmp_path / name, {contents: b"x"})], ("dev", "test"))
    assert next(walk(opened.tree)).path == first
    assert opened.tree.is_directory("mp4") == first.startswith("mp4/")


def test_an_archive_that_changed_since_planning_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", files())
    archives = open_input([path], ()).archives
    check_archives(tmp_path, archives)
    with path.open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(ConfigError, match=r"a\.zip has .* bytes, but had .* when the dataset was planned"):
        check_archives(tmp_path, archives)
    path.unlink()
    with pytest.raises(ConfigError, match="is missing, but the dataset was planned from it"):
        check_archives(tmp_path, archives)
