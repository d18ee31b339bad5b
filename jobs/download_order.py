"""Settings and result of a download."""

from dataclasses import dataclass
from pathlib import Path

from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import SPLITS


@dataclass(frozen=True, kw_only=True)
class FetchSettings:
    """Load on the server, and the format to fetch.

    pause_s: mean pause between two videos, seconds
    retries: further attempts per video after temporary errors
    backoff_s: mean pause before the first retry, seconds; doubled with each
    give_up: number of consecutive refusals or connection failures after which the run stops
    rate_limit_bytes_s: bytes per second; 0 for no limit
    max_height_px: largest shorter side of the format, pixels
    audio: whether to fetch sound, too
    cookies: file in Netscape format, which yt-dlp also updates
    """

    pause_s: float = 2.0
    retries: int = 3
    backoff_s: float = 5.0
    give_up: int = 5
    rate_limit_bytes_s: int = 4 * 1024**2
    max_height_px: int = 1080
    audio: bool = True
    cookies: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DownloadOrder:
    """A requested download.

    source, metadata: the corpus, and the file or directory that lists its videos
    out: directory for videos/ and download.parquet
    splits: names of the splits to fetch
    limit: maximum number of videos; None for all
    retry: statuses of earlier runs whose videos are requested again, besides blocked and failed; `silent` are available videos
        without sound
    url_template: URL of a mirror that contains {id}; None for YouTube, or the URLs of the list
    """

    source: str
    metadata: Path
    out: Path
    settings: FetchSettings
    splits: frozenset[str] = frozenset(SPLITS)
    limit: int | None = None
    retry: frozenset[str] = frozenset()
    url_template: str | None = None

    def __post_init__(self) -> None:
        """Raise ConfigError for values that cannot be used."""
        template, cookies = self.url_template, self.settings.cookies
        if template is not None and ("{id}" not in template or not template.startswith(("http://", "https://"))):
            raise ConfigError(f"--url-template is {template!r}, must be an http(s) URL that contains {{id}}")
        if "silent" in self.retry and not self.settings.audio:
            raise ConfigError("--retry silent cannot be combined with --no-audio")
        if cookies is not None and not cookies.is_file():
            raise ConfigError(f"--cookies {cookies} is not a file")


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """Result of a run.

    counts: number of listed videos of each status
    requested: number of videos requested in this run
    bytes: total size of the videos that this run added
    stopped: why the run ended before all videos were requested; empty if it did not
    left_out: number of metadata lines without a usable video
    """

    counts: dict[str, int]
    requested: int
    bytes: int
    seconds: float
    stopped: str
    left_out: int
