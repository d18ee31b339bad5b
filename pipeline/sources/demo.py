"""A corpus that needs no download: VoxCeleb2-shaped videos rendered from the one real face that scikit-image ships."""

from collections.abc import Iterator
from pathlib import Path

from motionshards.pipeline.sources import voxceleb2
from motionshards.pipeline.sources.demo_render import render_demo
from motionshards.pipeline.sources.listing import Listing
from motionshards.schemas.records import ClipSpec


def prepare(root: Path) -> None:
    """Render what is not there yet below `root`."""
    render_demo(root)


def list_clips(listing: Listing) -> Iterator[ClipSpec]:
    """The rendered clips, listed as VoxCeleb2 is."""
    return voxceleb2.list_clips(listing, source="demo")
