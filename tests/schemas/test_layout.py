"""Keys and uris: every possible file name survives a round trip, fits a tar header, and remains unique."""

import os
import string
import tarfile
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from motionshards.schemas import layout
from motionshards.schemas.errors import ConfigError, DatasetError

LONGEST_SUFFIX = max((layout.LANDMARK_SCORES, layout.LANDMARKS, layout.META, layout.frame_suffix(999)), key=len)
NAMES = [
    "plain",
    "with space",
    "-leading-dash_",
    "100%",
    "%2E",
    "%",
    "a.b..c.",
    ".hidden",
    "..",
    "a#b?c&d=e",
    "new\nline\ttab\r\x01\x7f",
    "ünïcode ☃ 😀 中文",
    unicodedata.normalize("NFD", "é"),
    unicodedata.normalize("NFC", "é"),
    "quote'\"`$HOME",
    "back\\slash",
    "colon:semi;comma,",
    "not utf-8 \udcff\udc80",
    "x" * 250,
    "." * 250,
    "😀" * 60,
    "a." * 100 + "\udcfe",
]


def random_names(seed: int, count: int) -> list[str]:
    """Distinct names of 1 to 255 arbitrary bytes, as decoded by Python."""
    rng = np.random.default_rng(seed)
    alphabets = [bytes(b for b in range(1, 256) if b != ord("/")), b"ab.%", b".", string.printable.encode().replace(b"/", b"")]
    names: set[str] = set()
    while len(names) < count:
        alphabet, length = alphabets[rng.integers(len(alphabets))], int(rng.choice([1, 2, 5, 20, 76, 77, 100, 255]))
        names.add(os.fsdecode(bytes(rng.choice(list(alphabet), length).astype(np.uint8))))
    return sorted(names)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_path_uri_round_trip(name: str) -> None:
    path = f"dev/mp4/{name}/{name}.mp4"
    assert layout.unescaped(layout.path_to_uri(path)) == path
    if name != "..":
        assert layout.uri_to_path(layout.path_to_uri(path)) == path


@pytest.mark.parametrize("uri", ["../a.mp4", "a/../../b.mp4", "/etc/passwd", "%2E%2E/a", "%2Fetc/passwd", "a/..", "a%00b"])
def test_a_uri_is_never_outside_the_input(uri: str) -> None:
    with pytest.raises(DatasetError, match="not a path below the input"):
        layout.uri_to_path(uri)


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", "/a", ".work", "a\0b", "x" * 300])
@pytest.mark.parametrize("place", [layout.tar_path, layout.marker_path, layout.next_marker_path])
def test_shard_paths_are_never_outside_the_dataset(place: Callable[[Path, str, str], Path], name: str) -> None:
    for split, shard in ((name, "s-train-000000"), ("train", name)):
        with pytest.raises(DatasetError, match="is not a valid name"):
            place(Path("out"), split, shard)


def test_random_bytes_round_trip_through_clean_uris() -> None:
    for name in random_names(0, 3000):
        uri = layout.path_to_uri(f"a/{name}.mp4")
        assert layout.uri_to_path(uri) == f"a/{name}.mp4"
        assert not any(ord(letter) < 32 or ord(letter) == 127 for letter in uri)
        uri.encode()  # strict: no lone surrogates


def test_readable_paths_are_their_own_uri() -> None:
    assert layout.path_to_uri("dev/mp4/id 1/é-_#.1/00001.mp4") == "dev/mp4/id 1/é-_#.1/00001.mp4"


def test_a_uri_names_the_same_file_on_disk(tmp_path: Path) -> None:
    for number, name in enumerate(["50% #1", "new\nline", os.fsdecode(b"latin \xe9"), "😀"]):
        (tmp_path / name).write_text(str(number))
        assert (tmp_path / layout.uri_to_path(layout.path_to_uri(name))).read_text() == str(number)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_key_has_three_parts_and_no_dot(name: str) -> None:
    key = layout.clip_key(name, name, name)
    assert key.count("/") == 2 and all(key.split("/"))
    assert not set(key) & {".", "\\", "\n", "\0"} and key.isprintable()
    key.encode()


def test_keys_of_random_names_fit_a_ustar_header_with_the_longest_suffix() -> None:
    names = [*NAMES, *random_names(1, 500)]
    for identity, video, clip in zip(names, reversed(names), names[7:] + names[:7], strict=True):
        member = f"{layout.clip_key(identity, video, clip)}.{LONGEST_SUFFIX}"
        header = tarfile.TarInfo(member).tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")
        assert len(header) == tarfile.BLOCKSIZE
        assert tarfile.TarInfo.frombuf(header, "utf-8", "strict").name == member


def test_distinct_names_have_distinct_keys() -> None:
    names = [*NAMES, *random_names(2, 3000)]
    assert len({layout.clip_key("id", "video", name) for name in names}) == len(set(names))
    assert len({layout.clip_key(name, "video", "clip") for name in names}) == len(set(names))


def test_long_names_with_a_common_start_or_end_have_different_keys() -> None:
    assert layout.clip_key("i", "v", "a" * 200 + "b") != layout.clip_key("i", "v", "a" * 200 + "c")
    assert layout.clip_key("i", "v", "b" + "a" * 200) != layout.clip_key("i", "v", "c" + "a" * 200)


def test_a_name_that_looks_shortened_has_a_different_key() -> None:
    long = "a" * 200
    shortened = layout.clip_key("i", "v", long).rpartition("/")[2]
    assert layout.clip_key("i", "v", shortened) != layout.clip_key("i", "v", long)


def test_key_components_are_not_ambiguous() -> None:
    assert layout.clip_key("a/b", "c", "d") != layout.clip_key("a", "b/c", "d")
    assert layout.clip_key("a", "b", "c") == "a/b/c"
    assert layout.clip_key("id00017", "-0y_9.z", "00001") == "id00017/-0y_9%2Ez/00001"


def test_names_on_disk_sort_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    numbers = [0, 9, 10, 99, 100, 999]
    suffixes = [layout.frame_suffix(number) for number in numbers]
    shards = [layout.shard_name("voxceleb2", "train", number) for number in numbers]
    assert suffixes == sorted(suffixes) and suffixes[0] == "000.jpg"
    assert shards == sorted(shards) and shards[1] == "voxceleb2-train-000009"
    assert layout.tar_path(tmp_path, "train", shards[0]) == tmp_path / "train" / "voxceleb2-train-000000.tar"
    assert layout.marker_path(tmp_path, "train", shards[0]).with_suffix(".tar") == layout.tar_path(tmp_path, "train", shards[0])
    assert layout.plan_path(tmp_path, 3) == tmp_path / "plan" / "plan-000003.parquet"


def test_members_of_a_smaller_size() -> None:
    assert (
        layout.frame_suffix(7, 256) == "256.007.jpg" and layout.video_suffix(256) == "256.mp4" and layout.video_suffix() == "mp4"
    )
    assert [name for name in ("000.jpg", "256.000.jpg", "mp4", "x.jpg.npy") if layout.is_main_frame(name)] == ["000.jpg"]
    sizes = {
        "256.000.jpg": 256,
        "4096.999.jpg": 4096,
        "64.mp4": 64,
        "000.jpg": None,
        "mp4": None,
        "256.flac": None,
        "064.mp4": None,
    }
    assert {name: layout.smaller_size(name) for name in sizes} == sizes


def test_members_for_readers_of_one_size() -> None:
    members = ("000.jpg", "mp4", "flac", "landmarks.npy", "256.000.jpg", "256.mp4", "128.000.jpg", "meta.json")
    main = [name for name in members if layout.suffix_at(name, None)]
    assert main == ["000.jpg", "mp4", "flac", "landmarks.npy", "meta.json"]
    assert [name for member in members if (name := layout.suffix_at(member, 256))] == [
        *("flac", "landmarks.npy"),
        *("000.jpg", "mp4", "meta.json"),
    ]
    assert [layout.smaller_of((512, 256), size) for size in (None, 512, 256)] == [None, None, 256]
    with pytest.raises(ConfigError, match="size is 128, but frames are stored at 512 and 256 px"):
        layout.smaller_of((512, 256), 128)
