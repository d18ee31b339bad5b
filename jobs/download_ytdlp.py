"""One try to fetch one video: yt-dlp downloads it into the work folder, a decoder looks at it, a rename makes it appear.

This is the only module that imports yt-dlp. Its own retries are switched off, since they do not tell a refusal from a fault.
"""

import errno
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from yt_dlp import YoutubeDL
from yt_dlp.networking.exceptions import RequestError
from yt_dlp.utils import ExtractorError, YoutubeDLError

from motionshards.jobs.download_list import Wanted
from motionshards.jobs.download_order import Manners
from motionshards.jobs.download_verdict import AVAILABLE, FAILED, Verdict, causes, detail, judge, retry_after_s
from motionshards.pipeline.inputs.files import VIDEO_SUFFIXES
from motionshards.schemas.atomic import sync
from motionshards.schemas.errors import ClipRejected, ConfigError
from motionshards.schemas.layout import WORK_DIR
from motionshards.transforms.extract.ffmpeg import ffmpeg_path
from motionshards.transforms.extract.media import Media, check_file
from motionshards.transforms.extract.sound import read_sound
from motionshards.transforms.extract.timeline import Timeline, timeline_from_packets

VIDEOS = "videos"
_SOCKET_TIMEOUT_S = 30
_LOOK_TIMEOUT_S = 600
# The disk's faults, not the video's: they stop the run.
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
_EXPECTED_WARNING = re.compile(r"generic information extractor|could be a direct video link")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """How a try ended.

    detail: the error, or the format that was taken
    wait_s: what the server asks to wait before the next try; 0 where it does not say
    file: the columns of the report that tell about the file; empty where there is none
    """

    verdict: Verdict
    detail: str
    wait_s: float = 0.0
    file: dict[str, Any] | None = None


def fetch(wanted: Wanted, out: Path, manners: Manners, warn: Say) -> Answer:
    """Try once. A part that an earlier try left is continued; what is then in videos/ is a whole video.

    warn: gets the warnings of yt-dlp, with VIDEO for the name, so that those of many videos are the same

    Raises:
        OSError: the disk is full or cannot be written
    """
    try:
        with YoutubeDL(_options(wanted, out, manners, warn)) as yt_dlp:
            info = yt_dlp.extract_info(wanted.url)
    except Exception as error:
        _raise_if_the_disk_failed(error)
        return Answer(judge(error), _told(error), retry_after_s(error))
    files = [Path(one["filepath"]) for one in (info or {}).get("requested_downloads") or []]
    if len(files) != 1:
        return Answer(FAILED, f"gave {len(files)} files, must be one video")
    return _take(wanted, out, files[0], f"format {info.get('format_id')}")


def has_audio(video: Path) -> bool | None:
    """Whether a video has sound that can be decoded; None where the video cannot be read."""
    media = Media.at(video)
    try:
        return _has_audio(media, timeline_from_packets(media, _LOOK_TIMEOUT_S))
    except ClipRejected:
        return None


def _has_audio(media: Media, line: Timeline) -> bool:
    start_s = float(line.raw_s[0]) if len(line.raw_s) else 0.0
    try:
        return read_sound(media, start_s, 1, Fraction(25), None, True, _LOOK_TIMEOUT_S) is not None
    except ClipRejected:
        return False


def discard_parts(wanted: Wanted, out: Path) -> None:
    """Remove what is left in the work folder of a video."""
    for path in _work(out).glob(f"{_stem(wanted)}.*"):
        path.unlink(missing_ok=True)


def check_cookies(cookies: Path | None) -> None:
    """Raise ConfigError for a file that yt-dlp cannot read cookies from."""
    try:
        _ = YoutubeDL({"cookiefile": cookies and str(cookies), "quiet": True, "logger": _logger(lambda text: None)}).cookiejar
    except (YoutubeDLError, OSError) as error:
        raise ConfigError(f"--cookies {cookies}: {detail(error)}") from error


def _work(out: Path) -> Path:
    return out.resolve() / WORK_DIR / VIDEOS


def _stem(wanted: Wanted) -> str:
    """Of a part's name. The URL is in it, so that a part from one mirror is not continued from another."""
    return f"{wanted.video}.{hashlib.sha256(wanted.url.encode()).hexdigest()[:8]}"


def _options(wanted: Wanted, out: Path, manners: Manners, warn: Say) -> dict[str, Any]:
    """What yt-dlp is told. The format is part of a part's name, too: parts of two formats make no video."""
    return {
        "format": "bv*+ba/bv*[acodec!=?none]/bv*" if manners.audio else "bv*",
        "format_sort": [
            *(f"res:{manners.max_height_px}", "+hdr", "fps", "proto", "vcodec:h264", "vext"),
            "aext:m4a" if manners.audio else "+hasaud",
        ],
        # Matroska, which rounds times to milliseconds, only where MP4 cannot hold the codecs.
        "merge_output_format": "mp4/mkv",
        "ffmpeg_location": ffmpeg_path(),
        "fixup": "never",
        "noplaylist": True,
        "match_filter": _refuse_what_is_no_video,
        "paths": {"home": str(_work(out))},
        "outtmpl": {"default": f"{_stem(wanted)}.%(format_id)s.%(ext)s"},
        "continuedl": True,
        "skip_unavailable_fragments": False,
        "retries": 0,
        "extractor_retries": 0,
        "fragment_retries": 0,
        "socket_timeout": _SOCKET_TIMEOUT_S,
        "ratelimit": manners.rate_limit_bytes_s or None,
        "cookiefile": manners.cookies and str(manners.cookies),
        "quiet": True,
        "noprogress": True,
        "color": "no_color",
        "logger": _logger(lambda text: warn(text.replace(wanted.video, "VIDEO"))),
    }


def _logger(warn: Say) -> SimpleNamespace:
    """What yt-dlp writes to; its errors come as exceptions."""

    def silent(text: str) -> None:
        pass

    def warning(text: str) -> None:
        if not _EXPECTED_WARNING.search(text):
            warn(f"yt-dlp: {text}")

    return SimpleNamespace(debug=silent, info=silent, warning=warning, error=silent)


def _refuse_what_is_no_video(info: dict[str, Any], *, incomplete: bool) -> None:
    """Raise for what would fetch for ever, or several files of one name."""
    if info.get("is_live") or info.get("live_status") in ("is_live", "is_upcoming"):
        raise ExtractorError("a broadcast that has not ended", expected=True)
    if info.get("playlist_index") is not None:
        raise ExtractorError("a page of several videos", expected=True)


def _take(wanted: Wanted, out: Path, fetched: Path, told: str) -> Answer:
    """Move a download to its place if it can be decoded to its end."""
    try:
        check_file(str(fetched))
        timeline = timeline_from_packets(Media.at(fetched), _LOOK_TIMEOUT_S)
    except ClipRejected as error:
        fetched.unlink()
        return Answer(FAILED, " ".join(f"not a whole video: {error.reason}, {error.detail}".replace(fetched.name, "it").split()))
    # The build tells containers by their content; a suffix that it does not know would only hide the file from it.
    suffix = fetched.suffix.lower() if fetched.suffix.lower() in VIDEO_SUFFIXES else ".mp4"
    path = f"{VIDEOS}/{wanted.video}{suffix}"
    sync(fetched)
    fetched.replace(out / path)
    sync(out / VIDEOS)
    width, height = timeline.size_px
    columns = {"path": path, "bytes": (out / path).stat().st_size, "width": width, "height": height, "fps": timeline.rate_hz}
    sound = _has_audio(Media.at(out / path), timeline)
    return Answer(AVAILABLE, told, file={**columns, "duration_s": timeline.duration_s, "has_audio": sound})


def _told(error: Exception) -> str:
    """The error for people; what yt-dlp did not expect is a fault of it, and named so."""
    return detail(error) if isinstance(error, YoutubeDLError) else f"yt-dlp failed: {type(error).__name__}: {detail(error)}"


def _raise_if_the_disk_failed(error: Exception) -> None:
    chain = list(causes(error))
    if not any(isinstance(one, RequestError) for one in chain):  # a firewall gives EPERM too
        for one in chain:
            if isinstance(one, OSError) and one.errno in _DISK:
                raise one
