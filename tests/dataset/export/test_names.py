"""File names of exported clips: those of FOMM's authors for their CSV files; all others are safe for sampling by identity."""

import glob
from itertools import product
from pathlib import Path

import pyarrow as pa
import pytest

from motionshards.dataset.export.names import Names, flat_name
from motionshards.schemas.layout import clip_key

HOSTILE = (
    "id1",
    "id10",
    "id1=",
    "id10%",
    "a*",
    "a",
    "a[b",
    "a[b]",
    "a?",
    "#",
    "#1",
    "..",
    "a/b",
    "ü" * 100,
    "ü" * 101,
    "%23",
    "-x",
)


def names_of(keys: list[str]) -> Names:
    return Names.of(pa.table({"key": keys}))


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("id10270/5r0dWxy17C8/000123-000456", "id10270#5r0dWxy17C8#000123#000456"),
        ("aDyyTMUBoLE/aDyyTMUBoLE/000123-000456", "aDyyTMUBoLE#000123#000456"),
        ("id1/video/000123-000456~2", "id1#video#000123#000456~2"),
        ("id00012/21Uxsk56VDQ/00001", "id00012#21Uxsk56VDQ.00001#000000#000140"),
        ("id1/video/00001@000016-2", "id1#video.00001@000016-2#000000#000140"),
        ("a%2Emp4/a%2Emp4/video", "a%2Emp4#a%2Emp4.video#000000#000140"),
    ],
)
def test_clips_from_the_authors_csv_have_the_authors_names(key: str, name: str) -> None:
    assert names_of([key]).fomm(key, 140) == name


def test_frame_numbers_of_parts_start_at_the_first_frame_of_the_clip() -> None:
    keys = ["id1/video/000123-000456", "id1/video/00001"]
    names = [names_of(keys).fomm(key, 333, part) for key in keys for part in ((0, 168), (168, 333))]
    assert names == [
        "id1#video#000123#000291",
        "id1#video#000291#000456",
        "id1#video.00001#000000#000168",
        "id1#video.00001#000168#000333",
    ]


def test_globs_for_hostile_identities_match_only_their_own_files(tmp_path: Path) -> None:
    keys = [
        clip_key(who, video, clip) for who, video, clip in product(HOSTILE, ("v#1", "v*" * 80), ("000001-000009", "c[1]" * 40))
    ]
    names = names_of(keys)
    files = [f"{names.fomm(key, 10)}.mp4" for key in keys]
    assert len(set(files)) == len(keys) and max(len(name.encode()) for name in files) < 240
    for name in files:
        (tmp_path / name).touch()
    identities = {name.split("#")[0] for name in files}
    assert len(identities) == len(HOSTILE)
    for identity in identities:
        found = glob.glob(f"{tmp_path}/{identity}*.mp4")  # noqa: PTH207 - as the original repositories do
        assert len(found) == 4 and {Path(path).name.split("#")[0] for path in found} == {identity}


def test_only_identities_that_are_prefixes_are_marked() -> None:
    names = names_of(["id1/v/c", "id10/v/c", "id2/v/c"])
    assert [names.identity(key) for key in ("id1/v/c", "id10/v/c", "id2/v/c")] == ["id1=", "id10", "id2"]


def test_flat_names_are_unique_and_short_enough_for_suffixes_of_loaders() -> None:
    keys = [clip_key(*parts) for parts in product(HOSTILE, repeat=3)]
    names = [flat_name(key) for key in keys]
    assert len(set(names)) == len(keys) and max(len(f"{name}_mel.pt".encode()) for name in names) < 240
    assert {name.count("#") for name in names} == {2} and not any(character in name for name in names for character in "*?[]/=")
    assert flat_name("id1/video/00001") == "id1#video#00001"
