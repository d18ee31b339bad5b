"""TaiChi-HD: FOMM's `taichi-metadata.csv` and downloaded videos `videos/<video id>.mp4`."""

from collections.abc import Iterator

from motionshards.pipeline.sources import metadata_csv
from motionshards.pipeline.sources.listing import Listing
from motionshards.schemas.records import ClipSpec

EXPECTED = "taichi-metadata.csv and videos/<video>.mp4"


def list_clips(listing: Listing) -> Iterator[ClipSpec]:
    """Yield the clips in the order of the csv."""
    return metadata_csv.list_clips(listing, "taichi", "taichi-metadata.csv")
