"""Manipulated datasets: one DatasetError, or a counted substitution, in bounded time and memory."""

import io
import json
import os
import tarfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made import SIZE, make_dataset
from PIL import Image

from motionshards.dataset.index import Dataset
from motionshards.dataset.sequential import TarStream
from motionshards.dataset.stream import ClipStream, Pairs
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.layout import INDEX, LANDMARKS, META
from motionshards.schemas.samples.encode import npy_bytes

Change = Callable[[str, bytes], bytes]


def large_jpeg() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (20_000, 64)).save(content, "JPEG")
    # Sets the height in the frame header; the data of these 20,000 rows is missing.
    return content.getvalue().replace((64).to_bytes(2) + (20_000).to_bytes(2), (20_000).to_bytes(2) * 2)


def many_scans(jpeg: bytes) -> bytes:
    """A progressive JPEG of the same size that a decoder reads without error, in 3,000 passes."""
    content = io.BytesIO()
    Image.open(io.BytesIO(jpeg)).save(content, "JPEG", progressive=True)
    once = content.getvalue()
    return once[:-2] + once[once.rindex(b"\xff\xda") : -2] * 3_000 + once[-2:]


def with_fill_byte(jpeg: bytes) -> bytes:
    """A byte that decoders skip, before the second marker."""
    return jpeg[:2] + b"\xff" + jpeg[2:]


def with_meta(**values: object) -> Change:
    return lambda suffix, content: json.dumps({**json.loads(content), **values}).encode() if suffix == META else content


def instead(name: str, other: bytes) -> Change:
    return lambda suffix, content: other if suffix == name else content


HOSTILE = {
    "large": lambda suffix, content: large_jpeg() if suffix.endswith(".jpg") else content,
    "scans": lambda suffix, content: content[:-2] + b"\xff\xda" * 5000 + b"\xff\xd9" if suffix.endswith(".jpg") else content,
    "passes": lambda suffix, content: many_scans(content) if suffix.endswith(".jpg") else content,
    "fill byte": lambda suffix, content: with_fill_byte(many_scans(content)) if suffix.endswith(".jpg") else content,
    "points": instead(LANDMARKS, npy_bytes(np.zeros((4, 67, 2), np.float32))),
    "complex": instead(LANDMARKS, npy_bytes(np.zeros((5, 68, 2), np.complex64))),
    "structured": instead(LANDMARKS, npy_bytes(np.zeros((5, 68, 2), [("x", "<f4")]))),
    "nested": instead(META, b"[" * 100_000),
    "nan": with_meta(pts_s=[float("nan")] * 5),
    "types": with_meta(pts_s="5", identity=[]),
}


def rewrite(out: Path, change: Change, clip: int = 0) -> None:
    """Change a clip of the only shard and update the index, as an attacker would to pass the checksums."""
    rows = pq.read_table(out / INDEX)
    path, places = next(out.glob("train/*.tar")), rows.to_pylist()
    key, members, offset = places[clip]["key"], [], 0
    content = io.BytesIO()
    with tarfile.open(path) as tar, tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as new:
        for info in tar:
            data = tar.extractfile(info).read()  # type: ignore[union-attr]
            if info.name.startswith(key):
                data = change(info.name.partition(".")[2], data)
            info.size = len(data)
            offset = new.offset + 512
            new.addfile(info, io.BytesIO(data))
            members.append((info.name, offset, data))
    path.write_bytes(content.getvalue())
    for row in places:
        row["members"] = [
            {"suffix": name.partition(".")[2], "offset": at, "size": len(data), "crc32": zlib.crc32(data)}
            for name, at, data in members
            if name.startswith(row["key"] + ".")
        ]
    pq.write_table(pa.Table.from_pylist(places, rows.schema), out / INDEX)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_sample_is_one_error_or_a_counted_substitution(tmp_path: Path, name: str, peak_kb: Callable[[], int]) -> None:
    out = make_dataset(tmp_path, 8, per_shard=8, frames=lambda clip: 5)
    rewrite(out, HOSTILE[name])
    start = time.monotonic()
    data = Dataset.open(out)
    with pytest.raises(DatasetError):
        data.read(data.index().to_pylist()[0])
    stream = ClipStream(out, Pairs(2), global_batch_size=4)
    assert len(list(stream)) == 2
    if name not in ("nested", "nan", "types"):  # streams do not read meta.json
        assert set(stream.faults.counts) == {"undecodable"}
    tar = next(out.glob("train/*.tar"))
    with pytest.raises(DatasetError):
        list(TarStream([tar], Pairs(2), batch_size=1))
    skipping = TarStream([tar], Pairs(2), batch_size=1, on_error="skip")
    assert len(list(skipping)) >= 7 and skipping.faults.total() >= 1
    assert peak_kb() < 300_000 and time.monotonic() - start < 30


@pytest.mark.parametrize("kind", ["pipe", "directory", "device"])
def test_a_shard_that_is_not_a_regular_file_does_not_hang(tmp_path: Path, kind: str) -> None:
    out = make_dataset(tmp_path, 8, per_shard=4)
    row = Dataset.open(out).index().to_pylist()[0]
    tar = out / "train" / f"{row['shard']}.tar"
    tar.unlink()
    {"pipe": os.mkfifo, "directory": os.mkdir, "device": lambda path: path.symlink_to("/dev/zero")}[kind](tar)
    with pytest.raises(DatasetError):
        Dataset.open(out).read(row)
    stream = ClipStream(out, Pairs(2), global_batch_size=8)
    assert len(list(stream)) == 1 and stream.faults.counts.total() >= 4
    skipping = TarStream([tar], Pairs(2), batch_size=1, on_error="skip")
    assert not list(skipping) and skipping.faults.total() == 1


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("n_frames", pa.array(["5"] * 8)),
        ("n_frames", pa.array([None] * 8, pa.int32())),
        ("members", pa.array([[]] * 8, pa.list_(pa.string()))),
        ("identity", pa.array([1] * 8)),
        ("frame_yaw_deg", pa.array(["a"] * 8)),
    ],
)
def test_an_index_with_other_types_raises_one_error(tmp_path: Path, column: str, values: pa.Array) -> None:
    out = make_dataset(tmp_path, 8, per_shard=8)
    rows = pq.read_table(out / INDEX)
    pq.write_table(rows.set_column(rows.schema.get_field_index(column), column, values), out / INDEX)
    with pytest.raises(DatasetError):
        ClipStream(out, Pairs(2), global_batch_size=4)


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE])
@pytest.mark.parametrize("linked", ["001.jpg", LANDMARKS, META])
def test_a_link_instead_of_a_member_is_a_counted_fault(tmp_path: Path, kind: bytes, linked: str) -> None:
    tar, content = next(make_dataset(tmp_path, 3, per_shard=3).glob("train/*.tar")), io.BytesIO()
    with tarfile.open(tar) as old, tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as new:
        one = next(name for name in old.getnames() if name.endswith(linked))
        for info in old.getmembers():
            data = old.extractfile(info).read()  # type: ignore[union-attr]
            if info.name == one:
                info.type, info.linkname, info.size, data = kind, old.getnames()[0], 0, b""
            new.addfile(info, io.BytesIO(data))
    stream = TarStream([io.BytesIO(content.getvalue())], Pairs(2), batch_size=1, on_error="skip")
    assert len(list(stream)) == 2 and stream.faults == {"undecodable": 1}
    with pytest.raises(DatasetError, match="undecodable"):
        list(TarStream([io.BytesIO(content.getvalue())], Pairs(2), batch_size=1))


def test_a_sparse_member_is_not_expanded(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.000.jpg")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 0
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:398], header[398:410], header[483:495] = b"%011o\0" % 0, b"%011o\0" % 0, b"%011o\0" % (1 << 32)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(10240))
    with pytest.raises(DatasetError, match="sparse"):
        list(TarStream([tmp_path / "a.tar"], Pairs(2), batch_size=1))


@pytest.mark.parametrize("trials", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_mutated_tars_are_read_skipped_or_refused(tmp_path: Path, trials: int, peak_kb: Callable[[], int]) -> None:
    tar = next(make_dataset(tmp_path, 3, per_shard=3, aus=True).glob("train/*.tar"))
    slowest = 0.0
    random, intact, assert_size = np.random.default_rng(0), tar.read_bytes(), (1, 2, SIZE, SIZE, 3)
    for _ in range(trials):
        content = bytearray(intact)
        for place in random.integers(0, len(content), random.integers(1, 40)):
            content[place] = random.integers(256)
        start = time.process_time()
        try:
            for batch in TarStream([io.BytesIO(content)], Pairs(2), batch_size=1, on_error="skip"):
                assert tuple(batch.frames.shape) == assert_size
        except DatasetError as error:
            message = str(error)
            assert "\n" not in message
        slowest = max(slowest, time.process_time() - start)
    assert peak_kb() < 300_000 and slowest < 10
