"""VoxCeleb1: the official annotations `txt/<identity>/<youtube id>/<clip>.txt`, or FOMM's metadata csv.

The videos are not officially released; users download them to `videos/<youtube id>.mp4`. Identities id10270 to id10309 are the
official test split. A csv is used if one is given, or if there is no `txt/`.
"""

from collections.abc import Iterator

from motionshards.pipeline.sources import metadata_csv, voxceleb_txt
from motionshards.pipeline.sources.listing import Listing
from motionshards.schemas.records import ClipSpec

EXPECTED = "txt/<identity>/<video>/<clip>.txt and videos/<video>.mp4, or vox-metadata.csv and videos/<video>.mp4"
_TEST = {f"id{number}" for number in range(10270, 10310)}


def list_clips(listing: Listing) -> Iterator[ClipSpec]:
    """Yield all clips in the order of the annotation tree or the csv."""
    if listing.metadata is None and listing.tree.is_directory("txt"):
        return voxceleb_txt.list_clips(listing, "voxceleb1", {}, lambda who: "test" if who in _TEST else "train")
    return metadata_csv.list_clips(listing, "voxceleb1", "vox-metadata.csv")
