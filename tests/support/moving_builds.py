"""Builds that store video and sound, of one second of a few rendered videos."""

from pathlib import Path

import pyarrow.parquet as pq
from in_process import in_this_process
from videos import ffmpeg

from motionshards.dataset import build
from motionshards.schemas.layout import INDEX
from motionshards.schemas.manifest import Manifest

VIDEO = ("--crf", "26", "--landmarks-every", "10")
"""Settings of the stored video."""


def spoken_videos(demo_videos: Path, out: Path) -> None:
    """Write anna/0.mp4 to 2.mp4, each with a face and a tone; 1.mp4 has no sound."""
    (out / "anna").mkdir(parents=True)
    for number, path in enumerate(sorted(demo_videos.rglob("*.mp4"))[:3]):
        tone = ("-f", "lavfi", "-i", f"sine=frequency={300 + 50 * number}:sample_rate=44100", "-c:a", "aac")
        sound = ("-an",) if number == 1 else tone
        ffmpeg("-i", path, *sound, "-t", "1", "-c:v", "copy", out / f"anna/{number}.mp4")


def build_args(videos: Path, out: Path, *more: str) -> list[str]:
    """Options of a build of three stills per clip and one clip per shard."""
    what = ["--recipe", "resize", "--size", "64", "--frames", "3", "--clips-per-shard", "1", "--workers", "1", "--quiet"]
    return ["--source", "folder", "--input", str(videos), "--output", str(out), *what, *more]


def build_into(videos: Path, out: Path, *more: str) -> Path:
    """Run such a build; returns the dataset."""
    with in_this_process():
        assert build.main(build_args(videos, out, *more)) == 0
    return out


def same_shards(ours: Path, theirs: Path) -> bool:
    """Whether two datasets have the same samples and index, and can be resumed by the same build."""
    one, other = Manifest.read(ours), Manifest.read(theirs)
    tars = [path.relative_to(theirs) for path in sorted(theirs.rglob("*.tar"))]
    return (
        tars == [path.relative_to(ours) for path in sorted(ours.rglob("*.tar"))]
        and all((ours / tar).read_bytes() == (theirs / tar).read_bytes() for tar in tars)
        and repr(pq.read_table(ours / INDEX).to_pylist()) == repr(pq.read_table(theirs / INDEX).to_pylist())
        and (one.config, one.provenance, one.counts) == (other.config, other.provenance, other.counts)
    )
