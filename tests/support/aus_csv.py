"""Csv files of action units for videos, as OpenFace would write them."""

from pathlib import Path

from openface_program import as_csv, video_rows

from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.timeline import timeline_from_packets


def frames_of(video: Path) -> int:
    """How many decodable frames a video has."""
    return len(timeline_from_packets(Media.at(video), 60.0).raw_s)


def write_csv(path: Path, frames: int, rate_hz: float = 25.0) -> Path:
    """A csv of a video of so many frames, with values by the number of the frame, from 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(as_csv(video_rows([b"%d" % number for number in range(frames)], rate_hz), {}))
    return path


def csvs_of(tree: Path, folder: Path) -> Path:
    """A csv for each `identity/video/clip.mp4` of a tree; gives the folder."""
    for video in tree.rglob("*.mp4"):
        if video.stat().st_size > 1_000:  # not one of those that are no video
            write_csv(folder / video.relative_to(video.parents[2]).with_suffix(".csv"), frames_of(video))
    return folder
