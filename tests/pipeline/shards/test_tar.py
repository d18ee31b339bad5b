"""Shards are plain USTAR, reproducible, with each member at the offset that the writer returns."""

import io
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from motionshards.pipeline.shards.tar import ShardWriter
from motionshards.schemas.layout import LANDMARK_SCORES, clip_key
from motionshards.schemas.tables import Member


def samples(seed: int) -> dict[str, dict[str, bytes]]:
    rng = np.random.default_rng(seed)
    sizes = [0, 1, 511, 512, 513, 20_000]
    return {f"id/v/{n}": {f"{m:03d}.jpg": rng.bytes(int(rng.choice(sizes))) for m in range(5)} for n in range(4)}


def write(path: Path, content: dict[str, dict[str, bytes]]) -> dict[str, list[Member]]:
    with ShardWriter(path) as writer:
        return {key: writer.add(key, files) for key, files in content.items()}


@pytest.mark.parametrize("seed", range(5))
def test_members_are_at_the_returned_offsets(tmp_path: Path, seed: int) -> None:
    content = samples(seed)
    places = write(tmp_path / "a.tar", content)
    raw = (tmp_path / "a.tar").read_bytes()
    for key, members in places.items():
        for member in members:
            found = raw[member.offset : member.offset + member.size]
            assert found == content[key][member.suffix]
            assert zlib.crc32(found) == member.crc32


def test_tarfile_reads_the_members_in_order(tmp_path: Path) -> None:
    content = samples(0)
    places = write(tmp_path / "a.tar", content)
    with tarfile.open(tmp_path / "a.tar") as tar:
        found = [(info.name, info.offset_data, tar.extractfile(info).read()) for info in tar]
        assert {(i.mtime, i.uid, i.gid, i.uname, i.gname, i.mode) for i in tar} == {(0, 0, 0, "", "", 0o644)}
    assert found == [
        (f"{key}.{member.suffix}", member.offset, content[key][member.suffix])
        for key, members in places.items()
        for member in members
    ]


def test_bytes_equal_those_of_the_standard_library(tmp_path: Path) -> None:
    write(tmp_path / "written.tar", samples(1))
    with tarfile.open(tmp_path / "expected.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for key, files in samples(1).items():
            for suffix, data in files.items():
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    assert (tmp_path / "written.tar").read_bytes() == (tmp_path / "expected.tar").read_bytes()


def test_the_longest_key_fits(tmp_path: Path) -> None:
    key = clip_key("ü" * 300, "x" * 300, "顔." * 100)
    places = write(tmp_path / "a.tar", {key: {LANDMARK_SCORES: b"abc"}})
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert tar.getnames() == [f"{key}.{LANDMARK_SCORES}"]
    assert (tmp_path / "a.tar").read_bytes()[places[key][0].offset :][:3] == b"abc"


def test_without_samples_there_is_no_file(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", {})
    assert not (tmp_path / "a.tar").exists()
