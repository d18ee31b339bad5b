"""Hygiene: duplicates, boxes outside the frame, and videos or identities in both splits, in synthetic and published lists."""

from pathlib import Path

from source_trees import write_csv

from motionshards.pipeline.inputs.tree import DirectoryTree
from motionshards.pipeline.planning.hygiene import hygiene
from motionshards.pipeline.planning.plan import listing_table
from motionshards.pipeline.sources import voxceleb1
from motionshards.pipeline.sources.listing import Listing
from motionshards.schemas.config import BuildConfig


def test_hygiene_of_synthetic_rows(tmp_path: Path) -> None:
    rows = [
        "a,0,50,10-10-50-50,25,64,64,train,id1",
        "a,0,50,10-10-50-50,25,64,64,train,id1",
        "a,0,50,10-10-50-50,25,64,64,train,id1",
        "b,0,50,10-10-65-50,25,64,64,train,id1",
        "c,0,50,10-10-50-50,25,64,64,test,id1",
        "a,60,90,10-10-50-50,25,64,64,test,id2",
        "d,0,50,0-0-64-64,25,64,64,train,id3",
    ]
    listing = Listing(DirectoryTree(tmp_path), metadata=write_csv(tmp_path / "m.csv", *rows, "bad"))
    report = hygiene(listing_table(voxceleb1.list_clips(listing), BuildConfig(source="voxceleb1")), listing.malformed)
    assert report["listed"] == 7
    assert report["duplicates"] == {"count": 1, "first": ["id1/a/000000-000050"]}
    assert report["boxes_outside"] == {"count": 1, "first": ["id1/b/000000-000050"]}
    assert report["videos_in_both_splits"] == {"count": 1, "first": ["a"]}
    assert report["identities_in_both_splits"] == {"count": 1, "first": ["id1"]}
    assert report["malformed"]["count"] == 1


def test_hygiene_of_the_published_list(corpus: Path) -> None:
    path = corpus.parent / "metadata" / "vox-metadata.csv"
    listing = Listing(DirectoryTree(path.parent), metadata=path)
    report = hygiene(listing_table(voxceleb1.list_clips(listing), BuildConfig(source="voxceleb1")), listing.malformed)
    assert report["listed"] == 20_075
    counts = {name: report[name]["count"] for name in report if name != "listed"}
    assert counts == {
        "duplicates": 299,
        "boxes_outside": 866,
        "videos_in_both_splits": 2,
        "identities_in_both_splits": 2,
        "malformed": 0,
    }
