"""CSV files of action units for videos, in OpenFace's format."""

from pathlib import Path

from openface_program import as_csv, video_rows

from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.timeline import timeline_from_packets


def frames_of(video: Path) -> int:
    """Number of decodable frames of a video."""
    return len(timeline_from_packets(Media.at(video), 60.0).raw_s)


def write_csv(path: Path, frames: int, rate_hz: float = 25.0) -> Path:
    """Write a CSV file of a video with `frames` frames, with values derived from the frame number, from 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(as_csv(video_rows([b"%d" % number for number in range(frames)], rate_hz), {}))
    return path


def csvs_of(tree: Path, folder: Path) -> Path:
    """Write a CSV file for each `identity/video/clip.mp4` of a tree; returns the folder."""
    for video in tree.rglob("*.mp4"):
        if video.stat().st_size > 1_000:  # skip files that are not videos
            write_csv(folder / video.relative_to(video.parents[2]).with_suffix(".csv"), frames_of(video))
    return folder
