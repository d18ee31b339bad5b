"""One attempt to fetch a video: download with yt-dlp into the work directory, check with a decoder, move to its final path.

This is the only module that imports yt-dlp. Its own retries are disabled, since they do not distinguish refusals from errors.
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

from motionshards.jobs.download_list import ListedVideo
from motionshards.jobs.download_order import FetchSettings
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
_PROBE_TIMEOUT_S = 600
# Errors of the disk rather than the video, which stop the run.
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
_EXPECTED_WARNING = re.compile(r"generic information extractor|could be a direct video link")

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """Result of an attempt.

    detail: the error, or the format that was fetched
    wait_s: seconds that the server asks to wait before a retry; 0 if unspecified
    file: columns of the report that describe the file; None if there is none
    """

    verdict: Verdict
    detail: str
    wait_s: float = 0.0
    file: dict[str, Any] | None = None


def fetch(item: ListedVideo, out: Path, settings: FetchSettings, warn: Log) -> Answer:
    """Make one attempt, resuming the partial file of an earlier one. Only complete videos are moved to videos/.

    warn: called with the warnings of yt-dlp, in which VIDEO replaces the name, so that equal warnings can be recognized

    Raises:
        OSError: the disk is full or not writable
    """
    try:
        with YoutubeDL(_options(item, out, settings, warn)) as yt_dlp:
            info = yt_dlp.extract_info(item.url)
    except Exception as error:
        _reraise_disk_errors(error)
        return Answer(judge(error), _message(error), retry_after_s(error))
    files = [Path(one["filepath"]) for one in (info or {}).get("requested_downloads") or []]
    if len(files) != 1:
        return Answer(FAILED, f"expected one video, got {len(files)} files")
    return _accept(item, out, files[0], f"format {info.get('format_id')}")


def has_audio(video: Path) -> bool | None:
    """Return whether a video has decodable sound; None if the video cannot be read."""
    media = Media.at(video)
    try:
        return _has_audio(media, timeline_from_packets(media, _PROBE_TIMEOUT_S))
    except ClipRejected:
        return None


def _has_audio(media: Media, line: Timeline) -> bool:
    start_s = float(line.raw_s[0]) if len(line.raw_s) else 0.0
    try:
        return read_sound(media, start_s, 1, Fraction(25), None, True, _PROBE_TIMEOUT_S) is not None
    except ClipRejected:
        return False


def discard_parts(item: ListedVideo, out: Path) -> None:
    """Remove partial files of a video from the work directory."""
    for path in _work(out).glob(f"{_stem(item)}.*"):
        path.unlink(missing_ok=True)


def check_cookies(cookies: Path | None) -> None:
    """Raise ConfigError if yt-dlp cannot read the cookies."""
    try:
        _ = YoutubeDL({"cookiefile": cookies and str(cookies), "quiet": True, "logger": _logger(lambda text: None)}).cookiejar
    except (YoutubeDLError, OSError) as error:
        raise ConfigError(f"--cookies {cookies}: {detail(error)}") from error


def _work(out: Path) -> Path:
    return out.resolve() / WORK_DIR / VIDEOS


def _stem(item: ListedVideo) -> str:
    """Stem of partial files. It includes the URL, so that a download from one mirror is not resumed from another."""
    return f"{item.video}.{hashlib.sha256(item.url.encode()).hexdigest()[:8]}"


def _options(item: ListedVideo, out: Path, settings: FetchSettings, warn: Log) -> dict[str, Any]:
    """Options of yt-dlp. Names of partial files include the format, so that two formats are not mixed."""
    return {
        "format": "bv*+ba/bv*[acodec!=?none]/bv*" if settings.audio else "bv*",
        "format_sort": [
            *(f"res:{settings.max_height_px}", "+hdr", "fps", "proto", "vcodec:h264", "vext"),
            "aext:m4a" if settings.audio else "+hasaud",
        ],
        # Matroska rounds times to milliseconds, so it is used only for codecs that MP4 does not support.
        "merge_output_format": "mp4/mkv",
        "ffmpeg_location": ffmpeg_path(),
        "fixup": "never",
        "noplaylist": True,
        "match_filter": _require_one_video,
        "paths": {"home": str(_work(out))},
        "outtmpl": {"default": f"{_stem(item)}.%(format_id)s.%(ext)s"},
        "continuedl": True,
        "skip_unavailable_fragments": False,
        "retries": 0,
        "extractor_retries": 0,
        "fragment_retries": 0,
        "socket_timeout": _SOCKET_TIMEOUT_S,
        "ratelimit": settings.rate_limit_bytes_s or None,
        "cookiefile": settings.cookies and str(settings.cookies),
        "quiet": True,
        "noprogress": True,
        "color": "no_color",
        "logger": _logger(lambda text: warn(text.replace(item.video, "VIDEO"))),
    }


def _logger(warn: Log) -> SimpleNamespace:
    """Logger for yt-dlp that forwards warnings; errors are raised as exceptions."""

    def silent(text: str) -> None:
        pass

    def warning(text: str) -> None:
        if not _EXPECTED_WARNING.search(text):
            warn(f"yt-dlp: {text}")

    return SimpleNamespace(debug=silent, info=silent, warning=warning, error=silent)


def _require_one_video(info: dict[str, Any], *, incomplete: bool) -> None:
    """Raise ExtractorError for broadcasts, which may never end, and playlists, whose files would have the same name."""
    if info.get("is_live") or info.get("live_status") in ("is_live", "is_upcoming"):
        raise ExtractorError("the broadcast has not ended", expected=True)
    if info.get("playlist_index") is not None:
        raise ExtractorError("the page contains several videos", expected=True)


def _accept(item: ListedVideo, out: Path, fetched: Path, note: str) -> Answer:
    """Move a download to videos/ if its packets can be read to the end."""
    try:
        check_file(str(fetched))
        timeline = timeline_from_packets(Media.at(fetched), _PROBE_TIMEOUT_S)
    except ClipRejected as error:
        fetched.unlink()
        return Answer(
            FAILED, " ".join(f"incomplete or damaged video: {error.reason}, {error.detail}".replace(fetched.name, "it").split())
        )
    # The build detects containers by content, but ignores files with an unknown suffix.
    suffix = fetched.suffix.lower() if fetched.suffix.lower() in VIDEO_SUFFIXES else ".mp4"
    path = f"{VIDEOS}/{item.video}{suffix}"
    sync(fetched)
    fetched.replace(out / path)
    sync(out / VIDEOS)
    width, height = timeline.size_px
    columns = {"path": path, "bytes": (out / path).stat().st_size, "width": width, "height": height, "fps": timeline.rate_hz}
    sound = _has_audio(Media.at(out / path), timeline)
    return Answer(AVAILABLE, note, file={**columns, "duration_s": timeline.duration_s, "has_audio": sound})


def _message(error: Exception) -> str:
    """Format an error for users; unexpected exceptions are reported as failures of yt-dlp."""
    return detail(error) if isinstance(error, YoutubeDLError) else f"yt-dlp failed: {type(error).__name__}: {detail(error)}"


def _reraise_disk_errors(error: Exception) -> None:
    chain = list(causes(error))
    if not any(isinstance(one, RequestError) for one in chain):  # firewalls cause EPERM, too
        for one in chain:
            if isinstance(one, OSError) and one.errno in _DISK:
                raise one
