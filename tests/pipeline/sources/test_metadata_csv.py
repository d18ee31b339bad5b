"""Csv files of various dialects, and malicious ones: read, or refused with file, line and field."""

import csv
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT
from source_trees import COLUMNS

from motionshards.dataset import build
from motionshards.pipeline.clips.annotations import read_track
from motionshards.pipeline.inputs.tree import DirectoryTree
from motionshards.pipeline.sources import fashion, taichi, voxceleb1, voxceleb2
from motionshards.pipeline.sources.listing import Listing
from motionshards.pipeline.sources.splits import split_named
from motionshards.schemas.errors import ClipRejected, ConfigError
from motionshards.schemas.records import ClipSpec

GOOD = "v,10,20,1-2-30-40,25,64,48,train,i"


def listed(content: bytes, place: Path) -> tuple[list[ClipSpec], list[str]]:
    """The clips and the malformed lines of a csv."""
    (place / "m.csv").write_bytes(content)
    listing = Listing(DirectoryTree(place), metadata=place / "m.csv")
    return list(voxceleb1.list_clips(listing)), listing.malformed


@pytest.mark.parametrize(
    "content",
    [
        f"{COLUMNS}\n{GOOD}\n".encode(),
        f"{COLUMNS}\r\n{GOOD}\r\n\r\n".encode(),
        f"\ufeff{COLUMNS}\n{GOOD}".encode(),
        f"{COLUMNS}\n{GOOD}\n".encode("utf-16"),
        f"{COLUMNS}\n{GOOD}\n".replace(",", ";").encode(),
        f"{COLUMNS}\n{GOOD}\n".replace(",", "\t").encode(),
        f"{COLUMNS.replace(',', ' , ').title()}\n{GOOD}\n".encode(),
        ('"' + COLUMNS.replace(",", '","') + '"\n"' + GOOD.replace(",", '","') + '"\n').encode(),
        f'{COLUMNS},url\n{GOOD},"https://x/a,b\n"\n'.encode(),
    ],
    ids=["plain", "crlf", "bom", "utf-16", "semicolons", "tabs", "spaces and case", "quotes", "further column"],
)
def test_dialects(content: bytes, tmp_path: Path) -> None:
    (clip,), malformed = listed(content, tmp_path)
    assert (clip.key, clip.split, clip.spans[0].start_s, malformed) == ("i/v/000010-000020", "train", 0.4, [])


def test_fractions_decimal_commas_and_splits(tmp_path: Path) -> None:
    rows = [
        "a,30,60,1-2-30-40,30000/1001,64,48,val,i",
        "b,30,60,1-2-30-40, 30 / 1 ,64,48,Train,i",
        "c,30,60,1-2-30-40,25,64,48, Validation,i",
        "d,30,60,1-2-30-40,25,64,48,TEST,i",
    ]
    clips, malformed = listed("\n".join([COLUMNS, *rows]).encode(), tmp_path)
    assert malformed == [] and [clip.split for clip in clips] == ["val", "train", "val", "test"]
    assert clips[0].spans[0].start_s == pytest.approx(1.001) and clips[1].spans[0].start_s == 1
    semicolons = f"{COLUMNS}\n{GOOD}".replace(",", ";").replace(";25;", ";29,97;")
    assert listed(semicolons.encode(), tmp_path)[0][0].spans[0].start_s == pytest.approx(10 / 29.97)
    assert (split_named("valid"), split_named("dev"), split_named("")) == ("val", None, None)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("v,10,20,1-2-30-40,30000/0,64,48,train,i", "fps is '30000/0', must be a number"),
        ("v,10,20,1-2-30-40,25,64,48,dev,i", "partition is 'dev', must be one of train, val, test"),
        ("v,10,20,1-2-30-4\x00,25,64,48,train,i", "bbox is '1-2-30-4\\x00'"),
        ("../../outside,10,20,1-2-30-40,25,64,48,train,i", "video_id is '../../outside', which is outside the input"),
        ("/etc/passwd,10,20,1-2-30-40,25,64,48,train,i", "video_id is '/etc/passwd'"),
        ("C:\\v,10,20,1-2-30-40,25,64,48,train,i", "video_id is 'C:\\\\v'"),
        ("a\\..\\..\\b,10,20,1-2-30-40,25,64,48,train,i", "which is outside the input"),
        ("a\x00b,10,20,1-2-30-40,25,64,48,train,i", "video_id is 'a\\x00b'"),
        ("x" * 200_000 + ",10,20,1-2-30-40,25,64,48,train,i", "field larger than field limit"),
        ("v,1e400,20,1-2-30-40,25,64,48,train,i", "start is 1e400"),
        ("v,10,20," + "9" * 400 + "-2-30-40,25,64,48,train,i", "bbox is '999"),
        ("v,7,7.000000000000001,1-2-30-40,3,64,48,train,i", "is empty"),
    ],
)
def test_refused_row_is_reported_by_line_and_field_and_others_are_listed(row: str, message: str, tmp_path: Path) -> None:
    clips, malformed = listed("\n".join([COLUMNS, GOOD, row, GOOD]).encode(), tmp_path)
    assert len(clips) == 2 and len(malformed) == 1
    assert malformed[0].startswith("m.csv line 3: ") and message in malformed[0] and len(malformed[0]) < 300


def test_an_open_quote_is_reported_with_all_lines_of_its_cell(tmp_path: Path) -> None:
    clips, malformed = listed("\n".join([COLUMNS, GOOD, f'"{GOOD}', GOOD, GOOD]).encode(), tmp_path)
    assert len(clips) == 1
    assert len(malformed) == 1 and malformed[0].startswith("m.csv lines 3-5: start is None")


def test_names_with_bytes_that_are_not_utf8_find_their_files(tmp_path: Path) -> None:
    (tmp_path / "caf\udce9.mp4").write_bytes(b"x")
    (clip,), malformed = listed(f"{COLUMNS}\n".encode() + GOOD.replace("v,", "café,", 1).encode("latin-1"), tmp_path)
    assert clip.spans[0].uri == "caf%E9.mp4" and clip.cost > 0 and malformed == []


def test_a_csv_of_malformed_rows_only_is_refused_listing_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [GOOD.replace("train", f"part{n}") for n in range(5)]
    (tmp_path / "taichi-metadata.csv").write_text("\n".join([COLUMNS, *rows]))
    arguments = ["--source", "taichi", "--input", str(tmp_path), "--output", str(tmp_path / "out"), "--landmarks", "none"]
    assert build.main([*arguments, "--quiet"]) == 2
    stderr = capsys.readouterr().err
    assert stderr.count("\n") == 1 and "5 malformed lines: taichi-metadata.csv line 2: partition is 'part0'" in stderr
    assert "line 4: partition is 'part2'" in stderr and "line 5" not in stderr
    assert not (tmp_path / "out").exists()


def test_skipped_lines_are_not_counted_as_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Skipped lines and warnings about kept clips are counted separately."""
    (tmp_path / "taichi-metadata.csv").write_text("\n".join([COLUMNS, GOOD, GOOD, "v,1"]))
    arguments = ["--source", "taichi", "--input", str(tmp_path), "--output", str(tmp_path / "out"), "--landmarks", "none"]
    assert build.main([*arguments, "--workers", "1"]) == 1
    output = capsys.readouterr()
    assert "skipped 1 malformed lines" in output.err and "warnings: duplicates 1\n" in output.err
    assert "2 planned = 0 kept + 2 rejected (unreadable 2); processed 2 clips in" in output.out


def test_a_csv_of_a_gigabyte_is_refused_with_bounded_memory(tmp_path: Path) -> None:
    huge = tmp_path / "m.csv"
    with huge.open("wb") as stream:
        stream.write(f"{COLUMNS}\n".encode())
        stream.truncate(1 << 30)
    program = (
        "import sys; from pathlib import Path; from motionshards.pipeline.sources import taichi\n"
        "from motionshards.pipeline.sources.listing import Listing\n"
        "from motionshards.pipeline.inputs.tree import DirectoryTree; from motionshards.schemas.errors import ConfigError\n"
        "p = Path(sys.argv[1])\n"
        "try: list(taichi.list_clips(Listing(DirectoryTree(p.parent), metadata=p)))\n"
        "except ConfigError as error: print(error)"
    )

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))

    done = subprocess.run(
        [sys.executable, "-c", program, huge], cwd=ROOT, preexec_fn=limit, capture_output=True, text=True, check=False
    )
    assert "it has 1073741824 bytes, the limit is" in done.stdout, done.stderr


def test_csv_that_is_not_a_file_is_refused(tmp_path: Path) -> None:
    for name, message in (
        ("/dev/zero", "not a regular file"),
        (tmp_path, "not a regular file"),
        (tmp_path / "no", "no such file"),
    ):
        with pytest.raises(ConfigError, match=message):
            list(taichi.list_clips(Listing(DirectoryTree(tmp_path), metadata=Path(name))))


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_vox2_meta_in_any_dialect(delimiter: str, tmp_path: Path) -> None:
    (tmp_path / "id1" / "v").mkdir(parents=True)
    (tmp_path / "id1" / "v" / "1.mp4").write_bytes(b"x")
    rows = [["VoxCeleb2 ID ", "VGGFace2 ID ", "Gender ", "Set "], ["id1 ", "n1 ", "m ", "test"], ["x" * 200_000], []]
    with (tmp_path / "vox2_meta.csv").open("w", newline="") as stream:
        csv.writer(stream, delimiter=delimiter).writerows(rows)
    assert [clip.split for clip in voxceleb2.list_clips(Listing(DirectoryTree(tmp_path)))] == ["test"]


def test_invalid_urls_are_reported(tmp_path: Path) -> None:
    lines = [
        b"https://x/a.mp4",
        b"http://[::1",
        b"https://x/..%2F..%2Fb%00.mp4",
        b"https://x/\xff.mp4",
        b"https://x/c%2F..%2Fd.mp4",
    ]
    (tmp_path / "fashion_train.txt").write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines))
    listing = Listing(DirectoryTree(tmp_path))
    assert [clip.video for clip in fashion.list_clips(listing)] == ["a", "\udcff", "d"]
    assert [line.partition(":")[0] for line in listing.malformed] == ["fashion_train.txt line 2", "fashion_train.txt line 3"]


@pytest.mark.parametrize("cell", ["nan", "inf", "1e300", "1_0x"])
def test_a_track_with_invalid_numbers_is_malformed(cell: str) -> None:
    with pytest.raises(ClipRejected, match="line 2: X is") as lost:
        read_track("a.txt", f"FRAME X Y W H\n1 {cell} 2 3 4\n".encode())
    assert lost.value.reason == "bad_annotation"


def test_the_header_of_a_track_may_contain_other_line_separators() -> None:
    frames, _, _ = read_track("a.txt", "Reference : a\u2028b\x85c\r\n\r\nFRAME X Y W H\r\n7 1 2 3 4\r\n".encode())
    assert frames.tolist() == [7]
