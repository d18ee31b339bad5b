"""A corpus without downloads: videos in the layout of VoxCeleb2, rendered from the photograph that ships with scikit-image."""

from collections.abc import Iterator
from pathlib import Path

from motionshards.pipeline.sources import voxceleb2
from motionshards.pipeline.sources.demo_render import render_demo
from motionshards.pipeline.sources.listing import Listing
from motionshards.schemas.records import ClipSpec


def prepare(root: Path) -> None:
    """Render missing files below `root`."""
    render_demo(root)


def list_clips(listing: Listing) -> Iterator[ClipSpec]:
    """Yield the rendered clips, listed like VoxCeleb2."""
    return voxceleb2.list_clips(listing, source="demo")
