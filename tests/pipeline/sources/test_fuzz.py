"""Fuzzing archives and csv files: a listing with refusals, or a one-line error; never a traceback, a hang or a flood."""

import io
import json
import random
import resource
import tarfile
import time
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from archives import walk
from published_lists import HDTF, celebvhq_clip, write_hdtf

from motionshards.pipeline.inputs.foreign import lines_of
from motionshards.pipeline.inputs.input import open_input
from motionshards.pipeline.inputs.tree import DirectoryTree
from motionshards.pipeline.inputs.unpack import content
from motionshards.pipeline.planning.plan import listing_table
from motionshards.pipeline.sources import SOURCES, folder, taichi
from motionshards.pipeline.sources.listing import Listing
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import ClipRejected, ConfigError

COLUMNS = "video_id,start,end,bbox,fps,width,height,partition,person_id"
INTERESTING = [b"\0", b"\xff", b"\x80", b"..", b"/", b'"', b"\r\n", b"\n", b",", b"\xff\xfe", b"9" * 30, b"-", b"\xe2\x80\xa8"]
NUMBERS = [0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF]


def plain_zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number, method in enumerate((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED)):
            archive.writestr(f"id{number}/ünï/{number}.mp4", bytes(range(256)) * (number + 1), method)
        link = zipfile.ZipInfo("id0/link.mp4")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "../id1/ünï/1.mp4")
    return out.getvalue()


def plain_tar(form: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=form, pax_headers={"comment": "x"} if form == tarfile.PAX_FORMAT else {}
    ) as a:
        for name, kind in (("id/a.mp4", tarfile.REGTYPE), ("ü" * 60 + "/b.mp4", tarfile.REGTYPE), ("id/l.mp4", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "a.mp4" if kind == tarfile.SYMTYPE else ""
            info.size = 700 if kind == tarfile.REGTYPE else 0
            a.addfile(info, io.BytesIO(b"x" * info.size))
    return out.getvalue()


def plain_csv() -> bytes:
    rows = [f'"v{n}",{n},{n + 50},1-2-30-40,30000/1001,64,48,train,id{n % 3}' for n in range(20)]
    return "\r\n".join([COLUMNS, *rows]).encode()


def damaged(raw: bytes, rng: random.Random, numbers: bool) -> bytes:
    """Flip bits, insert bytes, move or delete pieces, and overwrite numbers by extreme ones."""
    content = bytearray(raw)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        at = rng.randrange(max(1, len(content)))
        kind = rng.randrange(6 if numbers else 5)
        if kind == 0:
            content[at : at + 1] = bytes([content[at] ^ (1 << rng.randrange(8))]) if content else b""
        elif kind == 1:
            content[at : at + rng.choice([0, 1, 4])] = rng.choice(INTERESTING)
        elif kind == 2:
            del content[at : at + rng.choice([1, 3, 512, len(content)])]
        elif kind == 3:
            start = rng.randrange(max(1, len(content)))
            content[at:at] = content[start : start + rng.choice([8, 46, 512])]
        elif kind == 4:
            content[at : at + 8] = rng.randbytes(8)
        else:
            width = rng.choice([2, 4, 8])
            value = rng.choice(NUMBERS) & ((1 << 8 * width) - 1)
            content[at : at + width] = value.to_bytes(width, "little")
    return bytes(content)


def refixed(raw: bytes) -> bytes:
    """The tar with corrected checksums, so that other damage is reached."""
    content = bytearray(raw)
    for at in range(0, len(content) - 511, 512):
        block = content[at : at + 512]
        if block[257:262] == b"ustar":
            content[at + 148 : at + 156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))
    return bytes(content)


def one_line(error: ConfigError) -> None:
    assert "\n" not in str(error) and len(str(error)) < 2_000


def open_archive(path: Path) -> None:
    """List an archive and read every file of it; every refusal must be counted or have a reason."""
    try:
        opened = open_input([path], ())
        entries = list(walk(opened.tree))
        listing_table(folder.list_clips(Listing(opened.tree)), BuildConfig(source="folder"))
    except ConfigError as error:
        one_line(error)
        return
    for entry in entries:
        with suppress(ClipRejected):
            assert len(content(entry.uri, entry.packed, opened.root)) == entry.bytes


def open_csv(path: Path) -> None:
    """List a csv: each line is a clip, or reported as malformed."""
    listing = Listing(DirectoryTree(path.parent / "nothing"), metadata=path)
    try:
        table = listing_table(taichi.list_clips(listing), BuildConfig(source="taichi"))
    except ConfigError as error:
        one_line(error)
        return
    assert all(line.startswith(f"{path.name} line") and "\n" not in line for line in listing.malformed)
    assert len(table) + len(listing.malformed) <= len(lines_of(path.read_bytes()))


def open_lists(source: str, name: str, path: Path) -> None:
    """List a corpus with one damaged list: clips, reported lines, or a one-line error."""
    root = path.parent / "nothing"
    write_hdtf(root)
    (root / "data_list").mkdir(exist_ok=True)
    (root / name).write_bytes(path.read_bytes())
    listing = Listing(DirectoryTree(root))
    try:
        listing_table(SOURCES[source].list_clips(listing), BuildConfig(source=source))
    except ConfigError as error:
        one_line(error)
    assert all("\n" not in line and len(line) < 400 for line in listing.malformed)


def plain_json() -> bytes:
    return json.dumps({"clips": {f"v{n}_{n}": celebvhq_clip(f"v{n}", n, n + 2.5, (0.1, 0, 0.9, 1)) for n in range(9)}}).encode()


TUBES = "".join(f"v{n}_000{n}, 720, 1280, {n}, {n + 90}, 400, 100, 700, 400\n" for n in range(9)).encode()
SEEDS: dict[str, tuple[bytes, Callable[[Path], None], Callable[[bytes], bytes]]] = {
    "a.zip": (plain_zip(), open_archive, bytes),
    "pax.tar": (plain_tar(tarfile.PAX_FORMAT), open_archive, refixed),
    "gnu.tar": (plain_tar(tarfile.GNU_FORMAT), open_archive, refixed),
    "m.csv": (plain_csv(), open_csv, bytes),
    "hdtf": (HDTF["RD_annotion_time.txt"].encode() * 4, partial(open_lists, "hdtf", "RD_annotion_time.txt"), bytes),
    "celebvhq": (plain_json(), partial(open_lists, "celebvhq", "celebvhq_info.json"), bytes),
    "talkinghead1kh": (TUBES, partial(open_lists, "talkinghead1kh", "data_list/train_video_tubes.txt"), bytes),
}


def fuzz(name: str, rounds: int, place: Path) -> None:
    """Open a file with different damage each round; time and memory are bounded."""
    raw, use, fix = SEEDS[name]
    (place / "nothing").mkdir()
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(rounds):
        rng = random.Random(f"{name} {number}")
        path = place / f"{number}-{name}"  # archives stay open by their name
        path.write_bytes(fix(damaged(raw, rng, numbers="." in name and name != "m.csv")))
        start_s = time.thread_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                use(path)
        except Exception as error:
            raise AssertionError(f"round {number} of {name} with {path.read_bytes()[:100]!r}…: {error!r}") from error
        assert time.thread_time() - start_s < 5, f"round {number} of {name}"
        path.unlink()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 300_000


@pytest.mark.parametrize("name", SEEDS)
def test_light_fuzzing(name: str, tmp_path: Path) -> None:
    fuzz(name, 150, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEDS)
def test_heavy_fuzzing(name: str, tmp_path: Path) -> None:
    fuzz(name, 20_000, tmp_path)
