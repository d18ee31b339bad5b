"""The videos that a corpus lists, their URLs, and the command that builds a dataset from them.

Clips are listed by the code of the build, with metadata and output overlaid as one directory, so the videos that are fetched are
those that `dataset.build` looks for. Lines that the build cannot use are skipped and reported by file and line.

Names of videos become file names, so they are checked: no csv can create a file outside the output.
"""

import hashlib
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from motionshards.jobs.download_order import DownloadOrder
from motionshards.pipeline.inputs.foreign import lines_of
from motionshards.pipeline.inputs.tree import DirectoryTree, OverlayTree, read_small_file
from motionshards.pipeline.sources import SOURCES as CORPORA
from motionshards.pipeline.sources import celebvhq, hdtf, talkinghead1kh
from motionshards.pipeline.sources.fashion import video_of_url
from motionshards.pipeline.sources.listing import Listing
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import SPLITS

# Accepted values of --metadata.
SOURCES = {
    "voxceleb1": "a csv, or a directory with txt/<identity>/<video>/<clip>.txt or vox-metadata.csv",
    "voxceleb2": "a directory with txt/<identity>/<video>/<clip>.txt or {dev,test}/txt/<identity>/<video>/<clip>.txt",
    "taichi": "a csv, or a directory with taichi-metadata.csv",
    "fashion": "a list of URLs, or a directory with fashion_train.txt and fashion_test.txt",
    "folder": "a csv",
    "hdtf": "HDTF_dataset, or the directory that holds it",
    "celebvhq": "a directory with celebvhq_info.json",
    "talkinghead1kh": "a directory with data_list/train_video_tubes.txt or data_list/val_video_tubes.txt",
}
# Files and directories of the metadata that the build expects beside the videos.
_BESIDE = {
    "voxceleb1": ("txt", "vox-metadata.csv"),
    "voxceleb2": ("txt", "dev", "test", "vox2_meta.csv"),
    "taichi": ("taichi-metadata.csv",),
    "hdtf": (hdtf.DIRECTORY, *(f"{subset}_{kind}.txt" for subset in hdtf.SUBSETS for kind in hdtf.KINDS)),
    "celebvhq": (celebvhq.LIST,),
    "talkinghead1kh": (talkinghead1kh.DIRECTORY,),
}

YOUTUBE = "https://www.youtube.com/watch?v={id}"
_YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")
_SAFE_NAME = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]{0,99}")


@dataclass(frozen=True, slots=True)
class ListedVideo:
    """A listed video: name without suffix, and URL."""

    video: str
    url: str


def list_videos(order: DownloadOrder, left_out: list[str]) -> list[ListedVideo]:
    """List each video of the requested splits once, in the order of the corpus. Appends skipped lines to `left_out`.

    Raises:
        ConfigError: the metadata cannot be read, are of another source, or list no videos
    """
    if not order.metadata.exists():
        raise ConfigError(f"--metadata {order.metadata} does not exist")
    named = _fashion(order, left_out) if order.source == "fashion" else _clips(order, left_out)
    found = {video: ListedVideo(video, url) for video, url in dict(named).items() if not _is_unusable(video, order, left_out)}
    if not found:
        why = f"; skipped {left_out[0]}" if left_out else ""
        raise ConfigError(f"--metadata {order.metadata} lists no videos (expected {SOURCES[order.source]}){why}")
    return list(found.values())


def sample_videos(listed: list[ListedVideo], limit: int | None) -> list[ListedVideo]:
    """Sample at most `limit` videos at random, in their order. A larger limit contains the sample of a smaller one."""
    by_hash = sorted(listed, key=lambda one: hashlib.sha256(one.video.encode()).digest())
    taken = set(by_hash[:limit])
    return [one for one in listed if one in taken]


def build_command(order: DownloadOrder) -> str:
    """Return the shell command that builds from the output, after linking metadata there that are missing beside the videos."""
    links = [(path, order.out / name) for path, name in _beside(order)]
    steps = [f"ln -s {shlex.quote(str(path.resolve()))} {shlex.quote(str(link))}" for path, link in links if not link.exists()]
    command = f"python -m dataset.build --source {order.source} --input {shlex.quote(str(order.out))}"
    if order.metadata.is_file() and order.source != "fashion":
        command += f" --metadata {shlex.quote(str(order.metadata))}"
    return " && ".join([*steps, f"{command} --output SHARDS"])


def _beside(order: DownloadOrder) -> list[tuple[Path, str]]:
    """Return the paths of metadata with their names in the output."""
    if order.source == "fashion":
        return [(path, f"fashion_{split}.txt") for split, path in _url_lists(order)]
    return [(order.metadata / name, name) for name in _BESIDE.get(order.source, ()) if (order.metadata / name).exists()]


def _clips(order: DownloadOrder, left_out: list[str]) -> Iterator[tuple[str, str]]:
    """Yield (video, URL) of each clip of a csv or an annotation tree."""
    is_file, source = order.metadata.is_file(), CORPORA[order.source]
    if (is_file and not source.reads_csv) or (order.source == "folder" and not is_file):
        raise ConfigError(f"--metadata {order.metadata} must be {SOURCES[order.source]}")
    tree = DirectoryTree(order.out) if is_file else OverlayTree([DirectoryTree(order.out), DirectoryTree(order.metadata)])
    listing = Listing(tree, "video", order.metadata if is_file else None)
    urls = source.urls(tree) if order.url_template is None else None
    template = order.url_template or YOUTUBE
    for clip in source.list_clips(listing):
        if clip.split in order.splits and (urls is None or clip.video in urls):
            yield clip.video, template.replace("{id}", quote(clip.video, safe="")) if urls is None else urls[clip.video]
        elif clip.split in order.splits:
            left_out.append(f"{order.metadata.name}: video {clip.video[:80]!r} has no URL")
    left_out += listing.malformed


def _fashion(order: DownloadOrder, left_out: list[str]) -> Iterator[tuple[str, str]]:
    """Yield (video, URL) of each line of the lists."""
    for split, path in _url_lists(order):
        for number, line in enumerate(_lines(path) if split in order.splits else [], 1):
            name = video_of_url(line)
            if name and line.startswith(("http://", "https://")):
                yield name, order.url_template.replace("{id}", quote(name, safe="")) if order.url_template else line
            elif line:
                left_out.append(
                    f"{path.name} line {number}: {line[:80]!r} is not an http(s) URL that ends with the name of a video"
                )


def _url_lists(order: DownloadOrder) -> list[tuple[str, Path]]:
    """Return (split, path) of existing lists; a list given as a file is of the split in its name, else train."""
    if order.metadata.is_file():
        split = next((split for split in SPLITS if order.metadata.stem.endswith(split)), "train")
        return [(split, order.metadata)]
    lists = [(split, order.metadata / f"fashion_{split}.txt") for split in SPLITS]
    return [(split, path) for split, path in lists if path.exists()]


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in lines_of(read_small_file(path) or b"")]


def _is_unusable(video: str, order: DownloadOrder, left_out: list[str]) -> bool:
    """Whether the name of a video cannot be requested; appends the reason to `left_out`."""
    is_youtube = order.source not in ("fashion", "hdtf") and order.url_template is None
    if (_YOUTUBE_ID if is_youtube else _SAFE_NAME).fullmatch(video):
        return False
    kind = "a YouTube id" if is_youtube else "a safe file name"
    left_out.append(f"{order.metadata.name}: video {video[:80]!r} is not {kind}")
    return True
