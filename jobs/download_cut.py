"""Videos cut into chunks of one minute, as TalkingHead-1KH's lists refer to them.

The cut is that of the authors: packets are copied, so a chunk begins at the first key frame after each full minute.
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
    """Replace `out/videos/<id>.mp4` by the folder `out/videos/<id>` of its chunks: (its path below `out`, bytes).

    A folder of earlier chunks is replaced. After a kill the whole video is still there, or all chunks are.

    Raises:
        ValueError: ffmpeg cannot cut it
        OSError: the disk is full or cannot be written
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
    """The videos in `out/videos` that are not cut yet, of those that are listed."""
    there = videos_by_id(DirectoryTree(out))
    return [out / there[video].path for video in listed if video in there]


def cut_videos(out: Path) -> dict[str, tuple[str, int]]:
    """video -> (path of the folder of its chunks below `out`, their bytes)."""
    found: dict[str, tuple[str, int]] = {}
    for name, entry in chunks_by_name(DirectoryTree(out)).items():
        video, folder = name.rpartition("_")[0], entry.path.rpartition("/")[0]
        found[video] = folder, found.get(video, ("", 0))[1] + entry.bytes
    return found


def _segment(video: Path, work: Path) -> None:
    """Write the chunks of a video into a directory."""
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
