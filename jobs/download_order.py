"""What is asked of a download, and how it ended."""

from dataclasses import dataclass
from pathlib import Path

from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import SPLITS


@dataclass(frozen=True, kw_only=True)
class Manners:
    """How the server is treated and what is taken from it.

    pause_s: mean seconds between two videos
    retries: further tries of a video after what may pass
    backoff_s: mean seconds before the first of them; they double
    give_up: the run stops after so many refusals, or videos that could not be reached, in a row
    rate_limit_bytes_s: bytes a second; 0 for no limit
    max_height_px: the shorter side of the best format that is taken
    audio: whether sound is taken, too
    cookies: a file in Netscape's format; yt-dlp updates it
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
    """What the user asks for.

    source, metadata: the corpus, and the file or directory that lists its videos
    out: gets videos/ and download.parquet
    splits: which of train and test
    limit: at most so many videos; None for all
    retry: statuses of earlier runs whose videos are requested again, besides blocked and failed; `silent` are available videos
        without sound
    url_template: a URL with {id} in it, for mirrors; None for YouTube, or the URLs of the list
    """

    source: str
    metadata: Path
    out: Path
    manners: Manners
    splits: frozenset[str] = frozenset(SPLITS)
    limit: int | None = None
    retry: frozenset[str] = frozenset()
    url_template: str | None = None

    def __post_init__(self) -> None:
        """Raise ConfigError for what cannot work."""
        template, cookies = self.url_template, self.manners.cookies
        if template is not None and ("{id}" not in template or not template.startswith(("http://", "https://"))):
            raise ConfigError(f"--url-template is {template!r}, must be an http(s) URL with {{id}} in it")
        if "silent" in self.retry and not self.manners.audio:
            raise ConfigError("--retry silent fetches sound, which --no-audio leaves out")
        if cookies is not None and not cookies.is_file():
            raise ConfigError(f"--cookies {cookies} is not a file")


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """How a run ended.

    counts: status -> listed videos, all statuses
    asked: videos asked for in this run
    bytes: of the videos that this run added
    stopped: why the run ended before all were asked for; empty where it did not
    left_out: lines of the metadata that name no video
    """

    counts: dict[str, int]
    asked: int
    bytes: int
    seconds: float
    stopped: str
    left_out: int
