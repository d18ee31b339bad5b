"""Cuts videos into the one-minute chunks that TalkingHead-1KH's lists refer to.

Cuts are those of the authors: packets are copied, so a chunk begins at the first keyframe after each full minute.
"""

import errno
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from motionshards.pipeline.inputs.files import videos_by_id
from motionshards.pipeline.inputs.tree import DirectoryTree
from motionshards.pipeline.sources.talkinghead1kh import chunks_by_name
from motionshards.schemas.atomic import sync
from motionshards.schemas.layout import WORK_DIR
from motionshards.transforms.extract.decoder.limits import CONTAINERS
from motionshards.transforms.extract.ffmpeg import run_ffmpeg

SOURCE = "talkinghead1kh"
"""The source whose videos are cut."""
_CHUNK_S, _TIMEOUT_S = 60, 3600


def cut(video: Path, out: Path) -> tuple[str, int]:
    """Replace `out/videos/<id>.mp4` by the directory `out/videos/<id>` of its chunks, also if that exists.

    After a kill either the whole video or all chunks exist. Returns (path of the directory relative to `out`, bytes).

    Raises:
        ValueError: ffmpeg cannot cut the video
        OSError: the disk is full or not writable
    """
    place, work, old = video.with_suffix(""), out / WORK_DIR / "chunks", out / WORK_DIR / "replaced"
    for left in (work, old):
        shutil.rmtree(left, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        _segment(video, work)
        for path in (*work.iterdir(), work):
            sync(path)
        if place.exists():
            place.rename(old)
        work.rename(place)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    sync(place.parent)
    video.unlink()
    return place.relative_to(out).as_posix(), sum(path.stat().st_size for path in place.iterdir())


def whole_videos(out: Path, listed: Iterable[str]) -> list[Path]:
    """List the listed videos in `out/videos` that are not cut yet."""
    on_disk = videos_by_id(DirectoryTree(out))
    return [out / on_disk[video].path for video in listed if video in on_disk]


def cut_videos(out: Path) -> dict[str, tuple[str, int]]:
    """Return (path of the directory of chunks relative to `out`, their bytes) by video."""
    found: dict[str, tuple[str, int]] = {}
    for name, entry in chunks_by_name(DirectoryTree(out)).items():
        video, folder = name.rpartition("_")[0], entry.path.rpartition("/")[0]
        found[video] = folder, found.get(video, ("", 0))[1] + entry.bytes
    return found


def _segment(video: Path, work: Path) -> None:
    """Write the chunks of a video into the directory `work`."""
    pattern = f"{work.resolve()}/{video.stem}".replace("%", "%%") + f"_%04d{video.suffix}"
    source = ["-protocol_whitelist", "file", "-format_whitelist", CONTAINERS, "-i", f"file:{video.resolve()}"]
    options = ["-c", "copy", "-map", "0", "-segment_time", str(_CHUNK_S), "-f", "segment"]
    try:
        ended = run_ffmpeg([*source, *options, f"file:{pattern}"], _TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"cannot be cut: ffmpeg took more than {_TIMEOUT_S} s") from error
    if "No space left on device" in ended.log:
        raise OSError(errno.ENOSPC, "No space left on device", str(work))
    if ended.returncode or not any(work.iterdir()):
        raise ValueError(f"cannot be cut: {ended.errors() or f'ffmpeg ended with {ended.returncode}'}".replace(str(video), "it"))
